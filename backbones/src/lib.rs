//! Vision Transformers, their parameters, operators and optimisers: pictures in, tokens out.
//!
//! Knows no loss and no data set.

pub mod optim;
pub mod spec;
