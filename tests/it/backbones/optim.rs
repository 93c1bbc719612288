//! Gradient norms, moving averages, and optimizers that are saved and go on.

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::optim::spec::{AdamwSpec, DecayRule, OptimSpec, SgdSpec};
use reid_backbones::optim::{Course, Optimizer, ema_update, groups};
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::{BackboneError, Gradients, ParamStore, Result};
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{bits, in_pool, normal, randomize, values};

use super::fixture::tiny;

/// Random gradients in a store's layout.
fn gradients(store: &ParamStore, seed: u64) -> Gradients {
    let modules = store.modules().iter().enumerate();
    Gradients { buffers: modules.map(|(at, module)| normal(seed * 100 + at as u64, module.len())).collect() }
}

fn all_bits(store: &ParamStore) -> Result<Vec<Vec<u32>>> {
    Ok(store.buffers("")?.iter().map(|(_, buffer)| bits(buffer)).collect())
}

#[test]
fn clipping_limits_the_global_norm() -> Result<()> {
    let (_, store) = tiny()?;
    let whole = gradients(&store, 1);
    let squares = whole.buffers.iter().flat_map(values).map(|value| value * value).sum::<f64>();
    let norm = squares.sqrt();
    assert!((whole.norm()? - norm).abs() < 1e-9 * norm);

    let mut clipped = gradients(&store, 1);
    assert!((clipped.clip(3.0)? - norm).abs() < 1e-9 * norm, "the norm before");
    assert!((clipped.norm()? - 3.0).abs() < 1e-5);
    for (before, after) in whole.buffers.iter().zip(&clipped.buffers) {
        let expected: Vec<f64> = values(before).iter().map(|value| value * 3.0 / (norm + 1e-6)).collect();
        assert!(relative_to_max(&values(after), &expected) < 1e-6);
    }

    let mut small = gradients(&store, 1);
    small.clip(norm * 1.01)?;
    for (before, after) in whole.buffers.iter().zip(&small.buffers) {
        assert_eq!(bits(before), bits(after), "nothing to clip");
    }
    let mut broken = whole;
    broken.buffers[2] = (&broken.buffers[2] * f64::NAN)?;
    assert!(broken.clip(3.0)?.is_nan(), "NaN is reported, not hidden");
    Ok(())
}

#[test]
fn moving_averages_follow_their_formula() -> Result<()> {
    let (_, source) = tiny()?;
    let average = source.duplicate()?;
    randomize(&average, 9);
    let before = average.tensors()?;
    for (momentum, tolerance) in [(1.0, 0.0), (0.75, 1e-6), (0.996, 1e-6), (0.0, 0.0)] {
        for (name, tensor) in &before {
            average.set(name, tensor)?;
        }
        ema_update(&average, &source, momentum)?;
        for (name, tensor) in average.tensors()? {
            let pairs = values(&before[&name]).into_iter().zip(values(&source.get(&name).expect("a parameter")?));
            let expected: Vec<f64> = pairs.map(|(old, new)| momentum * old + (1.0 - momentum) * new).collect();
            assert!(max_abs(&values(&tensor), &expected) <= tolerance, "{name} at {momentum}");
        }
    }
    Ok(())
}

/// A teacher has only the encoder's modules; what else the student has is left out.
#[test]
fn moving_averages_take_the_modules_that_share_a_name() -> Result<()> {
    let (_, mut student) = tiny()?;
    let teacher = student.duplicate()?;
    let head = [ParamDef { name: "", shape: vec![4], role: Role::Token, init: Init::Constant(1.0) }];
    student.add("head", 4, &head, &|_| Box::new(|| 0.5))?;
    randomize(&student, 10);
    ema_update(&teacher, &student, 0.0)?;
    assert_eq!(all_bits(&teacher)?, all_bits(&student)?[..teacher.modules().len()]);
    Ok(())
}

fn rules() -> [OptimSpec; 2] {
    [OptimSpec::Adamw(AdamwSpec::default()), OptimSpec::Sgd(SgdSpec::default())]
}

