//! Optimisers, gradient norms and moving averages: passes over whole buffers of a parameter store.

mod average;
mod groups;
pub mod spec;
mod update;

pub use average::ema_update;
pub use groups::{Group, Segment, groups};
pub use update::{Course, Optimizer};
