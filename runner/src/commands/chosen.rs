//! The finished run that a command line means.

use std::path::Path;

use reid_results::{RunRow, read};

use super::Setup;
use crate::engine::Plan;
use crate::exit::RunError;
use crate::store::Store;

/// Runs named where none or several were meant.
const SHOWN: usize = 8;

/// Whether a path is that of a spec.
pub(super) fn is_spec(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

/// The store that results are in.
pub(super) fn store_of(setup: &Setup) -> Result<Store, RunError> {
    Store::open_existing(&setup.settings.out)?.ok_or_else(|| {
        let out = setup.settings.out.display();
        let text = "no results; run a spec first, or name their folder with --out";
        RunError::NothingSelected(format!("{text}: {out}"))
    })
}

/// The row that is meant: of that id, or of the spec's only run.
pub(super) fn chosen(setup: &Setup, store: &Store, run: &str, overrides: &[String]) -> Result<RunRow, RunError> {
    let mut rows = read(&store.results())?.rows()?;
    let is_spec = is_spec(Path::new(run));
    let (meant, whose) = if is_spec {
        let experiment = setup.load(Path::new(run), overrides, setup.color)?;
        let plan = Plan::new(&experiment, &mut setup.datasets(&experiment))?;
        (plan.runs.into_iter().map(|run| run.id).collect(), "the spec's runs")
    } else if let [first, ..] = overrides {
        let text = "overrides change a spec, and a run is what it is";
        return Err(RunError::Usage(format!("{text}; name the spec's file, or leave them out: {first}")));
    } else {
        (vec![run.to_owned()], "the store's runs")
    };
    let known: Vec<String> = rows.iter().map(|row| row.run_id.clone()).collect();
    rows.retain(|row| meant.contains(&row.run_id));
    let list = |ids: &[String]| {
        let more = if ids.len() > SHOWN { ", ..." } else { "" };
        format!("{}{more}", ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", "))
    };
    match rows.len() {
        1 => Ok(rows.remove(0)),
        0 if is_spec => {
            Err(RunError::NothingSelected(format!("none of the spec's runs is finished; run it first: {run}")))
        }
        0 => Err(RunError::NothingSelected(format!("no such run; {whose} are {}: {run}", list(&known)))),
        count => {
            let ids: Vec<String> = rows.into_iter().map(|row| row.run_id).collect();
            let text = format!("{count} runs; name one of them by its id: {}", list(&ids));
            Err(RunError::Usage(format!("{whose} are {text}")))
        }
    }
}
