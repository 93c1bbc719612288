//! `x W^T + b`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::composed::product;
use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::gemm::{Mat, Write, matmul};
use crate::kernels::rows::{add_bias, column_sums};
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
    let entries = params.entries(id);
    let outputs = entries[0].shape[0];
    let inputs = entries[0].len() / outputs;
    let buffer = params.buffer(id);
    if is_fused(x) && params.precision() == Precision::F32 {
        let op = Linear { inputs, outputs, bias: entries.len() == 2 };
        return Ok(x.contiguous()?.apply_op2(&buffer, op)?);
    }
    let weight = view(&buffer, &entries[0])?.reshape((outputs, inputs))?;
    let y = product(x, &weight.t()?, params.precision())?;
    match entries.get(1) {
        Some(bias) => Ok(y.broadcast_add(&view(&buffer, bias)?)?),
        None => Ok(y),
    }
}

struct Linear {
    inputs: usize,
    outputs: usize,
    bias: bool,
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
        let out = forward(slice(x, lx)?, weight, self.bias.then_some(bias), self.inputs, self.outputs);
        let mut dims = lx.dims().to_vec();
        *dims.last_mut().unwrap_or(&mut 0) = self.outputs;
        Ok((CpuStorage::F32(out), dims.into()))
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dy, params) = (values(&dy)?, values(p)?);
        let (weight, _) = params.split_at(self.inputs * self.outputs);
        let dx = if x.track_op() {
            Some(Tensor::from_vec(backward_input(&dy, weight, self.inputs, self.outputs), x.dims(), x.device())?)
        } else {
            None
        };
        if !p.track_op() {
            return Ok((dx, None));
        }
        let mut dp = vec![0.0; params.len()];
        let (dweight, dbias) = dp.split_at_mut(self.inputs * self.outputs);
        backward_params(&values(x)?, &dy, dweight, self.bias.then_some(dbias), self.inputs, self.outputs);
        Ok((dx, Some(Tensor::from_vec(dp, p.dims(), p.device())?)))
    }
}
