//! Tests of the data.

mod augment;
mod decode;
mod fixture;
mod loader;
mod market1501;
mod rng;
mod sampler;
