//! `plan`: what would be computed, and what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use reid_data::dataset::Split;
use reid_experiments::Experiment;

use super::run::listen;
use super::tune::{Chosen, Trials};
use super::{Setup, count, print, user_folder};
use crate::calibration::{Calibration, Estimate, splits};
use crate::cli::PlanArgs;
use crate::engine::{Datasets, Machine, OpenData, Plan, RunPlan, StageDef, StageKind, calibrate, footprint};
use crate::exit::RunError;
use crate::progress::short_duration;
use crate::store::Store;

pub(super) fn plan(args: &PlanArgs) -> Result<(), RunError> {
    let setup = Setup::of_jobs(&args.spec.common)?;
    let machine = Machine::open(&setup.settings)?;
    let experiment = setup.load(&args.spec.spec, &args.spec.overrides, args.spec.common.machine.color)?;
    let mut datasets = setup.datasets(&experiment);
    let store = Store::open_existing(&setup.settings.out)?;
    let phases = phases(&experiment, &mut datasets, store.as_ref())?;
    let mut calibration = Calibration::load(&user_folder("XDG_STATE_HOME", ".local/state"));
    let imports = phases.last().map(|phase| phase.plan.imports.describe()).unwrap_or_default();
    for line in datasets.describe().into_iter().chain(imports) {
        setup.progress.line(line);
    }
    let interrupt = if args.calibrate { Some(listen()?) } else { None };
    for Phase { title, plan } in &phases {
        setup.warn_of_lengths(&experiment, plan, args.spec.common.machine.color);
        let states = states(plan, store.as_ref())?;
        for line in store.iter().map(|store| again(plan, store)).collect::<Result<Vec<_>, _>>()?.concat() {
            setup.progress.line(line);
        }
        if let Some(interrupt) = &interrupt {
            let left = plan.stages.iter().zip(&states).filter(|(_, state)| **state != State::Done);
            calibrate(plan, left.map(|(stage, _)| stage), &machine, &mut calibration, (&setup.progress, interrupt))?;
        }
        print(title.as_bytes())?;
        print(describe(plan, &states, &calibration, &machine, args.stages).as_bytes())?;
    }
    Ok(())
}

/// A plan, and what stands above it.
pub(super) struct Phase {
    pub(super) title: String,
    pub(super) plan: Plan,
}

/// The runs of an experiment, after its trials if it has any.
pub(super) fn phases(
    experiment: &Experiment,
    datasets: &mut Datasets,
    store: Option<&Store>,
) -> Result<Vec<Phase>, RunError> {
    let (Some(tuning), Some(trials)) = (&experiment.tuning, Trials::plan(experiment, datasets)?) else {
        return Ok(vec![Phase { title: String::new(), plan: Plan::new(experiment, datasets)? }]);
    };
    let Chosen { experiment: chosen, undecided } = trials.choose(store)?;
    let by = tuning.by.name();
    let (title, chosen) = if undecided.is_empty() {
        (format!("then, with what validation {by} has chosen:\n"), chosen)
    } else {
        // Which of them is chosen changes keys, not costs.
        let first = vec![Some(0); tuning.points.len()];
        let title = format!("then, with what validation {by} chooses (here the first of each grid stands for it):\n");
        (title, experiment.with_choice(&first))
    };
    let runs = Plan::new(&chosen, datasets)?;
    Ok(vec![Phase { title: trials.describe(), plan: trials.plan }, Phase { title, plan: runs }])
}

/// State of a stage in the store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
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

/// Where every stage of a plan stands.
pub(super) fn states(plan: &Plan, store: Option<&Store>) -> Result<Vec<State>, RunError> {
    let state = |stage: &StageDef| {
        Ok(match store {
            Some(store) if is_done(store, stage)? => State::Done,
            Some(store) if store.is_begun(&stage.key) => State::Begun,
            _ => State::Todo,
        })
    };
    plan.stages.iter().map(state).collect()
}

/// Whether a stage is there with all that runs take from it.
fn is_done(store: &Store, stage: &StageDef) -> Result<bool, RunError> {
    Ok(store.stage(&stage.key)?.is_some_and(|dir| dir.has(&stage.snapshots.files())))
}

/// Why finished stages are computed again, one line each.
pub(super) fn again(plan: &Plan, store: &Store) -> Result<Vec<String>, RunError> {
    let mut lines = Vec::new();
    for stage in &plan.stages {
        let lacking = store.stage(&stage.key)?.and_then(|dir| stage.snapshots.lacking(&dir));
        lines.extend(lacking.map(|lacking| format!("{}: to do again, since {lacking}", stage.label)));
    }
    Ok(lines)
}

