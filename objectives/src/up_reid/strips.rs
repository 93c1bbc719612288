//! Intrinsic contrast: a strip against prototypes of all strips of its picture.
//!
//! For an anchor strip `q_i` and views `v` of strip `j` (the augmented ones and the original), weights
//! `w_v = softmax_v(-+ q_i v / t_h)`, with minus for `j = i` and plus otherwise, give the prototype
//! `c_ij = normalise(sum_v w_v v)`; the loss is `-log softmax_j(q_i c_ij / t)` at `j = i`. So the least
//! similar view of the strip itself and the most similar one of another strip count most. The anchor is no
//! view of itself. Prototypes carry no gradient, as keys do not in momentum contrast. All of it is our
//! design under two words of the paper, "hardness" and "prototype".

use candle_core::{Device, Tensor};
use reid_backbones::ops;

use super::spec::{Prototype, StripsSpec};
use crate::error::Result;
use crate::math::distance::l2_normalize;

/// Mean loss over strips and pictures.
///
/// # Shapes
/// - `anchor`: `[b, m, d]`, strips of the trained encoder's view; `others`: at least one of `[b, m, d]`, the
///   same strips of other views; all of unit length; output: scalar
///
/// # Errors
/// If shapes differ.
pub fn strip_loss(anchor: &Tensor, others: &[Tensor], spec: &StripsSpec) -> Result<Tensor> {
    let (b, m, _d) = anchor.dims3()?;
    let prototypes = prototypes(&anchor.detach(), others, spec.prototype)?; // [b, m, m, d]
    let cosines = prototypes.broadcast_mul(&anchor.unsqueeze(2)?)?.sum(3)?; // [b, m, m]
    let logits = (cosines.reshape((b * m, m))? / spec.temperature)?; // [b * m, m]
    let labels: Vec<u32> = (0..b).flat_map(|_| 0..m as u32).collect();
    Ok(ops::cross_entropy(&logits, &Tensor::from_vec(labels, b * m, anchor.device())?, 0.0)?)
}

/// Prototype of every strip `j` as seen by every anchor `i`.
///
/// # Shapes
/// - `anchor`, `others`: `[b, m, d]`; output: `[b, i, j, d]`, of unit length
fn prototypes(anchor: &Tensor, others: &[Tensor], kind: Prototype) -> Result<Tensor> {
    let mut views = vec![anchor.clone()];
    views.extend(others.iter().map(Tensor::detach));
    let views = Tensor::stack(&views, 1)?; // [b, v, m, d]
    let (b, v, m, d) = views.dims4()?;
    let logits = match kind {
        Prototype::Hard(hard) => {
            let anchors = anchor.unsqueeze(1)?.broadcast_as((b, v, m, d))?.contiguous()?;
            let cosines = anchors.matmul(&views.transpose(2, 3)?.contiguous()?)?; // [b, v, i, j]
            (cosines.broadcast_mul(&signs(m, anchor.device())?)? / hard.temperature)?
        }
        Prototype::Plain(_) => Tensor::zeros((b, v, m, m), anchor.dtype(), anchor.device())?,
    };
    let logits = logits.broadcast_add(&without_self(v, m, anchor.device())?)?; // [b, v, i, j]
    let exp = logits.broadcast_sub(&logits.max_keepdim(1)?)?.exp()?;
    let weights = exp.broadcast_div(&exp.sum_keepdim(1)?)?; // [b, v, i, j]
    let weights = weights.permute((0, 3, 2, 1))?.contiguous()?; // [b, j, i, v]
    let sums = weights.matmul(&views.transpose(1, 2)?.contiguous()?)?; // [b, j, i, d]
    Ok(l2_normalize(&sums.transpose(1, 2)?.contiguous()?)?)
}

/// `[i, j]`: -1 for a strip's own views, 1 for another's.
fn signs(m: usize, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..m * m).map(|at| if at / m == at % m { -1.0 } else { 1.0 }).collect();
    Ok(Tensor::from_vec(values, (m, m), device)?)
}

/// `[v, i, j]`: minus infinity where the view is the anchor itself, else 0.
fn without_self(v: usize, m: usize, device: &Device) -> Result<Tensor> {
    let value = |at: usize| if at < m * m && at / m == at % m { f32::NEG_INFINITY } else { 0.0 };
    let values: Vec<f32> = (0..v * m * m).map(value).collect();
    Ok(Tensor::from_vec(values, (v, m, m), device)?)
}
