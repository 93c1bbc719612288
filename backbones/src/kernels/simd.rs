//! Run-time choice of vector width for plain loops.

use std::sync::LazyLock;

use pulp::{Arch, WithSimd};

/// The machine's widest vectors, looked up once.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs a closure compiled for the machine's vectors; loops in it, and in `#[inline(always)]`
/// functions that it calls, become vector code. Rust neither reorders floating-point sums nor fuses
/// multiplications into them, so the bits do not depend on the choice.
pub(crate) fn vectorized<R>(work: impl WithSimd<Output = R>) -> R {
    ARCH.dispatch(work)
}
