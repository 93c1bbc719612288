//! Data sets, samplers, transforms and loaders: pictures in, batches out.
//!
//! Knows what a sample, a split and a batch are. Does not know tensors, losses or YAML: a batch is
//! plain host memory. All randomness comes in as a [`rng::Key`], so a batch is a pure function of
//! (data, plan, seed, epoch, position), whatever the number of workers.

pub mod dataset;
pub mod error;
pub mod image;
pub mod plan;
pub mod rng;
pub mod spec;
pub mod synthetic;
pub mod views;

pub use error::{DataError, Result};
