//! A scene as lines of text.

use std::time::Duration;

use super::super::count;
use super::look::{Counts, Scene, Stage};
use super::spark::sparkline;
use crate::engine::Standing;
use crate::progress::short_duration;

/// The step metric that is drawn.
const DRAWN: &str = "loss";
/// Characters of a bar between its ends, and most characters of a curve.
const BAR: usize = 24;
const CURVE: usize = 50;

/// How lines are written.
pub(super) struct Form {
    /// Most columns of a line.
    pub(super) width: usize,
    /// Nothing but ASCII.
    pub(super) ascii: bool,
}

/// Lines of at most the form's width.
pub(super) fn frame(scene: &Scene, form: &Form) -> Vec<String> {
    let mut lines = vec![scene.name.clone()];
    lines.extend(scene.stages.iter().flat_map(|stage| of_stage(stage, form)));
    lines.extend(scene.trials.map(|counts| in_words(counts, "trial")));
    lines.push(match scene.runs {
        Some(counts) => in_words(counts, "run"),
        None => "then the runs, with what the trials choose".to_owned(),
    });
    if !scene.warnings.is_empty() {
        lines.push("newest warnings of the log:".to_owned());
        lines.extend(scene.warnings.iter().map(|text| format!("  {text}")));
    }
    lines.iter().map(|line| fit(line, form)).collect()
}

/// `6 runs: 2 done, 1 failed, 3 waiting`.
fn in_words(counts: Counts, what: &str) -> String {
    let Counts { runs, done, failed } = counts;
    format!("{}: {done} done, {failed} failed, {} waiting", count(runs, what), counts.waiting())
}

fn of_stage(stage: &Stage, form: &Form) -> Vec<String> {
    let label = &stage.label;
    let mut lines = vec![match &stage.holder {
        Some(holder) => format!("{label}: {holder}"),
        None => format!("{label}: begun, and nobody works on it"),
    }];
    let Some(standing) = &stage.standing else { return lines };
    lines.push(bar(standing, stage.holder.is_some()));
    let values: Vec<f64> = standing.metrics.get(DRAWN).into_iter().flatten().map(|&(_, value)| value).collect();
    if let Some(last) = values.last() {
        // The value comes last and must not be cut off.
        let (name, value) = (format!("  {DRAWN} "), format!(" {last:.4}"));
        let width = form.width.saturating_sub(name.len() + value.len()).min(CURVE);
        lines.push(format!("{name}{}{value}", sparkline(&values, width, form.ascii)));
    }
    lines.extend(standing.marks.iter().map(|mark| format!("  warning: {mark}")));
    lines
}

/// `  [=========>              ] 480/1200 steps, ETA 42 s, 745 images/s`; the time only of work that goes on.
fn bar(standing: &Standing, goes_on: bool) -> String {
    let &Standing { step, steps, images_per_second, seconds_per_step, .. } = standing;
    let filled = (BAR * step.min(steps)).checked_div(steps).unwrap_or(0);
    let head = if filled < BAR { ">" } else { "" };
    let mut parts = vec![format!("  [{:<BAR$}] {step}/{steps} steps", "=".repeat(filled) + head)];
    if goes_on {
        let seconds = seconds_per_step.map(|seconds| seconds * steps.saturating_sub(step) as f64);
        let left = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        parts.extend(left.map(|left| format!("ETA {}", short_duration(left))));
    }
    parts.extend(images_per_second.map(|rate| {
        let decimals = usize::from(rate < 10.0);
        format!("{rate:.decimals$} images/s")
    }));
    parts.join(", ")
}

/// The line as wide as is allowed, without what would move the cursor.
fn fit(line: &str, form: &Form) -> String {
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let tail = if form.width > 3 { "..." } else { "" };
    console::truncate_str(&line, form.width, tail).into_owned()
}
