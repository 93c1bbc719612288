//! The command line's grammar.

mod results;
mod store;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use reid_experiments::settings::PartialSettings;

use crate::progress::{Color, Mode};

pub use results::{CompareArgs, CompareFormat, Cost, ReportArgs, TableArgs, TableFormat, TensorboardArgs, WatchArgs};
pub use store::{GcArgs, LogsArgs, StatusArgs, ViewFormat, WhyArgs};

/// Pre-train Vision Transformers for person re-identification, compare objectives fairly.
///
/// `reid-run SPEC.yaml` plans the experiment, reuses what is done, computes the rest, and prints the
/// table. Running the same command again resumes, or does nothing.
#[derive(Debug, Parser)]
#[command(name = "reid-run", version, args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 unexpected error, 2 usage, 3 invalid spec, 4 nothing selected, 5 invalid data, \
6 store unusable, 75 interrupted and resumable, 100 some runs failed, 130 stopped at once."
)]
pub struct Cli {
    /// What to do; `run` if absent.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Spec and overrides of `run`.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an experiment (the same as `reid-run SPEC.yaml`).
    Run(RunArgs),
    /// Check a spec: every mistake at once, nothing computed.
    Check(SpecArgs),
    /// Show the stages and runs of an experiment, what is done, and what the rest will cost.
    Plan(PlanArgs),
    /// Print the resolved spec of every run.
    Show(SpecArgs),
    /// Print the JSON Schema of spec files.
    Schema,
    /// Print the aggregated table of results.
    Table(TableArgs),
    /// Show how far an experiment is that this or another process runs.
    Watch(WatchArgs),
    /// Write the curves of finished runs as event files for TensorBoard.
    Tensorboard(TensorboardArgs),
    /// Compare settings query by query: the difference in mAP, how sure it is, and where it comes from.
    Compare(CompareArgs),
    /// Write one HTML page that shows an experiment: table, charts, pictures.
    Report(ReportArgs),
    /// Write a run's encoder for other programs: safetensors with timm's names, or ONNX.
    Export(ExportArgs),
    /// Write a model's features of pictures as Parquet.
    Embed(EmbedArgs),
    /// Show the pictures that a model finds nearest to others.
    Rank(RankArgs),
    /// Show where the runs of a spec stand, or what a store holds.
    Status(StatusArgs),
    /// Print what the event logs tell of a run.
    Logs(LogsArgs),
    /// Say why stages are not finished: in which fields they differ from the nearest finished ones.
    Why(WhyArgs),
    /// Remove from a store what no result needs.
    Gc(GcArgs),
    /// Built-in data.
    #[command(subcommand)]
    Data(DataCommand),
}

/// A spec and what overrides it.
#[derive(Clone, Debug, Args)]
pub struct SpecArgs {
    /// Spec file.
    #[arg(value_name = "SPEC.yaml")]
    pub spec: PathBuf,
    /// Overrides: `pretrain.train.lr=3e-4`, `~pretrain.train.clip` takes a field back to its default.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Spec file.
    #[arg(value_name = "SPEC.yaml")]
    pub spec: Option<PathBuf>,
    /// Overrides: `pretrain.train.lr=3e-4`, `~pretrain.train.clip` takes a field back to its default.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Show the plan and stop.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Stop at the first failed run; by default the others go on.
    #[arg(long)]
    pub fail_fast: bool,
    /// Compute stages again although nothing in their key changed.
    #[arg(long, value_name = "WHEN")]
    pub rerun_on: Option<RerunOn>,
    /// Refuse to run when the spec's repository has uncommitted changes.
    #[arg(long)]
    pub require_clean: bool,
    /// Draw the curves of trainings for TensorBoard while they go on, a folder for each stage.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// When finished stages are computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RerunOn {
    /// When another commit of the program computed them.
    Code,
}

/// Arguments of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Spec and overrides.
    #[command(flatten)]
    pub spec: SpecArgs,
    /// Every stage on a line of its own.
    #[arg(long)]
    pub stages: bool,
    /// Run a few steps of every kind of work whose cost is not known yet, and remember what they cost.
    #[arg(long)]
    pub calibrate: bool,
}

/// Arguments of `export`.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Id of a finished run, as the results have it, or a spec that has one run.
    #[arg(value_name = "RUN-ID|SPEC.yaml")]
    pub run: String,
    /// Overrides of the spec that the run was made with.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// File to write; its ending, `.safetensors` or `.onnx`, decides what.
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// The encoder as it was after this stage [default: the last that trained it].
    #[arg(long, value_enum, value_name = "STAGE")]
    pub after: Option<After>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// A model and where its run is kept.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// Id of a finished run, as the results have it, or a spec that has one run; it need not have been run where it
    /// trains nothing (`protocol: frozen` of an `imported` encoder).
    #[arg(value_name = "RUN-ID|SPEC.yaml")]
    pub run: String,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Leave pictures out that cannot be decoded, and say how many; they are an error otherwise.
    #[arg(long)]
    pub skip_corrupt: bool,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of `embed`.
