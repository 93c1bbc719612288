//! What a spec may say about self-paced contrastive learning.

use reid_backbones::optim::spec::{AdamSpec, OptimSpec};
use reid_data::spec::{ErasingFill, ErasingLaw, ErasingSpec, Normalisation, Singleton};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::jaccard::JaccardSpec;
use crate::cluster::reliable::ReliabilitySpec;
use crate::protocols::usl::DbscanSpec;
use crate::spec::{
    Duration, EvaluationFeature, EvaluationSpec, LrScaling, Pooling, ScheduleSpec, StepsSchedule, SupervisedAugment,
    TrainSpec,
};

/// Unsupervised domain adaptation with one memory of both domains (SpCL): identities of the labelled sources, which are
/// `train_with`, clusters of the target, which is `data`, and every picture of the target that is in no reliable cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SpclSpec {
    /// Length, batch, rate and rule; half of a batch is the sources', half the target's. An epoch has `steps_per_epoch`
    /// batches.
    pub train: TrainSpec,
    /// Batches between two clusterings.
    #[schemars(range(min = 1, max = 100_000))]
    pub steps_per_epoch: usize,
    /// Identities of the sources in a batch, and as many clusters of the target; each gives `batch / 2 / identities`
    /// pictures.
    #[schemars(range(min = 2, max = 4096))]
    pub identities_per_batch: usize,
    /// What of the final tokens is the feature.
    pub pooling: Pooling,
    /// What becomes of an identity, or a cluster, of one picture.
    pub singleton: Singleton,
    /// Neighbourhoods of the distance that is clustered by.
    pub jaccard: JaccardSpec,
    /// DBSCAN.
    pub dbscan: DbscanSpec,
    /// Which clusters are believed in.
    pub reliability: ReliabilitySpec,
    /// Share of what the memory holds that is kept in an update.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// What similarities are divided by.
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
    /// Training augmentation.
    pub augment: SupervisedAugment,
    /// How features are ranked; the same pictures are shown before the first clustering.
    pub evaluation: EvaluationSpec,
}

impl Default for SpclSpec {
    /// SpCL's script for domain adaptation (`spcl_train_uda.py`), which trains a ResNet-50: Adam at 3.5e-4, 64 pictures of
    /// each domain.
    fn default() -> Self {
        Self {
            train: TrainSpec {
                epochs: 50,
                batch: 128,
                lr: 3.5e-4,
                lr_scaling: LrScaling::None,
                schedule: ScheduleSpec::Steps(StepsSchedule::default()),
                optim: OptimSpec::Adam(AdamSpec::default()),
                checkpoint_every: Duration::Epochs(5.0),
                ..TrainSpec::default()
            },
            steps_per_epoch: 400,
            identities_per_batch: 16,
            pooling: Pooling::default(),
            singleton: Singleton::default(),
            jaccard: JaccardSpec::default(),
            dbscan: DbscanSpec::default(),
            reliability: ReliabilitySpec::default(),
            momentum: 0.2,
            temperature: 0.05,
            augment: SupervisedAugment {
                normalisation: Normalisation::Imagenet,
                erasing: ErasingSpec {
                    probability: 0.5,
                    area: [0.02, 0.4],
                    law: ErasingLaw::Zhong,
                    fill: ErasingFill::RawMean,
                },
                ..SupervisedAugment::default()
            },
            evaluation: EvaluationSpec { feature: EvaluationFeature::AfterNeck, ..EvaluationSpec::default() },
        }
    }
}
