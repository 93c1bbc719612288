//! `run`: plan, reuse what is done, compute the rest, print the table.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use reid_backbones::spec::Precision;

use super::table::{RunTable, print_table};
use super::tune::{self, Chosen, Trials};
use super::{Setup, count, plan::Phase, plan::again, plan::describe, plan::phases, plan::states, print, user_folder};
use crate::calibration::Calibration;
use crate::cli::{Common, RerunOn, RunArgs};
use crate::engine::{Datasets, Engine, Machine, Plan, RunPlan, Summary};
use crate::exit::RunError;
use crate::log::EventLog;
use crate::progress::short_duration;
use crate::provenance::{SourceState, repository_of};
use crate::signals::Interrupt;
use crate::store::Store;
use crate::tensorboard::Board;

pub(super) fn run(args: &RunArgs) -> Result<(), RunError> {
    let began = Instant::now();
    let Some(spec) = &args.spec else {
        return Err(RunError::Usage("no spec given; try `reid-run experiments/quickstart.yaml`".to_owned()));
    };
    let setup = Setup::of_jobs(&args.common)?;
    let experiment = setup.load(spec, &args.overrides, args.common.machine.color)?;
    let calibration = Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state"));
    let mut datasets = setup.datasets(&experiment);
    if args.dry_run {
        let store = Store::open_existing(&setup.settings.out)?;
        let machine = Machine::open(&setup.settings)?;
        for Phase { title, plan } in phases(&experiment, &mut datasets, store.as_ref())? {
            setup.warn_of_lengths(&experiment, &plan, args.common.machine.color);
            let described = describe(&plan, &states(&plan, store.as_ref())?, &calibration, &machine, true);
            print(format!("{title}{described}").as_bytes())?;
        }
        return Ok(());
    }
    let mut engine = Engine {
        rerun_on_code: args.rerun_on == Some(RerunOn::Code),
        fail_fast: args.fail_fast,
        board: args.tensorboard.as_deref().map(|folder| Board::new(folder, &setup.progress)),
        ..engine(&setup, spec, &args.overrides, &experiment.name)?
    };
    if args.require_clean {
        require_clean(engine.source.state.as_ref())?;
    }
    let trials = Trials::plan(&experiment, &mut datasets)?;
    let (mut summary, mut experiment) = (Summary::default(), experiment);
    if let Some(trials) = &trials {
        setup.progress.line(trials.describe().trim_end());
        show_plan(&setup, &datasets, &trials.plan, &engine, &calibration)?;
        setup.warn_of_lengths(&experiment, &trials.plan, args.common.machine.color);
        engine.interrupt = listen()?;
        summary.add(&engine.execute(&trials.plan)?);
        if engine.fail_fast && summary.failed > 0 {
            let Summary { failed, given_up, runs: total, .. } = summary;
            return Err(RunError::SomeFailed { failed, given_up, total });
        }
        let Chosen { experiment: chosen, undecided } = trials.choose(Some(&engine.store))?;
        for label in undecided {
            setup.progress.warn(format_args!("{label}: no setting has a result for every seed of its trials; not run"));
        }
        tune::report(&setup.progress, &chosen);
        experiment = chosen;
    }
    let plan = Plan::new(&experiment, &mut datasets)?;
    show_plan(&setup, &datasets, &plan, &engine, &calibration)?;
    if trials.is_none() {
        setup.warn_of_lengths(&experiment, &plan, args.common.machine.color);
        engine.interrupt = listen()?;
    }
    summary.add(&engine.execute(&plan)?);
    let ids = plan.runs.iter().map(|run| run.id.clone()).collect();
    let shown = RunTable {
        experiment: &experiment,
        ids,
        common: &args.common,
        command: format!("reid-run {}", spec.display()),
    };
    let printed = print_table(&engine.store, &shown);
    setup.progress.line(in_words(&summary, began.elapsed()));
    if let Some(trouble) = engine.log.trouble() {
        setup.progress.warn(trouble);
    }
    // Failed runs are the graver news, and may be why there is no table.
    if summary.failed > 0 {
        if let Err(error) = printed {
            setup.progress.warn(format_args!("no table: {error}"));
        }
        let Summary { failed, given_up, runs: total, .. } = summary;
        return Err(RunError::SomeFailed { failed, given_up, total });
    }
    printed
}

