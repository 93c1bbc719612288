//! Operators in f32 against the same formulas in f64, out of candle's ordinary operations.

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops::softmax;
use reid_backbones::init::Init;
use reid_backbones::ops::{
    DropPath, LAYER_NORM_EPS, block, block_composed, cross_attention, layer_norm, linear, linear_gelu,
};
use reid_backbones::params::{Entry, ModuleId, ParamDef, Role};
use reid_backbones::spec::Precision;
use reid_backbones::vit::{block_defs, linear_defs, norm_defs};
use reid_backbones::{Compute, ParamStore, Result};
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{bits, in_pool, normal, randomize, values};

/// Outputs and gradients, relative to each tensor's largest value.
const F32_OP: f64 = 1e-5;

/// A module of its own whose every parameter matters.
pub(super) fn module(defs: &[ParamDef], seed: u64) -> Result<(ParamStore, ModuleId)> {
    let mut store = ParamStore::new(&Device::Cpu);
    let id = store.add("m", 0, defs, &|_| Box::new(|| 0.5))?;
    randomize(&store, seed);
    Ok((store, id))
}

/// One tensor of a flat buffer.
pub(super) fn part(buffer: &Tensor, entry: &Entry) -> Result<Tensor> {
    Ok(buffer.narrow(0, entry.offset, entry.len())?.reshape(entry.shape.as_slice())?)
}

fn check(what: &str, ours: &Tensor, expected: &Tensor) {
    assert_eq!(ours.dims(), expected.dims(), "{what}");
    let worst = relative_to_max(&values(ours), &values(expected));
    assert!(worst <= F32_OP, "{what}: {worst:e}");
}

