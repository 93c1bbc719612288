#![doc = include_str!("../ARCHITECTURE.md")]

use std::ffi::OsString;

use clap::Parser;

pub mod calibration;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod exit;
pub mod log;
pub mod memory;
pub mod progress;
pub mod provenance;
mod report;
pub mod signals;
pub mod store;
pub mod tensorboard;

/// The program: parses its arguments (the first is its own name), does what they ask for, and
/// reports what went wrong. Help, and arguments that do not parse, end the process at once.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> exit::ExitCode {
    match commands::dispatch(cli::Cli::parse_from(arguments)) {
        Ok(()) => exit::ExitCode::Done,
        Err(error) => {
            report(&error);
            error.exit_code()
        }
    }
}

/// Shows an error that ends the program, on stderr. Specs' mistakes come rendered already.
#[expect(clippy::print_stderr, reason = "the last word of the program, when no progress is shown any more")]
fn report(error: &exit::RunError) {
    match error {
        exit::RunError::Spec(rendered) => eprintln!("{}", rendered.trim_end()),
        other => eprintln!("error: {other}"),
    }
}
