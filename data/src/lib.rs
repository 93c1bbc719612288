//! Data sets, samplers, transforms and loaders: pictures in, batches out.
//!
//! Knows what a sample, a split and a batch are. Does not know tensors, losses or YAML: a batch is
//! plain host memory. All randomness comes in as a [`rng::Key`], so a batch is a pure function of
//! (data, plan, seed, epoch, position), whatever the number of workers.
//!
//! The way of a picture: [`datasets::open`] finds and checks the files of a [`dataset::Dataset`], a
//! [`sampler`] orders an epoch, [`pictures::Pictures`] decodes, [`augment`] makes the views that a
//! [`views::ViewPlan`] asks for, and [`loader::Loader`] does so for whole batches on threads.

pub mod augment;
pub mod dataset;
pub mod datasets;
pub mod decode;
pub mod draws;
pub mod error;
pub mod image;
pub mod lmdb;
pub mod loader;
pub mod pack;
pub mod pictures;
pub mod plan;
pub mod rng;
pub mod sampler;
pub mod sheet;
mod simd;
pub mod source;
pub mod spec;
pub mod synthetic;
pub mod transform;
pub mod verify;
pub mod views;

/// Raised whenever what a picture becomes in a batch changes: decoding, transforms, samplers.
pub const ALGORITHM_VERSION: u32 = 2;

pub use error::{DataError, Result};