/// Compares an operator with its twin: the output, and the gradient of a random linear function of it
/// with respect to every input, a module's buffer tensor by tensor.
pub(super) fn compare(
    what: &str,
    inputs: &[(&Var, &[Entry])],
    precision: DType,
    ours: impl Fn() -> Result<Tensor>,
    twin: impl Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<()> {
    let copy = |(var, _): &(&Var, &[Entry])| Var::from_tensor(&var.as_detached_tensor().to_dtype(precision)?.copy()?);
    let copies: Vec<Var> = inputs.iter().map(copy).collect::<candle_core::Result<_>>()?;
    let tensors: Vec<Tensor> = copies.iter().map(|var| var.as_tensor().clone()).collect();
    let (output, expected) = (ours()?, twin(&tensors)?);
    check(&format!("{what}: output"), &output, &expected);

    let probe = normal(99, output.dims());
    let gradients = (&output * &probe)?.sum_all()?.backward()?;
    let expected = (expected * probe.to_dtype(precision)?)?.sum_all()?.backward()?;
    for (at, ((var, entries), copy)) in inputs.iter().zip(&copies).enumerate() {
        let gradient = gradients.get(var.as_tensor()).expect("the output depends on every input");
        let expected = expected.get(copy.as_tensor()).expect("the output depends on every input");
        if entries.is_empty() {
            check(&format!("{what}: gradient of input {at}"), gradient, expected);
        }
        for entry in *entries {
            check(&format!("{what}: gradient of {}", entry.name), &part(gradient, entry)?, &part(expected, entry)?);
        }
    }
    Ok(())
}

/// Samples, tokens, width, heads: single tokens, odd lengths, head widths that no vector register fits,
/// and the tokens of a person's picture.
const BLOCK_SHAPES: [(usize, usize, usize, usize); 7] =
    [(1, 1, 8, 1), (2, 5, 16, 2), (3, 9, 12, 3), (2, 7, 20, 4), (5, 33, 32, 1), (2, 17, 64, 2), (2, 129, 48, 3)];

fn block_module(width: usize, seed: u64) -> Result<(ParamStore, ModuleId)> {
    module(&block_defs(width, &|_, _| Init::Constant(0.0)), seed)
}

#[test]
fn block_equals_composed_operations() -> Result<()> {
    for (b, n, d, heads) in BLOCK_SHAPES {
        let (store, id) = block_module(d, 1)?;
        let x = Var::from_tensor(&normal(2, (b, n, d)))?;
        let entries = &store.module(id).entries;
        compare(
            &format!("block of {b} x {n} x {d}, {heads} heads"),
            &[(&x, &[]), (store.module(id).var(), entries)],
            DType::F64,
            || block(&x, &store.training(), id, heads, None),
            |twins| block_composed(&twins[0], &twins[1], entries, heads, None, Precision::F32),
        )?;
    }
    Ok(())
}

/// Large enough that the attention is computed again in the backward pass.
#[test]
fn large_blocks_equal_composed_operations() -> Result<()> {
    let (store, id) = block_module(192, 32)?;
    let x = Var::from_tensor(&normal(33, (24, 129, 192)))?;
    let entries = &store.module(id).entries;
    compare(
        "large block",
        &[(&x, &[]), (store.module(id).var(), entries)],
        DType::F64,
        || block(&x, &store.training(), id, 3, None),
        |twins| block_composed(&twins[0], &twins[1], entries, 3, None, Precision::F32),
    )
}

/// Each branch of each sample dropped, kept or scaled on its own.
#[test]
fn block_drops_paths_as_composed_operations_do() -> Result<()> {
    let drop_path = DropPath { attention: vec![0.0, 1.25, 1.0, 0.0], mlp: vec![1.25, 0.0, 1.5, 0.0] };
    for (n, d, heads) in [(5, 16, 2), (17, 24, 3)] {
        let (store, id) = block_module(d, 3)?;
        let x = Var::from_tensor(&normal(4, (4, n, d)))?;
        let entries = &store.module(id).entries;
        let run = || block(&x, &store.training(), id, heads, Some(&drop_path));
        compare(
            &format!("block with drop path of {n} x {d}"),
            &[(&x, &[]), (store.module(id).var(), entries)],
            DType::F32,
            run,
            |twins| block_composed(&twins[0], &twins[1], entries, heads, Some(&drop_path), Precision::F32),
        )?;
        assert_eq!(bits(&run()?.get(3)?), bits(&x.get(3)?), "a sample without branches passes through");
    }
    Ok(())
}

#[test]
fn block_can_be_differentiated_twice_over() -> Result<()> {
    let (store, id) = block_module(16, 5)?;
    let x = Var::from_tensor(&normal(6, (2, 5, 16)))?;
    let loss = block(&x, &store.training(), id, 2, None)?.sqr()?.sum_all()?;
    let gradients = || -> Result<[Vec<u32>; 2]> {
        let gradients = loss.backward()?;
        Ok([x.as_tensor(), store.module(id).var()].map(|of| bits(gradients.get(of).expect("a gradient"))))
    };
    assert_eq!(gradients()?, gradients()?);
    Ok(())
}

#[test]
fn recomputed_blocks_give_the_same_bits() -> Result<()> {
    let (mut store, id) = block_module(24, 30)?;
    let x = Var::from_tensor(&normal(31, (3, 17, 24)))?;
    let drop_path = DropPath { attention: vec![0.0, 1.25, 1.0], mlp: vec![1.25, 0.0, 1.5] };
    let mut run = |recompute| -> Result<[Vec<u32>; 3]> {
        store.set_compute(Compute { recompute, ..Compute::default() });
        let y = block(&x, &store.training(), id, 3, Some(&drop_path))?;
        let gradients = y.sqr()?.sum_all()?.backward()?;
        let of = |var: &Tensor| bits(gradients.get(var).expect("a gradient"));
        Ok([bits(&y), of(&x), of(store.module(id).var())])
    };
    assert_eq!(run(false)?, run(true)?);
    Ok(())
}

/// bfloat16 keeps 8 bits of a significand: what is wrong by more is no rounding.
const BF16_OP: f64 = 0.02;

/// Products in bfloat16 differ from f32 by its rounding, in the output and in every gradient, and blocks that
/// are computed again give the same bits as kept ones. The same operators run on GPUs.
#[test]
fn products_in_bf16_are_close_and_recomputation_changes_nothing() -> Result<()> {
    let (mut store, id) = block_module(24, 34)?;
    let x = Var::from_tensor(&normal(35, (3, 17, 24)))?;
    let probe = normal(36, (3, 17, 24));
    let drop_path = DropPath { attention: vec![0.0, 1.25, 1.0], mlp: vec![1.25, 0.0, 1.5] };
    let mut run = |compute| -> Result<[Tensor; 3]> {
        store.set_compute(compute);
        let y = block(&x, &store.training(), id, 3, Some(&drop_path))?;
        let gradients = (&y * &probe)?.sum_all()?.backward()?;
        let of = |var: &Tensor| gradients.get(var).expect("a gradient").clone();
        Ok([y.detach(), of(&x), of(store.module(id).var())])
    };
    let exact = run(Compute::default())?;
    let kept = run(Compute { precision: Precision::Bf16, recompute: false })?;
    let again = run(Compute { precision: Precision::Bf16, recompute: true })?;
    for ((exact, kept), again) in exact.iter().zip(&kept).zip(&again) {
        let off = relative_to_max(&values(kept), &values(exact));
        assert!(off > 1e-5 && off < BF16_OP, "{off:e}");
        assert_eq!(bits(kept), bits(again));
    }
    Ok(())
}

/// A frozen module passes its input's gradient on and asks for none of its own; and the other way round.
#[test]
fn operators_give_only_the_gradients_that_are_asked_for() -> Result<()> {
    type Op = fn(&Tensor, &reid_backbones::Params, ModuleId) -> Result<Tensor>;
    let (blocks, linears, norms) =
        (block_defs(16, &|_, _| Init::Constant(0.0)), linear_defs(16, 6, Init::Constant(0.0)), norm_defs(16));
    let cases: [(&str, &[ParamDef], Op); 3] = [
        ("block", &blocks, |x, params, id| block(x, params, id, 2, None)),
        ("linear", &linears, linear),
        ("layer norm", &norms, layer_norm),
    ];
    for (name, defs, op) in cases {
        let (store, id) = module(defs, 7)?;
        let x = Var::from_tensor(&normal(8, (2, 5, 16)))?;
        let both = op(&x, &store.training(), id)?;
        let input_only = op(&x, &store.frozen(), id)?;
        let params_only = op(&x.as_detached_tensor(), &store.training(), id)?;
        let neither = op(&x.as_detached_tensor(), &store.frozen(), id)?;
        for other in [&input_only, &params_only, &neither] {
            assert_eq!(bits(&both), bits(other), "{name}: what is recorded changes no number");
        }
        assert!(!neither.track_op(), "{name}: nothing to differentiate");
        let gradients = |y: &Tensor| -> Result<[Option<Vec<u32>>; 2]> {
            let gradients = y.sqr()?.sum_all()?.backward()?;
            Ok([x.as_tensor(), store.module(id).var()].map(|of| gradients.get(of).map(bits)))
        };
        let [of_x, of_params] = gradients(&both)?;
        assert!(of_x.is_some() && of_params.is_some(), "{name}");
        assert_eq!(gradients(&input_only)?, [of_x, None], "{name}");
        assert_eq!(gradients(&params_only)?, [None, of_params], "{name}");
    }
    Ok(())
}

#[test]
fn linear_equals_its_formula() -> Result<()> {
    let patch_weight =
        vec![ParamDef { name: "weight", shape: vec![7, 3, 2, 2], role: Role::Weight, init: Init::Constant(0.0) }];
    let cases: [(&str, Vec<ParamDef>, &[usize]); 5] = [
        ("rows", linear_defs(10, 6, Init::Constant(0.0)), &[4, 10]),
        ("tokens", linear_defs(24, 40, Init::Constant(0.0)), &[3, 17, 24]),
        ("one row", linear_defs(5, 3, Init::Constant(0.0)), &[1, 5]),
        ("one output", linear_defs(33, 1, Init::Constant(0.0)), &[2, 9, 33]),
        ("patches without bias", patch_weight, &[2, 5, 12]),
    ];
    for (name, defs, shape) in cases {
        let (store, id) = module(&defs, 9)?;
        let x = Var::from_tensor(&normal(10, shape))?;
        let entries = &store.module(id).entries;
        let twin = |twins: &[Tensor]| -> Result<Tensor> {
            let weight = part(&twins[1], &entries[0])?.flatten_from(1)?; // [o, i]
            let product = twins[0].broadcast_matmul(&weight.t()?)?;
            match entries.get(1) {
                Some(bias) => Ok(product.broadcast_add(&part(&twins[1], bias)?)?),
                None => Ok(product),
            }
        };
        let inputs: [(&Var, &[Entry]); 2] = [(&x, &[]), (store.module(id).var(), entries)];
        compare(name, &inputs, DType::F64, || linear(&x, &store.training(), id), twin)?;
        let with_gelu = |twins: &[Tensor]| Ok(twin(twins)?.gelu_erf()?);
        compare(name, &inputs, DType::F64, || linear_gelu(&x, &store.training(), id), with_gelu)?;
        // Without a backward pass to follow, nothing is kept and the numbers are the same.
        let (learning, not) = (linear_gelu(&x, &store.training(), id)?, linear_gelu(&x.detach(), &store.frozen(), id)?);
        assert_eq!(bits(&learning), bits(&not), "{name}");
    }
    Ok(())
}

#[test]
fn layer_norm_equals_its_formula() -> Result<()> {
    // Far from 0, a variance by mean of squares less squared mean would have lost its digits.
    for (shape, offset, spread) in [(&[3, 7, 24][..], 0.0, 1.0), (&[5, 33], 10.0, 1.0), (&[2, 2, 8], -3.0, 0.1)] {
        let (store, id) = module(&norm_defs(*shape.last().unwrap()), 11)?;
        let x = Var::from_tensor(&((normal(12, shape) * spread)? + offset)?)?;
        let entries = &store.module(id).entries;
        compare(
            &format!("layer norm around {offset}"),
            &[(&x, &[]), (store.module(id).var(), entries)],
            DType::F64,
            || layer_norm(&x, &store.training(), id),
            |twins| {
                let centered = twins[0].broadcast_sub(&twins[0].mean_keepdim(D::Minus1)?)?;
                let variance = centered.sqr()?.mean_keepdim(D::Minus1)?;
                let normed = centered.broadcast_div(&(variance + LAYER_NORM_EPS)?.sqrt()?)?;
                let scaled = normed.broadcast_mul(&part(&twins[1], &entries[0])?)?;
                Ok(scaled.broadcast_add(&part(&twins[1], &entries[1])?)?)
            },
        )?;
    }
    Ok(())
}

#[test]
fn gelu_equals_its_formula() -> Result<()> {
    // Not a multiple of any vector's length, 0 among the values.
    let grid: Vec<f32> = (-503..=503).map(|i| i as f32 / 100.0).collect();
    let x = Var::from_slice(&grid, (grid.len(), 1), &Device::Cpu)?;
    // A layer that changes nothing.
    let mut store = ParamStore::new(&Device::Cpu);
    let one = store.add("m", 0, &linear_defs(1, 1, Init::Constant(1.0)), &|_| Box::new(|| 0.5))?;
    let gelu = |x: &Tensor| linear_gelu(x, &store.training(), one);
    compare("gelu", &[(&x, &[])], DType::F64, || gelu(&x), |twins| Ok(twins[0].gelu_erf()?))?;

    let far = Var::new(&[[-1e30_f32], [-100.0], [-20.0], [20.0], [100.0], [1e30]], &Device::Cpu)?;
    let y = gelu(&far)?;
    let gradients = y.sum_all()?.backward()?;
    let slopes = gradients.get(far.as_tensor()).expect("a gradient");
    assert!(relative_to_max(&values(&y), &[0.0, 0.0, 0.0, 20.0, 100.0, 1e30]) < 1e-6, "{y}");
    assert!(max_abs(&values(&y.narrow(0, 0, 5)?), &[0.0, 0.0, 0.0, 20.0, 100.0]) < 1e-5, "{y}");
    assert!(max_abs(&values(slopes), &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]) < 1e-6, "{slopes}");
    Ok(())
}

