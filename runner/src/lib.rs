//! The command line, the store, the train loop.

pub mod exit;
pub mod log;
pub mod progress;
pub mod provenance;
pub mod signals;
pub mod store;
