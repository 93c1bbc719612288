//! `plan`: what would be computed, and what it costs.

use std::fmt::Write;
use std::time::Duration;

use super::{Setup, count, print, user_folder};
use crate::calibration::Calibration;
use crate::cli::PlanArgs;
use crate::engine::{Plan, StageKind};
use crate::exit::RunError;
use crate::progress::short_duration;
use crate::store::Store;

pub(super) fn plan(args: &PlanArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.spec.common)?;
    let experiment = setup.load(&args.spec.spec, &args.spec.overrides, args.spec.common.machine.color)?;
    let mut datasets = setup.datasets(&experiment);
    let plan = Plan::new(&experiment, &mut datasets)?;
    let store = Store::open_existing(&setup.settings.out)?;
    let calibration = Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state"));
    for line in datasets.describe() {
        setup.progress.line(line);
    }
    print(describe(&plan, store.as_ref(), &calibration, setup.settings.threads, args.stages)?.as_bytes())
}

/// State of a stage in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Begun,
    Todo,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Begun => "begun",
            Self::Todo => "to do",
        }
    }
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
    let (runs, all) = (count(plan.runs.len(), "run"), count(plan.stages.len(), "stage"));
    let is_done = states.iter().all(|&state| state == State::Done);
    let mut text = format!("{}: {runs}, {all}{}\n", plan.experiment, if is_done { ", all done" } else { "" });
    let mut total = 0.0;
    let mut unknown = 0;
    for kind in [StageKind::Pretrain, StageKind::Train, StageKind::Evaluate] {
        let of_kind: Vec<usize> = (0..plan.stages.len()).filter(|&i| plan.stages[i].kind == kind).collect();
        let in_state = |state| of_kind.iter().filter(|&&i| states[i] == state).count();
        if of_kind.is_empty() || is_done {
            continue;
        }
        let uses: usize = plan.runs.iter().filter(|run| run.stages.iter().any(|s| of_kind.contains(s))).count();
        let mut seconds = 0.0;
        for &i in of_kind.iter().filter(|&&i| states[i] != State::Done) {
            match calibration.estimate(&plan.stages[i], threads) {
                Some(estimate) => seconds += estimate,
                None => unknown += 1,
            }
        }
        total += seconds;
        let numbers = [State::Done, State::Begun, State::Todo].map(|state| (in_state(state), state.name()));
        let numbers = numbers.iter().filter(|(number, _)| *number > 0).map(|(number, name)| format!("{number} {name}"));
        let numbers: Vec<String> = numbers.collect();
        let (kind, uses) = (kind.name(), count(uses, "run"));
        let _ = writeln!(text, "  {kind:<9} {:>4} for {uses}: {}", of_kind.len(), numbers.join(", "));
    }
    let known = short_duration(Duration::from_secs_f64(total));
    let left = states.iter().filter(|&&state| state != State::Done).count();
    let _ = match unknown {
        _ if is_done => Ok(()),
        0 => writeln!(text, "about {known} on this machine"),
        n if n == left => writeln!(text, "cost unknown: nothing like it has been computed on this machine"),
        n => writeln!(text, "about {known} on this machine, and {} of unknown cost", count(n, "stage")),
    };
    if stages {
        for (stage, state) in plan.stages.iter().zip(&states) {
            let _ = writeln!(text, "  {:<6} {} {}", state.name(), stage.key.short(), stage.label);
        }
    }
    Ok(text)
}
