//! Arguments of the verbs that show results.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Common, SpecArgs};

/// Arguments of `table`.
#[derive(Clone, Debug, Args)]
pub struct TableArgs {
    /// Spec whose runs are shown; all results of the store if absent.
    #[arg(value_name = "SPEC.yaml")]
    pub spec: Option<PathBuf>,
    /// Overrides that the runs were made with.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Only runs of this experiment.
    #[arg(long, value_name = "NAME", conflicts_with = "spec")]
    pub experiment: Option<String>,
    /// Only runs that meet a condition: `mask_ratio=0.5`, `label!=none`, `map>0.4` (stored values: fractions); may be
    /// given several times, and all must be met.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = TableFormat::Table)]
    pub format: TableFormat,
    /// Metrics: `map`, `rank1`, `occluded.map`, `seconds`, ...
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    pub metrics: Option<Vec<String>>,
    /// Set of queries of metrics that name none [default: test; of trials: validation].
    #[arg(long, value_parser = ["test", "validation", "occluded"])]
    pub split: Option<String>,
    /// What pre-training has cost: columns of pictures, encoder tokens, operations (forward and backward, by
    /// formula) and seconds. `auto` shows them where pre-trainings of different cost stand beside each other.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Cost::Auto, num_args = 0..=1,
          default_missing_value = "always", require_equals = true)]
    pub cost: Cost,
    /// Compare all rows with those of this label, seed by seed: mean difference of the first metric and its 95 %
    /// confidence interval.
    #[arg(long, value_name = "LABEL", conflicts_with = "trials")]
    pub against: Option<String>,
    /// The trials of `tune` instead of the runs that count.
    #[arg(long)]
    pub trials: bool,
    /// Fields that name the rows.
    #[arg(long, value_delimiter = ',', value_name = "FIELD,..")]
    pub rows: Option<Vec<String>>,
    /// Field whose values are spread over columns.
    #[arg(long, value_name = "FIELD")]
    pub cols: Option<String>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// Spec and overrides that the runs are made with.
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Look once and end, as where stdout is no terminal.
    #[arg(long)]
    pub once: bool,
}

/// Arguments of `tensorboard`.
#[derive(Clone, Debug, Args)]
pub struct TensorboardArgs {
    /// Id of a finished run, as the results have it, or a spec, whose finished runs are written.
    #[arg(value_name = "SPEC.yaml|RUN-ID")]
    pub run: String,
    /// Overrides of the spec that the runs were made with.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Folder to write to, which TensorBoard's `--logdir` names; each run has a folder in it.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Output format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For a terminal.
    Table,
    /// GitHub-flavored Markdown.
    Md,
    /// Comma-separated values.
    Csv,
    /// LaTeX with booktabs.
    Latex,
    /// JSON.
    Json,
    /// Parquet, to stdout.
    Parquet,
}

/// When tables show what pre-training has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Cost {
    /// Where pre-trainings of different cost stand beside each other.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Spec and overrides that the runs were made with.
    #[command(flatten)]
    pub spec: SpecArgs,
    /// File to write [default: the experiment's name, .html].
    #[arg(long, value_name = "FILE.html")]
    pub to: Option<PathBuf>,
    /// Result rows alone: no retrieved pictures, attention maps and other pictures, which take the models and the data.
    #[arg(long)]
    pub no_pictures: bool,
    /// The page alone: no folder with every picture, chart (SVG) and its data (CSV) as a file.
    #[arg(long)]
    pub no_files: bool,
}

/// Arguments of `compare`.
#[derive(Clone, Debug, Args)]
pub struct CompareArgs {
    /// A setting, named as tables name their rows: `person_mae`, `person_mae,mask_ratio=0.5`.
    #[arg(value_name = "SETTING")]
    pub first: String,
    /// Settings that it is compared with.
    #[arg(value_name = "OTHER", required = true)]
    pub others: Vec<String>,
    /// Only runs of this spec.
    #[arg(long, value_name = "SPEC.yaml")]
    pub spec: Option<PathBuf>,
    /// Only runs of this experiment.
    #[arg(long, value_name = "NAME", conflicts_with = "spec")]
    pub experiment: Option<String>,
    /// Set of queries.
    #[arg(long, default_value = "test", value_parser = ["test", "validation", "occluded"])]
    pub split: String,
    /// Queries to show of those that gained most, and of those that lost most.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub queries: usize,
    /// Replicates of the bootstrap.
    #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub replicates: u32,
    /// Output format.
    #[arg(long, value_enum, default_value_t = CompareFormat::Table)]
    pub format: CompareFormat,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Output format of `compare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For a terminal.
    Table,
    /// JSON.
    Json,
}
