//! `run`: plan, reuse what is done, compute the rest, print the table.

use std::time::{Duration, Instant};

use candle_core::Device;

use super::table::{RunTable, print_table};
use super::{Setup, plan::describe, print, user_folder};
use crate::calibration::Calibration;
use crate::cli::{RerunOn, RunArgs};
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
    let store = Store::open(&setup.settings.out)?;
    store.ensure_writable()?;
    let source = repository_of(spec, Some(store.root()));
    if let Some(warning) = &source.warning {
        setup.progress.warn(warning);
    }
    if args.require_clean && source.state.as_ref().is_none_or(|state| state.dirty) {
        return Err(RunError::Usage("--require-clean: the spec's repository has uncommitted changes or none was found".to_owned()));
    }
    let log = EventLog::open(&store.logs(), &experiment.name)?;
    let plan = Plan::new(&experiment, &mut datasets)?;
    setup.progress.line(describe(&plan, Some(&store), &calibration, setup.settings.threads, false)?.trim_end());
    let interrupt = Interrupt::install().map_err(|e| RunError::Unexpected(format!("signals cannot be handled: {e}")))?;
    let engine = Engine {
        store,
        progress: setup.progress.clone(),
        log,
        interrupt,
        device: Device::Cpu,
        device_class: "cpu".to_owned(),
        workers: setup.settings.workers,
        threads: setup.settings.threads,
        source,
        overrides: args.overrides.join(" "),
        rerun_on_code: args.rerun_on == Some(RerunOn::Code),
        fail_fast: args.fail_fast,
        calibration: calibration.into(),
    };
    let summary = engine.execute(&plan)?;
    let ids = plan.runs.iter().map(|run| run.id.clone()).collect();
    let shown = RunTable { experiment: &experiment, ids, common: &args.common, command: format!("reid-run {}", spec.display()) };
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