/// `[b, n, d] -> [b, h, n, d/h]`.
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, d) = x.dims3()?;
    Ok(x.reshape((b, n, heads, d / heads))?.transpose(1, 2)?.contiguous()?)
}

#[test]
fn cross_attention_equals_its_formula() -> Result<()> {
    for (b, n, m, d, heads) in [(1, 1, 1, 8, 1), (2, 3, 5, 16, 2), (3, 9, 2, 12, 3), (2, 33, 65, 32, 2)] {
        // Logits of a spread at which the softmax is neither flat nor one-hot.
        let q = Var::from_tensor(&(normal(13, (b, n, d)) * 1.5)?)?;
        let kv = Var::from_tensor(&normal(14, (b, m, 2 * d)))?;
        compare(
            &format!("attention of {n} queries to {m} tokens"),
            &[(&q, &[]), (&kv, &[])],
            DType::F64,
            || cross_attention(&q, &kv, heads, Precision::F32),
            |twins| {
                let q = split_heads(&twins[0], heads)?; // [b, h, n, d/h]
                let k = split_heads(&twins[1].narrow(2, 0, d)?, heads)?; // [b, h, m, d/h]
                let v = split_heads(&twins[1].narrow(2, d, d)?, heads)?;
                let logits = (q.matmul(&k.t()?)? / ((d / heads) as f64).sqrt())?; // [b, h, n, m]
                let mixed = softmax(&logits, D::Minus1)?.matmul(&v)?;
                Ok(mixed.transpose(1, 2)?.reshape((b, n, d))?)
            },
        )?;
    }
    Ok(())
}

