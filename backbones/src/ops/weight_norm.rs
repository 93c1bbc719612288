//! A linear layer whose rows have a length of their own: `x W^T` with `W = g v / |v|`.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};

use super::composed::product;
use super::host::{is_fused, slice, values};
use super::linear;
use crate::error;
use crate::kernels::weight_norm::{weight_norm, weight_norm_backward};
use crate::params::{ModuleId, Params, view};
use crate::spec::Precision;

/// Weight-normalised linear layer without bias (Salimans and Kingma, arXiv 1602.07868), the last layer of DINO's
/// and iBOT's heads. Its module holds `weight_g [o, 1]` and `weight_v [o, i]`, or `weight_v` alone where every row
/// has length 1 (`norm_last_layer`).
///
/// # Shapes
/// - `x`: `[.., i]`; output: `[.., o]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn weight_norm_linear(x: &Tensor, params: &Params, id: ModuleId) -> error::Result<Tensor> {
    let entries = params.entries(id);
    let free = entries.len() == 2;
    let direction = &entries[entries.len() - 1];
    let (outputs, inputs) = (direction.shape[0], direction.shape[1]);
    let buffer = params.buffer(id);
    if is_fused(x) && params.precision() == Precision::F32 {
        return Ok(x.contiguous()?.apply_op2(&buffer, WeightNorm { inputs, outputs, free })?);
    }
    let v = view(&buffer, direction)?;
    let unit = v.broadcast_div(&v.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?; // [o, i]
    let weight = if free { unit.broadcast_mul(&view(&buffer, &entries[0])?)? } else { unit };
    Ok(product(x, &weight.t()?, params.precision())?)
}

struct WeightNorm {
    inputs: usize,
    outputs: usize,
    /// Whether the lengths are parameters.
    free: bool,
}

impl WeightNorm {
    fn split<'a>(&self, params: &'a [f32]) -> (Option<&'a [f32]>, &'a [f32]) {
        if self.free {
            let (g, v) = params.split_at(self.outputs);
            (Some(g), v)
        } else {
            (None, params)
        }
    }
}

impl CustomOp2 for WeightNorm {
    fn name(&self) -> &'static str {
        "weight-norm-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (g, v) = self.split(slice(p, lp)?);
        let weight = weight_norm(g, v, self.inputs);
        let out = linear::forward(slice(x, lx)?, &weight, None, self.inputs, self.outputs);
        let mut dims = lx.dims().to_vec();
        *dims.last_mut().unwrap_or(&mut 0) = self.outputs;
        Ok((CpuStorage::F32(out), dims.into()))
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dy, params) = (values(&dy)?, values(p)?);
        let (g, v) = self.split(&params);
        let dx = if x.track_op() {
            let weight = weight_norm(g, v, self.inputs);
            let dx = linear::backward_input(&dy, &weight, self.inputs, self.outputs);
            Some(Tensor::from_vec(dx, x.dims(), x.device())?)
        } else {
            None
        };
        if !p.track_op() {
            return Ok((dx, None));
        }
        let mut dweight = vec![0.0; self.outputs * self.inputs];
        linear::backward_params(&values(x)?, &dy, &mut dweight, None, self.inputs, self.outputs);
        let (dg, dv) = weight_norm_backward(g, v, self.inputs, dweight);
        let mut dp = dg.unwrap_or_default();
        dp.extend(dv);
        Ok((dx, Some(Tensor::from_vec(dp, p.dims(), p.device())?)))
    }
}
