//! What a spec may say about a training: length, rate and rule, and how they change over it.

use reid_backbones::optim::spec::OptimSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length, batch, rate and rule of one training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSpec {
    /// Passes over the epoch's plan.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// Samples in a batch.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// Batches whose gradients are averaged into one update.
    #[schemars(range(min = 1, max = 1024))]
    pub accumulate: usize,
    /// Peak learning rate, before scaling.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub lr: f64,
    /// Whether the rate grows with the batch.
    pub lr_scaling: LrScaling,
    /// Course of the rate.
    pub schedule: ScheduleSpec,
    /// Update rule.
    pub optim: OptimSpec,
    /// Largest norm of a gradient; 0 does not clip.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub clip: f64,
    /// What that norm is taken over.
    pub clip_scope: ClipScope,
    /// How often a checkpoint is written, besides every few minutes.
    pub checkpoint_every: Duration,
    /// How often the model is evaluated on the validation part while it trains, besides its own
    /// evaluation at the end. The curve is among the step metrics; no test query is ever asked.
    pub evaluate_every: EvaluateEvery,
    /// Keep only the input of every transformer block and compute the rest again in the backward pass:
    /// a third of the memory for a third more time, and the same numbers.
    pub recompute: bool,
}

impl Default for TrainSpec {
    /// MAE's pre-training recipe (arXiv 2111.06377, appendix A.1), 300 epochs.
    fn default() -> Self {
        Self {
            epochs: 300,
            batch: 256,
            accumulate: 1,
            lr: 1.5e-4,
            lr_scaling: LrScaling::Linear256,
            schedule: ScheduleSpec::WarmupCosine(WarmupCosine::default()),
            optim: OptimSpec::Adamw(reid_backbones::optim::spec::AdamwSpec::default()),
            clip: 0.0,
            clip_scope: ClipScope::All,
            checkpoint_every: Duration::Epochs(10.0),
            evaluate_every: EvaluateEvery::Never(Never {}),
            recompute: false,
        }
    }
}

/// What a gradient's norm is taken over for clipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipScope {
    /// All parameters together.
    All,
    /// Each tensor on its own (DINO's and iBOT's `clip_gradients`).
    Tensor,
}

/// Distance between two points of a training at which something is done, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluateEvery {
    /// Nothing is done.
    Never(Never),
    /// Share of the run.
    Fraction(#[schemars(range(min = 1e-6, max = 1.0))] f64),
    /// Epochs.
    Epochs(#[schemars(range(min = 1e-3, max = 100_000.0))] f64),
    /// Optimiser steps.
    Steps(#[schemars(range(min = 1.0, max = 1e12))] f64),
}

impl EvaluateEvery {
    /// The distance, if there are such points.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Never(Never {}) => None,
            Self::Fraction(share) => Some(Duration::Fraction(share)),
            Self::Epochs(n) => Some(Duration::Epochs(n)),
            Self::Steps(n) => Some(Duration::Steps(n)),
        }
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Never {}

/// Whether the learning rate grows with the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrScaling {
    /// As written.
    None,
    /// Times batch x accumulate / 256 (Goyal et al., arXiv 1706.02677).
    #[serde(rename = "linear_256")]
    Linear256,
}

/// Course of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleSpec {
    /// Linear warm-up from 0, then half a cosine to the floor, per step.
    WarmupCosine(WarmupCosine),
    /// DINO's and iBOT's course: as `warmup_cosine`, but the warm-up begins and ends exactly at its two rates,
    /// and the floor is an absolute rate.
    DinoCosine(DinoCosine),
    /// TransReID-SSL's course, per epoch: its cosine is not shifted by the warm-up.
    TransreidCosine(TransreidCosine),
    /// Constant but for drops (PyTorch's `StepLR`, cluster contrast).
    Steps(StepsSchedule),
    /// Linear warm-up, then two drops, per epoch (the strong baseline's `WarmupMultiStepLR`).
    WarmupSteps(WarmupSteps),
}

/// Warm-up and drops, as in the strong baseline (Luo et al., arXiv 1903.07071, section 3.1), per epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupSteps {
    /// Length of the warm-up, rounded to whole epochs.
    pub warmup: Duration,
    /// Rate at the first epoch as a share of the peak.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_start: f64,
    /// When the rate drops, rounded to whole epochs from the start of the run; beyond its end, never.
    pub drops: [Duration; 2],
    /// Factor of a drop.
    #[schemars(range(min = 1e-6, max = 1.0))]
    pub factor: f64,
}

