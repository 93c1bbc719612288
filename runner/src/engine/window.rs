//! Metrics of steps: collected over a window of steps, recorded as its means.

use reid_objectives::metric::MetricKey;
use reid_objectives::task::StepOutput;

use super::checkpoint::{Position, Recorded};
use super::health;
use super::train::{TrainError, scalar};

/// Step metrics are recorded about this many times in a training.
const RECORDS: usize = 200;

/// Adds a step's metrics to the window, and records the window's means when it is full.
pub(super) fn record(
    outputs: &[StepOutput],
    norm: f64,
    rate: f64,
    position: &mut Position,
    steps: usize,
) -> Result<f64, TrainError> {
    let share = 1.0 / outputs.len() as f64;
    let mut values = vec![(MetricKey::GradNorm, norm), (MetricKey::Lr, rate)];
    let mut mean_loss = 0.0;
    for output in outputs {
        let loss = scalar(&output.loss)?;
        mean_loss += loss * share;
        values.push((MetricKey::Loss, loss * share));
        for (key, value) in &output.stats {
            values.push((*key, scalar(value)? * share));
        }
    }
    let window = &mut position.window;
    for (key, value) in values {
        *window.sums.entry(key.name().to_owned()).or_insert(0.0) += value;
    }
    window.steps += 1;
    if window.steps >= steps.div_ceil(RECORDS) {
        position.collapse = health::collapse(&position.window, (position.updates, steps), &position.marks);
        flush(position, position.epoch, position.updates);
    }
    Ok(mean_loss)
}

/// Records the means of the window's metrics, if it has any, and empties it.
pub(super) fn flush(position: &mut Position, epoch: usize, step: usize) {
    let window = std::mem::take(&mut position.window);
    let at = jiff::Timestamp::now().as_microsecond();
    let steps = window.steps as f64;
    let record = |(metric, sum): (String, f64)| Recorded { epoch, step, metric, value: sum / steps, at };
    // JSON, in which records are kept, has no NaN.
    position.records.extend(window.sums.into_iter().map(record).filter(|record| record.value.is_finite()));
}
