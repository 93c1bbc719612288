//! What a spec may say about objectives, protocols and training.

use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_backbones::optim::spec::OptimSpec;
use reid_data::spec::{DataSpec, ErasingFill, ErasingSpec, Filter, Normalisation, Singleton};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::budget::BudgetSpec;
pub use crate::cluster::jaccard::JaccardSpec;
pub use crate::cluster::memory::{Follow, MemorySpec};
pub use crate::cluster::reliable::ReliabilitySpec;
pub use crate::mim_dino::spec::MimDinoSpec;
pub use crate::person_mae::spec::PersonMaeSpec;
pub use crate::protocols::evaluation::spec::{EvaluationFeature, EvaluationSpec};
pub use crate::protocols::frozen::spec::{
    FrozenNormalisation, FrozenSpec, LinearProbeSpec, NoProbe, Pooling, ProbeSpec,
};
pub use crate::protocols::spcl::spec::SpclSpec;
pub use crate::protocols::supervised::spec::{
    CamerasSpec, Hard, IdHead, JigsawSpec, LinearHead, LocalSpec, MarginHead, NeckBias, SideSpec, Smoothing, Soft,
    SupervisedSpec, TripletMargin, TripletMining, UnknownCamera,
};
pub use crate::protocols::usl::{DbscanSpec, DropPathSpec, NeckBatch, UslSpec};
pub use crate::up_reid::spec::UpReidSpec;
pub use reid_backbones::weights::spec::{ImportedNormalisation, ImportedSpec};

/// Pre-training objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveSpec {
    /// No pre-training: the encoder starts from its random initialisation.
    None(NoObjective),
    /// No pre-training here: the encoder starts from a file that others have trained.
    Imported(ImportedSpec),
    /// Masked prediction across regions, after PersonMAE's abstract (arXiv 2311.04496).
    PersonMae(PersonMaeSpec),
    /// Self-distillation of class tokens and masked patches: DINO and iBOT, with which PersonViT (arXiv 2408.05398)
    /// is pre-trained.
    MimDino(MimDinoSpec),
    /// Momentum contrast with constraints inside a picture, after UP-ReID's abstract (arXiv 2112.00317).
    UpReid(UpReidSpec),
}

impl ObjectiveSpec {
    /// Name and version of the algorithm, for stage keys; none without a pre-training.
    pub fn algorithm(&self) -> Option<(&'static str, u32)> {
        match self {
            Self::None(NoObjective {}) | Self::Imported(_) => None,
            Self::PersonMae(_) => Some(("person_mae", crate::person_mae::ALGORITHM_VERSION)),
            Self::MimDino(_) => Some(("mim_dino", crate::mim_dino::ALGORITHM_VERSION)),
            Self::UpReid(_) => Some(("up_reid", crate::up_reid::ALGORITHM_VERSION)),
        }
    }

    /// The encoder of others whose features it predicts, if so.
    pub fn frozen_teacher(&self) -> Option<&FrozenEncoderSpec> {
        if let Self::PersonMae(spec) = self { spec.frozen_teacher() } else { None }
    }

    /// Channel statistics of the pictures that it shows the encoder; none where it shows none.
    pub fn normalisation(&self) -> Option<Normalisation> {
        match self {
            Self::None(NoObjective {}) => None,
            Self::Imported(spec) => Some(of_imported(spec.normalisation)),
            Self::PersonMae(spec) => Some(spec.normalisation),
            Self::MimDino(spec) => Some(spec.views.normalisation),
            Self::UpReid(spec) => Some(spec.normalisation),
        }
    }
}