impl Default for WarmupSteps {
    fn default() -> Self {
        Self {
            warmup: Duration::Epochs(10.0),
            warmup_start: 0.1,
            drops: [Duration::Epochs(40.0), Duration::Epochs(70.0)],
            factor: 0.1,
        }
    }
}

/// A rate that drops at regular distances.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StepsSchedule {
    /// Distance between two drops, and from the start to the first.
    pub every: Duration,
    /// Factor of a drop.
    #[schemars(range(min = 1e-6, max = 1.0))]
    pub factor: f64,
}

impl Default for StepsSchedule {
    fn default() -> Self {
        Self { every: Duration::Epochs(20.0), factor: 0.1 }
    }
}

/// DINO's `cosine_scheduler`, per step (arXiv 2104.14294, implementation details).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DinoCosine {
    /// Length of the warm-up, rounded to whole steps.
    pub warmup: Duration,
    /// First rate of the warm-up.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub start: f64,
    /// Final rate.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub floor: f64,
}

impl Default for DinoCosine {
    fn default() -> Self {
        Self { warmup: Duration::Epochs(10.0), start: 0.0, floor: 1e-6 }
    }
}

/// Momentum of a teacher that follows its student as an exponential moving average.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Momentum {
    /// Half a cosine over the run, per step (BYOL, DINO).
    Cosine(CosineMomentum),
    /// Constant, such that a value's weight halves in this time. Our design: a share of the run lets short runs
    /// keep the proportion of long ones.
    HalfLife(Duration),
}

/// A momentum that changes over the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CosineMomentum {
    /// Momentum at the first step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start: f64,
    /// Momentum at the end of the run.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub end: f64,
}

impl Default for CosineMomentum {
    fn default() -> Self {
        Self { start: 0.996, end: 1.0 }
    }
}

/// A temperature that changes over the first epochs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemperatureSpec {
    /// Temperature at the start.
    #[schemars(range(min = 0.001, max = 10.0))]
    pub start: f64,
    /// Temperature after the ramp.
    #[schemars(range(min = 0.001, max = 10.0))]
    pub end: f64,
    /// Length of the linear ramp, rounded to whole epochs: a temperature is constant within one.
    pub ramp: Duration,
}

impl Default for TemperatureSpec {
    fn default() -> Self {
        Self { start: 0.04, end: 0.07, ramp: Duration::Epochs(30.0) }
    }
}

/// Linear warm-up, then half a cosine, per step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmupCosine {
    /// Length of the warm-up.
    pub warmup: Duration,
    /// Final rate as a share of the peak.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
}

impl Default for WarmupCosine {
    fn default() -> Self {
        Self { warmup: Duration::Fraction(0.1), floor: 0.0 }
    }
}

/// TransReID's cosine with warm-up (its `cosine_lr.py`), per epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TransreidCosine {
    /// Length of the warm-up, rounded to whole epochs.
    pub warmup: Duration,
    /// Rate at the first epoch as a share of the base rate.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_start: f64,
    /// Floor as a share of the base rate.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
    /// When in an epoch the scheduler is stepped.
    pub step_at: StepAt,
}

impl Default for TransreidCosine {
    fn default() -> Self {
        Self { warmup: Duration::Epochs(20.0), warmup_start: 0.01, floor: 0.002, step_at: StepAt::End }
    }
}

/// When in an epoch a scheduler is stepped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepAt {
    /// At its end: the first epoch trains at the warm-up's start (TransReID-SSL, PersonViT).
    #[default]
    End,
    /// At its start: the first epoch is one step into the warm-up, the last at the floor (TransReID).
    Start,
}

/// A length of training, so that short runs can scale what long ones fix.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duration {
    /// Share of the run.
    Fraction(#[schemars(range(min = 0.0, max = 1.0))] f64),
    /// Epochs.
    Epochs(#[schemars(range(min = 0.0, max = 100_000.0))] f64),
    /// Optimiser steps.
    Steps(#[schemars(range(min = 0.0, max = 1e12))] f64),
}

impl Duration {
    /// The length in optimiser steps of a run of `steps` steps and `epochs` epochs.
    pub fn in_steps(self, steps: usize, epochs: f64) -> f64 {
        match self {
            Self::Fraction(share) => share * steps as f64,
            Self::Epochs(n) => n * steps as f64 / epochs,
            Self::Steps(n) => n,
        }
    }
}
