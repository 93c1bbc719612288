//! A pre-trained encoder that is not trained any further: its features ranked as they are, or through a linear
//! probe.
//!
//! Features cost one forward pass, so this is the cheapest test of a pre-training, and the one in which nothing
//! but the pre-training shows. What is ranked is chosen by [`spec::Pooling`]; the pictures are normalised as the
//! encoder knows them from its pre-training.

mod pool;
mod probe;
pub mod spec;

pub use pool::pool;
pub use probe::{ALGORITHM_VERSION as PROBE_VERSION, LinearProbe, Projection};
