//! Pre-training objectives and downstream protocols: views in, losses or scores out.
//!
//! May not log, touch the disk or know the optimizer; the train loop belongs to the runner.

pub mod budget;
pub mod cluster;
pub mod cost;
pub mod error;
pub mod health;
pub mod math;
pub mod metric;
pub mod mim_dino;
pub mod person_mae;
pub mod protocols;
pub mod random;
pub mod spec;
pub mod task;
pub mod up_reid;

pub use error::{Result, TaskError};
