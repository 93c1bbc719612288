//! Arguments of the verbs that look into a store or tidy it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Common;
use crate::log::Level;

/// Output format of what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ViewFormat {
    /// For a terminal.
    Table,
    /// JSON.
    Json,
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// Spec whose runs are shown; what the store holds if absent.
    #[arg(value_name = "SPEC.yaml")]
    pub spec: Option<PathBuf>,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ViewFormat::Table)]
    pub format: ViewFormat,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `logs`.
#[derive(Clone, Debug, Args)]
pub struct LogsArgs {
    /// Id of a run, as the results have it, or a spec, all of whose runs are meant.
    #[arg(value_name = "RUN-ID|SPEC.yaml")]
    pub run: String,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The least grave events that are shown.
    #[arg(long, value_enum, default_value_t = Level::Info)]
    pub level: Level,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ViewFormat::Table)]
    pub format: ViewFormat,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `why`.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// Id of a run, as the results have it, or a spec.
    #[arg(value_name = "RUN-ID|SPEC.yaml")]
    pub run: String,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `gc`.
#[derive(Clone, Debug, Args)]
pub struct GcArgs {
    /// Show what would be removed, and stop.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Keep stages and unfinished work that were written to in so many days.
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    pub older_than: u32,
    /// Remove without asking.
    #[arg(long)]
    pub yes: bool,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}
