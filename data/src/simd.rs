//! Run-time choice of vector width for plain loops.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs a closure compiled for the widest vectors of this machine; loops in it, and in `#[inline(always)]` functions
/// that it calls, become vector code. Callers work on integers, or by single operations on floats that are rounded each:
/// then the bits do not depend on the machine.
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
