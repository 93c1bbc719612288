//! Cumulative match characteristic: how many queries have a match among the first pictures of the gallery.

use super::settings::{INTERVAL, MOST_LINES, Settings, leading, value_axis};
use super::{Axis, Chart, Scale, Series, about::About};
use crate::Result;
use crate::reader::Frames;
use crate::schema::{METRIC, Unit};
use crate::table::{TableOptions, select};

/// Ranks that are recorded, with their metrics.
const RANKS: [(&str, f64); 5] = [("rank1", 1.0), ("rank5", 5.0), ("rank10", 10.0), ("rank20", 20.0), ("rank50", 50.0)];

/// Metric by which the best lines are kept.
const BEST_BY: &str = "map";

/// One chart of the ranks that the runs have, one line per row of the table; none where they have fewer than two.
///
/// # Errors
/// As [`crate::tabulate`].
pub fn cmc(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let column_of = |name: &str| format!("{METRIC}{}.{name}", options.split);
    let is_there = |name: &str| frames.runs.column(&column_of(name)).is_ok();
    let names: Vec<&str> = RANKS.iter().map(|(name, _)| *name).filter(|name| is_there(name)).collect();
    if names.len() < 2 {
        return Ok(Vec::new());
    }
    let metrics = names.iter().copied().chain([BEST_BY]).map(str::to_owned).collect();
    let settings = Settings::of(frames, options, metrics)?;
    let find = |name: &str| settings.columns.iter().find(|column| column.column == column_of(name));
    let ranks: Vec<_> = RANKS.iter().filter_map(|(name, rank)| Some((*rank, find(name)?))).collect();
    let mut lines = Vec::new();
    for setting in &settings.all {
        let points: Vec<_> = ranks.iter().filter_map(|(rank, column)| setting.point(*rank, column)).collect();
        if points.len() > 1 {
            let map = find(BEST_BY).and_then(|column| setting.point(0.0, column));
            let score = map.map_or(f64::NEG_INFINITY, |point| point.y);
            lines.push((score, Series { name: settings.name(setting), points }));
        }
    }
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let (series, left_out) = leading(lines);
    let left_out = left_out.map(|_| format!("the {MOST_LINES} rows with the highest mAP"));
    let about = About::of(&select::select(&frames.runs, options)?.runs);
    Ok(vec![Chart {
        id: "cmc".to_owned(),
        title: format!("Cumulative match characteristic ({})", options.split),
        x: Axis { label: "rank".to_owned(), unit: Some("pictures of the gallery".to_owned()), scale: Scale::Log },
        y: value_axis("queries with a match", Unit::Fraction),
        note: about.note(&series, "seed", INTERVAL, left_out),
        series,
    }])
}
