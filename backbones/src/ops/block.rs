//! The pre-norm transformer block as one operator, with a hand-written backward pass.
//!
//! `y = x + s1 * Attn(LN(x))`, `z = y + s2 * MLP(LN(y))`, where `s1` and `s2` are the samples' stochastic-depth
//! factors. One operator per block spares autograd a zero-fill and an addition per edge, and lets
//! residual sums happen in place.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::composed::{product, recomputed};
use super::host::{is_fused, slice, values};
use super::layer_norm::{LAYER_NORM_EPS, standardise_composed};
use super::linear::{backward_input, backward_params, forward as linear_forward};
use crate::error;
use crate::kernels::attention::{Heads, Packed, backward_packed, forward as attention_forward};
use crate::kernels::rows::{
    Moments, NormGrads, add, gelu, gelu_backward, gelu_in_place, moments, normalise, normalise_backward, scale_samples,
};
use crate::params::{Entry, ModuleId, Params, view};
use crate::spec::Precision;

/// Stochastic depth of one block: a factor per sample for each of the two branches, 0 or
/// 1 / keep probability.
#[derive(Clone, Debug, PartialEq)]
pub struct DropPath {
    /// `[b]`, attention branch.
    pub attention: Vec<f32>,
    /// `[b]`, MLP branch.
    pub mlp: Vec<f32>,
}

/// Transformer block whose module holds, in this order, `norm1`, `attn.qkv`, `attn.proj`, `norm2`,
/// `mlp.fc1`, `mlp.fc2`, each as weight and bias.
///
/// # Shapes
/// - `x`: `[b, n, d]`; output: the same
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn block(
    x: &Tensor,
    params: &Params,
    id: ModuleId,
    heads: usize,
    drop_path: Option<&DropPath>,
) -> error::Result<Tensor> {
    let (_b, _n, d) = x.dims3()?;
    let entries = params.entries(id);
    let buffer = params.buffer(id);
    let compute = params.compute();
    if is_fused(x) && compute.precision == Precision::F32 {
        let layout = BlockLayout { width: d, hidden: entries[8].shape[0], heads };
        let keep = (params.tracked() || x.track_op()) && !compute.recompute;
        let op = Block { layout, drop_path: drop_path.cloned(), keep, saved: Mutex::new(None) };
        return Ok(x.contiguous()?.apply_op2(&buffer, op)?);
    }
    if compute.recompute {
        let (entries, drop_path) = (entries.to_vec(), drop_path.cloned());
        return recomputed(x, &buffer, move |x, buffer| {
            composed(x, buffer, &entries, heads, drop_path.as_ref(), compute.precision)
        });
    }
    composed(x, &buffer, entries, heads, drop_path, compute.precision)
}

/// The same block out of candle's own operations, for other devices and precisions, and as the second
/// opinion of the tests.
///
/// # Shapes
/// - `x`: `[b, n, d]`; `buffer`: the module's; output: `[b, n, d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn composed(
    x: &Tensor,
    buffer: &Tensor,
    entries: &[Entry],
    heads: usize,
    drop_path: Option<&DropPath>,
    precision: Precision,
) -> error::Result<Tensor> {
    let part = |index: usize| view(buffer, &entries[index]);
    let norm = |x: &Tensor, at: usize| -> error::Result<Tensor> {
        let normed = standardise_composed(x, LAYER_NORM_EPS)?;
        Ok(normed.broadcast_mul(&part(at)?)?.broadcast_add(&part(at + 1)?)?)
    };
    let linear = |x: &Tensor, at: usize| -> error::Result<Tensor> {
        Ok(product(x, &part(at)?.t()?, precision)?.broadcast_add(&part(at + 1)?)?)
    };
    let scaled = |branch: Tensor, factors: Option<&Vec<f32>>| -> error::Result<Tensor> {
        let Some(factors) = factors else { return Ok(branch) };
        let factors = Tensor::from_slice(factors, (factors.len(), 1, 1), x.device())?;
        Ok(branch.broadcast_mul(&factors)?)
    };
    let qkv = linear(&norm(x, 0)?, 2)?;
    let probs = attention_probabilities(&qkv, heads, precision)?;
    let values = split_heads(&qkv, heads)?.narrow(0, 2, 1)?.squeeze(0)?; // [b, h, n, d/h]
    let mixed = product(&probs, &values.contiguous()?, precision)?; // [b, h, n, d/h]
    let mixed = mixed.transpose(1, 2)?.flatten_from(2)?; // [b, n, d]
    let y = (x + scaled(linear(&mixed, 4)?, drop_path.map(|d| &d.attention))?)?;
    let hidden = linear(&norm(&y, 6)?, 8)?.gelu_erf()?;
    Ok((&y + scaled(linear(&hidden, 10)?, drop_path.map(|d| &d.mlp))?)?)
}

