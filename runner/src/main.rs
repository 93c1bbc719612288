//! `reid-run`: parse, do, and map what went wrong to an exit code.

use std::process::ExitCode;

use clap::Parser;
use reid_runner::cli::Cli;
use reid_runner::commands::dispatch;

fn main() -> ExitCode {
    reid_backbones::quiet_candle();
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            reid_runner::report(&error);
            error.exit_code().into()
        }
    }
}
