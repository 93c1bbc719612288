//! The first metric against each number that an experiment sweeps.

use super::names::slug;
use super::settings::{INTERVAL, Settings, leading, scale_of, scored, value_axis};
use super::{Axis, Chart, about::About, epochs};
use crate::Result;
use crate::reader::Frames;
use crate::row::Scalar;
use crate::schema::CFG;
use crate::table::{TableOptions, select};

/// One chart per swept field that has two numbers or more where nothing else differs: the mean over seeds, one line per
/// label and value of the other fields.
///
/// # Errors
/// As [`crate::tabulate`].
pub fn swept(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let Some(metric) = options.metrics.first() else { return Ok(Vec::new()) };
    let settings = Settings::of(frames, options, vec![metric.clone()])?;
    let about = About::of(&select::select(&frames.runs, options)?.runs);
    let Some(column) = settings.columns.first() else { return Ok(Vec::new()) };
    let mut charts = Vec::new();
    for (at, field) in settings.fields.iter().enumerate() {
        if !field.column.starts_with(CFG) || epochs::is_epoch(field) {
            continue;
        }
        let lines = settings.along(at, |setting| setting.key[at].as_ref().and_then(number));
        if lines.is_empty() {
            continue;
        }
        let (series, left_out) = leading(scored(lines, column.direction));
        charts.push(Chart {
            id: slug(&format!("swept-{}", field.path)),
            title: format!("{} by {}", column.title, field.short),
            x: Axis { label: field.path.clone(), unit: None, scale: scale_of(&series) },
            y: value_axis(&column.title, column.unit),
            note: about.note(&series, "seed", INTERVAL, left_out),
            series,
        });
    }
    Ok(charts)
}

/// A finite number.
pub(super) fn number(value: &Scalar) -> Option<f64> {
    match value {
        Scalar::Int(value) => Some(*value as f64),
        Scalar::Float(value) => Some(*value).filter(|value| value.is_finite()),
        Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}
