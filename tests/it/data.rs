//! Tests of the data.

mod augment;
mod databases;
pub(crate) mod decode;
pub(crate) mod fixture;
mod images;
mod join;
mod layouts;
mod loader;
mod manifest;
mod market1501;
mod photometric;
mod rng;
mod sampler;
mod verify;
