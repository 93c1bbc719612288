//! What the student is to agree with: the teacher's outputs, balanced over the prototypes.

use candle_core::{DType, Device, Tensor};
use reid_backbones::ops;

use super::spec::{Balance, Sinkhorn};
use crate::error::Result;

/// Running means of the teacher's outputs; zeros at the start.
#[derive(Clone, Debug)]
pub struct Centers {
    /// `[1, prototypes]`, over class tokens of global views.
    pub class: Tensor,
    /// `[1, patch prototypes]`, over all patches of global views.
    pub patch: Tensor,
}

impl Centers {
    /// Zeros.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn zeros(prototypes: usize, patch_prototypes: usize, device: &Device) -> Result<Self> {
        let zeros = |width| Tensor::zeros((1, width), DType::F32, device);
        Ok(Self { class: zeros(prototypes)?, patch: zeros(patch_prototypes)? })
    }
}

/// `momentum center + (1 - momentum) mean`.
///
/// # Errors
/// If shapes differ.
pub fn moved(center: &Tensor, mean: &Tensor, momentum: f64) -> Result<Tensor> {
    Ok(((center * momentum)? + (mean * (1.0 - momentum))?)?)
}

/// The teacher's distributions over prototypes; no gradient.
///
/// # Shapes
/// - `logits`: `[n, k]`; `center`: `[1, k]`, used by [`Balance::Centering`]; output: `[n, k]`, rows sum to 1
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn distributions(balance: Balance, logits: &Tensor, center: &Tensor, temperature: f64) -> Result<Tensor> {
    match balance {
        Balance::Centering(_) => Ok(ops::sharpened_softmax(logits, Some(center), temperature)?),
        Balance::Sinkhorn(spec) => sinkhorn(logits, temperature, spec),
    }
}

/// Sinkhorn-Knopp on `exp(logits / temperature)` (DINOv2's order: prototypes first, then samples), so that after it
/// every row sums to 1 and, up to convergence, every column to n / k.
///
/// # Shapes
/// - `logits`: `[n, k]`; output: the same
///
/// # Errors
/// If candle refuses.
pub fn sinkhorn(logits: &Tensor, temperature: f64, spec: Sinkhorn) -> Result<Tensor> {
    let (n, k) = logits.dims2()?;
    // A common factor cancels in the first division, so the greatest logit is taken off against overflow; in 64
    // bits, so that rows far below it keep their place.
    let logits = logits.detach().to_dtype(DType::F64)?;
    let mut q = (logits.broadcast_sub(&logits.max_all()?)? / temperature)?.exp()?; // [n, k]
    q = q.broadcast_div(&q.sum_all()?)?;
    for _ in 0..spec.iterations {
        // A prototype that no sample comes near has a sum of 0 and stays 0.
        let columns = q.sum_keepdim(0)?.maximum(f64::MIN_POSITIVE)?; // [1, k]
        q = (q.broadcast_div(&columns)? / k as f64)?;
        let rows = q.sum_keepdim(1)?.maximum(f64::MIN_POSITIVE)?; // [n, 1]
        q = (q.broadcast_div(&rows)? / n as f64)?;
    }
    Ok((q * n as f64)?.to_dtype(DType::F32)?)
}

/// Mean entropy of distributions in nats; near 0 or ln k means that the teacher has collapsed.
///
/// # Shapes
/// - `distributions`: `[n, k]`; output: scalar
///
/// # Errors
/// If candle refuses.
pub fn entropy(distributions: &Tensor) -> Result<Tensor> {
    let logs = distributions.maximum(f64::from(f32::MIN_POSITIVE))?.log()?;
    Ok((distributions * logs)?.sum(1)?.mean_all()?.neg()?)
}
