//! Tuning: trials first, then the runs that count, each with what its point has chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use reid_experiments::Experiment;
use reid_experiments::spec::Seeds;
use reid_experiments::tune::Tuning;

use super::count;
use crate::engine::{Datasets, Plan};
use crate::exit::RunError;
use crate::progress::Progress;
use crate::store::Store;

/// The trials of an experiment, planned.
pub(super) struct Trials {
    /// The experiment that they are of.
    experiment: Experiment,
    /// What they choose.
    tuning: Tuning,
    /// Their plan.
    pub(super) plan: Plan,
}

/// What the points of an experiment have chosen.
pub(super) struct Chosen {
    /// The experiment with the chosen settings; points without a choice are left out.
    pub(super) experiment: Experiment,
    /// Labels of the points whose trials give no choice.
    pub(super) undecided: Vec<String>,
}

impl Trials {
    /// Plans the trials of an experiment; none if it has nothing to choose.
    pub(super) fn plan(experiment: &Experiment, datasets: &mut Datasets) -> Result<Option<Self>, RunError> {
        let (Some(tuning), Some(trials)) = (&experiment.tuning, experiment.trials()) else { return Ok(None) };
        let plan = Plan::new(&trials, datasets)?;
        Ok(Some(Self { experiment: experiment.clone(), tuning: tuning.clone(), plan }))
    }

    /// How often every point tries.
    pub(super) fn describe(&self) -> String {
        format!("trials of every initialisation:\n{}", describe(&self.tuning))
    }

    /// What the rows in the store choose. Nothing but validation metrics is looked at.
    pub(super) fn choose(&self, store: Option<&Store>) -> Result<Chosen, RunError> {
        let metric = format!("validation.{}", self.tuning.by.name());
        let mut known: BTreeMap<String, f64> = BTreeMap::new();
        if let Some(store) = store {
            let rows = reid_results::read(&store.results())?.rows()?;
            known.extend(rows.iter().filter_map(|row| Some((row.run_id.clone(), *row.metrics.get(&metric)?))));
        }
        let mut scores: BTreeMap<(usize, usize, Seeds), f64> = BTreeMap::new();
        for run in &self.plan.runs {
            if let (Some(trial), Some(&score)) = (run.run.trial, known.get(&run.id)) {
                scores.insert((run.run.point, trial, run.run.seeds), score);
            }
        }
        let choice = self.tuning.choose(|point, trial, seeds| scores.get(&(point, trial, seeds)).copied());
        let undecided = self.tuning.points.iter().zip(&choice).filter(|(_, choice)| choice.is_none());
        let undecided = undecided.map(|(point, _)| point.label.clone()).collect();
        Ok(Chosen { experiment: self.experiment.with_choice(&choice), undecided })
    }
}

/// Says what every point has chosen, and warns of choices at the edge of their grid.
pub(super) fn report(progress: &Progress, chosen: &Experiment) {
    let Some(tuning) = &chosen.tuning else { return };
    let mut said = BTreeSet::new();
    for run in chosen.runs.iter().filter(|run| !run.tuned.is_empty() && said.insert(run.point)) {
        let values: Vec<String> = run.tuned.iter().map(|(field, value)| format!("{field}={value}")).collect();
        progress.line(format_args!("{}: validation {} chooses {}", run.label, tuning.by.name(), values.join(", ")));
        for mark in &run.marks {
            progress.warn(format_args!("{}: {mark}; widen it", run.label));
        }
    }
}

/// How often every point tries, a line each.
pub(super) fn describe(tuning: &Tuning) -> String {
    let mut text = String::new();
    for point in &tuning.points {
        let grid: Vec<String> =
            point.fields.iter().map(|(field, values)| format!("{} {field}", values.len())).collect();
        let _ = match point.trials() {
            0 => writeln!(text, "  {}: nothing to choose", point.label),
            trials => {
                let (trials, seeds) = (count(trials, "trial"), count(tuning.seeds.len(), "seed"));
                writeln!(text, "  {}: {trials} ({}) with {seeds}", point.label, grid.join(" x "))
            }
        };
    }
    text
}
