//! `run`: plan, reuse what is done, compute the rest, print the table.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;

use super::table::{RunTable, print_table};
use super::{Setup, plan::describe, print, user_folder};
use crate::calibration::Calibration;
use crate::cli::{Common, RerunOn, RunArgs};
use crate::engine::{Datasets, Engine, Plan};
use crate::exit::RunError;
use crate::log::EventLog;
use crate::progress::short_duration;
use crate::provenance::repository_of;
use crate::signals::Interrupt;
use crate::store::Store;

pub(super) fn run(args: &RunArgs) -> Result<(), RunError> {
    let began = Instant::now();
    let Some(spec) = &args.spec else {
        return Err(RunError::Usage("no spec given; try `reid-run experiments/quickstart.yaml`".to_owned()));
    };
    let setup = Setup::new(&args.common)?;
    let experiment = setup.load(spec, &args.overrides, args.common.color)?;
    let base = experiment.path.parent().map(std::path::Path::to_owned).unwrap_or_default();
    let calibration = Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state"));
    let mut datasets = Datasets::new(&base, &setup.settings.cache, setup.settings.threads, &setup.progress);
    if args.dry_run {
        let plan = Plan::new(&experiment, &mut datasets)?;
        let store = Store::open_existing(&setup.settings.out)?;
        return print(describe(&plan, store.as_ref(), &calibration, setup.settings.threads, true)?.as_bytes());
    }
    let engine = Engine {
        rerun_on_code: args.rerun_on == Some(RerunOn::Code),
        fail_fast: args.fail_fast,
        ..engine(&setup, spec, &args.overrides, &experiment.name)?
    };
    if args.require_clean && engine.source.state.as_ref().is_none_or(|state| state.dirty) {
        return Err(RunError::Usage(
            "--require-clean: the spec's repository has uncommitted changes or none was found".to_owned(),
        ));
    }
    let plan = Plan::new(&experiment, &mut datasets)?;
    setup.progress.line(describe(&plan, Some(&engine.store), &calibration, setup.settings.threads, false)?.trim_end());
    let summary = engine.execute(&plan)?;
    let ids = plan.runs.iter().map(|run| run.id.clone()).collect();
    let shown = RunTable {
        experiment: &experiment,
        ids,
        common: &args.common,
        command: format!("reid-run {}", spec.display()),
    };
    print_table(&engine.store, &shown)?;
    let took = short_duration(Duration::from_secs_f64(began.elapsed().as_secs_f64()));
    setup.progress.line(format_args!(
        "{} runs: {} stages computed, {} reused, {} runs failed, in {took}",
        summary.runs, summary.computed, summary.reused, summary.failed
    ));
    if let Some(trouble) = engine.log.trouble() {
        setup.progress.warn(trouble);
    }
    if summary.failed > 0 {
        return Err(RunError::SomeFailed { failed: summary.failed, total: summary.runs });
    }
    Ok(())
}

/// An engine over the settings' store, with signals handled and a log begun.
fn engine(setup: &Setup, spec: &Path, overrides: &[String], name: &str) -> Result<Engine, RunError> {
    let store = Store::open(&setup.settings.out)?;
    store.ensure_writable()?;
    store.tidy()?;
    let source = repository_of(spec, Some(store.root()));
    if let Some(warning) = &source.warning {
        setup.progress.warn(warning);
    }
    let log = EventLog::open(&store.logs(), name)?;
    let interrupt =
        Interrupt::install().map_err(|e| RunError::Unexpected(format!("signals cannot be handled: {e}")))?;
    Ok(Engine {
        store,
        progress: setup.progress.clone(),
        log,
        interrupt,
        device: Device::Cpu,
        device_class: "cpu".to_owned(),
        workers: setup.settings.workers,
        threads: setup.settings.threads,
        source,
        overrides: overrides.join(" "),
        rerun_on_code: false,
        fail_fast: false,
        calibration: Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state")).into(),
    })
}

/// Runs a spec and gives the test mAP of its first run.
pub(super) fn measure(spec: &Path, overrides: &[String], common: &Common) -> Result<f64, RunError> {
    let setup = Setup::new(common)?;
    let experiment = setup.load(spec, overrides, common.color)?;
    let base = experiment.path.parent().map(Path::to_owned).unwrap_or_default();
    let mut datasets = Datasets::new(&base, &setup.settings.cache, setup.settings.threads, &setup.progress);
    let engine = engine(&setup, spec, overrides, &experiment.name)?;
    let plan = Plan::new(&experiment, &mut datasets)?;
    engine.execute(&plan)?;
    let rows = reid_results::read(&engine.store.results())?.rows()?;
    let run = plan.runs.first().and_then(|run| rows.into_iter().find(|row| row.run_id == run.id));
    let map = run.and_then(|row| row.metrics.get("test.map").copied());
    map.ok_or_else(|| RunError::Unexpected("the run has no test mAP; see its error above".to_owned()))
}
