//! One verb per file; here what they share.

mod check;
mod chosen;
mod compare;
mod data;
mod dataset;
mod differences;
mod events;
mod export;
mod gc;
mod holdings;
mod lineage;
mod logs;
mod models;
mod plan;
mod report;
mod run;
mod status;
mod table;
mod tensorboard;
mod tune;
mod unneeded;
mod watch;
mod why;
mod words;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::io::Write;
use std::path::{Path, PathBuf};

use reid_backbones::InstructionSet;
use reid_experiments::settings::{Settings, settings};
use reid_experiments::{Experiment, Issues};

use crate::calibration::splits;
use crate::cli::{Cli, Command, Common, DataCommand};
use crate::engine::{Datasets, Plan, StageKind};
use crate::exit::RunError;
use crate::progress::{Color, Mode, Options, Progress};

/// Does what the command line asks for.
///
/// # Errors
/// Whatever the verb's work meets, with the exit code that it leads to.
pub fn dispatch(cli: Cli) -> Result<(), RunError> {
    match cli.command {
        None => run::run(&cli.run),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Check(args)) => check::check(&args),
        Some(Command::Show(args)) => check::show(&args),
        Some(Command::Plan(args)) => plan::plan(&args),
        Some(Command::Schema) => schema(),
        Some(Command::Table(args)) => table::table(&args),
        Some(Command::Watch(args)) => watch::watch(&args),
        Some(Command::Tensorboard(args)) => tensorboard::tensorboard(&args),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Report(args)) => report::report(&args),
        Some(Command::Export(args)) => export::export(&args),
        Some(Command::Embed(args)) => models::embed(&args),
        Some(Command::Rank(args)) => models::rank(&args),
        Some(Command::Status(args)) => status::status(&args),
        Some(Command::Logs(args)) => logs::logs(&args),
        Some(Command::Why(args)) => why::why(&args),
        Some(Command::Gc(args)) => gc::gc(&args),
        Some(Command::Data(DataCommand::Stats(args))) => dataset::stats(&args),
        Some(Command::Data(DataCommand::Verify(args))) => dataset::verify(&args),
        Some(Command::Data(DataCommand::Fingerprint(args))) => dataset::fingerprint(&args),
        Some(Command::Data(DataCommand::Sheet(args))) => dataset::sheet(&args),
        Some(Command::Data(DataCommand::Synth(args))) => data::synth(&args),
    }
}

/// What most verbs begin with.
struct Setup {
    settings: Settings,
    progress: Progress,
    color: Color,
}

impl Setup {
    fn new(common: &Common) -> Result<Self, RunError> {
        Self::with_threads(common, |settings| settings.threads)
    }

    /// The same for verbs that compute stages: the calling thread is one of the settings' jobs.
    fn of_jobs(common: &Common) -> Result<Self, RunError> {
        Self::with_threads(common, Settings::threads_of_a_job)
    }

    fn with_threads(common: &Common, threads: impl Fn(&Settings) -> usize) -> Result<Self, RunError> {
        let defaults = Settings::defaults(user_folder("XDG_CACHE_HOME", ".cache"));
        let user_file = user_folder("XDG_CONFIG_HOME", ".config").join("config.yaml");
        // Names or values that are not Unicode cannot be settings.
        let environment = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let settings = settings(&defaults, &user_file, environment, &common.settings()).map_err(RunError::Usage)?;
        reid_backbones::use_threads(threads(&settings));
        if let Some(&set) = InstructionSet::available().iter().find(|set| set.name() == settings.isa) {
            // Nothing has been computed yet: the setting is always in time.
            reid_backbones::use_instruction_set(set);
        }
        let mode = if common.machine.quiet { Mode::Quiet } else { common.machine.progress };
        let options = Options { mode, color: common.machine.color, ..Options::default() };
        Ok(Self { settings, progress: Progress::to_stderr(options), color: common.machine.color })
    }

    /// Reads a spec; its warnings go to the terminal.
    fn load(&self, spec: &Path, overrides: &[String], color: Color) -> Result<Experiment, RunError> {
        let rendered = |issues: &Issues| issues.render(use_color(color, std::io::stderr().is_terminal()));
        let experiment = reid_experiments::load(spec, overrides).map_err(|issues| RunError::Spec(rendered(&issues)))?;
        for warning in &experiment.warnings {
            self.progress.line(warning.render(use_color(color, std::io::stderr().is_terminal())));
        }
        Ok(experiment)
    }

    /// Warns of settings that cannot work at the length of a run, where that takes the size of its data.
    fn warn_of_lengths(&self, experiment: &Experiment, plan: &Plan, color: Color) {
        let mut said = BTreeSet::new();
        for run in &plan.runs {
            let stages = run.stages.iter().map(|&index| &plan.stages[index]);
            for stage in stages.filter(|stage| stage.kind == StageKind::Pretrain) {
                let pool = splits(stage).iter().flat_map(|&split| stage.data.dataset.split(split));
                let pool = pool.filter(|record| record.usable).count();
                for warning in experiment.length_warnings(&run.run, pool).0 {
                    let text = warning.render(use_color(color, std::io::stderr().is_terminal()));
                    if said.insert(text.clone()) {
                        self.progress.line(text);
                    }
                }
            }
        }
    }

    /// The experiment's data sets, none opened yet; relative roots start at the spec's folder.
    fn datasets(&self, experiment: &Experiment) -> Datasets {
        let base = experiment.path.parent().map(Path::to_owned).unwrap_or_default();
        Datasets::new(&base, &self.settings, &self.progress)
    }
}

/// `$VARIABLE/reid-run`, or `~/<fallback>/reid-run`.
fn user_folder(variable: &str, fallback: &str) -> PathBuf {
    let set = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(fallback);
    set.unwrap_or_else(home).join("reid-run")
}

/// `1 run`, `2 runs`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Whether to color output that goes to a terminal or not.
fn use_color(color: Color, terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            !set("NO_COLOR")
                && (terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
                    || set("CLICOLOR_FORCE")
                    || set("FORCE_COLOR"))
        }
    }
}

/// Writes a result to stdout. A reader that has gone away is no error.
fn print(bytes: &[u8]) -> Result<(), RunError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(RunError::Unexpected(format!("writing to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

fn schema() -> Result<(), RunError> {
    let text =
        serde_json::to_string_pretty(&reid_experiments::schema()).map_err(|e| RunError::Unexpected(e.to_string()))?;
    print(format!("{text}\n").as_bytes())
}
