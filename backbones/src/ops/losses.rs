//! Losses over rows as single operators, and rows of unit length.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};

use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::losses;

/// Cross-entropy with label smoothing, mean over the batch: the target of a sample is
/// `(1 - e) onehot + e / k` with `e = smoothing`.
///
/// # Shapes
/// - `logits`: `[b, k]`; `labels`: `[b]` u32; output: scalar
///
/// # Errors
/// If shapes differ, or a label is not below `k`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> error::Result<Tensor> {
    let (b, k) = logits.dims2()?;
    if labels.dims1()? != b {
        return Err(candle_core::Error::Msg(format!("{} labels of {b} samples", labels.dims1()?)).into());
    }
    if is_fused(logits) {
        let labels: Vec<u32> = labels.to_vec1()?;
        if let Some(label) = labels.iter().find(|&&label| label as usize >= k) {
            return Err(candle_core::Error::Msg(format!("label {label} of {k} classes")).into());
        }
        return Ok(logits.contiguous()?.apply_op1(CrossEntropy { labels, smoothing: smoothing as f32 })?);
    }
    // The shift cancels in the result, so its gradient is zero and need not be followed.
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_prob = shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?; // [b, k]
    let nll = log_prob.gather(&labels.unsqueeze(1)?, 1)?.mean_all()?.neg()?;
    let uniform = log_prob.mean_all()?.neg()?;
    Ok(((nll * (1.0 - smoothing))? + (uniform * smoothing)?)?)
}

struct CrossEntropy {
    labels: Vec<u32>,
    smoothing: f32,
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slice(storage, layout)?;
        let log_sums = losses::log_sum_exp(logits, logits.len() / self.labels.len());
        let loss = losses::cross_entropy(logits, &self.labels, &log_sums, self.smoothing);
        Ok((CpuStorage::F32(vec![loss]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let x = values(logits)?;
        let log_sums = losses::log_sum_exp(&x, x.len() / self.labels.len());
        let scale = grad.to_scalar::<f32>()?;
        let dx = losses::cross_entropy_backward(&x, &self.labels, &log_sums, self.smoothing, scale);
        Ok(Some(Tensor::from_vec(dx, logits.dims(), logits.device())?))
    }
}

/// Mean squared error by row, averaged over the rows with their weights; 0 if the weights are all 0.
///
/// # Shapes
/// - `prediction`, `target`: `[.., d]`; `weights`: `[..]`, 0 or 1; output: scalar. The target gets no
///   gradient
///
/// # Errors
/// If shapes differ.
pub fn squared_error(prediction: &Tensor, target: &Tensor, weights: Option<&Tensor>) -> error::Result<Tensor> {
    let target = target.detach();
    if is_fused(prediction) {
        let weights = weights.map(|weights| weights.flatten_all()?.to_vec1::<f32>()).transpose()?;
        let rows = prediction.elem_count() / prediction.dim(D::Minus1)?;
        if prediction.dims() != target.dims() || weights.as_ref().is_some_and(|weights| weights.len() != rows) {
            let (found, expected) = (target.dims(), prediction.dims());
            return Err(candle_core::Error::Msg(format!("a target of {found:?} for {expected:?}")).into());
        }
        // A sum of zeros and ones is 0 or at least 1, so the clamp only catches what counts nothing.
        let total = weights
            .as_ref()
            .map_or(rows as f64, |weights| weights.iter().map(|&weight| f64::from(weight)).sum::<f64>().max(1.0));
        let op = SquaredError { weights, total };
        return Ok(prediction.contiguous()?.apply_op2(&target.contiguous()?, op)?);
    }
    let per_row = (prediction - target)?.sqr()?.mean(D::Minus1)?;
    let Some(weights) = weights else { return Ok(per_row.mean_all()?) };
    Ok(((per_row * weights)?.sum_all()? / weights.sum_all()?.maximum(1.0)?)?)
}

struct SquaredError {
    weights: Option<Vec<f32>>,
    total: f64,
}

impl CustomOp2 for SquaredError {
    fn name(&self) -> &'static str {
        "squared-error"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some(&width) = l1.dims().last() else { bail!("a row has values") };
        let sum = losses::squared_error(slice(s1, l1)?, slice(s2, l2)?, width, self.weights.as_deref());
        Ok((CpuStorage::F32(vec![(sum / self.total) as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, target: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let scale = (f64::from(grad.to_scalar::<f32>()?) / self.total) as f32;
        let (xs, targets, width) = (values(x)?, values(target)?, x.dim(D::Minus1)?);
        let dx = losses::squared_error_backward(&xs, &targets, width, self.weights.as_deref(), scale);
        Ok((Some(Tensor::from_vec(dx, x.dims(), x.device())?), None))
    }
}

/// Rows divided by their Euclidean norm, or by `eps` where the norm is smaller
/// (`torch.nn.functional.normalize`).
///
/// # Shapes
/// - `x`: `[.., d]`; output: the same
///
/// # Errors
/// If the tensor has no dimension.
pub fn l2_normalize(x: &Tensor, eps: f64) -> error::Result<Tensor> {
    if is_fused(x) {
        return Ok(x.contiguous()?.apply_op1(UnitRows { eps: eps as f32 })?);
    }
    // The clamp sits below the root, so that a zero row gets a finite gradient.
    let squares = x.sqr()?.sum_keepdim(D::Minus1)?.maximum(eps * eps)?;
    Ok(x.broadcast_div(&squares.sqrt()?)?)
}

struct UnitRows {
    eps: f32,
}

impl CustomOp1 for UnitRows {
    fn name(&self) -> &'static str {
        "l2-normalize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some(&width) = layout.dims().last() else { bail!("a row has values") };
        let (out, _) = losses::unit_rows(slice(storage, layout)?, width, self.eps);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (width, mut dx) = (x.dim(D::Minus1)?, values(&grad)?.to_vec());
        let (y, scales) = losses::unit_rows(&values(x)?, width, self.eps);
        losses::unit_rows_backward(&y, &scales, width, &mut dx);
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}
