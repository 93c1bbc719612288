//! `tensorboard`: the curves of finished runs as event files.

use std::collections::BTreeMap;
use std::path::Path;

use reid_results::{RunRow, Status, StepRow, read};

use super::chosen::{chosen, is_spec, store_of};
use super::table::shown_runs;
use super::{Setup, count};
use crate::cli::TensorboardArgs;
use crate::exit::RunError;
use crate::store::Store;
use crate::tensorboard::{Scalar, elsewhere, safe, write};

/// What to do where event files cannot be written.
const REMEDY: &str = "make the folder writable, or choose another with `--to`";

pub(super) fn tensorboard(args: &TensorboardArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let rows = rows(&setup, &store, args)?;
    let ids = rows.iter().map(|row| row.run_id.clone()).collect();
    let mut steps: BTreeMap<String, Vec<StepRow>> = BTreeMap::new();
    for (id, step) in read(&store.results())?.steps(&ids)? {
        steps.entry(id).or_default().push(step);
    }
    let mut points = 0;
    for (row, folder) in rows.iter().zip(folders(&rows)) {
        let curves = curves(row, &steps.remove(&row.run_id).unwrap_or_default());
        points += curves.len();
        let written = write(&args.to.join(folder), &row.host, &row.run_id, &curves);
        written.map_err(|error| elsewhere(error, REMEDY))?;
    }
    let (runs, to) = (count(rows.len(), "run"), args.to.display());
    setup.progress.line(format_args!("{runs}, {points} points; `tensorboard --logdir` shows them: {to}"));
    Ok(())
}

/// The finished runs that are meant.
fn rows(setup: &Setup, store: &Store, args: &TensorboardArgs) -> Result<Vec<RunRow>, RunError> {
    let run = &args.run;
    if !is_spec(Path::new(run)) {
        let row = chosen(setup, store, run, &args.overrides)?;
        if row.status != Status::Ok {
            let text = "the run has failed, and of failed runs no curves are kept; mend its spec and run it again";
            return Err(RunError::NothingSelected(format!("{text}: {run}")));
        }
        return Ok(vec![row]);
    }
    let experiment = setup.load(Path::new(run), &args.overrides, setup.color)?;
    let ids = shown_runs(setup, &experiment, store, false)?;
    let mut rows = read(&store.results())?.rows()?;
    rows.retain(|row| row.status == Status::Ok && ids.contains(&row.run_id));
    if rows.is_empty() {
        let text = "none of the spec's runs is finished; run it first";
        return Err(RunError::NothingSelected(format!("{text}: {run}")));
    }
    Ok(rows)
}

/// Step metrics as they were recorded, then final metrics at the last step.
fn curves(row: &RunRow, steps: &[StepRow]) -> Vec<Scalar> {
    let recorded = steps.iter().map(|row| Scalar {
        tag: format!("{}/{}", row.stage, row.metric),
        step: row.step,
        at: row.at,
        value: row.value,
    });
    // A run without a training has no steps.
    let (step, at) = steps.last().map_or((0, row.started_at), |last| (last.step, last.at));
    let last = row.metrics.iter().map(|(name, &value)| Scalar { tag: name.replacen('.', "/", 1), step, at, value });
    recorded.chain(last).collect()
}

/// The folder of every run; where the fields of a row do not tell runs apart, the ends of their ids do.
fn folders(rows: &[RunRow]) -> Vec<String> {
    let names: Vec<String> = rows.iter().map(name).collect();
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *uses.entry(name).or_default() += 1;
    }
    let unique = |(row, name): (&RunRow, &String)| match uses[name.as_str()] {
        1 => name.clone(),
        _ => format!("{name}-{}", safe(row.run_id.rsplit('-').next().unwrap_or(&row.run_id))),
    };
    rows.iter().zip(&names).map(unique).collect()
}

/// `person_mae-mask_ratio-0.25-s0`: label, swept fields and seed of a run. All of them, so that a run has the same name
/// whichever others are written with it.
fn name(row: &RunRow) -> String {
    let tried = row.tuned.iter().filter(|_| row.trial.is_some());
    // The label often is the name of the objective, and then says that already.
    let fields = row.varied.iter().chain(tried).map(|(path, value)| (path.as_str(), value.to_string()));
    let fields: Vec<(&str, String)> = fields.filter(|(_, value)| *value != row.label).collect();
    let tail = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut words = vec![row.label.clone()];
    for (path, value) in &fields {
        let is_told = fields.iter().filter(|(other, _)| tail(other) == tail(path)).count() == 1;
        words.push(format!("{}-{value}", if is_told { tail(path) } else { (*path).to_owned() }));
    }
    let (pretrain, downstream) = (row.seed_pretrain, row.seed_downstream);
    words.push(if pretrain == downstream { format!("s{downstream}") } else { format!("s{pretrain}-{downstream}") });
    safe(&words.join("-"))
}
