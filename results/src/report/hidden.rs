//! mAP of occluded queries, by how much of the person is hidden.

use super::settings::{INTERVAL, Settings, leading, scored, value_axis};
use super::{Axis, Chart, Scale, Series, about::About};
use crate::Result;
use crate::reader::Frames;
use crate::schema::{Direction, METRIC, Unit};
use crate::table::{TableOptions, select};

/// Split whose queries are occluded.
const SPLIT: &str = "occluded";

/// Metrics by hidden share, with the names of the shares.
const SHARES: [(&str, &str); 3] =
    [("map_hidden_low", "less than 1/3"), ("map_hidden_mid", "1/3 to 1/2"), ("map_hidden_high", "1/2 and more")];

/// One chart where the runs have such queries, one series per row of the table; none otherwise.
///
/// # Errors
/// As [`crate::tabulate`].
pub fn hidden(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let column_of = |name: &str| format!("{METRIC}{SPLIT}.{name}");
    let there: Vec<_> = SHARES.iter().filter(|(name, _)| frames.runs.column(&column_of(name)).is_ok()).collect();
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let options = TableOptions { split: SPLIT.to_owned(), ..options.clone() };
    let settings = Settings::of(frames, &options, there.iter().map(|(name, _)| (*name).to_owned()).collect())?;
    let mut lines = Vec::new();
    for setting in &settings.all {
        let point = |(at, (name, _)): (usize, &&(&str, &str))| {
            let column = settings.columns.iter().find(|column| column.column == column_of(name))?;
            setting.point(at as f64, column)
        };
        let points: Vec<_> = there.iter().enumerate().filter_map(point).collect();
        if !points.is_empty() {
            lines.push(Series { name: settings.name(setting), points });
        }
    }
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let (series, left_out) = leading(scored(lines, Direction::Higher));
    let names = there.iter().map(|(_, name)| (*name).to_owned()).collect();
    let about = About::of(&select::select(&frames.runs, &options)?.runs);
    Ok(vec![Chart {
        id: "hidden".to_owned(),
        title: "mAP by hidden share of the person (occluded queries)".to_owned(),
        x: Axis {
            label: "hidden share".to_owned(),
            unit: Some("of the person's area".to_owned()),
            scale: Scale::Categories(names),
        },
        y: value_axis("mAP", Unit::Fraction),
        note: about.note(&series, "seed", INTERVAL, left_out),
        series,
    }])
}
