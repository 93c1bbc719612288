//! The first metric against the epoch of the pre-training whose encoder is evaluated.

use std::collections::BTreeSet;

use polars::prelude::DataFrame;
use serde_json::Value;

use super::settings::{INTERVAL, Key, Settings, leading, scored, value_axis};
use super::swept::number;
use super::{Axis, Chart, Scale, about::About};
use crate::reader::Frames;
use crate::row::Scalar;
use crate::table::{Field, TableOptions, select};
use crate::{Result, decode};

/// Column of the field that takes an encoder.
const TAKE: &str = "cfg.pretrain.take";

/// The encoder at the end.
const LAST: &str = "last";

/// Kind of the stage that epochs are counted in.
const STAGE: &str = "pretrain";

/// One chart if the epoch is swept, one line per label and value of the other fields; none otherwise.
///
/// # Errors
/// As [`crate::tabulate`]; [`crate::ResultsError::Unreadable`] and its like where step rows are damaged.
pub fn epochs(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let Some(metric) = options.metrics.first() else { return Ok(Vec::new()) };
    let settings = Settings::of(frames, options, vec![metric.clone()])?;
    let Some(at) = settings.fields.iter().position(is_epoch) else { return Ok(Vec::new()) };
    let Some(column) = settings.columns.first() else { return Ok(Vec::new()) };
    let runs = select::select(&frames.runs, options)?.runs;
    // The end of a pre-training is looked up before the lines are drawn, since its files may be damaged.
    let mut places = Vec::new();
    for setting in &settings.all {
        let place = match &setting.key[at] {
            Some(Scalar::Text(text)) if text == LAST => last_epoch(frames, &runs, &settings.fields, &setting.key)?,
            Some(Scalar::Text(text)) => text.strip_prefix("epoch ").and_then(|epoch| epoch.trim().parse().ok()),
            Some(value) => number(value),
            None => None,
        };
        places.push((&setting.key, place));
    }
    let place = |key: &Key| places.iter().find(|(known, _)| *known == key).and_then(|(_, place)| *place);
    let lines = settings.along(at, |setting| place(&setting.key));
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let (series, left_out) = leading(scored(lines, column.direction));
    Ok(vec![Chart {
        id: "by-epoch".to_owned(),
        title: format!("{} by epoch of the pre-training", column.title),
        x: Axis { label: "pre-training".to_owned(), unit: Some("epochs".to_owned()), scale: Scale::Linear },
        y: value_axis(&column.title, column.unit),
        note: About::of(&runs).note(&series, "seed", INTERVAL, left_out),
        series,
    }])
}

/// Whether a field says which encoder of a pre-training is taken.
pub(super) fn is_epoch(field: &Field) -> bool {
    field.column.strip_prefix(TAKE).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Epochs of the whole pre-training of a setting: as its spec says, or, where that only says what may be spent, as its
/// steps tell.
fn last_epoch(frames: &Frames, runs: &DataFrame, fields: &[Field], key: &Key) -> Result<Option<f64>> {
    let is_of = |row: &usize| {
        let mut values = fields.iter().zip(key);
        values.all(|(field, value)| decode::scalar(runs, &field.column, *row) == *value)
    };
    let rows: Vec<usize> = (0..runs.height()).filter(is_of).collect();
    let config = rows.iter().find_map(|&row| decode::text(runs, "config_json", row));
    if let Some(epochs) = config.and_then(|config| planned_epochs(&config)) {
        return Ok(Some(epochs));
    }
    let ids: BTreeSet<String> = rows.iter().filter_map(|&row| decode::text(runs, "run_id", row)).collect();
    let steps = frames.steps(&ids)?;
    let last = steps.iter().filter(|(_, step)| step.stage == STAGE).map(|(_, step)| step.epoch).max();
    Ok(last.map(|epoch| (epoch + 1) as f64))
}

/// Epochs of a resolved spec's pre-training, where it counts in epochs.
fn planned_epochs(config: &str) -> Option<f64> {
    let config: Value = serde_json::from_str(config).ok()?;
    let pretrain = config.get("pretrain")?;
    match pretrain.get("budget") {
        None => pretrain.pointer("/train/epochs")?.as_f64(),
        Some(budget) if budget.get("train_epochs").is_some() => pretrain.pointer("/train/epochs")?.as_f64(),
        Some(budget) => budget.get("epochs")?.as_f64(),
    }
}
