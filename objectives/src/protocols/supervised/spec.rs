//! What a spec may say about the supervised protocol.

use reid_backbones::optim::spec::{OptimSpec, SgdSpec};
use reid_data::spec::{LabelsSpec, SamplerSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocols::frozen::spec::Pooling;
use crate::spec::{
    ClipScope, Duration, EvaluateEvery, EvaluationSpec, LrScaling, Never, ScheduleSpec, SupervisedAugment, TrainSpec,
    TransreidCosine,
};

/// Supervised ReID: BNNeck, identity loss and batch-hard triplet loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedSpec {
    /// Length, batch, rate and rule.
    pub train: TrainSpec,
    /// Identities in a batch; each gives `batch / identities` pictures.
    #[schemars(range(min = 2, max = 4096))]
    pub identities_per_batch: usize,
    /// How batches are composed.
    pub sampler: SamplerSpec,
    /// What of the final tokens is the feature.
    pub pooling: Pooling,
    /// What turns a feature into an identity's logit.
    pub id_head: IdHead,
    /// Weight of the identity loss.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub id_weight: f64,
    /// Label smoothing of the identity loss; 0 is off (every ViT recipe of the TransReID family).
    #[schemars(range(min = 0.0, max = 0.9))]
    pub label_smoothing: f64,
    /// Which classes the smoothed share goes to.
    pub smoothing: Smoothing,
    /// Weight of the triplet loss.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub triplet_weight: f64,
    /// Margin rule of the triplet loss.
    pub triplet_margin: TripletMargin,
    /// Which pairs the triplet loss takes.
    pub triplet_mining: TripletMining,
    /// Which labels it may know.
    pub labels: LabelsSpec,
    /// Training augmentation.
    pub augment: SupervisedAugment,
    /// How features are ranked.
    pub evaluation: EvaluationSpec,
}

impl Default for SupervisedSpec {
    /// TransReID-SSL's recipe for a pre-trained ViT-S (downstream training of its repository).
    fn default() -> Self {
        Self {
            train: TrainSpec {
                epochs: 120,
                batch: 64,
                accumulate: 1,
                lr: 4e-4,
                lr_scaling: LrScaling::None,
                schedule: ScheduleSpec::TransreidCosine(TransreidCosine {
                    warmup: Duration::Epochs(20.0),
                    ..TransreidCosine::default()
                }),
                optim: OptimSpec::Sgd(SgdSpec::default()),
                clip: 0.0,
                clip_scope: ClipScope::All,
                checkpoint_every: Duration::Epochs(10.0),
                evaluate_every: EvaluateEvery::Never(Never {}),
                recompute: false,
            },
            identities_per_batch: 16,
            sampler: SamplerSpec::default(),
            pooling: Pooling::default(),
            id_head: IdHead::default(),
            id_weight: 1.0,
            label_smoothing: 0.0,
            smoothing: Smoothing::default(),
            triplet_weight: 1.0,
            triplet_margin: TripletMargin::Soft(Soft {}),
            triplet_mining: TripletMining::default(),
            labels: LabelsSpec::default(),
            augment: SupervisedAugment::default(),
            evaluation: EvaluationSpec::default(),
        }
    }
}

/// Margin of the triplet loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TripletMargin {
    /// `softplus(d_ap - d_an)` (Hermans et al., arXiv 1703.07737).
    Soft(Soft),
    /// `max(0, margin + d_ap - d_an)`.
    Hard(Hard),
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Soft {}

/// A fixed margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hard {
    /// Distance by which the hardest negative must be farther than the hardest positive.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub margin: f64,
}

impl Default for Hard {
    fn default() -> Self {
        Self { margin: 0.3 }
    }
}

/// Which pairs of a batch the triplet loss takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TripletMining {
    /// The farthest of an anchor's identity and the nearest of others (Hermans et al., arXiv 1703.07737).
    #[default]
    BatchHard,
    /// Means over all of them, weighed by the softmax of the distance and of minus the distance (AGW, Ye et al., arXiv
    /// 2001.04193, section 4).
    Weighted,
}

/// Which classes share what label smoothing takes from the true one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Smoothing {
    /// All k classes, the true one too: `1 - e + e / k` and `e / k` (TransReID, timm).
    #[default]
    All,
    /// The others: `1 - e` and `e / (k - 1)` (fast-reid).
    Others,
}

/// What turns a feature behind the neck into a logit for each identity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdHead {
    /// A linear layer without bias.
    Linear(LinearHead),
    /// `s cos(t + m)` for the true identity, `s cos t` for others (Deng et al., arXiv 1801.07698), where t is the angle
    /// between the feature and the identity's weight.
    ArcFace(MarginHead),
    /// `s (cos t - m)` for the true identity, `s cos t` for others (Wang et al., arXiv 1801.09414; AM-softmax, arXiv
    /// 1801.05599, is the same).
    CosFace(MarginHead),
    /// `s a (cos t - d)` with weights that grow with the distance to the optimum: `a = 1 + m - cos t`, `d = 1 - m` for the
    /// true identity, `a = m + cos t`, `d = m` for others, no `a` below 0 (Sun et al., arXiv 2002.10857, equation 8).
    /// fast-reid takes scale 64 and margin 0.35.
    Circle(MarginHead),
}

impl Default for IdHead {
    fn default() -> Self {
        Self::Linear(LinearHead {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearHead {}

/// A head on cosines with a margin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MarginHead {
    /// Factor of all logits.
    #[schemars(range(min = 0.1, max = 1000.0))]
    pub scale: f64,
    /// What the true identity must be better by.
    #[schemars(range(min = 0.0, max = 1.5))]
    pub margin: f64,
}

impl Default for MarginHead {
    /// TransReID's configuration.
    fn default() -> Self {
        Self { scale: 30.0, margin: 0.5 }
    }
}