/// Refuses to run from a spec whose state no commit names.
fn require_clean(state: Option<&SourceState>) -> Result<(), RunError> {
    let problem = match state {
        Some(state) if !state.dirty => return Ok(()),
        Some(_) => "the spec's repository has uncommitted changes; commit or stash them",
        None => "no commit of the spec's repository is known; commit the spec to a git repository",
    };
    Err(RunError::Usage(format!("--require-clean: {problem}")))
}

/// Says what is about to happen.
fn show_plan(
    setup: &Setup,
    datasets: &Datasets,
    plan: &Plan,
    engine: &Engine,
    calibration: &Calibration,
) -> Result<(), RunError> {
    for line in datasets.describe().into_iter().chain(plan.imports.describe()) {
        setup.progress.line(line);
    }
    let states = states(plan, Some(&engine.store))?;
    for line in again(plan, &engine.store)? {
        setup.progress.line(line);
    }
    setup.progress.line(describe(plan, &states, calibration, &engine.machine, false).trim_end());
    let is_bf16 = |run: &RunPlan| run.run.spec.precision == Precision::Bf16;
    if engine.machine.device.is_cpu() && plan.runs.iter().any(is_bf16) {
        let text = "`precision: bf16` on a CPU is slower than f32 and less exact; it serves to try a spec out";
        setup.progress.warn(text);
    }
    Ok(())
}

/// From here on a signal ends the work after its step; before, it ends the program.
pub(super) fn listen() -> Result<Interrupt, RunError> {
    Interrupt::install().map_err(|e| RunError::Unexpected(format!("signals cannot be handled: {e}")))
}

/// `4 runs: 9 stages computed, 3 reused, in 12 s`.
fn in_words(summary: &Summary, took: Duration) -> String {
    let Summary { runs, computed, reused, failed, skipped, .. } = *summary;
    let mut text = format!("{}: {} computed, {reused} reused", count(runs, "run"), count(computed, "stage"));
    for (number, what) in [(failed, "failed"), (skipped, "not begun")] {
        if number > 0 {
            let _ = write!(text, ", {} {what}", count(number, "run"));
        }
    }
    format!("{text}, in {}", short_duration(took))
}

/// An engine over the settings' store, with a log begun.
fn engine(setup: &Setup, spec: &Path, overrides: &[String], name: &str) -> Result<Engine, RunError> {
    let machine = Machine::open(&setup.settings)?;
    let store = Store::open(&setup.settings.out)?;
    store.ensure_writable()?;
    store.tidy()?;
    let source = repository_of(spec, Some(store.root()));
    if let Some(warning) = &source.warning {
        setup.progress.warn(warning);
    }
    let log = EventLog::open(&store.logs(), name)?;
    Ok(Engine {
        store,
        progress: setup.progress.clone(),
        log,
        interrupt: Interrupt::new(),
        machine,
        source,
        overrides: overrides.join(" "),
        rerun_on_code: false,
        fail_fast: false,
        calibration: Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state")).into(),
        board: None,
    })
}

/// Runs a spec and gives the test mAP of its first run.
pub(super) fn measure(spec: &Path, overrides: &[String], common: &Common) -> Result<f64, RunError> {
    let setup = Setup::of_jobs(common)?;
    let experiment = setup.load(spec, overrides, common.machine.color)?;
    let mut datasets = setup.datasets(&experiment);
    let mut engine = engine(&setup, spec, overrides, &experiment.name)?;
    let plan = Plan::new(&experiment, &mut datasets)?;
    engine.interrupt = listen()?;
    engine.execute(&plan)?;
    let rows = reid_results::read(&engine.store.results())?.rows()?;
    let run = plan.runs.first().and_then(|run| rows.into_iter().find(|row| row.run_id == run.id));
    let map = run.and_then(|row| row.metrics.get("test.map").copied());
    map.ok_or_else(|| RunError::Unexpected("the run has no test mAP; see its error above".to_owned()))
}
