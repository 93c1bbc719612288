//! Shared helpers of the tests.
//!
//! A helper panics where a test would: on a missing file, a wrong shape, a name that does not exist.

pub mod golden;
pub mod tensors;

pub use golden::Golden;
