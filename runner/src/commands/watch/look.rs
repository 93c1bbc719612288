//! What there is to see of an experiment at one moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use reid_experiments::Experiment;
use reid_results::{Status, read};

use super::super::Setup;
use super::super::tune::Trials;
use crate::engine::{Datasets, Plan, Standing};
use crate::exit::RunError;
use crate::log::{Event, Level, path_of};
use crate::store::{LeaseInfo, Store};

/// Bytes at the end of a log that are looked through.
const TAIL: u64 = 1 << 16;
/// Warnings that are shown.
const WARNINGS: usize = 3;

/// An experiment at one moment.
pub(super) struct Scene {
    /// The experiment's name.
    pub(super) name: String,
    /// Stages that are begun and not finished.
    pub(super) stages: Vec<Stage>,
    /// Trials, if there are any.
    pub(super) trials: Option<Counts>,
    /// Runs that count; unknown until the trials have chosen their settings.
    pub(super) runs: Option<Counts>,
    /// The newest warnings and errors in the log, oldest first.
    pub(super) warnings: Vec<String>,
}

impl Scene {
    /// Whether nothing more is to come.
    pub(super) fn is_over(&self) -> bool {
        self.runs.is_some_and(|runs| runs.waiting() == 0)
    }
}

/// A stage that is begun and not finished.
pub(super) struct Stage {
    pub(super) label: String,
    /// Who works on it; none if nobody does.
    pub(super) holder: Option<LeaseInfo>,
    /// How far its training is; none of an evaluation.
    pub(super) standing: Option<Standing>,
}

/// How many runs there are.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    pub(super) runs: usize,
    pub(super) done: usize,
    pub(super) failed: usize,
}

impl Counts {
    /// Runs without a row.
    pub(super) fn waiting(self) -> usize {
        self.runs - self.done - self.failed
    }
}

/// An experiment that is looked at again and again.
pub(super) struct View<'a> {
    setup: &'a Setup,
    experiment: Experiment,
    datasets: Datasets,
    trials: Option<Trials>,
    /// The runs that count, once it is known what their trials have chosen.
    plan: Option<Plan>,
    outcomes: Outcomes,
}

impl<'a> View<'a> {
    pub(super) fn new(setup: &'a Setup, experiment: Experiment) -> Result<Self, RunError> {
        let mut datasets = setup.datasets(&experiment);
        let trials = Trials::plan(&experiment, &mut datasets)?;
        let plan = if trials.is_none() { Some(Plan::new(&experiment, &mut datasets)?) } else { None };
        Ok(Self { setup, experiment, datasets, trials, plan, outcomes: Outcomes::default() })
    }

    /// Looks.
    pub(super) fn look(&mut self) -> Result<Scene, RunError> {
        let store = Store::open_existing(&self.setup.settings.out)?;
        if let Some(store) = &store {
            let plans = self.trials.iter().map(|trials| &trials.plan).chain(&self.plan);
            self.outcomes.update(store, plans.flat_map(|plan| &plan.runs).map(|run| run.id.as_str()))?;
        }
        if let (Some(trials), None) = (&self.trials, &self.plan)
            && self.outcomes.count(&trials.plan).waiting() == 0
        {
            let chosen = trials.choose(store.as_ref())?.experiment;
            self.plan = Some(Plan::new(&chosen, &mut self.datasets)?);
            // Some of its runs may have been there before.
            return self.look();
        }
        let mut scene = Scene {
            name: self.experiment.name.clone(),
            stages: Vec::new(),
            trials: self.trials.as_ref().map(|trials| self.outcomes.count(&trials.plan)),
            runs: self.plan.as_ref().map(|plan| self.outcomes.count(plan)),
            warnings: Vec::new(),
        };
        if let Some(store) = &store {
            scene.stages = self.stages(store)?;
            scene.warnings = warnings(&path_of(&store.logs(), &self.experiment.name));
        }
        Ok(scene)
    }

    /// Stages on which somebody works, or which runs wait for that were begun.
    fn stages(&self, store: &Store) -> Result<Vec<Stage>, RunError> {
        let leases = store.standing_leases()?;
        // A trial and the run that it has chosen may share their stages.
        let mut stages: BTreeMap<&str, Stage> = BTreeMap::new();
        let mut order = Vec::new();
        for plan in self.trials.iter().map(|trials| &trials.plan).chain(&self.plan) {
            for (index, stage) in plan.stages.iter().enumerate() {
                let Some(attempt) = store.attempt(&stage.key) else { continue };
                let lease = leases.get(stage.key.hex()).filter(|lease| lease.abandoned.is_none());
                let is_awaited = || {
                    let mut runs = plan.runs.iter().filter(|run| run.stages.contains(&index));
                    runs.any(|run| !self.outcomes.known.contains_key(&run.id))
                };
                if stages.contains_key(stage.key.hex()) || lease.is_none() && !is_awaited() {
                    continue;
                }
                let holder = lease.map(|lease| lease.info.clone());
                let standing = Standing::read(&attempt);
                order.push(stage.key.hex());
                stages.insert(stage.key.hex(), Stage { label: stage.label.clone(), holder, standing });
            }
        }
        Ok(order.into_iter().filter_map(|key| stages.remove(key)).collect())
    }
}

/// How runs have ended, read again only when their files have changed.
#[derive(Default)]
struct Outcomes {
    /// When the rows were written, by run.
    written: BTreeMap<String, Option<SystemTime>>,
    /// Runs that have a row.
    known: BTreeMap<String, Status>,
}

impl Outcomes {
    fn update<'b>(&mut self, store: &Store, ids: impl Iterator<Item = &'b str>) -> Result<(), RunError> {
        let folder = store.results().join("runs");
        let written = |id: &str| {
            let row = fs::metadata(folder.join(format!("{id}.parquet")));
            (id.to_owned(), row.and_then(|row| row.modified()).ok())
        };
        let written: BTreeMap<String, Option<SystemTime>> = ids.map(written).collect();
        if written != self.written {
            let rows = read(&store.results())?.rows()?;
            let rows = rows.into_iter().filter(|row| written.contains_key(&row.run_id));
            self.known = rows.map(|row| (row.run_id, row.status)).collect();
            self.written = written;
        }
        Ok(())
    }

    fn count(&self, plan: &Plan) -> Counts {
        let with = |status: Status| plan.runs.iter().filter(|run| self.known.get(&run.id) == Some(&status)).count();
        Counts { runs: plan.runs.len(), done: with(Status::Ok), failed: with(Status::Failed) }
    }
}

/// The newest warnings and errors of a log; none if there is no log.
fn warnings(path: &Path) -> Vec<String> {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = tail().unwrap_or_default();
    // A line that the beginning cuts, or that is being written, is no JSON and left out.
    let events = bytes.split(|&byte| byte == b'\n').rev().filter_map(|line| serde_json::from_slice::<Event>(line).ok());
    let grave = events.filter(|event| event.level >= Level::Warn).take(WARNINGS);
    // To the second.
    let mut texts: Vec<String> =
        grave.map(|event| format!("{}Z {}", event.at.get(..19).unwrap_or(&event.at), event.message)).collect();
    texts.reverse();
    texts
}
