//! Tests of the data.

mod augment;
pub(crate) mod decode;
pub(crate) mod fixture;
mod images;
mod loader;
mod market1501;
mod photometric;
mod rng;
mod sampler;
