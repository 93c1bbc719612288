//! `why`: what keeps stages from being finished, by comparison with those that are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use reid_results::{RunRow, Status, read};

use super::chosen::{chosen, is_spec, store_of};
use super::differences::{Difference, differences};
use super::lineage::{Shelf, input, kind, stages_of};
use super::plan::{Phase, State, phases, states};
use super::words::{finished, holder_of, minute, shortened};
use super::{Setup, count, print};
use crate::cli::WhyArgs;
use crate::engine::{Plan, StageDef};
use crate::exit::RunError;
use crate::store::{Check, Shelved, StageDir, StandingLease, Store, Unfinished};

/// Fields that are shown of a comparison.
const SHOWN: usize = 12;
/// Longest reason that is shown whole.
const LONGEST: usize = 400;

pub(super) fn why(args: &WhyArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    if !is_spec(Path::new(&args.run)) {
        let store = store_of(&setup)?;
        let row = chosen(&setup, &store, &args.run, &args.overrides)?;
        return print(of_row(&store, &row)?.as_bytes());
    }
    let experiment = setup.load(Path::new(&args.run), &args.overrides, setup.color)?;
    let store = Store::open_existing(&setup.settings.out)?;
    let phases = phases(&experiment, &mut setup.datasets(&experiment), store.as_ref())?;
    let seen = Seen::of(store.as_ref())?;
    for Phase { title, plan } in &phases {
        print(title.as_bytes())?;
        print(seen.of_plan(plan, &states(plan, store.as_ref())?).as_bytes())?;
    }
    Ok(())
}

/// The stages of a finished or failed run, and what has become of them.
fn of_row(store: &Store, row: &RunRow) -> Result<String, RunError> {
    let mut text = format!("{}\n", row.run_id);
    if row.status == Status::Failed {
        let at = row.failed_stage.as_deref().unwrap_or("an unknown stage");
        let _ = writeln!(text, "  failed at {at} after {}", failure(row));
        text.push_str("  a failed run names no stages; name its spec to see what is finished\n");
        return Ok(text);
    }
    for key in stages_of(row, &store.shelf()?) {
        let named = [(&row.stage_pretrain, "pretrain"), (&row.stage_train, "train"), (&row.stage_evaluate, "evaluate")];
        let named = named.into_iter().find(|(named, _)| named.as_ref() == Some(&key));
        let what = named.map_or("source", |(_, what)| what);
        // Every byte is read: a run is asked about one by one, and damage is what may be the matter.
        let found = store.shelved(&key, Check::Contents)?;
        let label = found.as_ref().and_then(|found| found.stage.as_ref()).map(|stage| stage.manifest().label.as_str());
        let label = label.unwrap_or(what);
        let _ = match &found {
            None => writeln!(text, "  {label}: removed; running the spec again computes it again"),
            Some(found) => match (found.sound(), &found.fault) {
                (Some(stage), _) => writeln!(text, "  {label}: {}", finished(stage)),
                (None, fault) => {
                    let why = fault.as_deref().unwrap_or("for an unknown reason");
                    let path = found.path.display();
                    writeln!(text, "  {label}: damaged ({why}); to have it computed again, remove {path}")
                }
            },
        };
    }
    Ok(text)
}

/// `2 attempts: the loss is NaN at step 12`.
fn failure(row: &RunRow) -> String {
    let tried = count(usize::try_from(row.attempts).unwrap_or_default(), "attempt");
    format!("{tried}: {}", shortened(row.error.as_deref().unwrap_or("no reason recorded"), LONGEST))
}

/// What a store holds of stages, and of runs that failed.
struct Seen {
    failed: BTreeMap<String, RunRow>,
    shelf: Shelf,
    work: BTreeMap<String, Unfinished>,
    leases: BTreeMap<String, StandingLease>,
}

/// A finished stage beside one that is not.
struct Nearest<'a> {
    stage: &'a StageDir,
    differences: Vec<Difference>,
    /// Whether it starts from another stage.
    is_of_other_input: bool,
}

impl Nearest<'_> {
    fn weight(&self) -> usize {
        self.differences.iter().map(|difference| difference.weight).sum::<usize>() + usize::from(self.is_of_other_input)
    }
}

impl Seen {
    fn of(store: Option<&Store>) -> Result<Self, RunError> {
        let Some(store) = store else {
            let (failed, shelf, work, leases) = (BTreeMap::new(), Shelf::new(), BTreeMap::new(), BTreeMap::new());
            return Ok(Self { failed, shelf, work, leases });
        };
        let failed = read(&store.results())?.rows()?.into_iter().filter(|row| row.status == Status::Failed);
        let failed = failed.map(|row| (row.run_id.clone(), row)).collect();
        Ok(Self { failed, shelf: store.shelf()?, work: store.unfinished()?, leases: store.standing_leases()? })
    }

    fn of_plan(&self, plan: &Plan, states: &[State]) -> String {
        let (done, all) = (states.iter().filter(|&&state| state == State::Done).count(), count(states.len(), "stage"));
        let mut text = format!("{}: {done} of {all} finished\n", plan.experiment);
        for (stage, state) in plan.stages.iter().zip(states) {
            if *state == State::Done {
                let found = self.shelf.get(stage.key.hex()).and_then(Shelved::sound);
                let _ = writeln!(text, "  {}: {}", stage.label, found.map_or("finished".to_owned(), finished));
            } else {
                text.push_str(&self.unfinished(plan, stage, states));
                self.failure(&mut text, plan, stage);
            }
        }
        text
    }

