//! Multi-head attention on packed projections, and exact GELU, as single operators.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::composed::product;
use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::attention::{Heads, Packed, backward_cross, forward};
use crate::spec::Precision;

/// Attention of queries to packed keys and values; scale `(d / h)^-0.5`.
///
/// # Shapes
/// - `q`: `[b, n, d]`; `kv`: `[b, m, 2 d]`, keys first; output: `[b, n, d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn cross_attention(q: &Tensor, kv: &Tensor, heads: usize, precision: Precision) -> error::Result<Tensor> {
    let (b, n, d) = q.dims3()?;
    let (_b, m, _d2) = kv.dims3()?;
    if is_fused(q) && precision == Precision::F32 {
        let op = CrossAttention { heads, log_sums: Mutex::new(None) };
        return Ok(q.contiguous()?.apply_op2(&kv.contiguous()?, op)?);
    }
    let dim = d / heads;
    let q = q.reshape((b, n, heads, dim))?.transpose(1, 2)?.contiguous()?; // [b, h, n, d/h]
    let kv = kv.reshape((b, m, 2, heads, dim))?.permute((2, 0, 3, 1, 4))?; // [2, b, h, m, d/h]
    let k = kv.narrow(0, 0, 1)?.squeeze(0)?.transpose(2, 3)?.contiguous()?;
    let v = kv.narrow(0, 1, 1)?.squeeze(0)?.contiguous()?;
    let logits = (product(&q, &k, precision)? * (1.0 / (dim as f64).sqrt()))?;
    let mixed = product(&candle_nn::ops::softmax(&logits, D::Minus1)?, &v, precision)?; // [b, h, n, d/h]
    Ok(mixed.transpose(1, 2)?.reshape((b, n, d))?)
}

struct CrossAttention {
    heads: usize,
    log_sums: Mutex<Option<Vec<f32>>>,
}

impl CrossAttention {
    fn run(&self, q: &[f32], kv: &[f32], (b, n, m, d): (usize, usize, usize, usize)) -> (Vec<f32>, Vec<f32>) {
        let shape = Heads { samples: b, count: self.heads, dim: d / self.heads };
        let part = |offset| Packed { data: kv, stride: 2 * d, offset, tokens: m };
        forward(shape, Packed { data: q, stride: d, offset: 0, tokens: n }, part(0), part(d))
    }
}

impl CustomOp2 for CrossAttention {
    fn name(&self) -> &'static str {
        "cross-attention"
    }

    fn cpu_fwd(&self, q: &CpuStorage, lq: &Layout, kv: &CpuStorage, lkv: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((b, n, d), (_, m, _)) = (lq.shape().dims3()?, lkv.shape().dims3()?);
        let (out, log_sums) = self.run(slice(q, lq)?, slice(kv, lkv)?, (b, n, m, d));
        *self.log_sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(log_sums);
        Ok((CpuStorage::F32(out), (b, n, d).into()))
    }

    fn bwd(&self, q: &Tensor, kv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((b, n, d), (_, m, _)) = (q.dims3()?, kv.dims3()?);
        let grad = grad.contiguous()?;
        let (qs, kvs) = (values(q)?, values(kv)?);
        let saved = self.log_sums.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let log_sums = saved.unwrap_or_else(|| self.run(&qs, &kvs, (b, n, m, d)).1);
        let shape = Heads { samples: b, count: self.heads, dim: d / self.heads };
        let (mut dq, mut dkv) = (vec![0.0; qs.len()], vec![0.0; kvs.len()]);
        backward_cross(shape, &qs, &kvs, (n, m), &log_sums, &values(&grad)?, &mut dq, &mut dkv);
        Ok((
            q.track_op().then(|| Tensor::from_vec(dq, q.dims(), q.device())).transpose()?,
            kv.track_op().then(|| Tensor::from_vec(dkv, kv.dims(), kv.device())).transpose()?,
        ))
    }
}
