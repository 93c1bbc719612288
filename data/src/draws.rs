//! Where a random law takes its numbers from.

use crate::rng::Rng;

/// Source of the numbers that a random law asks for, in the order in which it asks. Laws are written
/// over this trait so that they can be replayed from numbers that another program recorded.
pub trait Draws {
    /// Uniform real in [`low`, `high`).
    fn between(&mut self, low: f64, high: f64) -> f64;

    /// Uniform integer in `low..=high`.
    fn integer(&mut self, low: usize, high: usize) -> usize;

    /// Standard normal.
    fn gaussian(&mut self) -> f64;
}

impl Draws for Rng {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.range(low, high)
    }

    fn integer(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    fn gaussian(&mut self) -> f64 {
        self.normal()
    }
}
