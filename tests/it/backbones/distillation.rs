//! Operators of self-distillation against the same formulas in f64, out of candle's operations.

use candle_core::{D, DType, Device, Tensor, Var};
use reid_backbones::init::Init;
use reid_backbones::ops::{Pairs, sharpened_softmax, soft_cross_entropy, weight_norm_linear};
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::{ParamStore, Result};
use reid_tests::golden::relative_to_max;
use reid_tests::tensors::{bits, in_pool, normal, randomize, values};

use super::ops::{compare, part};

/// Students, teachers, classes: single ones, no multiples of any vector, more rows than a task takes.
const SHAPES: [(usize, usize, usize); 5] = [(1, 1, 2), (3, 2, 7), (5, 4, 33), (65, 9, 16), (130, 70, 751)];
/// Distributions, relative to their largest value.
const DISTRIBUTION: f64 = 1e-5;

/// No, one, two or three targets to a row.
fn pairs(students: usize, teachers: usize) -> Pairs {
    let mut pairs = Pairs::new();
    for row in 0..students {
        let target = |i: usize| (((row * 5 + i * 3) % teachers) as u32, 0.1 + 0.3 * i as f32);
        pairs.push((0..row % 4).map(target));
    }
    pairs
}

fn targets(teachers: usize, classes: usize) -> Result<Tensor> {
    sharpened_softmax(&normal(3, (teachers, classes)), None, 0.5)
}

#[test]
fn soft_cross_entropy_equals_its_formula() -> Result<()> {
    for (students, teachers, classes) in SHAPES {
        let logits = Var::from_tensor(&normal(1, (students, classes)))?;
        let targets = targets(teachers, classes)?;
        let pairs = pairs(students, teachers);
        if students == 1 {
            // Its only row has no target.
            assert_eq!(values(&soft_cross_entropy(&logits, &targets, &pairs, 0.1)?), [0.0]);
            continue;
        }
        compare(
            &format!("soft cross-entropy of {students} x {classes} to {teachers}"),
            &[(&logits, &[])],
            DType::F64,
            || soft_cross_entropy(&logits, &targets, &pairs, 0.1),
            |twins| soft_cross_entropy(&twins[0], &targets.to_dtype(DType::F64)?, &pairs, 0.1),
        )?;
    }
    Ok(())
}

#[test]
fn soft_cross_entropy_names_what_does_not_fit() -> Result<()> {
    let (logits, targets) = (normal(1, (3, 4)), targets(2, 4)?);
    assert!(soft_cross_entropy(&logits, &targets, &pairs(2, 2), 0.1).is_err(), "a row without an entry");
    assert!(soft_cross_entropy(&logits, &targets, &pairs(3, 9), 0.1).is_err(), "a target outside");
    assert!(soft_cross_entropy(&normal(1, (3, 5)), &targets, &pairs(3, 2), 0.1).is_err(), "other classes");
    Ok(())
}

#[test]
fn sharpened_softmax_equals_its_formula() -> Result<()> {
    for (_, rows, classes) in SHAPES {
        let (x, center) = (normal(4, (rows, classes)), normal(5, (1, classes)));
        for center in [None, Some(&center)] {
            let ours = sharpened_softmax(&x, center, 0.04)?;
            let double = center.map(|center| center.to_dtype(DType::F64)).transpose()?;
            let expected = sharpened_softmax(&x.to_dtype(DType::F64)?, double.as_ref(), 0.04)?;
            let off = relative_to_max(&values(&ours), &values(&expected));
            assert!(off <= DISTRIBUTION, "{rows} x {classes}: {off:e}");
        }
    }
    assert!(sharpened_softmax(&normal(4, (2, 3)), Some(&normal(5, (1, 4))), 0.04).is_err());
    Ok(())
}

fn weight_norm(inputs: usize, outputs: usize, free: bool) -> Result<(ParamStore, ModuleId)> {
    let def = |name, shape: [usize; 2]| ParamDef {
        name,
        shape: shape.to_vec(),
        role: Role::Weight,
        init: Init::Constant(1.0),
    };
    let mut defs = vec![def("weight_v", [outputs, inputs])];
    if free {
        defs.insert(0, def("weight_g", [outputs, 1]));
    }
    let mut store = ParamStore::new(&Device::Cpu);
    let id = store.add("m", 0, &defs, &|_| Box::new(|| 0.5))?;
    randomize(&store, 6);
    Ok((store, id))
}

#[test]
fn weight_norm_equals_its_formula() -> Result<()> {
    for (rows, inputs, outputs) in [(1, 1, 1), (2, 5, 3), (7, 16, 33), (70, 33, 130)] {
        for free in [false, true] {
            let (store, id) = weight_norm(inputs, outputs, free)?;
            let entries = &store.module(id).entries;
            let x = Var::from_tensor(&normal(7, (rows, inputs)))?;
            let what = format!("weight norm of {rows} x {inputs} to {outputs}, free {free}");
            if inputs == 1 && !free {
                // A row of one value has only a sign, and no gradient to compare.
                continue;
            }
            let formula = |twins: &[Tensor]| {
                let v = part(&twins[1], &entries[entries.len() - 1])?;
                let unit = v.broadcast_div(&v.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?;
                let weight = if free { unit.broadcast_mul(&part(&twins[1], &entries[0])?)? } else { unit };
                Ok(twins[0].matmul(&weight.t()?)?)
            };
            // The direction of a single value has gradient 0; only the length's counts.
            let compared = if inputs == 1 { &entries[..1] } else { &entries[..] };
            compare(
                &what,
                &[(&x, &[]), (store.module(id).var(), compared)],
                DType::F64,
                || weight_norm_linear(&x, &store.training(), id),
                formula,
            )?;
        }
    }
    Ok(())
}

#[test]
fn distillation_does_not_depend_on_the_number_of_threads() -> Result<()> {
    let (rows, teachers, inputs, classes) = (515, 70, 19, 131);
    let (store, id) = weight_norm(inputs, classes, true)?;
    let x = Var::from_tensor(&normal(8, (rows, inputs)))?;
    let pairs = pairs(rows, teachers);
    let run = || -> Result<Vec<Vec<u32>>> {
        let targets = targets(teachers, classes)?;
        let logits = weight_norm_linear(&x, &store.training(), id)?;
        let loss = soft_cross_entropy(&logits, &targets, &pairs, 0.1)?;
        let gradients = loss.backward()?;
        let of = |var: &Var| bits(gradients.get(var).expect("a gradient"));
        Ok(vec![bits(&targets), bits(&loss), of(&x), of(store.module(id).var())])
    };
    let one = in_pool(1, run)?;
    for threads in [2, 5] {
        assert!(in_pool(threads, run)? == one, "{threads} threads");
    }
    Ok(())
}
