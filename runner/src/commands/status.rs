//! `status` of a spec: where its runs stand. Nothing is changed, so that a store may be read-only, or in use.

use std::collections::BTreeMap;
use std::fmt::Write;

use reid_results::{RunRow, Status, read};
use serde_json::{Value, json};

use super::plan::{Phase, State as StageState, phases, states};
use super::words::{holder_of, shortened};
use super::{Setup, count, holdings, print};
use crate::cli::{StatusArgs, ViewFormat};
use crate::engine::{Plan, RunPlan};
use crate::exit::RunError;
use crate::store::{StandingLease, Store, Unfinished};

/// Width of a line, as of a terminal whose width is not known.
const WIDTH: usize = 80;
/// Where the second line of a run begins.
const INDENT: usize = 11;

pub(super) fn status(args: &StatusArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let Some(spec) = &args.spec else { return holdings::show(&setup, args.format) };
    let experiment = setup.load(spec, &args.overrides, setup.color)?;
    let store = Store::open_existing(&setup.settings.out)?;
    let phases = phases(&experiment, &mut setup.datasets(&experiment), store.as_ref())?;
    let seen = Seen::of(store.as_ref())?;
    let (mut text, mut shown) = (String::new(), Vec::new());
    for Phase { title, plan } in &phases {
        let stages = states(plan, store.as_ref())?;
        let runs: Vec<RunView> = plan.runs.iter().map(|run| seen.view(plan, run, &stages)).collect();
        match args.format {
            ViewFormat::Table => _ = writeln!(text, "{title}{}{}", table(&runs), summary(&runs)),
            ViewFormat::Json => shown.push(json!({
                "trials": plan.runs.iter().any(|run| run.run.trial.is_some()),
                "summary": counts(&runs).into_iter().collect::<BTreeMap<_, _>>(),
                "runs": runs.iter().map(RunView::json).collect::<Vec<_>>(),
            })),
        }
    }
    if args.format == ViewFormat::Json {
        let whole = json!({ "experiment": experiment.name, "phases": shown });
        text = serde_json::to_string_pretty(&whole).map_err(|e| RunError::Unexpected(e.to_string()))?;
        text.push('\n');
    }
    print(text.as_bytes())
}

/// State of a run, in the order of summaries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Failed,
    Running,
    Begun,
    Waiting,
}

impl State {
    const ALL: [Self; 5] = [Self::Done, Self::Failed, Self::Running, Self::Begun, Self::Waiting];

    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Begun => "begun",
            Self::Waiting => "waiting",
        }
    }
}

/// One run as it is shown.
struct RunView<'a> {
    run: &'a RunPlan,
    /// As its stages are called, without their kind.
    name: &'a str,
    state: State,
    /// What else there is to know, a line each.
    details: Vec<String>,
    row: Option<&'a RunRow>,
    stages: Vec<Value>,
}

impl RunView<'_> {
    fn json(&self) -> Value {
        let run = &self.run.run;
        let failed = self.row.filter(|row| row.status == Status::Failed);
        json!({
            "id": self.run.id, "name": self.name, "label": run.label, "varied": run.varied, "tuned": run.tuned,
            "trial": run.trial, "seeds": run.seeds, "state": self.state.name(), "details": self.details,
            "attempts": failed.map(|row| row.attempts), "failed_stage": failed.map(|row| &row.failed_stage),
            "error": failed.map(|row| &row.error), "stages": self.stages,
        })
    }
}

/// What a store holds of runs and of stages in work.
struct Seen {
    rows: BTreeMap<String, RunRow>,
    work: BTreeMap<String, Unfinished>,
    leases: BTreeMap<String, StandingLease>,
}

impl Seen {
    fn of(store: Option<&Store>) -> Result<Self, RunError> {
        let Some(store) = store else {
            return Ok(Self { rows: BTreeMap::new(), work: BTreeMap::new(), leases: BTreeMap::new() });
        };
        let rows = read(&store.results())?.rows()?.into_iter().map(|row| (row.run_id.clone(), row)).collect();
        Ok(Self { rows, work: store.unfinished()?, leases: store.standing_leases()? })
    }

    /// Who works on a stage.
    fn holder(&self, hex: &str) -> Option<&StandingLease> {
        self.leases.get(hex).filter(|lease| lease.abandoned.is_none())
    }

    /// How far the work on a stage has come, as far as its checkpoints tell.
    fn step(&self, hex: &str) -> Option<u64> {
        self.work.get(hex).and_then(|work| work.step)
    }

