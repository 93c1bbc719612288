//! What operators out of candle's own operations share: products in a chosen precision, and recomputation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, DType, Error, Layout, MetalStorage, Result, Shape, Tensor, Var};

use crate::error;
use crate::spec::Precision;

/// Product of matrices whose operands are rounded to the precision, and whose result has 32 bits again.
///
/// # Shapes
/// - `a`: `[.., n, k]`; `b`: `[.., k, m]`, leading axes as candle broadcasts them; output: `[.., n, m]`
pub(super) fn product(a: &Tensor, b: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => a.broadcast_matmul(b),
        Precision::Bf16 => {
            let [a, b] = [a, b].map(|operand| operand.to_dtype(DType::BF16));
            a?.broadcast_matmul(&b?)?.to_dtype(DType::F32)
        }
    }
}

/// `function(x, params)`, of which only the inputs are kept for the backward pass: it is computed again there.
///
/// # Shapes
/// - those of `function`
///
/// # Errors
/// Those of `function`, or when candle refuses.
pub(super) fn recomputed<F>(x: &Tensor, params: &Tensor, function: F) -> error::Result<Tensor>
where
    F: Fn(&Tensor, &Tensor) -> error::Result<Tensor> + Send + Sync + 'static,
{
    let value = function(&x.detach(), &params.detach())?.contiguous()?;
    Ok(x.apply_op3(params, &value, Recomputed { function })?)
}

/// Its third argument is the value.
struct Recomputed<F> {
    function: F,
}

impl<F> CustomOp3 for Recomputed<F>
where
    F: Fn(&Tensor, &Tensor) -> error::Result<Tensor>,
{
    fn name(&self) -> &'static str {
        "recomputed"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        value: &CpuStorage,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok((value.try_clone(layout)?, layout.shape().clone()))
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        value: &CudaStorage,
        layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((value.try_clone(layout)?, layout.shape().clone()))
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        value: &MetalStorage,
        layout: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        Ok((value.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        params: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (inner_x, inner_params) = (Var::from_tensor(&x.detach())?, Var::from_tensor(&params.detach())?);
        let again = (self.function)(inner_x.as_tensor(), inner_params.as_tensor()).map_err(Error::wrap)?;
        let mut grads = (again * grad)?.sum_all()?.backward()?;
        let mut gradient =
            |of: &Tensor, inner: &Var| if of.track_op() { grads.remove(inner.as_tensor()) } else { None };
        Ok((gradient(x, &inner_x), gradient(params, &inner_params), None))
    }
}
