//! Run-time choice of vector width for plain loops.

use pulp::WithSimd;

use super::isa::ARCH;

/// Runs a closure compiled for the vectors of the chosen instruction set; loops in it, and in
/// `#[inline(always)]` functions that it calls, become vector code. Rust neither reorders floating-point
/// sums nor fuses multiplications into them, so the bits do not depend on the choice.
pub(crate) fn vectorized<R>(work: impl WithSimd<Output = R>) -> R {
    ARCH.dispatch(work)
}
