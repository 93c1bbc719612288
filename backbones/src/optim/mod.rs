//! Optimisers over a parameter store.

pub mod spec;
