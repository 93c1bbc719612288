//! Learning curves: the loss of each stage against its steps, and whether a pre-training's features collapse.

use std::collections::{BTreeMap, BTreeSet};

use super::about::About;
use super::names::slug;
use super::settings::{Key, MOST_LINES, value_axis};
use super::{Axis, Chart, Point, Scale, Series};
use crate::reader::Frames;
use crate::schema::{self, Unit};
use crate::table::{Field, TableOptions, fields, select};
use crate::{Result, decode};

/// What is drawn of which kind of stage, in the order of the page.
const CURVES: [(&str, &str); 5] = [
    ("pretrain", "loss"),
    ("pretrain", "feature_std"),
    ("pretrain", "effective_rank"),
    ("train_source", "loss"),
    ("train", "loss"),
];

/// Points of a line at most; of more, every second, third and so on is drawn. A training records some two hundred.
const MOST_POINTS: usize = 250;

/// What the error bars of means over trainings are.
const RANGE: &str = "bars or band: least to greatest";

/// Values of one training by step.
type Curve = BTreeMap<i64, f64>;

/// One line: the settings that share trainings.
struct Line {
    key: Key,
    /// By key of the stage, so that a training that several runs share counts once.
    curves: BTreeMap<String, Curve>,
}

/// One chart per kind of stage and statistic that the runs have recorded: the mean over trainings, one line per row of
/// the table. Rows that share their trainings, as where only what follows them differs, share a line.
///
/// # Errors
/// As [`crate::tabulate`]; [`crate::ResultsError::Unreadable`] and its like where step rows are damaged.
pub fn learning(frames: &Frames, options: &TableOptions) -> Result<Vec<Chart>> {
    let runs = select::select(&frames.runs, options)?.runs;
    let (mut names, over) = fields::resolve(&runs, options)?;
    names.extend(over);
    let mut keys: Vec<Key> = Vec::new();
    let mut settings: BTreeMap<String, usize> = BTreeMap::new();
    for row in 0..runs.height() {
        let key: Key = names.iter().map(|field| decode::scalar(&runs, &field.column, row)).collect();
        let at = keys.iter().position(|known| *known == key).unwrap_or(keys.len());
        if at == keys.len() {
            keys.push(key);
        }
        settings.extend(decode::text(&runs, "run_id", row).map(|id| (id, at)));
    }
    let ids: BTreeSet<String> = settings.keys().cloned().collect();
    let mut found: BTreeMap<(usize, usize), BTreeMap<String, Curve>> = BTreeMap::new();
    for (id, step) in frames.steps(&ids)? {
        let curve = CURVES.iter().position(|(stage, metric)| *stage == step.stage && *metric == step.metric);
        if let (Some(curve), Some(setting), true) = (curve, settings.get(&id), step.value.is_finite()) {
            let trainings = found.entry((curve, *setting)).or_default();
            trainings.entry(step.stage_key).or_default().insert(step.step, step.value);
        }
    }
    let about = About::of(&runs);
    let mut charts = Vec::new();
    for (curve, (stage, metric)) in CURVES.iter().enumerate() {
        let of_curve = found.iter().filter(|((at, _), _)| *at == curve);
        let lines = merged(of_curve.map(|((_, setting), curves)| (&keys[*setting], curves)));
        charts.extend(chart(stage, metric, &names, &lines, &about));
    }
    Ok(charts)
}

/// Lines of settings, in their order. A setting whose trainings are all those of another, or the other way round, is
/// on its line, and what the two differ in is no part of the line's name.
fn merged<'a>(settings: impl Iterator<Item = (&'a Key, &'a BTreeMap<String, Curve>)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (key, curves) in settings {
        let is_shared = |line: &&mut Line| {
            let is_new_larger = line.curves.len() < curves.len();
            let (few, many) = if is_new_larger { (&line.curves, curves) } else { (curves, &line.curves) };
            few.keys().all(|stage| many.contains_key(stage))
        };
        let Some(line) = lines.iter_mut().find(is_shared) else {
            lines.push(Line { key: key.clone(), curves: curves.clone() });
            continue;
        };
        for (mine, other) in line.key.iter_mut().zip(key) {
            if mine != other {
                *mine = None;
            }
        }
        for (stage, curve) in curves {
            // Of a training that is taken earlier, the same values up to there.
            line.curves.entry(stage.clone()).or_default().extend(curve);
        }
    }
    lines
}

/// The chart of these lines; none without any.
fn chart(stage: &str, metric: &str, names: &[Field], lines: &[Line], about: &About) -> Option<Chart> {
    let def = schema::metric_def(metric);
    let title = def.map_or(metric, |def| def.title);
    let longest = lines.iter().map(|line| steps(line).len()).max()?;
    let every = longest.div_ceil(MOST_POINTS);
    let series = lines
        .iter()
        .take(MOST_LINES)
        .map(|line| Series { name: fields::row_label(names, &line.key), points: points(line, every) });
    let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    let mut left_out = Vec::new();
    if lines.len() > MOST_LINES {
        left_out.push(format!("the first {MOST_LINES} of {} lines", lines.len()));
    }
    if every > 1 {
        left_out.push(format!("one of {every} recorded steps"));
    }
    let left_out = (!left_out.is_empty()).then(|| left_out.join("; "));
    let kind = match stage {
        "pretrain" => "Pre-training",
        "train_source" => "Training on the source",
        _ => "Training",
    };
    Some(Chart {
        id: slug(&format!("learning-{stage}-{metric}")),
        title: format!("{kind}: {title}"),
        x: Axis { label: "step".to_owned(), unit: Some("optimizer updates".to_owned()), scale: Scale::Linear },
        y: value_axis(title, def.map_or(Unit::Plain, |def| def.unit)),
        note: about.note(&series, "training", RANGE, left_out),
        series,
    })
}

/// All steps at which any training of a line recorded.
fn steps(line: &Line) -> BTreeSet<i64> {
    line.curves.values().flat_map(|curve| curve.keys().copied()).collect()
}

/// Mean, least and greatest value over the trainings, at every `every`-th recorded step and at the last.
fn points(line: &Line, every: usize) -> Vec<Point> {
    let steps: Vec<i64> = steps(line).into_iter().collect();
    let is_drawn = |at: usize| at.is_multiple_of(every) || at + 1 == steps.len();
    let drawn = steps.iter().enumerate().filter(|(at, _)| is_drawn(*at)).map(|(_, step)| *step);
    drawn
        .map(|step| {
            let values: Vec<f64> = line.curves.values().filter_map(|curve| curve.get(&step).copied()).collect();
            let n = values.len();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (low, high) = ((n > 1).then_some(low), (n > 1).then_some(high));
            Point { x: step as f64, y: values.iter().sum::<f64>() / n as f64, low, high, n }
        })
        .collect()
}