/// Attention probabilities of a block, for pictures; records no graph.
///
/// # Shapes
/// - `x`: `[b, n, d]`, the block's input; output: `[b, h, n, n]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn block_attention(x: &Tensor, params: &Params, id: ModuleId, heads: usize) -> error::Result<Tensor> {
    let entries = params.entries(id);
    let buffer = params.buffer(id).detach();
    let part = |index: usize| view(&buffer, &entries[index]);
    let normed =
        standardise_composed(&x.detach(), LAYER_NORM_EPS)?.broadcast_mul(&part(0)?)?.broadcast_add(&part(1)?)?;
    attention_probabilities(&normed.broadcast_matmul(&part(2)?.t()?)?.broadcast_add(&part(3)?)?, heads, Precision::F32)
}

/// `[b, n, 3 d] -> [3, b, h, n, d/h]`.
fn split_heads(qkv: &Tensor, heads: usize) -> error::Result<Tensor> {
    let (b, n, d3) = qkv.dims3()?;
    let split = qkv.reshape((b, n, 3, heads, d3 / 3 / heads))?; // [b, n, 3, h, d/h]
    Ok(split.permute((2, 0, 3, 1, 4))?) // [3, b, h, n, d/h]
}

fn attention_probabilities(qkv: &Tensor, heads: usize, precision: Precision) -> error::Result<Tensor> {
    let parts = split_heads(qkv, heads)?;
    let q = parts.narrow(0, 0, 1)?.squeeze(0)?.contiguous()?;
    let k = parts.narrow(0, 1, 1)?.squeeze(0)?;
    let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
    let logits = (product(&q, &k.transpose(2, 3)?.contiguous()?, precision)? * scale)?;
    Ok(candle_nn::ops::softmax(&logits, D::Minus1)?)
}

/// Sizes of a block, and where its twelve tensors lie in the buffer.
#[derive(Clone, Copy)]
struct BlockLayout {
    width: usize,
    hidden: usize,
    heads: usize,
}

/// The twelve tensors as slices.
struct Weights<'a> {
    norm1: (&'a [f32], &'a [f32]),
    qkv: (&'a [f32], &'a [f32]),
    proj: (&'a [f32], &'a [f32]),
    norm2: (&'a [f32], &'a [f32]),
    fc1: (&'a [f32], &'a [f32]),
    fc2: (&'a [f32], &'a [f32]),
}

impl BlockLayout {
    /// Lengths of the twelve tensors, in order.
    fn lengths(self) -> [usize; 12] {
        let (d, h) = (self.width, self.hidden);
        [d, d, 3 * d * d, 3 * d, d * d, d, d, d, h * d, h, d * h, d]
    }

    fn split(self, mut params: &[f32]) -> Weights<'_> {
        let mut parts = [params; 12];
        for (part, len) in parts.iter_mut().zip(self.lengths()) {
            (*part, params) = params.split_at(len);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = parts;
        Weights { norm1: (a, b), qkv: (c, d), proj: (e, f), norm2: (g, h), fc1: (i, j), fc2: (k, l) }
    }

    fn split_mut(self, mut params: &mut [f32]) -> [&mut [f32]; 12] {
        self.lengths().map(|len| {
            let (part, rest) = std::mem::take(&mut params).split_at_mut(len);
            params = rest;
            part
        })
    }

    fn head_shape(self, samples: usize) -> Heads {
        Heads { samples, count: self.heads, dim: self.width / self.heads }
    }
}

/// Bytes of what a small block keeps of its forward pass; a larger one computes the cheaper part of it again.
const KEPT_WHOLE: usize = 12 << 20;

