//! The one test binary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and the panic names the line")]

mod arch;
mod backbones;
mod cli;
mod data;
mod golden;
mod objectives;
mod readme;
mod results;
mod spec_language;
mod store;
mod synthetic;

/// The program's own, so that every test is a test of it.
#[global_allocator]
static ALLOCATOR: reid_backbones::KeepLarge = reid_backbones::KeepLarge;
