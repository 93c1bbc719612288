//! What a spec may say about a frozen encoder's evaluation.

use reid_backbones::optim::spec::{AdamwSpec, OptimSpec};
use reid_data::spec::{LabelsSpec, Normalisation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{Duration, EvaluationSpec, LrScaling, ObjectiveSpec, ScheduleSpec, TrainSpec, WarmupCosine};

/// Retrieval with the pre-trained encoder as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FrozenSpec {
    /// What of the final tokens is the feature.
    pub pooling: Pooling,
    /// Channel statistics of the pictures. By default the pre-training's: the encoder has never seen others.
    pub normalisation: FrozenNormalisation,
    /// What is trained on the features.
    pub probe: ProbeSpec,
    /// How features are ranked.
    pub evaluation: EvaluationSpec,
}

/// What of the tokens after the final norm is the feature. `PersonViT`'s choices, and a concatenation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The class token.
    #[default]
    Cls,
    /// The mean of the patches.
    Avg,
    /// The maximum of the patches in each channel.
    Max,
    /// The mean, over runs of four patches in a row, of the maximum of each run.
    AvgMax,
    /// The class token plus the generalized mean of the patches, with exponent 3.
    Gem,
    /// The class token and the mean of the patches, each of length 1, one after the other.
    ClsAvg,
}

impl Pooling {
    /// The feature in words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Cls => "class token",
            Self::Avg => "mean of the patches",
            Self::Max => "maximum of the patches",
            Self::AvgMax => "mean of maxima of four patches",
            Self::Gem => "class token plus generalized mean of the patches",
            Self::ClsAvg => "class token and mean of the patches",
        }
    }
}

/// Channel statistics that a frozen encoder is shown pictures with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrozenNormalisation {
    /// Those of the pre-training; `half` for an encoder that has had none. Resolved to one of the others.
    #[default]
    Pretrain,
    /// Mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225.
    Imagenet,
    /// Mean 0.5, std 0.5.
    Half,
}

impl FrozenNormalisation {
    /// The statistics themselves.
    pub fn of(self, objective: &ObjectiveSpec) -> Normalisation {
        match self {
            Self::Pretrain => objective.normalisation().unwrap_or(Normalisation::Half),
            Self::Imagenet => Normalisation::Imagenet,
            Self::Half => Normalisation::Half,
        }
    }

    /// The same statistics by their own name.
    #[must_use]
    pub fn resolved(self, objective: &ObjectiveSpec) -> Self {
        match self.of(objective) {
            Normalisation::Imagenet => Self::Imagenet,
            Normalisation::Half => Self::Half,
        }
    }
}

/// What is trained on a frozen encoder's features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a run has one; a box would only get in the way of matching")]
pub enum ProbeSpec {
    /// Nothing: the features themselves are ranked.
    None(NoProbe),
    /// A linear embedding, by identity labels.
    Linear(LinearProbeSpec),
}

impl Default for ProbeSpec {
    fn default() -> Self {
        Self::None(NoProbe {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoProbe {}

/// A linear embedding of frozen features, trained as the identity branch of the supervised protocol: embedding,
/// BNNeck, classifier, cross-entropy. Ranked is the embedding, so that unseen people can be found by it; after the
/// neck (`evaluation: {feature: after_neck}`) it often ranks better, since no triplet loss has shaped what is before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbeSpec {
    /// Width of the embedding.
    #[schemars(range(min = 1, max = 4096))]
    pub width: usize,
    /// Label smoothing; 0 is off.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub label_smoothing: f64,
    /// Which labels it may know.
    pub labels: LabelsSpec,
    /// Length, batch, rate and rule. Features are extracted once, so that an epoch costs next to nothing.
    pub train: TrainSpec,
}

impl Default for LinearProbeSpec {
    /// Our design: `AdamW` for a hundred epochs, with a batch that small subsets of labels fill, and the rate of
    /// 0.001, 0.003, 0.01 and 0.03 that did best before the neck on the built-in validation identities.
    fn default() -> Self {
        Self {
            width: 256,
            label_smoothing: 0.0,
            labels: LabelsSpec::default(),
            train: TrainSpec {
                epochs: 100,
                batch: 32,
                lr: 1e-2,
                lr_scaling: LrScaling::None,
                schedule: ScheduleSpec::WarmupCosine(WarmupCosine::default()),
                optim: OptimSpec::Adamw(AdamwSpec { betas: [0.9, 0.999], ..AdamwSpec::default() }),
                checkpoint_every: Duration::Fraction(0.5),
                ..TrainSpec::default()
            },
        }
    }
}

impl FrozenSpec {
    /// The settings of the linear probe, if there is one.
    pub fn linear_probe(&self) -> Option<&LinearProbeSpec> {
        match &self.probe {
            ProbeSpec::None(NoProbe {}) => None,
            ProbeSpec::Linear(spec) => Some(spec),
        }
    }
}
