//! `x W^T + b`, and the exact GELU of it.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::composed::product;
use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::gemm::{Mat, Write, matmul};
use crate::kernels::rows::{add_bias, column_sums, gelu, gelu_backward, gelu_in_place};
use crate::params::{ModuleId, Params, view};
use crate::spec::Precision;

/// Linear layer whose module holds `weight [o, ..]`, whose further axes are read as one of i, and, if
/// it has one, `bias [o]`.
///
/// # Shapes
/// - `x`: `[.., i]`; output: `[.., o]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn linear(x: &Tensor, params: &Params, id: ModuleId) -> error::Result<Tensor> {
    apply(x, params, id, false)
}

/// [`linear`], then the exact (erf) GELU (Hendrycks and Gimpel, arXiv 1606.08415).
///
/// # Shapes
/// - `x`: `[.., i]`; output: `[.., o]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn linear_gelu(x: &Tensor, params: &Params, id: ModuleId) -> error::Result<Tensor> {
    apply(x, params, id, true)
}

fn apply(x: &Tensor, params: &Params, id: ModuleId, gelu: bool) -> error::Result<Tensor> {
    let entries = params.entries(id);
    let outputs = entries[0].shape[0];
    let inputs = entries[0].len() / outputs;
    let buffer = params.buffer(id);
    if is_fused(x) && params.precision() == Precision::F32 {
        let (bias, is_learning) = (entries.len() == 2, x.track_op() || buffer.track_op());
        let op = Linear { inputs, outputs, bias, gelu, is_learning, before_gelu: Mutex::new(None) };
        return Ok(x.contiguous()?.apply_op2(&buffer, op)?);
    }
    let weight = view(&buffer, &entries[0])?.reshape((outputs, inputs))?;
    let y = product(x, &weight.t()?, params.precision())?;
    let y = match entries.get(1) {
        Some(bias) => y.broadcast_add(&view(&buffer, bias)?)?,
        None => y,
    };
    Ok(if gelu { y.gelu_erf()? } else { y })
}

struct Linear {
    inputs: usize,
    outputs: usize,
    bias: bool,
    gelu: bool,
    /// Whether a backward pass may follow.
    is_learning: bool,
    /// What the GELU was taken of, for the backward pass.
    before_gelu: Mutex<Option<Vec<f32>>>,
}

/// `out = x W^T + b` for `[rows, inputs]`.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, inputs: usize, outputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs;
    let mut out = vec![0.0; rows * outputs];
    matmul(&mut out, Write::Replace, Mat::new(x, rows, inputs), Mat::new(weight, outputs, inputs).t());
    if let Some(bias) = bias {
        add_bias(&mut out, bias);
    }
    out
}

/// Adds to `dweight [o, i]` and `dbias [o]`.
pub(super) fn backward_params(
    x: &[f32],
    dy: &[f32],
    dweight: &mut [f32],
    dbias: Option<&mut [f32]>,
    inputs: usize,
    outputs: usize,
) {
    let rows = x.len() / inputs;
    matmul(dweight, Write::Add, Mat::new(dy, rows, outputs).t(), Mat::new(x, rows, inputs));
    if let Some(dbias) = dbias {
        column_sums(dy, dbias);
    }
}

/// `dx = dy W`.
pub(super) fn backward_input(dy: &[f32], weight: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let rows = dy.len() / outputs;
    let mut dx = vec![0.0; rows * inputs];
    matmul(&mut dx, Write::Replace, Mat::new(dy, rows, outputs), Mat::new(weight, outputs, inputs));
    dx
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (weight, bias) = slice(p, lp)?.split_at(self.inputs * self.outputs);
        let mut out = forward(slice(x, lx)?, weight, self.bias.then_some(bias), self.inputs, self.outputs);
        if self.gelu && !self.is_learning {
            gelu_in_place(&mut out);
        } else if self.gelu {
            let after = gelu(&out);
            *self.before_gelu.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::replace(&mut out, after));
        }
        let mut dims = lx.dims().to_vec();
        *dims.last_mut().unwrap_or(&mut 0) = self.outputs;
        Ok((CpuStorage::F32(out), dims.into()))
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dy, params) = (values(&dy)?, values(p)?);
        let (weight, bias) = params.split_at(self.inputs * self.outputs);
        let mut through_gelu = None;
        if self.gelu {
            let saved = self.before_gelu.lock().unwrap_or_else(PoisonError::into_inner).take();
            let bias = self.bias.then_some(bias);
            let again = || Ok::<_, candle_core::Error>(forward(&values(x)?, weight, bias, self.inputs, self.outputs));
            let before = saved.map_or_else(again, Ok)?;
            let slope = through_gelu.insert(dy.to_vec());
            gelu_backward(&before, slope);
        }
        let dy = through_gelu.as_deref().unwrap_or(&dy);
        let dx = if x.track_op() {
            Some(Tensor::from_vec(backward_input(dy, weight, self.inputs, self.outputs), x.dims(), x.device())?)
        } else {
            None
        };
        if !p.track_op() {
            return Ok((dx, None));
        }
        let mut dp = vec![0.0; params.len()];
        let (dweight, dbias) = dp.split_at_mut(self.inputs * self.outputs);
        backward_params(&values(x)?, dy, dweight, self.bias.then_some(dbias), self.inputs, self.outputs);
        Ok((dx, Some(Tensor::from_vec(dp, p.dims(), p.device())?)))
    }
}
