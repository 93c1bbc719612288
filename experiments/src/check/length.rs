//! Settings against the length of their training and the size of the pool, by the table of [`crate::limits`].

use reid_data::spec::{DataSpec, SyntheticSpec};
use reid_objectives::budget::Length;
use reid_objectives::spec::{Duration, ProtocolSpec};
use serde_json::Value as Json;

use super::Finding;
use crate::limits::{LIMITS, Limit, WARMUP, Whole, half_life_steps};
use crate::spec::{PretrainData, RunSpec};
use crate::validate::plain_number;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    at_length(run, pool(run))
}

/// Pictures that pre-training draws from, where the spec alone tells.
pub(crate) fn pool(run: &RunSpec) -> Option<usize> {
    let data = match &run.pretrain.data {
        PretrainData::Same if run.train_with.is_empty() => &run.data,
        PretrainData::Other(other) => other,
        PretrainData::Same | PretrainData::Joined(_) => return None,
    };
    match data {
        DataSpec::Synthetic(SyntheticSpec { train_identities, images_per_identity, pool_factor, .. }) => {
            train_identities.checked_mul(*images_per_identity)?.checked_mul(*pool_factor)
        }
        _ => None,
    }
}

/// The rules' findings where pre-training draws from `pool` pictures; unless that is known, those that do not
/// depend on it.
pub(crate) fn at_length(run: &RunSpec, pool: Option<usize>) -> Vec<Finding> {
    let resolved = serde_json::to_value(run).expect("a run serialises to JSON");
    let has_pretraining = run.pretrain.objective.algorithm().is_some();
    let used = LIMITS.iter().filter(|limit| has_pretraining || !limit.field.starts_with("pretrain."));
    let used = used.filter(|limit| (limit.is_used)(run));
    let value = |limit: &Limit| limit.field.split('.').try_fold(&resolved, |value, key| value.get(key));
    let found = used.filter_map(|limit| match limit.rule.whole {
        Whole::Run => of_run(limit, value(limit)?, training(run, limit.field, pool)?),
        Whole::Pool => of_pool(limit, value(limit)?.as_f64()?, pool?),
    });
    found.collect()
}

/// What is known of a training's length.
struct Training {
    epochs: Option<f64>,
    steps: Option<f64>,
    /// Field that says it, and what it says.
    said: (&'static str, String),
}

/// The training that a field belongs to.
fn training(run: &RunSpec, field: &str, pool: Option<usize>) -> Option<Training> {
    let of_epochs = |field, epochs: usize| (field, format!("{epochs} epochs"));
    if !field.starts_with("pretrain.") {
        let ProtocolSpec::Supervised(protocol) = &run.protocol else { return None };
        let epochs = protocol.train.epochs;
        let said = of_epochs("protocol.supervised.train.epochs", epochs);
        return Some(Training { epochs: Some(epochs as f64), steps: None, said });
    }
    let train = &run.pretrain.train;
    let per_epoch = pool.map(|pool| pool / train.batch / train.accumulate).filter(|steps| *steps > 0);
    Some(match run.pretrain_length()? {
        Length::Epochs(epochs) => {
            let is_budget = run.pretrain.budget != reid_objectives::spec::BudgetSpec::default();
            let field = if is_budget { "pretrain.budget" } else { "pretrain.train.epochs" };
            let steps = per_epoch.map(|steps| (epochs * steps) as f64);
            Training { epochs: Some(epochs as f64), steps, said: of_epochs(field, epochs) }
        }
        Length::Steps(steps) => {
            let epochs = per_epoch.map(|per_epoch| steps as f64 / per_epoch as f64);
            Training { epochs, steps: Some(steps as f64), said: ("pretrain.budget", format!("{steps} steps")) }
        }
    })
}

fn of_run(limit: &Limit, value: &Json, training: Training) -> Option<Finding> {
    let duration = match value.as_f64() {
        Some(momentum) => Duration::Steps(half_life_steps(momentum)),
        None => serde_json::from_value(value.clone()).ok()?,
    };
    let share = match duration {
        Duration::Fraction(share) => share,
        Duration::Epochs(epochs) => epochs / training.epochs?,
        Duration::Steps(steps) => steps / training.steps?,
    };
    // A warm-up that does not fit into its epochs is an error of its own.
    let is_error = limit.rule == WARMUP && share > 1.0 && matches!(duration, Duration::Epochs(_));
    if !limit.rule.is_broken(share) || (is_error && training.said.0.ends_with(".epochs")) {
        return None;
    }
    let name = name(limit.field);
    let (most, why) = (percent(limit.rule.most), limit.rule.why);
    let message = format!("`{name}` is {} of the run: above {most}, {why}", percent(share));
    let finding = Finding::warning(limit.rule.code, message).at(limit.field, percent(share) + " of the run");
    let finding = match duration {
        Duration::Fraction(_) => finding,
        Duration::Epochs(_) | Duration::Steps(_) => finding.at(training.said.0, training.said.1),
    };
    Some(finding.help(if value.is_number() {
        format!("lower the momentum, or train longer; a half-life of {most} of the run is the most that works")
    } else {
        let share = plain_number((limit.rule.most * 100.0).floor() / 100.0);
        format!("train longer, or write it as a share of the run: `{name}: {{fraction: {share}}}` at most")
    }))
}

fn of_pool(limit: &Limit, number: f64, pool: usize) -> Option<Finding> {
    let share = number / pool as f64;
    if !limit.rule.is_broken(share) {
        return None;
    }
    let (name, most) = (name(limit.field), (limit.rule.most * pool as f64).floor());
    let message =
        format!("`{name}` is {} for a pool of {pool} pictures: above {most}, {}", plain_number(number), limit.rule.why);
    let finding = Finding::warning(limit.rule.code, message).at(limit.field, format!("above {most}"));
    Some(finding.help(format!("use at most {most}, or pre-train on more pictures")))
}

/// The part of a path that people know a field by: an objective's settings by the whole way to them.
fn name(field: &str) -> &str {
    let own = field.strip_prefix("pretrain.objective.").and_then(|own| own.split_once('.'));
    own.map_or_else(|| field.rsplit('.').next().unwrap_or(field), |(_, own)| own)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
