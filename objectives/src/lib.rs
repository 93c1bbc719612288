//! Pre-training objectives and downstream protocols: views in, losses or scores out.
//!
//! May not log, touch the disk or know the optimiser; the train loop belongs to the runner.

pub mod math;
pub mod metric;
pub mod person_mae;
pub mod protocols;
pub mod spec;
