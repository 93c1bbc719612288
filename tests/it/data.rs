//! Tests of the data.

mod augment;
pub(crate) mod decode;
pub(crate) mod fixture;
mod images;
mod layouts;
mod loader;
mod manifest;
mod market1501;
mod photometric;
mod rng;
mod sampler;
mod verify;
