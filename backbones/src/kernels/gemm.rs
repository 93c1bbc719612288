//! Matrix products over slices: the one place that calls the `gemm` family of crates. Its own entry takes
//! the machine's best instructions; ours takes those that [`instruction_set`] says.
//!
//! Every element of a product is one sum in order of the inner dimension, cut into blocks whose length
//! depends on the matrices' sizes and the machine's caches. Threads share out elements, never a sum, so
//! the bits do not depend on how many there are.

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;

use super::isa::{InstructionSet, instruction_set};

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

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn check(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride;
            assert!(last < self.data.len(), "{}x{} matrix in {} values", self.rows, self.cols, self.data.len());
        }
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
    multiply(out, stride, write, alpha, (a, b), Parallelism::None);
}

/// [`product`] for a gap-free `out`, on all threads.
pub(crate) fn matmul(out: &mut [f32], write: Write, a: Mat, b: Mat) {
    multiply(out, b.cols, write, 1.0, (a, b), Parallelism::Rayon(0));
}

fn multiply(out: &mut [f32], stride: usize, write: Write, alpha: f32, (a, b): (Mat, Mat), threads: Parallelism) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions");
    if m == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * stride + n <= out.len(), "{m}x{n} product in {} values", out.len());
    a.check();
    b.check();
    let add = write == Write::Add;
    // The kernels write columns: what is row-major here is the transpose of that.
    let (lhs, rhs) = (b.t(), a.t());
    /// The kernel of one instruction set, in vectors of `$lanes` numbers.
    macro_rules! run {
        ($kernels:ident, $simd:expr, $lanes:literal) => {{
            use gemm_f32::microkernel::$kernels::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
            // SAFETY: `check` has proven that every element of `a` and `b` lies in its slice, the assertion
            // above the same for `out`; `out` is borrowed mutably, so it overlaps neither input. `$simd`
            // exists only on machines that have the instructions.
            #[expect(unsafe_code, reason = "the kernels' only interface takes raw pointers")]
            unsafe {
                gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
                    $simd,
                    n,
                    m,
                    k,
                    out.as_mut_ptr(),
                    stride as isize,
                    1,
                    add,
                    lhs.data.as_ptr(),
                    lhs.col_stride as isize,
                    lhs.row_stride as isize,
                    rhs.data.as_ptr(),
                    rhs.col_stride as isize,
                    rhs.row_stride as isize,
                    1.0,
                    alpha,
                    false,
                    false,
                    false,
                    |a, b, c| a * b + c,
                    &UKR,
                    &H_UKR,
                    false,
                    threads,
                );
            }
        }};
    }
    #[cfg(target_arch = "x86_64")]
    {
        if let (InstructionSet::Avx512, Some(simd)) = (instruction_set(), gemm_common::simd::V4::try_new()) {
            return run!(avx512f, simd, 16);
        }
        if let (InstructionSet::Avx2, Some(simd)) = (instruction_set(), gemm_common::simd::V3::try_new()) {
            return run!(fma, simd, 8);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if instruction_set() == InstructionSet::Neon {
        return run!(neon, gemm_common::simd::Scalar, 4);
    }
    run!(scalar, gemm_common::simd::Scalar, 1);
}
