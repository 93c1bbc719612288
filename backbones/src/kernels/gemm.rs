//! Matrix products over slices: the one call into the `gemm` crate.
//!
//! Work is cut into tiles of a fixed number of output rows, each computed by one thread, so the
//! bits do not depend on how many threads there are.

use rayon::prelude::*;

/// Rows of the output that one task computes.
const TILE_ROWS: usize = 128;
/// Below this many multiply-adds a product runs on the calling thread.
const SMALL: usize = 1 << 16;

/// A matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Row-major, without gaps.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major with `row_stride` elements from row to row.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        let mat = Self { data, rows, cols, row_stride, col_stride: 1 };
        mat.check();
        mat
    }

    /// Transpose, without moving anything.
    pub(crate) fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "{}x{} matrix in {} values", self.rows, self.cols, self.data.len());
        }
    }

    fn rows_from(self, first: usize, count: usize) -> Self {
        Self { data: &self.data[first * self.row_stride..], rows: count, ..self }
    }
}

/// Whether a product replaces the output or is added to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Replace,
    Add,
}

/// `out = alpha a b` or `out += alpha a b`, `out` row-major with `stride` elements from row to row;
/// on the calling thread.
pub(crate) fn product(out: &mut [f32], stride: usize, write: Write, alpha: f32, a: Mat, b: Mat) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= out.len(), "{m}x{n} product in {} values", out.len());
    a.check();
    b.check();
    // SAFETY: `check` has proven that every element of `a` and `b` lies in its slice, the assertion
    // above the same for `out`; `out` is borrowed mutably, so it overlaps neither input.
    #[expect(unsafe_code, reason = "the gemm crate's only interface takes raw pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// [`product`] for a gap-free `out`, on all threads.
pub(crate) fn matmul(out: &mut [f32], write: Write, a: Mat, b: Mat) {
    let n = b.cols;
    if a.rows * n * a.cols <= SMALL {
        return product(out, n, write, 1.0, a, b);
    }
    out[..a.rows * n].par_chunks_mut(TILE_ROWS * n).enumerate().for_each(|(tile, chunk)| {
        let rows = chunk.len() / n;
        product(chunk, n, write, 1.0, a.rows_from(tile * TILE_ROWS, rows), b);
    });
}
