//! Shared helpers of the tests.

pub mod golden;

pub use golden::Golden;