/// Large logits must not end in NaN: the largest is subtracted before the exponential.
#[test]
fn attention_holds_at_large_logits() -> Result<()> {
    let q = Var::from_tensor(&(normal(15, (2, 4, 8)) * 1000.0)?)?;
    let kv = Var::from_tensor(&(normal(16, (2, 6, 16)) * 1000.0)?)?;
    let y = cross_attention(&q, &kv, 2, Precision::F32)?;
    let gradients = y.sum_all()?.backward()?;
    let all = [&y, gradients.get(q.as_tensor()).unwrap(), gradients.get(kv.as_tensor()).unwrap()];
    assert!(all.iter().all(|tensor| values(tensor).iter().all(|value| value.is_finite())));
    Ok(())
}

#[test]
fn block_does_not_depend_on_the_number_of_threads() -> Result<()> {
    let (store, id) = block_module(48, 22)?;
    let x = Var::from_tensor(&normal(23, (5, 33, 48)))?;
    let q = Var::from_tensor(&normal(24, (5, 19, 48)))?;
    let kv = Var::from_tensor(&normal(25, (5, 40, 96)))?;
    let run = || -> Result<Vec<Vec<u32>>> {
        let y = block(&x, &store.training(), id, 3, None)?;
        let mixed = cross_attention(&q, &kv, 3, Precision::F32)?;
        let gradients = (y.sqr()?.sum_all()? + mixed.sqr()?.sum_all()?)?.backward()?;
        let of = [x.as_tensor(), store.module(id).var(), &q, &kv];
        let gradients = of.map(|of| bits(gradients.get(of).expect("a gradient")));
        Ok([vec![bits(&y), bits(&mixed)], gradients.to_vec()].concat())
    };
    let one = in_pool(1, run)?;
    for threads in [2, 3, 5] {
        assert!(in_pool(threads, run)? == one, "{threads} threads");
    }
    Ok(())
}
