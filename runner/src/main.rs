//! `reid-run`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: reid_backbones::KeepLarge = reid_backbones::KeepLarge;

fn main() -> ExitCode {
    reid_backbones::quiet_candle();
    reid_runner::run(std::env::args_os()).into()
}