/// What the backward pass needs and would be dear to compute again, and, of a small block, all else that it
/// needs. Computed again or kept, the bits are the same. For a large block the memory counts (a quarter of it in a
/// ViT-S at batch 32, for a tenth more time), for a small one the time (a tenth of a step of a micro ViT).
struct Saved {
    norm1: Moments,
    qkv: Vec<f32>,
    rest: Option<Rest>,
}

/// What follows from queries, keys and values.
struct Rest {
    attention: Attention,
    norm2: Moments,
    hidden: Vec<f32>,
}

/// The attention and what it is added to.
struct Attention {
    mixed: Vec<f32>,
    log_sums: Vec<f32>,
    y: Vec<f32>,
}

struct Block {
    layout: BlockLayout,
    drop_path: Option<DropPath>,
    keep: bool,
    saved: Mutex<Option<Saved>>,
}

impl Block {
    fn scale(&self, rows: &mut [f32], branch: impl Fn(&DropPath) -> &Vec<f32>) {
        if let Some(drop_path) = &self.drop_path {
            scale_samples(rows, branch(drop_path));
        }
    }

    fn forward(&self, x: &[f32], params: &[f32], b: usize, n: usize) -> (Vec<f32>, Saved) {
        let BlockLayout { width: d, hidden, .. } = self.layout;
        let w = self.layout.split(params);
        let (norm1, qkv) = self.projections(x, &w);
        let attention = self.attention(x, &qkv, &w, (b, n));
        let (norm2, pre) = self.expand(&attention.y, &w);
        let mut z = linear_forward(&gelu(&pre), w.fc2.0, Some(w.fc2.1), hidden, d);
        self.scale(&mut z, |drop| &drop.mlp);
        add(&mut z, &attention.y);
        let bytes = size_of::<f32>() * (qkv.len() + pre.len() + 2 * x.len());
        let rest = (bytes <= KEPT_WHOLE).then_some(Rest { attention, norm2, hidden: pre });
        (z, Saved { norm1, qkv, rest })
    }

    /// The output of [`Self::forward`], bit by bit, in as little memory as it takes.
    fn output(&self, x: &[f32], params: &[f32], b: usize, n: usize) -> Vec<f32> {
        let BlockLayout { width: d, hidden, .. } = self.layout;
        let w = self.layout.split(params);
        let (_, qkv) = self.projections(x, &w);
        let (mixed, _) = self.attend(&qkv, b, n);
        drop(qkv);
        let y = self.mix(x, &mixed, &w);
        drop(mixed);
        let (_, mut pre) = self.expand(&y, &w);
        gelu_in_place(&mut pre);
        let mut z = linear_forward(&pre, w.fc2.0, Some(w.fc2.1), hidden, d);
        self.scale(&mut z, |drop| &drop.mlp);
        add(&mut z, &y);
        z
    }

    /// Queries, keys and values of the normalised input.
    fn projections(&self, x: &[f32], w: &Weights) -> (Moments, Vec<f32>) {
        let d = self.layout.width;
        let stats = moments(x, d, LAYER_NORM_EPS as f32);
        let normed = normalise(x, &stats, w.norm1.0, w.norm1.1);
        (stats, linear_forward(&normed, w.qkv.0, Some(w.qkv.1), d, 3 * d))
    }

    fn attention(&self, x: &[f32], qkv: &[f32], w: &Weights, (b, n): (usize, usize)) -> Attention {
        let (mixed, log_sums) = self.attend(qkv, b, n);
        let y = self.mix(x, &mixed, w);
        Attention { mixed, log_sums, y }
    }

    /// Mixed values and logarithms of the softmaxes' sums.
    fn attend(&self, qkv: &[f32], b: usize, n: usize) -> (Vec<f32>, Vec<f32>) {
        let d = self.layout.width;
        let part = |index: usize| Packed { data: qkv, stride: 3 * d, offset: index * d, tokens: n };
        attention_forward(self.layout.head_shape(b), part(0), part(1), part(2))
    }

    /// The attention branch's end, added to the input.
    fn mix(&self, x: &[f32], mixed: &[f32], w: &Weights) -> Vec<f32> {
        let d = self.layout.width;
        let mut y = linear_forward(mixed, w.proj.0, Some(w.proj.1), d, d);
        self.scale(&mut y, |drop| &drop.attention);
        add(&mut y, x);
        y
    }