/// The plan in words: a line per kind of stage, the cost, and if asked a line per stage.
pub(super) fn describe(
    plan: &Plan,
    states: &[State],
    calibration: &Calibration,
    machine: &Machine,
    stages: bool,
) -> String {
    let (runs, all) = (count(plan.runs.len(), "run"), count(plan.stages.len(), "stage"));
    let is_done = states.iter().all(|&state| state == State::Done);
    let mut text = format!("{}: {runs}, {all}{}\n", plan.experiment, if is_done { ", all done" } else { "" });
    let pictures = picture_bytes(plan, states);
    let (mut total, mut peak, mut unknown) = (0.0, None, 0);
    let costs: Vec<Option<Estimate>> = plan.stages.iter().map(|stage| calibration.estimate(stage, machine)).collect();
    for kind in [StageKind::Pretrain, StageKind::Train, StageKind::Evaluate] {
        let of_kind: Vec<usize> = (0..plan.stages.len()).filter(|&i| plan.stages[i].kind == kind).collect();
        let in_state = |state| of_kind.iter().filter(|&&i| states[i] == state).count();
        if of_kind.is_empty() || is_done {
            continue;
        }
        let uses: usize = plan.runs.iter().filter(|run| run.stages.iter().any(|s| of_kind.contains(s))).count();
        let left = of_kind.iter().filter(|&&i| states[i] != State::Done);
        let bound = left.clone().filter_map(|&i| footprint::bytes(&plan.stages[i])).max();
        let known: Vec<Option<Estimate>> = left.map(|&i| costs[i]).collect();
        unknown += known.iter().filter(|estimate| estimate.is_none()).count();
        let known: Vec<Estimate> = known.into_iter().flatten().collect();
        total += known.iter().map(|estimate| estimate.seconds).sum::<f64>();
        let bytes = known.iter().filter_map(|estimate| estimate.bytes).max().map(|bytes| bytes + pictures);
        peak = peak.max(bytes);

        let numbers = [State::Done, State::Begun, State::Todo].map(|state| (in_state(state), state.name()));
        let numbers = numbers.iter().filter(|(number, _)| *number > 0).map(|(number, name)| format!("{number} {name}"));
        let mut parts: Vec<String> = numbers.collect();
        parts.extend(step_time(&known));
        parts.extend(bytes.map(short_bytes));
        let work = if kind == StageKind::Evaluate { "ranking" } else { "clustering" };
        parts.extend(bound.map(|bound| format!("{work} at most {}", short_bytes(bound))));
        let (kind, uses) = (kind.name(), count(uses, "run"));
        let _ = writeln!(text, "  {kind:<9} {:>4} for {uses}: {}", of_kind.len(), parts.join(", "));
    }
    // Jobs have an equal share each, but for those that wait for the stages of one run.
    let left_of = |run: &&RunPlan| run.stages.iter().any(|&stage| states[stage] != State::Done);
    let jobs = machine.jobs.min(plan.runs.iter().filter(left_of).count()).max(1) as u64;
    let of_stage =
        |&stage: &usize| costs[stage].filter(|_| states[stage] != State::Done).map_or(0.0, |cost| cost.seconds);
    let of_run = |run: &RunPlan| run.stages.iter().map(of_stage).sum::<f64>();
    let longest = plan.runs.iter().map(of_run).fold(0.0, f64::max);
    let mut known = short_duration(Duration::from_secs_f64(longest.max(total / jobs as f64)));
    if let Some(peak) = peak {
        let _ = write!(known, " and {} of memory", short_bytes((peak - pictures) * jobs + pictures));
    }
    let left = states.iter().filter(|&&state| state != State::Done).count();
    let _ = match unknown {
        _ if is_done => Ok(()),
        0 => writeln!(text, "about {known} on this machine"),
        n if n == left => {
            writeln!(text, "cost unknown: nothing like it was computed here; `plan --calibrate` measures it")
        }
        n => writeln!(text, "about {known} on this machine, and {} of unknown cost", count(n, "stage")),
    };
    if stages {
        for (stage, state) in plan.stages.iter().zip(states) {
            let _ = writeln!(text, "  {:<6} {} {}", state.name(), stage.key.short(), stage.label);
        }
    }
    text
}

/// Bytes of decoded pictures that the unfinished stages come to keep.
fn picture_bytes(plan: &Plan, states: &[State]) -> u64 {
    let mut read: BTreeMap<*const OpenData, (&OpenData, BTreeSet<Split>)> = BTreeMap::new();
    for (stage, _) in plan.stages.iter().zip(states).filter(|(_, state)| **state != State::Done) {
        let (_, of_set) = read.entry(Arc::as_ptr(&stage.data)).or_insert_with(|| (&stage.data, BTreeSet::new()));
        of_set.extend(splits(stage));
    }
    read.into_values().map(|(data, of_set)| data.bytes_to_keep(of_set.into_iter())).sum()
}

/// `71 to 117 ms a step`.
fn step_time(known: &[Estimate]) -> Option<String> {
    let steps = || known.iter().filter_map(|estimate| estimate.step).map(|seconds| seconds * 1e3);
    let (least, most) = (steps().reduce(f64::min)?, steps().reduce(f64::max)?);
    let digits = usize::from(most < 9.95);
    let (least, most) = (format!("{least:.digits$}"), format!("{most:.digits$}"));
    Some(if least == most { format!("{most} ms a step") } else { format!("{least} to {most} ms a step") })
}

/// `290 MB`, `1.7 GB`.
fn short_bytes(bytes: u64) -> String {
    let mega = bytes as f64 / 1e6;
    if mega < 999.5 { format!("{mega:.0} MB") } else { format!("{:.1} GB", mega / 1e3) }
}
