//! The spec language: YAML text in, resolved experiments out. The only crate that knows YAML.

pub mod spec;