    fn view<'a>(&'a self, plan: &'a Plan, run: &'a RunPlan, states: &[StageState]) -> RunView<'a> {
        let is_left = |&index: &usize| states[index] != StageState::Done;
        let left: Vec<usize> = run.stages.iter().copied().filter(is_left).collect();
        let row = self.rows.get(&run.id);
        let (state, details) = self.state(plan, run, row, &left, states);
        let stage = |&index: &usize| {
            let (stage, hex) = (&plan.stages[index], plan.stages[index].key.hex());
            let holder = self.holder(hex).filter(|_| states[index] != StageState::Done);
            json!({ "kind": stage.kind.name(), "label": stage.label, "key": hex,
                    "state": stage_state(states[index], holder), "step": self.step(hex),
                    "holder": holder.map(|lease| &lease.info) })
        };
        let stages = run.stages.iter().map(stage).collect();
        let label = run.stages.last().map_or("", |&last| plan.stages[last].label.as_str());
        let name = label.split_once(' ').map_or(label, |(_, name)| name);
        RunView { run, name, state, details, row, stages }
    }

    /// State of a run, of whose stages those in `left` are not finished, and what else there is to know.
    fn state(
        &self,
        plan: &Plan,
        run: &RunPlan,
        row: Option<&RunRow>,
        left: &[usize],
        states: &[StageState],
    ) -> (State, Vec<String>) {
        let stage = |index: usize| (plan.stages[index].label.as_str(), plan.stages[index].key.hex());
        let held = left.iter().find_map(|&index| Some((stage(index), self.holder(stage(index).1)?)));
        if let Some(((label, hex), holder)) = held {
            let step = self.step(hex).map_or_else(String::new, |step| format!(", at step {step}"));
            return (State::Running, vec![format!("{label}{step}"), holder_of(&holder.info)]);
        }
        match row {
            Some(row) if row.status == Status::Failed => {
                let (stage, error) = (row.failed_stage.as_deref(), row.error.as_deref());
                let at = stage.map_or_else(String::new, |stage| format!("{stage}: "));
                let tried = count(usize::try_from(row.attempts).unwrap_or_default(), "attempt");
                return (State::Failed, vec![format!("{tried}; {at}{}", error.unwrap_or("no reason recorded"))]);
            }
            Some(_) if left.is_empty() => return (State::Done, Vec::new()),
            Some(_) => {
                let of = count(run.stages.len(), "stage");
                return (
                    State::Done,
                    vec![format!("its result is kept, but {} of {of} would be computed", left.len())],
                );
            }
            None => {}
        }
        match left {
            [] => (State::Waiting, vec!["all stages are finished; the next run writes its row".to_owned()]),
            [next, ..] if states[*next] == StageState::Begun => {
                let (label, hex) = stage(*next);
                let step =
                    self.step(hex).map_or_else(|| "no checkpoint yet".to_owned(), |step| format!("at step {step}"));
                (State::Begun, vec![format!("{label}, {step}")])
            }
            _ if left.len() == run.stages.len() => (State::Waiting, Vec::new()),
            _ => {
                let (done, of) = (run.stages.len() - left.len(), count(run.stages.len(), "stage"));
                (State::Waiting, vec![format!("{done} of {of} finished")])
            }
        }
    }
}

/// State of a stage in JSON.
fn stage_state(state: StageState, holder: Option<&StandingLease>) -> &'static str {
    match state {
        _ if holder.is_some() => "running",
        StageState::Done => "done",
        StageState::Begun => "begun",
        StageState::Todo => "waiting",
    }
}

/// A line for each run, and one more where there is something else to know.
fn table(runs: &[RunView]) -> String {
    let widest = runs.iter().map(|run| run.name.chars().count()).max().unwrap_or(0);
    let longest = runs.iter().map(|run| run.run.id.chars().count()).max().unwrap_or(0);
    let is_narrow = INDENT + widest + 2 + longest <= WIDTH;
    let mut text = String::new();
    for RunView { run, name, state, details, .. } in runs {
        let state = state.name();
        let _ = if is_narrow {
            writeln!(text, "  {state:<7}  {name:<widest$}  {}", run.id)
        } else {
            writeln!(text, "  {state:<7}  {name}\n{:INDENT$}{}", "", run.id)
        };
        for detail in details {
            let _ = writeln!(text, "{:INDENT$}{}", "", shortened(detail, WIDTH - INDENT));
        }
    }
    text
}

/// How many runs are in each state that any is in.
fn counts(runs: &[RunView]) -> Vec<(&'static str, usize)> {
    let number = |state: State| (state.name(), runs.iter().filter(|run| run.state == state).count());
    State::ALL.into_iter().map(number).filter(|(_, number)| *number > 0).collect()
}

/// `12 runs: 8 done, 1 failed, 1 running, 2 waiting`.
fn summary(runs: &[RunView]) -> String {
    let parts: Vec<String> = counts(runs).into_iter().map(|(state, number)| format!("{number} {state}")).collect();
    let all = count(runs.len(), "run");
    if parts.is_empty() { all } else { format!("{all}: {}", parts.join(", ")) }
}
