//! `reid-run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    reid_runner::run(std::env::args_os()).into()
}