    /// Why a stage is not finished.
    fn unfinished(&self, plan: &Plan, stage: &StageDef, states: &[State]) -> String {
        let mut text = format!("  {}: {}", stage.label, self.progress(stage));
        if let Some(found) = self.shelf.get(stage.key.hex()) {
            let lacking = found.sound().and_then(|dir| stage.snapshots.lacking(dir));
            let _ = match (lacking, &found.fault) {
                (Some(lacking), _) => writeln!(text, "; it was, but {lacking}"),
                (None, Some(fault)) => writeln!(text, "; what there is of it is damaged: {fault}"),
                (None, None) => writeln!(text, "; it has been since this was looked at"),
            };
            return text;
        }
        // The stage whose end it waits for, which has reasons of its own.
        let waits = stage.input.filter(|&input| states[input] != State::Done).map(|input| &plan.stages[input]);
        let Some(nearest) = self.nearest(stage) else {
            text.push_str("; nothing of its kind is in the store");
            let _ = match waits {
                Some(input) => writeln!(text, "\n    follows {}, which is not finished", input.label),
                None => writeln!(text),
            };
            return text;
        };
        let (label, when) = (&nearest.stage.manifest().label, minute(nearest.stage.committed()));
        match waits {
            Some(input) if nearest.differences.is_empty() => {
                let _ = writeln!(text, "; follows {}, which is not finished", input.label);
                return text;
            }
            _ => _ = writeln!(text, "\n    nearest: {label}, finished {when}"),
        }
        fields(&mut text, "    ", &nearest.differences);
        match waits {
            Some(input) => _ = writeln!(text, "    follows {}, which is not finished", input.label),
            None if nearest.is_of_other_input => self.other_input(&mut text, plan, stage, nearest.stage),
            None => {}
        }
        text
    }

    /// The latest reason for which a stage has failed, if it has.
    fn failure(&self, text: &mut String, plan: &Plan, stage: &StageDef) {
        let rows = plan.runs.iter().filter_map(|run| self.failed.get(&run.id));
        let Some(row) =
            rows.filter(|row| row.failed_stage.as_ref() == Some(&stage.label)).max_by_key(|row| row.started_at)
        else {
            return;
        };
        let _ = writeln!(text, "    failed after {}", failure(row));
    }

    /// Whether somebody works on a stage, and how far it has come.
    fn progress(&self, stage: &StageDef) -> String {
        let hex = stage.key.hex();
        let step = self.work.get(hex).map(|work| match work.step {
            Some(step) => format!(", at step {step}"),
            None => ", no checkpoint yet".to_owned(),
        });
        let holder = self.leases.get(hex).filter(|lease| lease.abandoned.is_none());
        match (holder, step) {
            (Some(lease), step) => format!("{} computes it{}", holder_of(&lease.info), step.unwrap_or_default()),
            (None, Some(step)) => format!("begun{step}"),
            (None, None) => "not finished".to_owned(),
        }
    }

    /// The finished stage of the same kind with the fewest other fields, of equals the newest.
    fn nearest(&self, stage: &StageDef) -> Option<Nearest<'_>> {
        let here = stage.key.science();
        let of_kind = self.shelf.values().filter_map(Shelved::sound);
        let of_kind = of_kind.filter(|dir| kind(dir.science()) == stage.kind.name());
        let compared = of_kind.map(|dir| Nearest {
            stage: dir,
            differences: differences(here, dir.science()),
            is_of_other_input: input(here).is_some()
                && input(dir.science()).is_some_and(|key| input(here) != Some(key)),
        });
        compared.min_by(|a, b| a.weight().cmp(&b.weight()).then_with(|| b.stage.committed().cmp(a.stage.committed())))
    }

    /// How the finished stage that one starts from differs from the one that another starts from.
    fn other_input(&self, text: &mut String, plan: &Plan, stage: &StageDef, other: &StageDir) {
        let Some(ours) = stage.input.map(|input| &plan.stages[input]) else { return };
        let theirs = input(other.science()).and_then(|key| self.shelf.get(key)?.stage.as_ref());
        let Some(theirs) = theirs else {
            let _ = writeln!(text, "    follows {}, that one a stage that is no longer in the store", ours.label);
            return;
        };
        let _ = writeln!(text, "    follows {}, that one another {}:", ours.label, kind(theirs.science()));
        let found = differences(ours.key.science(), theirs.science());
        if found.is_empty() {
            let _ = writeln!(text, "      what this started from differs in turn");
        }
        fields(text, "      ", &found);
    }
}

/// A line for each field, and the number of those that are left out.
fn fields(text: &mut String, indent: &str, differences: &[Difference]) {
    for Difference { path, values, .. } in differences.iter().take(SHOWN) {
        let _ = writeln!(text, "{indent}{path}: {values}");
    }
    if differences.len() > SHOWN {
        let _ = writeln!(text, "{indent}and {}", count(differences.len() - SHOWN, "more field"));
    }
}
