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
    /// What the encoder is told besides the picture.
    pub side: SideSpec,
    /// Features of parts beside the global one; every loss is taken of them too.
    pub local: LocalSpec,
    /// Whether the necks have a bias.
    pub neck_bias: NeckBias,
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
            side: SideSpec::default(),
            local: LocalSpec::default(),
            neck_bias: NeckBias::default(),
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

/// What an encoder is told besides the picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SideSpec {
    /// Nothing.
    None(NoSide),
    /// The camera: an embedding of it is added to every token (TransReID, He et al., arXiv 2102.04378, section 3.4).
    Cameras(CamerasSpec),
}

impl Default for SideSpec {
    fn default() -> Self {
        Self::None(NoSide {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSide {}

/// An embedding of each training camera.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CamerasSpec {
    /// Factor of the embedding (TransReID's lambda).
    #[schemars(range(min = 0.0, max = 100.0))]
    pub weight: f64,
    /// What is done about a camera that training has not seen; all of another data set's are such.
    pub unknown: UnknownCamera,
}

impl Default for CamerasSpec {
    /// TransReID's configuration.
    fn default() -> Self {
        Self { weight: 3.0, unknown: UnknownCamera::default() }
    }
}

/// What is done about a camera without an embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownCamera {
    /// It is an error.
    #[default]
    Refuse,
    /// Nothing is added to the tokens. Our design: TransReID reads beyond its table.
    Zero,
}

/// Features beside the global one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LocalSpec {
    /// None.
    None(NoLocal),
    /// Shuffled patches in parts, each with the class token through a last block of their own (TransReID's jigsaw patch
    /// module, section 3.3).
    Jigsaw(JigsawSpec),
}

impl Default for LocalSpec {
    fn default() -> Self {
        Self::None(NoLocal {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoLocal {}

/// The jigsaw patch module.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JigsawSpec {
    /// Patches are rotated by one less than this.
    #[schemars(range(min = 1, max = 4096))]
    pub shift: usize,
    /// Groups that patches are shuffled among.
    #[schemars(range(min = 1, max = 4096))]
    pub groups: usize,
    /// Parts, each with a feature, a neck and a classifier.
    #[schemars(range(min = 1, max = 64))]
    pub parts: usize,
    /// Weight of the parts' mean loss; the global one has the rest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight: f64,
}

impl Default for JigsawSpec {
    /// TransReID's configuration.
    fn default() -> Self {
        Self { shift: 5, groups: 2, parts: 4, weight: 0.5 }
    }
}

/// Bias of a BNNeck.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NeckBias {
    /// None, so that identities lie around the origin (Luo et al., arXiv 1903.07071, section 3.5; TransReID freezes it at 0).
    #[default]
    Zero,
    /// One that is learnt.
    Learned,
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
