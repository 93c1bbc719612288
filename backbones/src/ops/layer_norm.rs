//! Layer normalisation over the last axis (Ba et al., arXiv 1607.06450), biased variance.
//!
//! candle's own has no gradient on a contiguous input and says nothing; this one has.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};

use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::rows::{self, NormGrads, moments, normalise, normalise_backward};
use crate::params::{ModuleId, Params, view};

/// Epsilon of every norm of the ViT family (timm, DINO, MAE).
pub const LAYER_NORM_EPS: f64 = 1e-6;

/// Layer norm whose module holds `weight [d]` and `bias [d]`.
///
/// # Shapes
/// - `x`: `[.., d]`; output: the same
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn layer_norm(x: &Tensor, params: &Params, id: ModuleId) -> error::Result<Tensor> {
    let buffer = params.buffer(id);
    if is_fused(x) {
        return Ok(x.contiguous()?.apply_op2(&buffer, LayerNorm)?);
    }
    let entries = params.entries(id);
    let normed = standardise_composed(x, LAYER_NORM_EPS)?;
    Ok(normed.broadcast_mul(&view(&buffer, &entries[0])?)?.broadcast_add(&view(&buffer, &entries[1])?)?)
}

/// Layer norm without scale and shift.
///
/// # Shapes
/// - `x`: `[.., d]`; output: the same
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn standardise(x: &Tensor, eps: f64) -> error::Result<Tensor> {
    if is_fused(x) {
        return Ok(x.contiguous()?.apply_op1(Standardise { eps: eps as f32 })?);
    }
    standardise_composed(x, eps)
}

/// [`standardise`] out of candle's own operations.
pub(super) fn standardise_composed(x: &Tensor, eps: f64) -> error::Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let var = centred.sqr()?.mean_keepdim(D::Minus1)?;
    Ok(centred.broadcast_div(&(var + eps)?.sqrt()?)?)
}

struct Standardise {
    eps: f32,
}

impl CustomOp1 for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some(&width) = layout.dims().last() else { bail!("a row has values") };
        let x = slice(storage, layout)?;
        let out = rows::standardise(x, &moments(x, width, self.eps), width);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (xs, width, mut dx) = (values(x)?, x.dim(D::Minus1)?, values(&grad)?.to_vec());
        rows::standardise_backward(&xs, &moments(&xs, width, self.eps), width, &mut dx);
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

struct LayerNorm;

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, params) = (slice(x, lx)?, slice(p, lp)?);
        let (weight, bias) = params.split_at(params.len() / 2);
        let stats = moments(x, weight.len(), LAYER_NORM_EPS as f32);
        Ok((CpuStorage::F32(normalise(x, &stats, weight, bias)), lx.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (xs, params, dy) = (values(x)?, values(p)?, values(&dy)?);
        let (weight, _) = params.split_at(params.len() / 2);
        let stats = moments(&xs, weight.len(), LAYER_NORM_EPS as f32);
        let (mut dx, mut dp) = (vec![0.0; xs.len()], vec![0.0; params.len()]);
        let (dweight, dbias) = dp.split_at_mut(weight.len());
        normalise_backward(&xs, &stats, weight, &dy, &mut dx, &mut NormGrads { weight: dweight, bias: dbias });
        Ok((
            x.track_op().then(|| Tensor::from_vec(dx, x.dims(), x.device())).transpose()?,
            p.track_op().then(|| Tensor::from_vec(dp, p.dims(), p.device())).transpose()?,
        ))
    }
}