#[derive(Clone, Debug, Args)]
pub struct EmbedArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Pictures: a folder, a list (.csv, .parquet), one picture, or a spec, whose data are taken.
    #[arg(long, value_name = "DIR|LIST|FILE|SPEC.yaml")]
    pub data: PathBuf,
    /// Only this split [default: all].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// File to write: split, path, pid, camera and feature of every picture.
    #[arg(long, value_name = "FILE.parquet")]
    pub to: PathBuf,
}

/// Arguments of `rank`.
#[derive(Clone, Debug, Args)]
pub struct RankArgs {
    /// The model.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Pictures to look for, as `--gallery` takes them, the queries of a set that has some; may be given several times.
    #[arg(long, required = true, value_name = "FILE|DIR|LIST")]
    pub query: Vec<PathBuf>,
    /// Pictures to look among: a folder, a list (.csv, .parquet), or a spec, whose data are taken.
    #[arg(long, value_name = "DIR|LIST|SPEC.yaml")]
    pub gallery: PathBuf,
    /// Split of the gallery [default: gallery, or all of a set without one].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// Pictures to show for each query.
    #[arg(long, default_value = "10", value_name = "K")]
    pub top: NonZeroUsize,
    /// Output format.
    #[arg(long, value_enum, default_value_t = RankFormat::Table)]
    pub format: RankFormat,
}

/// Output format of `rank`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RankFormat {
    /// For a terminal.
    Table,
    /// JSON.
    Json,
}

/// A stage that leaves an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum After {
    /// The pre-training, or the file that it stands for.
    Pretrain,
    /// The protocol's training.
    Train,
}

/// Verbs on data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Count the pictures, identities and cameras of a data set.
    Stats(DataArgs),
    /// Look for damaged, repeated and misplaced pictures, and for identities on both sides.
    Verify(DataArgs),
    /// Print the hash of a data set's content.
    Fingerprint(DataArgs),
    /// Draw a contact sheet of a data set: an identity to a row.
    Sheet(SheetArgs),
    /// Render the built-in data, or audit them.
    Synth(SynthArgs),
}

/// A data set.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// A spec, whose data are taken; or a folder, or a list of pictures (.csv, .parquet).
    #[arg(value_name = "SPEC.yaml|DIR|LIST")]
    pub data: PathBuf,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub machine: Machine,
}

/// Arguments of `data sheet`.
#[derive(Clone, Debug, Args)]
pub struct SheetArgs {
    /// The data set.
    #[command(flatten)]
    pub data: DataArgs,
    /// Where the picture goes.
    #[arg(short, long, value_name = "FILE.png")]
    pub out: PathBuf,
    /// Which split [default: train, or the first that the set has].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
}

/// Arguments of `data synth`.
#[derive(Clone, Debug, Args)]
pub struct SynthArgs {
    /// Spec whose built-in data, backbone and protocol are taken; the defaults if absent.
    #[arg(long, value_name = "SPEC.yaml")]
    pub spec: Option<PathBuf>,
    /// Overrides of the spec.
    #[arg(value_name = "KEY=VALUE", requires = "spec")]
    pub overrides: Vec<String>,
    /// Write Market-1501 folders of JPEGs here.
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print how hard the data are, and for whom; with `--spec`, train `none` on them too.
    #[arg(long)]
    pub audit: bool,
    /// Write a contact sheet (PNG) here.
    #[arg(long, value_name = "FILE.png")]
    pub sheet: Option<PathBuf>,
    /// Machine settings and terminal.
    #[command(flatten)]
    pub machine: Machine,
}

/// Store, machine settings and terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine and terminal")]
pub struct Common {
    /// Folder of stages and results [default: runs; env: `REID_RUN_OUT`].
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The rest.
    #[command(flatten)]
    pub machine: Machine,
}

/// Machine settings and terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Machine and terminal")]
pub struct Machine {
    /// Folder of rendered data [env: `REID_RUN_CACHE`].
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Threads that compute [default: one per processor; env: `REID_RUN_THREADS`].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Stages computed at the same time, with an equal share of the threads each [default: 1; env: `REID_RUN_JOBS`].
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Threads that load pictures, for each stage under way [default: 1; env: `REID_RUN_WORKERS`].
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Where tensors live: `cpu`, `cuda:N` or `metal` [default: cpu; env: `REID_RUN_DEVICE`].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Warnings and results only.
    #[arg(short, long)]
    pub quiet: bool,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = Mode::Auto, value_name = "HOW")]
    pub progress: Mode,
    /// When to use color; `NO_COLOR` is obeyed.
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

impl Common {
    /// The settings that the command line gives.
    pub fn settings(&self) -> PartialSettings {
        let Machine { cache, threads, jobs, workers, device, .. } = self.machine.clone();
        PartialSettings { out: self.out.clone(), cache, threads, jobs, workers, pack: None, device, isa: None }
    }
}