#[test]
fn saved_optimizers_go_on_as_if_unbroken() -> Result<()> {
    for spec in rules() {
        let (_, unbroken) = tiny()?;
        let (_, broken) = tiny()?;
        let rate = |multiplier: f64| 0.01 * multiplier;
        let mut first = Optimizer::new(&spec, &unbroken);
        for step in 0..5 {
            first.step(&unbroken, &gradients(&unbroken, step), &Course::of_rate(&rate))?;
        }
        let mut second = Optimizer::new(&spec, &broken);
        for step in 0..3 {
            second.step(&broken, &gradients(&broken, step), &Course::of_rate(&rate))?;
        }
        let (state, steps) = second.save(&broken)?;
        assert_eq!(steps, 3);
        let mut third = Optimizer::new(&spec, &broken);
        third.load(&broken, &state.iter().cloned().collect(), steps)?;
        for step in 3..5 {
            third.step(&broken, &gradients(&broken, step), &Course::of_rate(&rate))?;
        }
        assert_eq!(all_bits(&unbroken)?, all_bits(&broken)?, "{spec:?}");

        let mut partial: std::collections::BTreeMap<String, Tensor> = state.into_iter().collect();
        partial.insert("m.norm".to_owned(), normal(1, 3));
        let error = third.load(&broken, &partial, 3).unwrap_err();
        assert!(matches!(&error, BackboneError::Shape { name, .. } if name == "m.norm"), "{error}");
        partial.remove("m.norm");
        let error = third.load(&broken, &partial, 3).unwrap_err();
        assert!(matches!(&error, BackboneError::UnknownParameter { name } if name == "m.norm"), "{error}");
    }
    Ok(())
}

/// Large enough to be cut into several pieces.
#[test]
fn updates_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for spec in rules() {
        let run = || -> Result<Vec<Vec<u32>>> {
            let mut store = ParamStore::new(&Device::Cpu);
            let def = ParamDef { name: "", shape: vec![300, 333], role: Role::Weight, init: Init::Constant(0.5) };
            store.add("w", 0, &[def], &|_| Box::new(|| 0.5))?;
            let average = store.duplicate()?;
            let mut optimizer = Optimizer::new(&spec, &store);
            for step in 0..3 {
                let mut gradients = gradients(&store, step);
                gradients.clip(1.0)?;
                optimizer.step(&store, &gradients, &Course::of_rate(&|multiplier| 0.1 * multiplier))?;
                ema_update(&average, &store, 0.9)?;
            }
            Ok([all_bits(&store)?, all_bits(&average)?].concat())
        };
        let one = in_pool(1, run)?;
        for threads in [2, 3] {
            assert!(in_pool(threads, run)? == one, "{threads} threads");
        }
    }
    Ok(())
}

#[test]
fn rates_and_decays_follow_roles() -> Result<()> {
    let (_, store) = tiny()?;
    // How many tensors decay: weights, then tokens and positions as well, then all.
    let weights = 1 + 4 * 3;
    for (decay, expected) in
        [(DecayRule::Matrices, weights), (DecayRule::NotVectors, weights + 2), (DecayRule::All, store.names().count())]
    {
        let spec = SgdSpec { decay, weight_decay: 0.1, bias_lr: 2.0, ..SgdSpec::default() };
        let segments = groups(&OptimSpec::Sgd(spec), &store);
        let decaying = segments.iter().flatten().filter(|segment| segment.group.weight_decay > 0.0).count();
        assert_eq!(decaying, expected, "{decay:?}");
        for (module, segments) in store.modules().iter().zip(segments) {
            for (entry, segment) in module.entries.iter().zip(segments) {
                assert_eq!((segment.start, segment.end), (entry.offset, entry.offset + entry.len()));
                let doubled = segment.group.multiplier > 1.5;
                assert_eq!(doubled, entry.role == Role::Bias, "{}", entry.name);
            }
        }
    }
    Ok(())
}
