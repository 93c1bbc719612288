//! The one test binary.

mod arch;
mod backbones;
mod cli;
mod data;
mod golden;
mod objectives;
mod results;
mod spec_language;
mod store;
mod synthetic;