/// Channel statistics that an imported encoder was trained with.
pub(crate) fn of_imported(normalisation: ImportedNormalisation) -> Normalisation {
    match normalisation {
        ImportedNormalisation::Imagenet => Normalisation::Imagenet,
        ImportedNormalisation::Half => Normalisation::Half,
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoObjective {}

/// What is done with the encoder downstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolSpec {
    /// The pre-trained encoder as it is: its features are ranked, or those of a linear probe on them.
    Frozen(FrozenSpec),
    /// Trained with identity labels, then evaluated.
    Supervised(SupervisedSpec),
    /// Trained without identity labels by clustering its features again and again, then evaluated.
    Usl(UslSpec),
    /// Trained with identity labels on another domain, then without them on its own, then evaluated.
    Uda(Box<UdaSpec>),
    /// Trained on labelled sources and, by clustering, on its own data at once, then evaluated.
    Spcl(SpclSpec),
}

/// Unsupervised domain adaptation in two stages, as TransReID-SSL does it: the supervised protocol on a labelled source,
/// then the unsupervised one on the run's data, which are the target. The second begins with the first's encoder and a
/// new neck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UdaSpec {
    /// Data with labels.
    pub source: DataSpec,
    /// Training on the source. Its model is evaluated on the target too: the direct transfer, which adaptation is to
    /// beat.
    #[serde(default)]
    pub supervised: SupervisedSpec,
    /// Training on the target.
    #[serde(default)]
    pub usl: UslSpec,
}

impl ProtocolSpec {
    /// How its features are ranked.
    pub fn evaluation(&self) -> &EvaluationSpec {
        match self {
            Self::Frozen(frozen) => &frozen.evaluation,
            Self::Supervised(supervised) => &supervised.evaluation,
            Self::Usl(usl) => &usl.evaluation,
            Self::Uda(uda) => &uda.usl.evaluation,
            Self::Spcl(spcl) => &spcl.evaluation,
        }
    }
}

impl Default for UslSpec {
    /// TransReID-SSL's script for a ViT-S on Market-1501. Ours are the erasing, which fills with the mean (theirs: `law:
    /// zhong, fill: raw_mean`), one pass of the neck over a whole batch (theirs: `neck_batch: {pictures: 64}`, of four
    /// GPUs), and the backbone's stochastic depth (theirs: `drop_path: {rate: 0.3}`).
    fn default() -> Self {
        Self {
            train: TrainSpec {
                epochs: 50,
                batch: 256,
                lr: 3.5e-4,
                lr_scaling: LrScaling::None,
                schedule: ScheduleSpec::Steps(StepsSchedule::default()),
                optim: OptimSpec::Sgd(reid_backbones::optim::spec::SgdSpec {
                    weight_decay: 5e-4,
                    bias_lr: 1.0,
                    ..Default::default()
                }),
                checkpoint_every: Duration::Epochs(5.0),
                ..TrainSpec::default()
            },
            steps_per_epoch: 200,
            clusters_per_batch: 32,
            pooling: Pooling::default(),
            drop_path: DropPathSpec::default(),
            neck_batch: NeckBatch::default(),
            singleton: Singleton::default(),
            jaccard: JaccardSpec::default(),
            dbscan: DbscanSpec::default(),
            memory: MemorySpec::default(),
            augment: SupervisedAugment {
                erasing: ErasingSpec {
                    probability: 0.5,
                    area: [0.02, 0.4],
                    fill: ErasingFill::Zero,
                    ..ErasingSpec::default()
                },
                ..SupervisedAugment::default()
            },
            evaluation: EvaluationSpec {
                filter: Filter::Bicubic,
                feature: EvaluationFeature::AfterNeck,
                ..EvaluationSpec::default()
            },
        }
    }
}

/// Augmentation of the supervised recipe: resize, mirror, pad and crop, normalise, erase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedAugment {
    /// Resampling of the training pictures.
    pub filter: Filter,
    /// Probability of mirroring.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Black pixels added on each side before the random crop.
    #[schemars(range(min = 0, max = 128))]
    pub pad: usize,
    /// Channel statistics, for training and evaluation.
    pub normalisation: Normalisation,
    /// Random erasing.
    pub erasing: ErasingSpec,
}

impl Default for SupervisedAugment {
    fn default() -> Self {
        Self {
            filter: Filter::Bicubic,
            flip: 0.5,
            pad: 10,
            normalisation: Normalisation::Half,
            erasing: ErasingSpec::default(),
        }
    }
}

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
