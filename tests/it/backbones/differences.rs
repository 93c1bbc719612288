//! Gradients of operators against central differences of the operators themselves, at odd sizes.

use candle_core::{Device, Tensor, Var};
use reid_backbones::init::Init;
use reid_backbones::ops::{
    Arrangement, Keep, Pairs, arrange, block, cross_attention, cross_entropy, dot_products, l2_normalize, layer_norm,
    linear, linear_gelu, patch_embed, sharpened_softmax, soft_cross_entropy, squared_error, standardise, take_tokens,
    weight_norm_linear,
};
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::Precision;
use reid_backbones::vit::{block_defs, linear_defs, norm_defs};
use reid_backbones::{ParamStore, Result};
use reid_tests::tensors::{normal, randomize, values};

/// Step of the differences. The error of the difference is of the order of its square, that of f32 of
/// its inverse.
const STEP: f64 = 2.5e-3;
/// Derivative along a random direction, relative to its size and that of the output.
const DIFFERENCE: f64 = 5e-3;

/// Compares the derivative of a random linear function of the output along a random direction of all inputs.
fn check(what: &str, inputs: &[&Var], operator: impl Fn() -> Result<Tensor>) -> Result<()> {
    let output = operator()?;
    let probe = normal(50, output.dims());
    let directions: Vec<Tensor> = inputs.iter().zip(51..).map(|(var, seed)| normal(seed, var.dims())).collect();
    let dot = |a: &Tensor, b: &Tensor| values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum::<f64>();

    let gradients = (&output * &probe)?.sum_all()?.backward()?;
    let slope = |(var, direction): (&&Var, &Tensor)| dot(gradients.get(var).expect("a gradient"), direction);
    let ours: f64 = inputs.iter().zip(&directions).map(slope).sum();

    let starts: Vec<Tensor> =
        inputs.iter().map(|var| var.as_detached_tensor().copy()).collect::<candle_core::Result<_>>()?;
    let at = |step: f64| -> Result<f64> {
        for ((var, start), direction) in inputs.iter().zip(&starts).zip(&directions) {
            var.set(&(start + (direction * step)?)?)?;
        }
        Ok(dot(&operator()?, &probe))
    };
    let (after, before) = (at(STEP)?, at(-STEP)?);
    at(0.0)?;
    let expected = (after - before) / (2.0 * STEP);
    let size = expected.abs().max(dot(&output, &output).sqrt()).max(1.0);
    assert!((ours - expected).abs() <= DIFFERENCE * size, "{what}: {ours} by the gradient, {expected} by differences");
    Ok(())
}

fn module(defs: &[ParamDef]) -> Result<(ParamStore, ModuleId)> {
    let mut store = ParamStore::new(&Device::Cpu);
    let id = store.add("m", 0, defs, &|_| Box::new(|| 0.5))?;
    randomize(&store, 60);
    Ok((store, id))
}

fn input(seed: u64, shape: &[usize]) -> Result<Var> {
    Ok(Var::from_tensor(&normal(seed, shape))?)
}

/// Samples, tokens, width, heads.
const SHAPES: [(usize, usize, usize, usize); 4] = [(1, 1, 8, 1), (2, 3, 12, 3), (3, 5, 20, 4), (1, 17, 24, 1)];

#[test]
fn operators_with_parameters() -> Result<()> {
    for (b, n, d, heads) in SHAPES {
        let x = input(1, &[b, n, d])?;
        let start = Init::Constant(0.0);
        let (store, id) = module(&block_defs(d, &|_, _| Init::Constant(0.0)))?;
        check("block", &[&x, store.module(id).var()], || block(&x, &store.training(), id, heads, None))?;
        let (store, id) = module(&linear_defs(d, d + 3, start.clone()))?;
        check("linear", &[&x, store.module(id).var()], || linear(&x, &store.training(), id))?;
        check("linear, gelu", &[&x, store.module(id).var()], || linear_gelu(&x, &store.training(), id))?;
        let shaped = |name, shape| ParamDef { name, shape, role: Role::Weight, init: start.clone() };
        let (store, id) = module(&[shaped("weight_g", vec![d + 3, 1]), shaped("weight_v", vec![d + 3, d])])?;
        check("weight norm", &[&x, store.module(id).var()], || weight_norm_linear(&x, &store.training(), id))?;
        let (store, id) = module(&norm_defs(d))?;
        check("layer norm", &[&x, store.module(id).var()], || layer_norm(&x, &store.training(), id))?;
        let kv = input(2, &[b, n + 2, 2 * d])?;
        check("cross-attention", &[&x, &kv], || cross_attention(&x, &kv, heads, Precision::F32))?;
    }
    Ok(())
}

#[test]
fn operators_without_parameters() -> Result<()> {
    for (b, n, d, _) in SHAPES {
        let x = input(3, &[b, n, d])?;
        check("standardise", &[&x], || standardise(&x, 1e-6))?;
        check("l2 normalize", &[&x], || l2_normalize(&x, 1e-12))?;
        check("take tokens", &[&x], || take_tokens(&x, n / 2, n - n / 2))?;
        let target = normal(4, (b, n, d));
        check("squared error", &[&x], || squared_error(&x, &target, None))?;

        let mut pairs = Pairs::new();
        for row in 0..b as u32 {
            pairs.push([(row, 0.7), (0, 0.2)]);
        }
        let (logits, targets) = (input(10, &[b, d])?, sharpened_softmax(&normal(11, (b, d)), None, 0.5)?);
        check("soft cross-entropy", &[&logits], || soft_cross_entropy(&logits, &targets, &pairs, 0.5))?;

        let (rows, others) = (input(5, &[b + 2, d])?, input(6, &[n, d])?);
        check("dot products", &[&rows, &others], || dot_products(&rows, &others))?;
        let labels = Tensor::from_vec((0..b as u32 + 2).map(|row| row % d as u32).collect(), b + 2, &Device::Cpu)?;
        check("cross-entropy", &[&rows], || cross_entropy(&rows, &labels, 0.1))?;

        let (fill, positions) = (input(7, &[1, 1, d])?, input(8, &[1, 4, d])?);
        let mut arrangement = Arrangement::new(3);
        for sample in 0..b as u32 {
            arrangement.push(Arrangement::FILL, sample % 4);
            arrangement.push(sample % n as u32, 3);
            arrangement.push(n as u32 - 1, 1);
        }
        check("arrange", &[&x, &fill, &positions], || arrange(&x, &fill, &positions, &arrangement))?;
    }
    let images = input(9, &[2, 3, 6, 4])?;
    let keep = Keep { cells: vec![0, 5, 3, 1], per_sample: 2 };
    let weight = ParamDef { name: "weight", shape: vec![5, 3, 2, 2], role: Role::Weight, init: Init::Constant(0.0) };
    let (store, id) = module(&[weight])?;
    let embed = || patch_embed(&images, &store.training(), id, 2, &keep);
    check("patch embedding", &[&images, store.module(id).var()], embed)
}
