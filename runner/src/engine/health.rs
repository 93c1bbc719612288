//! Whether a pre-training's features have collapsed: the loss may look well while they all become one.

use std::collections::BTreeMap;

use reid_objectives::metric::MetricKey;

use super::checkpoint::Window;

/// Mean standard deviation of the features' channels below which pictures are no longer told apart.
///
/// Features are class tokens after the final norm, whose channels have a size of about 1, so this is a
/// hundredth of their size. Our choice.
const LEAST_STD: f64 = 0.01;

/// Effective rank below which features vary along one direction only: two even directions have 2. Our choice.
const LEAST_RANK: f64 = 1.5;

/// Begin of every such mark; a stage gets one.
const MARK: &str = "features collapsed";

/// Share of the training in which nothing is said: random weights hardly tell pictures apart. Our choice.
const QUIET: f64 = 0.1;

/// What to say of the means over an interval of steps that ends with `step` of `steps`, if they show a collapse
/// that is not among the `marks` yet.
pub(super) fn collapse(window: &Window, (step, steps): (usize, usize), marks: &[String]) -> Option<String> {
    let is_early = (step as f64) < QUIET * steps as f64;
    if is_early || window.steps == 0 || marks.iter().any(|mark| mark.starts_with(MARK)) {
        return None;
    }
    let mean = |key: MetricKey| mean_of(&window.sums, window.steps, key);
    let low = |key, least: f64| mean(key).filter(|&value| value < least).map(|value| (value, least));
    let (what, (value, least)) = if let Some(found) = low(MetricKey::FeatureStd, LEAST_STD) {
        ("standard deviation", found)
    } else {
        ("effective rank", low(MetricKey::EffectiveRank, LEAST_RANK)?)
    };
    let steps = window.steps;
    Some(format!("{MARK} by step {step}: {what} {value:.2e} over {steps} steps, below {least}"))
}

/// What can be done about it.
pub(super) const REMEDY: &str = "lower the learning rate or lengthen its warm-up; for an objective with a teacher also \
                                 its temperatures, centering and half-life";

fn mean_of(sums: &BTreeMap<String, f64>, steps: usize, key: MetricKey) -> Option<f64> {
    sums.get(key.name()).map(|sum| sum / steps as f64)
}
