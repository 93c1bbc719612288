//! What a spec may say about objectives, protocols and training.

mod train;

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
pub use train::{
    ClipScope, CosineMomentum, DinoCosine, Duration, EvaluateEvery, LrScaling, Momentum, Never, ScheduleSpec, StepAt,
    StepsSchedule, TemperatureSpec, TrainSpec, TransreidCosine, WarmupCosine, WarmupSteps,
};

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