    /// The MLP's hidden layer before its activation.
    fn expand(&self, y: &[f32], w: &Weights) -> (Moments, Vec<f32>) {
        let BlockLayout { width: d, hidden, .. } = self.layout;
        let stats = moments(y, d, LAYER_NORM_EPS as f32);
        let normed = normalise(y, &stats, w.norm2.0, w.norm2.1);
        (stats, linear_forward(&normed, w.fc1.0, Some(w.fc1.1), d, hidden))
    }

    fn backward(
        &self,
        x: &[f32],
        params: &[f32],
        saved: Saved,
        dz: &[f32],
        (b, n): (usize, usize),
    ) -> (Vec<f32>, Vec<f32>) {
        let BlockLayout { width: d, hidden, .. } = self.layout;
        let w = self.layout.split(params);
        let mut grads = vec![0.0; params.len()];
        let [n1w, n1b, qkvw, qkvb, projw, projb, n2w, n2b, fc1w, fc1b, fc2w, fc2b] = self.layout.split_mut(&mut grads);

        let again = || {
            let attention = self.attention(x, &saved.qkv, &w, (b, n));
            let (norm2, hidden) = self.expand(&attention.y, &w);
            Rest { attention, norm2, hidden }
        };
        let Rest { attention: Attention { mixed, log_sums, y }, norm2, hidden: pre } = saved.rest.unwrap_or_else(again);

        // MLP branch.
        let mut branch = dz.to_vec();
        self.scale(&mut branch, |drop| &drop.mlp);
        backward_params(&gelu(&pre), &branch, fc2w, Some(fc2b), hidden, d);
        let mut dhidden = backward_input(&branch, w.fc2.0, hidden, d);
        gelu_backward(&pre, &mut dhidden);
        drop(pre);
        let normed = normalise(&y, &norm2, w.norm2.0, w.norm2.1);
        backward_params(&normed, &dhidden, fc1w, Some(fc1b), d, hidden);
        let dnormed = backward_input(&dhidden, w.fc1.0, d, hidden);
        drop((normed, dhidden));
        let mut dy = dz.to_vec();
        normalise_backward(&y, &norm2, w.norm2.0, &dnormed, &mut dy, &mut NormGrads { weight: n2w, bias: n2b });

        // Attention branch.
        branch.copy_from_slice(&dy);
        self.scale(&mut branch, |drop| &drop.attention);
        backward_params(&mixed, &branch, projw, Some(projb), d, d);
        let dmixed = backward_input(&branch, w.proj.0, d, d);
        let mut dqkv = vec![0.0; saved.qkv.len()];
        backward_packed(self.layout.head_shape(b), &saved.qkv, n, &log_sums, &dmixed, &mut dqkv);
        let normed = normalise(x, &saved.norm1, w.norm1.0, w.norm1.1);
        backward_params(&normed, &dqkv, qkvw, Some(qkvb), d, 3 * d);
        let dnormed = backward_input(&dqkv, w.qkv.0, d, 3 * d);
        let mut dx = dy;
        normalise_backward(x, &saved.norm1, w.norm1.0, &dnormed, &mut dx, &mut NormGrads { weight: n1w, bias: n1b });
        (dx, grads)
    }
}

impl CustomOp2 for Block {
    fn name(&self) -> &'static str {
        "transformer-block"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, n, _d) = lx.shape().dims3()?;
        let (x, params) = (slice(x, lx)?, slice(p, lp)?);
        let out = if self.keep {
            let (out, saved) = self.forward(x, params, b, n);
            *self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(saved);
            out
        } else {
            self.output(x, params, b, n)
        };
        Ok((CpuStorage::F32(out), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dz: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, n, _d) = x.dims3()?;
        let dz = dz.contiguous()?;
        let (xs, params) = (values(x)?, values(p)?);
        // Taken, not borrowed: the memory is free as soon as this block's gradient is known. A second
        // backward pass through the same graph computes it again.
        let saved = self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let saved = saved.unwrap_or_else(|| self.forward(&xs, &params, b, n).1);
        let (dx, dp) = self.backward(&xs, &params, saved, &values(&dz)?, (b, n));
        Ok((
            x.track_op().then(|| Tensor::from_vec(dx, x.dims(), x.device())).transpose()?,
            p.track_op().then(|| Tensor::from_vec(dp, p.dims(), p.device())).transpose()?,
        ))
    }
}
