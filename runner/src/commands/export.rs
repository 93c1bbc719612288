//! `export`: a run's encoder for other programs.

use std::path::Path;

use reid_results::{RunRow, read};

use super::Setup;
use crate::cli::{After, ExportArgs};
use crate::engine::{Plan, StageKind, exported};
use crate::exit::RunError;
use crate::store::Store;
use crate::store::atomic::write_atomic;

/// Runs named where none or several were meant.
const SHOWN: usize = 8;

pub(super) fn export(args: &ExportArgs) -> Result<(), RunError> {
    let ending = args.to.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !["safetensors", "onnx"].contains(&ending) {
        let text = "the ending of --to says what to write; use `.safetensors` or `.onnx`";
        return Err(RunError::Usage(format!("{text}: {}", args.to.display())));
    }
    let setup = Setup::new(&args.common)?;
    let Some(store) = Store::open_existing(&setup.settings.out)? else {
        let out = setup.settings.out.display();
        return Err(RunError::NothingSelected(format!(
            "no results; run a spec first, or name their folder with --out: {out}"
        )));
    };
    let rows = read(&store.results())?.rows()?;
    let row = choose(&setup, args, rows)?;
    let after = args.after.map(|after| match after {
        After::Pretrain => StageKind::Pretrain,
        After::Train => StageKind::Train,
    });
    let encoder = exported(&store, &row, after)?;
    let bytes = if ending == "onnx" { encoder.onnx()? } else { encoder.safetensors()? };
    write_atomic(&args.to, &bytes)?;
    let (id, bytes) = (&row.run_id, bytes.len());
    setup.progress.line(format_args!("{id}: {}, {bytes} bytes: {}", encoder.origin, args.to.display()));
    Ok(())
}

/// The row that is meant: of that id, or of the spec's only run.
fn choose(setup: &Setup, args: &ExportArgs, mut rows: Vec<RunRow>) -> Result<RunRow, RunError> {
    let is_spec = Path::new(&args.run).extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let (meant, whose) = if is_spec {
        let experiment = setup.load(Path::new(&args.run), &args.overrides, args.common.machine.color)?;
        let plan = Plan::new(&experiment, &mut setup.datasets(&experiment))?;
        (plan.runs.into_iter().map(|run| run.id).collect(), "the spec's runs")
    } else if let [first, ..] = args.overrides.as_slice() {
        let text = "overrides change a spec, and a run is what it is";
        return Err(RunError::Usage(format!("{text}; name the spec's file, or leave them out: {first}")));
    } else {
        (vec![args.run.clone()], "the store's runs")
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
            Err(RunError::NothingSelected(format!("none of the spec's runs is finished; run it first: {}", args.run)))
        }
        0 => Err(RunError::NothingSelected(format!("no such run; {whose} are {}: {}", list(&known), args.run))),
        count => {
            let ids: Vec<String> = rows.into_iter().map(|row| row.run_id).collect();
            let text = format!("{count} runs; name one of them by its id: {}", list(&ids));
            Err(RunError::Usage(format!("{whose} are {text}")))
        }
    }
}
