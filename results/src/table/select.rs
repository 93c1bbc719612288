//! Which runs a table is made of.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::{BooleanChunked, DataFrame, NewChunkedArray};

use super::{Field, TableOptions, text_at};
use crate::schema::CFG;
use crate::{Result, ResultsError, decode};

/// Runs that count.
pub(crate) struct Selection {
    /// The runs, in reading order.
    pub(crate) runs: DataFrame,
    /// Rows left out because a newer row has the same setting and seeds.
    pub(crate) superseded: usize,
}

/// Filters by experiment and ids, then drops superseded rows.
pub(crate) fn select(runs: &DataFrame, options: &TableOptions) -> Result<Selection> {
    let wanted = |row: usize| {
        let experiment =
            options.experiment.as_ref().is_none_or(|name| text_at(runs, "experiment", row).as_ref() == Some(name));
        let listed =
            || text_at(runs, "run_id", row).is_some_and(|id| options.runs.as_ref().is_none_or(|ids| ids.contains(&id)));
        let is_trial = decode::int(runs, "trial", row).is_some();
        experiment && is_trial == options.trials && listed()
    };
    let kept = keep(runs, &(0..runs.height()).map(wanted).collect::<Vec<_>>())?;
    if kept.height() == 0 {
        let experiments: BTreeSet<String> =
            (0..runs.height()).filter_map(|row| text_at(runs, "experiment", row)).collect();
        let reason = if experiments.is_empty() {
            "the results folder is empty; run an experiment first".to_owned()
        } else {
            let names: Vec<String> = experiments.into_iter().collect();
            format!("none fits the selection; experiments: {}", names.join(", "))
        };
        return Err(ResultsError::NoRuns { reason });
    }
    let newest = newest_rows(&kept, options);
    let runs = keep(&kept, &newest)?;
    let superseded = kept.height() - runs.height();
    Ok(Selection { superseded, runs: meeting(&runs, options)? })
}

/// The runs that meet all conditions. Asked last: whether a row is superseded does not depend on what is shown.
fn meeting(runs: &DataFrame, options: &TableOptions) -> Result<DataFrame> {
    let mut mask = vec![true; runs.height()];
    for condition in &options.conditions {
        let column = condition.column(runs, &options.split)?;
        for (row, kept) in mask.iter_mut().enumerate() {
            *kept &= condition.holds(decode::scalar(runs, &column, row).as_ref());
        }
    }
    let left = keep(runs, &mask)?;
    if left.height() == 0 {
        let conditions: Vec<String> = options.conditions.iter().map(ToString::to_string).collect();
        let reason = format!("none of {} meets {}", runs.height(), conditions.join(" and "));
        return Err(ResultsError::NoRuns { reason });
    }
    Ok(left)
}

fn keep(runs: &DataFrame, mask: &[bool]) -> Result<DataFrame> {
    runs.filter(&BooleanChunked::from_slice("keep".into(), mask)).map_err(ResultsError::internal("selecting runs"))
}

/// Marks, of the rows with the same setting and seeds, the one that started last.
///
/// Such rows differ in their run id only: the same setting computed by another version. Averaging them would pass
/// repetitions off as seeds.
fn newest_rows(runs: &DataFrame, options: &TableOptions) -> Vec<bool> {
    let swept: Vec<&str> = decode::names(runs).into_iter().filter(|name| options.tells_apart(name)).collect();
    let names: Vec<&str> = ["experiment", "label", "dataset", "protocol", "seed_pretrain", "seed_downstream"]
        .into_iter()
        .chain(swept)
        .collect();
    let mut newest: BTreeMap<String, (i64, usize)> = BTreeMap::new();
    for row in 0..runs.height() {
        let key: Vec<_> = names.iter().map(|name| decode::scalar(runs, name, row)).collect();
        let started = decode::int(runs, "started_at", row).unwrap_or(i64::MIN);
        let entry = newest.entry(format!("{key:?}")).or_insert((started, row));
        if started >= entry.0 {
            *entry = (started, row);
        }
    }
    let mut mask = vec![false; runs.height()];
    for &(_, row) in newest.values() {
        mask[row] = true;
    }
    mask
}

/// Whether runs that share a cell are of one data set: an override of one invocation may have named another.
pub(crate) fn check_datasets(runs: &DataFrame, keys: &[String]) -> Result<()> {
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for row in 0..runs.height() {
        let key: Vec<_> = keys.iter().map(|name| decode::scalar(runs, name, row)).collect();
        let dataset = text_at(runs, "dataset", row);
        if *known.entry(format!("{key:?}")).or_insert_with(|| dataset.clone()) != dataset {
            let cell = format!("`{}`", text_at(runs, "label", row).unwrap_or_default());
            return Err(ResultsError::MixedCell { cell, missing: "dataset".to_owned() });
        }
    }
    Ok(())
}

/// Number of evaluation protocols among the runs; more than one only if a shown field keeps them apart.
///
/// Where an experiment sweeps what of a model is ranked, such as the pooling, that is the question it asks: its
/// runs are of one protocol.
pub(crate) fn check_protocols(runs: &DataFrame, shown: &[&Field]) -> Result<usize> {
    let protocols: BTreeSet<String> = (0..runs.height()).filter_map(|row| text_at(runs, "protocol", row)).collect();
    let apart = shown.iter().any(|field| field.column == "protocol");
    let mut names = protocols.iter();
    match (names.next(), names.next()) {
        (Some(_), Some(_)) if is_swept(runs) => Ok(1),
        (Some(first), Some(second)) if !apart => {
            Err(ResultsError::MixedProtocols { first: first.clone(), second: second.clone() })
        }
        _ => Ok(protocols.len()),
    }
}

/// Whether all runs are of one experiment whose swept fields below `protocol` tell the evaluation protocols apart.
pub(crate) fn is_swept(runs: &DataFrame) -> bool {
    let path = format!("{CFG}protocol");
    let swept: Vec<&str> = decode::names(runs).into_iter().filter(|name| name.starts_with(&path)).collect();
    let mut told: BTreeMap<String, Option<String>> = BTreeMap::new();
    let experiment = text_at(runs, "experiment", 0);
    (0..runs.height()).all(|row| {
        let key: Vec<_> = swept.iter().map(|name| decode::scalar(runs, name, row)).collect();
        let protocol = text_at(runs, "protocol", row);
        let known = told.entry(format!("{key:?}")).or_insert_with(|| protocol.clone());
        *known == protocol && text_at(runs, "experiment", row) == experiment
    })
}
