//! `plan`: what would be computed, and what it costs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use super::{Setup, print, user_folder};
use crate::calibration::Calibration;
use crate::cli::PlanArgs;
use crate::engine::{Datasets, Plan, StageKind};
use crate::exit::RunError;
use crate::progress::short_duration;
use crate::store::Store;

pub(super) fn plan(args: &PlanArgs) -> Result<(), RunError> {
    let SeenPlan { setup, plan, store } = SeenPlan::new(args)?;
    let calibration = Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state"));
    print(describe(&plan, store.as_ref(), &calibration, setup.settings.threads, args.stages)?.as_bytes())
}

struct SeenPlan {
    setup: Setup,
    plan: Plan,
    store: Option<Store>,
}

impl SeenPlan {
    fn new(args: &PlanArgs) -> Result<Self, RunError> {
        let setup = Setup::new(&args.spec.common)?;
        let experiment = setup.load(&args.spec.spec, &args.spec.overrides, args.spec.common.color)?;
        let base = experiment.path.parent().map(std::path::Path::to_owned).unwrap_or_default();
        let mut datasets = Datasets::new(&base, &setup.settings.cache, setup.settings.threads, &setup.progress);
        let plan = Plan::new(&experiment, &mut datasets)?;
        let store = Store::open_existing(&setup.settings.out)?;
        Ok(Self { setup, plan, store })
    }
}

/// State of a stage in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Begun,
    Todo,
}

/// The plan in words: a line per kind of stage, the cost, and if asked a line per stage.
pub(super) fn describe(
    plan: &Plan,
    store: Option<&Store>,
    calibration: &Calibration,
    threads: usize,
    stages: bool,
) -> Result<String, RunError> {
    let mut states = Vec::with_capacity(plan.stages.len());
    for stage in &plan.stages {
        states.push(match store {
            Some(store) if store.stage(&stage.key)?.is_some() => State::Done,
            Some(store) if store.is_begun(&stage.key) => State::Begun,
            _ => State::Todo,
        });
    }
    let mut text = format!("{}: {} runs, {} distinct stages\n", plan.experiment, plan.runs.len(), plan.stages.len());
    let mut total = 0.0;
    let mut unknown = 0;
    for kind in [StageKind::Pretrain, StageKind::Train, StageKind::Evaluate] {
        let of_kind: Vec<usize> = (0..plan.stages.len()).filter(|&i| plan.stages[i].kind == kind).collect();
        let count = |state| of_kind.iter().filter(|&&i| states[i] == state).count();
        let uses: usize = plan.runs.iter().filter(|run| run.stages.iter().any(|s| of_kind.contains(s))).count();
        let mut seconds = 0.0;
        for &i in of_kind.iter().filter(|&&i| states[i] != State::Done) {
            match calibration.estimate(&plan.stages[i], threads) {
                Some(estimate) => seconds += estimate,
                None => unknown += 1,
            }
        }
        total += seconds;
        let (done, begun, todo) = (count(State::Done), count(State::Begun), count(State::Todo));
        let _ = writeln!(
            text,
            "  {:<9} {:>4} for {uses} runs: {done} done, {begun} begun, {todo} to do",
            kind.name(),
            of_kind.len()
        );
    }
    let known = short_duration(Duration::from_secs_f64(total));
    match (unknown, states.iter().all(|&state| state == State::Done)) {
        (_, true) => text.push_str("nothing to compute\n"),
        (0, _) => {
            let _ = writeln!(text, "about {known} on this machine");
        }
        (n, _) => {
            let _ = writeln!(
                text,
                "cost: {known} for the stages whose like has been computed here; {n} unknown until the first of their kind is done"
            );
        }
    }
    if stages {
        let names: BTreeMap<u8, &str> = BTreeMap::from([(0, "done"), (1, "begun"), (2, "to do")]);
        for (stage, state) in plan.stages.iter().zip(&states) {
            let _ = writeln!(text, "  {:<6} {} {}", names[&(*state as u8)], stage.key.short(), stage.label);
        }
    }
    Ok(text)
}
