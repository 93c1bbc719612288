//! Settings that cannot work at a run's length, or on its pictures: what a recipe fixes for hundreds of epochs on
//! millions of pictures is too much for a short run on few.
//!
//! A new objective adds a line to [`LIMITS`] for each of its fields that a rule fits. The shares are our design.

use reid_objectives::person_mae::spec::Target;
use reid_objectives::spec::{ObjectiveSpec, TemperatureSpec};

use crate::spec::RunSpec;

/// What a setting is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The optimizer steps of its training. The field is a `Duration`, or the momentum of a moving average, whose
    /// half-life is meant.
    Run,
    /// The pictures that pre-training draws from. The field is a number of things.
    Pool,
}

/// The largest share of the whole at which a kind of setting still works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Stable name of the warning.
    pub code: &'static str,
    /// What it is measured against.
    pub whole: Whole,
    /// Largest share.
    pub most: f64,
    /// What happens beyond it.
    pub why: &'static str,
}

/// Half-life of a teacher's moving average.
pub const HALF_LIFE: Rule =
    Rule { code: "spec::half-life", whole: Whole::Run, most: 0.1, why: "the teacher keeps much of its random start" };
/// Warm-up of the learning rate.
pub const WARMUP: Rule =
    Rule { code: "spec::long-warmup", whole: Whole::Run, most: 1.0 / 3.0, why: "little of the run has its full rate" };
/// Ramp of a temperature or of a weight.
pub const RAMP: Rule =
    Rule { code: "spec::long-ramp", whole: Whole::Run, most: 1.0 / 3.0, why: "little of the run has its final value" };
/// Queue of earlier samples that serve as negatives.
pub const QUEUE: Rule = Rule {
    code: "spec::long-queue",
    whole: Whole::Pool,
    most: 0.25,
    why: "too many negatives are the same pictures, or were encoded too long ago",
};
/// Prototypes, or other outputs that pictures share among each other.
pub const PROTOTYPES: Rule =
    Rule { code: "spec::many-prototypes", whole: Whole::Pool, most: 1.0, why: "most of them can be no picture's" };

/// Batch.
pub const BATCH: Rule =
    Rule { code: "spec::batch-over-pool", whole: Whole::Pool, most: 1.0, why: "an epoch has no whole batch" };

impl Rule {
    /// Whether a share of the whole is too large.
    pub fn is_broken(&self, share: f64) -> bool {
        /// Shares that are written as fractions of whole numbers shall not break a rule by rounding.
        const ROUNDING: f64 = 1e-9;
        share > self.most * (1.0 + ROUNDING)
    }
}

/// Steps in which a moving average with this momentum halves a value's weight: `ln 0.5 / ln momentum`; 0 without any
/// memory, infinite where nothing new ever enters.
pub fn half_life_steps(momentum: f64) -> f64 {
    (0.5_f64.ln() / momentum.ln()).abs()
}

/// A field and its rule.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Dotted path in a resolved spec; where a choice on the way was made otherwise, the rule does not apply.
    pub field: &'static str,
    /// The rule.
    pub rule: Rule,
    /// Whether the run uses the field.
    pub is_used: fn(&RunSpec) -> bool,
}

const fn limit(field: &'static str, rule: Rule, is_used: fn(&RunSpec) -> bool) -> Limit {
    Limit { field, rule, is_used }
}

/// All limits.
pub const LIMITS: &[Limit] = &[
    limit("pretrain.train.schedule.warmup_cosine.warmup", WARMUP, always),
    limit("pretrain.train.schedule.dino_cosine.warmup", WARMUP, always),
    limit("pretrain.train.schedule.transreid_cosine.warmup", WARMUP, always),
    limit("pretrain.train.batch", BATCH, always),
    limit("protocol.supervised.train.schedule.warmup_cosine.warmup", WARMUP, always),
    limit("protocol.supervised.train.schedule.transreid_cosine.warmup", WARMUP, always),
    limit("pretrain.objective.person_mae.teacher_half_life", HALF_LIFE, has_person_mae_average),
    limit("pretrain.objective.person_mae.feature_ramp", RAMP, has_person_mae_teacher),
    limit("pretrain.objective.mim_dino.teacher_momentum.half_life", HALF_LIFE, always),
    limit("pretrain.objective.mim_dino.teacher_momentum.cosine.start", HALF_LIFE, always),
    limit("pretrain.objective.mim_dino.teacher_temperature.ramp", RAMP, has_class_ramp),
    limit("pretrain.objective.mim_dino.patch_temperature.ramp", RAMP, has_patch_ramp),
    limit("pretrain.objective.mim_dino.mim_start", RAMP, has_masked_patches),
    limit("pretrain.objective.mim_dino.freeze_last_layer", RAMP, always),
    limit("pretrain.objective.mim_dino.head.prototypes", PROTOTYPES, always),
    limit("pretrain.objective.mim_dino.head.patch_prototypes", PROTOTYPES, has_masked_patches),
    limit("pretrain.objective.up_reid.momentum.half_life", HALF_LIFE, always),
    limit("pretrain.objective.up_reid.momentum.cosine.start", HALF_LIFE, always),
    limit("pretrain.objective.up_reid.variant.queue.size", QUEUE, always),
    limit("pretrain.objective.up_reid.strips.warmup", RAMP, has_strips),
];

fn always(_: &RunSpec) -> bool {
    true
}

fn has_person_mae_teacher(run: &RunSpec) -> bool {
    matches!(&run.pretrain.objective, ObjectiveSpec::PersonMae(spec) if spec.target != Target::Pixel)
}

fn has_person_mae_average(run: &RunSpec) -> bool {
    matches!(&run.pretrain.objective, ObjectiveSpec::PersonMae(spec) if spec.has_average())
}

fn has_masked_patches(run: &RunSpec) -> bool {
    matches!(&run.pretrain.objective, ObjectiveSpec::MimDino(spec) if spec.mim_weight > 0.0)
}

fn has_strips(run: &RunSpec) -> bool {
    matches!(&run.pretrain.objective, ObjectiveSpec::UpReid(spec) if spec.strips.weight > 0.0)
}

fn changes(temperature: TemperatureSpec) -> bool {
    (temperature.end - temperature.start).abs() > 0.0
}

fn has_class_ramp(run: &RunSpec) -> bool {
    matches!(&run.pretrain.objective, ObjectiveSpec::MimDino(spec) if changes(spec.teacher_temperature))
}

fn has_patch_ramp(run: &RunSpec) -> bool {
    has_masked_patches(run)
        && matches!(&run.pretrain.objective, ObjectiveSpec::MimDino(spec) if changes(spec.patch_temperature))
}
