//! Tuning: every initialisation chooses settings for itself, from a grid, by its mean on validation identities.
//!
//! A comparison in which one side's rates were tuned and the other's were not compares the tuning. So every point
//! of the sweep, `none` included, tries the same grid, less the fields that do not concern it; where that leaves it
//! fewer trials, a warning says so, and `for` gives it a grid of its own. No test query has a part in a choice.

mod written;

use std::collections::BTreeMap;

use reid_objectives::metric::MetricKey;
use serde_json::Value as Json;

pub(crate) use written::{Written, read};

use crate::node::Node;
use crate::resolve;
use crate::shape::Shape;
use crate::spec::{RunSpec, Seeds};
use crate::written::file_shape;

/// Metrics that can be chosen by: those of which more is better. The first is the default.
pub const METRICS: [MetricKey; 5] =
    [MetricKey::Map, MetricKey::Rank1, MetricKey::Rank5, MetricKey::Rank10, MetricKey::Minp];

/// What an experiment chooses before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Metric on the validation identities.
    pub by: MetricKey,
    /// Seeds of every trial.
    pub seeds: Vec<Seeds>,
    /// Every point of the sweep, in its order.
    pub points: Vec<TunedPoint>,
}

/// A point of the sweep and what it may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct TunedPoint {
    /// Name for tables.
    pub label: String,
    /// The fields of the grid that concern it, with their values in the order written.
    pub fields: Vec<(String, Vec<Json>)>,
    /// Every combination of the values; the first field changes slowest. Never empty: without fields, the point as
    /// it is.
    pub candidates: Vec<Candidate>,
}

/// A combination of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The run with these values.
    pub spec: RunSpec,
    /// The values by dotted path; a choice is given by its name.
    pub values: BTreeMap<String, Json>,
}

/// A chosen value at an end of its grid: a better one may lie beyond.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Dotted path.
    pub field: String,
    /// The value.
    pub value: f64,
    /// Whether it is the largest, not the smallest.
    pub is_largest: bool,
}

impl Tuning {
    /// Chooses a candidate for every point: the best mean of `score(point, candidate, seed)` over the seeds, of equal
    /// means the first in the grid's order. A candidate without a score for every seed is out of the running; a point
    /// without any candidate left has no choice. Where there is one candidate only, nothing has to be tried.
    pub fn choose(&self, score: impl Fn(usize, usize, Seeds) -> Option<f64>) -> Vec<Option<usize>> {
        let mean = |point: usize, candidate: usize| {
            let scores =
                self.seeds.iter().map(|&seeds| score(point, candidate, seeds).filter(|score| score.is_finite()));
            let scores: Option<Vec<f64>> = scores.collect();
            scores.map(|scores| scores.iter().sum::<f64>() / scores.len().max(1) as f64)
        };
        let best = |(at, point): (usize, &TunedPoint)| {
            if point.candidates.len() == 1 {
                return Some(0);
            }
            let means = (0..point.candidates.len()).filter_map(|candidate| Some((candidate, mean(at, candidate)?)));
            let first_best = means.fold(None, |best: Option<(usize, f64)>, (candidate, mean)| match best {
                Some((_, known)) if known >= mean => best,
                _ => Some((candidate, mean)),
            });
            first_best.map(|(candidate, _)| candidate)
        };
        self.points.iter().enumerate().map(best).collect()
    }
}

impl TunedPoint {
    /// Combinations that are tried; none where there is nothing to choose.
    pub fn trials(&self) -> usize {
        if self.candidates.len() > 1 { self.candidates.len() } else { 0 }
    }

    /// Values of a candidate that lie at an end of their grid.
    pub fn edges(&self, candidate: usize) -> Vec<Edge> {
        let edge = |(field, values): &(String, Vec<Json>)| {
            let value = self.candidates.get(candidate)?.values.get(field)?.as_f64()?;
            let others: Vec<f64> = values.iter().filter_map(Json::as_f64).collect();
            let is_largest = others.iter().all(|other| *other <= value);
            let is_smallest = others.iter().all(|other| *other >= value);
            // The only value of its field is no end of anything.
            (is_largest != is_smallest).then(|| Edge { field: field.clone(), value, is_largest })
        };
        self.fields.iter().filter_map(edge).collect()
    }
}

impl Edge {
    /// `` `pretrain.train.lr`: 0.003 is the largest value of its grid ``.
    pub fn in_words(&self) -> String {
        let end = if self.is_largest { "largest" } else { "smallest" };
        format!("`{}`: {} is the {end} value of its grid", self.field, crate::validate::plain_number(self.value))
    }
}

/// Whether a field has a part in a point's run: every choice on the way to it is made so, by the name that is
/// written, and it is no setting of a pre-training that the run does not have.
pub(crate) fn concerns(spec: &RunSpec, resolved: &Json, written: &Node, path: &[String]) -> bool {
    let is_training = path.len() > 1 && path[0] == "pretrain" && path[1] != "objective";
    if is_training && spec.pretrain.objective.algorithm().is_none() {
        return false;
    }
    let mut shape = file_shape();
    let (mut value, mut node) = (Some(resolved), Some(written));
    for key in path {
        if let (Shape::Choice(choice), Some(made)) = (shape, value) {
            if resolve::chosen(choice, node, made).as_ref() != Some(key) {
                return false;
            }
            let variant = choice.preset(key).map_or(key.as_str(), |preset| preset.variant);
            value = made.get(variant);
        } else {
            value = value.and_then(|value| value.get(key));
        }
        node = node.and_then(|node| node.get(key));
        match shape.below(key) {
            Some(below) => shape = below,
            None => return false,
        }
    }
    value.is_some()
}
