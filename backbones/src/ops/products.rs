//! Products of all rows with all rows.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::gemm::{Mat, Write, matmul};

/// Scalar products of the rows of `x` with those of `y`.
///
/// # Shapes
/// - `x`: `[n, d]`; `y`: `[m, d]`; output: `[n, m]`
///
/// # Errors
/// If the widths differ.
pub fn dot_products(x: &Tensor, y: &Tensor) -> error::Result<Tensor> {
    if is_fused(x) {
        return Ok(x.contiguous()?.apply_op2(&y.contiguous()?, DotProducts)?);
    }
    Ok(x.matmul(&y.t()?)?)
}

/// [`dot_products`] of rows on the host, without a tensor or a graph.
///
/// # Shapes
/// - `x`: `[n, d]`, `y`: `[m, d]`, row-major, `d = width`; `out`: `[n, m]`
///
/// # Panics
/// If a slice is no whole number of rows, or `out` has another size: a bug of the caller.
pub fn dot_products_into(x: &[f32], y: &[f32], width: usize, out: &mut [f32]) {
    let rows = |values: &[f32]| {
        assert!(width > 0 && values.len().is_multiple_of(width), "{} values are no rows of {width}", values.len());
        values.len() / width
    };
    let (n, m) = (rows(x), rows(y));
    assert_eq!(out.len(), n * m, "room for the products of {n} rows with {m}");
    matmul(out, Write::Replace, Mat::new(x, n, width), Mat::new(y, m, width).t());
}

struct DotProducts;

impl CustomOp2 for DotProducts {
    fn name(&self) -> &'static str {
        "dot-products"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let ((n, d), (m, width)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        if d != width {
            bail!("products of rows of {d} with rows of {width}");
        }
        let mut out = vec![0.0; n * m];
        matmul(&mut out, Write::Replace, Mat::new(slice(s1, l1)?, n, d), Mat::new(slice(s2, l2)?, m, d).t());
        Ok((CpuStorage::F32(out), (n, m).into()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let ((n, d), (m, _)) = (x.dims2()?, y.dims2()?);
        let grad = grad.contiguous()?;
        let (xs, ys, grad) = (values(x)?, values(y)?, values(&grad)?);
        let grad = Mat::new(&grad, n, m);
        let (mut dx, mut dy) = (vec![0.0; n * d], vec![0.0; m * d]);
        if x.track_op() {
            matmul(&mut dx, Write::Replace, grad, Mat::new(&ys, m, d));
        }
        if y.track_op() {
            matmul(&mut dy, Write::Replace, grad.t(), Mat::new(&xs, n, d));
        }
        Ok((
            x.track_op().then(|| Tensor::from_vec(dx, (n, d), x.device())).transpose()?,
            y.track_op().then(|| Tensor::from_vec(dy, (m, d), y.device())).transpose()?,
        ))
    }
}
