#![doc = include_str!("../ARCHITECTURE.md")]

pub mod calibration;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod exit;
pub mod log;
pub mod progress;
pub mod provenance;
pub mod signals;
pub mod store;

/// Shows an error that ends the program, on stderr. Specs' mistakes come rendered already.
#[expect(clippy::print_stderr, reason = "the last word of the program, when no progress is shown any more")]
pub fn report(error: &exit::RunError) {
    match error {
        exit::RunError::Spec(rendered) => eprintln!("{}", rendered.trim_end()),
        other => eprintln!("error: {other}"),
    }
}
