//! Run-time choice of vector width for plain loops.

use pulp::{Simd, WithSimd};

use super::isa::ARCH;

/// Runs a closure compiled for the vectors of the chosen instruction set; loops in it, and in
/// `#[inline(always)]` functions that it calls, become vector code. Rust neither reorders floating-point
/// sums nor fuses multiplications into them, so the bits do not depend on the choice.
pub(crate) fn vectorized<R>(work: impl FnMut() -> R) -> R {
    ARCH.dispatch(Loop(work))
}

/// A loop to be compiled several times. A closure itself would be called through a shim, which nothing inlines.
struct Loop<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Loop<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
