//! The resolved experiment: one run's science, nothing optional.

use reid_backbones::spec::{BackboneSpec, Precision, Stride, VitSpec};
use reid_data::spec::{DataSpec, DecodeSpec, OnCorrupt, Reading, ValidationSpec};
use reid_objectives::budget::Length;
use reid_objectives::cost::cost;
use reid_objectives::spec::{BudgetSpec, EvaluateEvery, EvaluationSpec, Never, ObjectiveSpec, ProtocolSpec, TrainSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One run, before its seeds: what a spec says once `extends`, overrides, presets and the sweep's
/// choice for this run have been applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Data of the downstream protocol, and of pre-training unless `pretrain.data` says otherwise.
    pub data: DataSpec,
    /// Further data sets whose training pictures are trained on too; what is tested on is that of `data` alone.
    /// Identities and cameras of different sets are different ones.
    #[serde(default)]
    pub train_with: Vec<DataSpec>,
    /// Other data that the trained model is tested on, without training again: another domain.
    #[serde(default)]
    pub test_on: TestData,
    /// Which training identities are held out to choose on; those of `data` alone, and none where it is tested on others.
    #[serde(default)]
    pub validation: ValidationSpec,
    /// What to do with pictures that cannot be decoded.
    #[serde(default)]
    pub on_corrupt: OnCorrupt,
    /// How large JPEG pictures are decoded.
    #[serde(default)]
    pub decode: DecodeSpec,
    /// Architecture of the encoder.
    pub backbone: BackboneSpec,
    /// Pre-training.
    pub pretrain: PretrainSpec,
    /// What is done with the encoder.
    pub protocol: ProtocolSpec,
    /// Arithmetic.
    #[serde(default)]
    pub precision: Precision,
}

/// Pre-training: an objective and how it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretrainSpec {
    /// Pictures to pre-train on; `same` takes the unlabelled pool of the run's data, or its
    /// training split where it has no pool, and the same of the sets that are trained on too.
    #[serde(default)]
    pub data: PretrainData,
    /// What is learnt.
    pub objective: ObjectiveSpec,
    /// Size of its pictures. The protocol resamples the encoder's positions to the backbone's `image`, so that a
    /// pre-training on 256 x 128 px can be fine-tuned on 384 x 128.
    #[serde(default)]
    pub image: PretrainImage,
    /// What it may spend.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Length, batch, rate and rule.
    #[serde(default)]
    pub train: TrainSpec,
    /// Which of its encoders is evaluated: runs that differ in nothing else share one pre-training, whose schedules
    /// are those of the whole length.
    #[serde(default)]
    pub take: TakeSpec,
    /// How often an encoder is kept besides, at the end of an epoch, for later questions (PersonViT keeps every
    /// 20th). It changes no number, and an encoder that was not kept is computed again when a run takes it.
    #[serde(default = "never")]
    pub keep_every: EvaluateEvery,
}

fn never() -> EvaluateEvery {
    EvaluateEvery::Never(Never {})
}

/// Size of the pictures of a pre-training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PretrainImage {
    /// The backbone's.
    #[default]
    Backbone,
    /// Height and width in pixels.
    Pixels([usize; 2]),
}

/// An encoder of a pre-training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakeSpec {
    /// The one at the end.
    #[default]
    Last,
    /// The one after so many epochs.
    Epoch(#[schemars(range(min = 1, max = 100_000))] usize),
}

impl RunSpec {
    /// Whether its encoder starts from random weights.
    pub(crate) fn has_no_pretraining(&self) -> bool {
        self.pretrain.objective.algorithm().is_none()
    }

    /// What is made of the files of its data sets.
    pub fn reading(&self) -> Reading {
        Reading { on_corrupt: self.on_corrupt, decode: self.decode }
    }

    /// The encoder as it is pre-trained: on pictures of that size, cut into patches that do not overlap, as nobody
    /// pre-trains with others. What follows resamples its positions.
    pub fn pretrained_vit(&self) -> VitSpec {
        let BackboneSpec::Vit(vit) = &self.backbone;
        let image = match self.pretrain.image {
            PretrainImage::Backbone => vit.image,
            PretrainImage::Pixels(image) => image,
        };
        VitSpec { image, stride: Stride::Patch, ..vit.clone() }
    }

    /// The length that the budget allows; none without a pre-training, or where the budget is of something that the
    /// objective's cost does not tell.
    pub fn pretrain_length(&self) -> Option<Length> {
        let pretrain = &self.pretrain;
        pretrain.objective.algorithm()?;
        pretrain.budget.length(&pretrain.train, cost(&pretrain.objective, &self.pretrained_vit()))
    }

    /// The run without its source, and the run that trains on that source, where the protocol has two of them: each is
    /// a run of its own that needs no other.
    pub fn legs(&self) -> (Option<Self>, Self) {
        let ProtocolSpec::Uda(uda) = &self.protocol else { return (None, self.clone()) };
        let source = Self {
            data: uda.source.clone(),
            train_with: Vec::new(),
            test_on: TestData::Other(self.data.clone()),
            protocol: ProtocolSpec::Supervised(uda.supervised.clone()),
            ..self.clone()
        };
        (Some(source), Self { protocol: ProtocolSpec::Usl(uda.usl.clone()), ..self.clone() })
    }

    /// The same science in its one spelling: what "as in pre-training" stands for, the last epoch by that name,
    /// nothing to take where nothing is pre-trained.
    pub(crate) fn canonical(mut self) -> Self {
        let is_untrained = self.has_no_pretraining();
        let last = match self.pretrain_length() {
            Some(Length::Epochs(epochs)) => Some(TakeSpec::Epoch(epochs)),
            _ => None,
        };
        let BackboneSpec::Vit(vit) = &mut self.backbone;
        if vit.stride == Stride::Pixels(vit.patch) {
            vit.stride = Stride::Patch;
        }
        let pretrain = &mut self.pretrain;
        if is_untrained || pretrain.image == PretrainImage::Pixels(vit.image) {
            pretrain.image = PretrainImage::Backbone;
        }
        if is_untrained || Some(pretrain.take) == last {
            pretrain.take = TakeSpec::Last;
        }
        match &mut self.protocol {
            ProtocolSpec::Frozen(frozen) => {
                frozen.normalisation = frozen.normalisation.resolved(&pretrain.objective);
            }
            // The source's model is compared with the adapted one: what is not said is said there.
            ProtocolSpec::Uda(uda) if uda.supervised.evaluation == EvaluationSpec::default() => {
                uda.supervised.evaluation = uda.usl.evaluation.clone();
            }
            ProtocolSpec::Supervised(_) | ProtocolSpec::Usl(_) | ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_) => {}
        }
        self
    }
}

/// Where pre-training pictures come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PretrainData {
    /// The run's own data.
    #[default]
    Same,
    /// Another data set.
    Other(DataSpec),
    /// Several data sets.
    Joined(#[schemars(length(min = 1))] Vec<DataSpec>),
}

/// What a trained model is tested on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestData {
    /// The run's own data.
    #[default]
    Same,
    /// Another data set, of other people, places or cameras.
    Other(DataSpec),
}

/// Seeds of a run. They never change the data or its splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seeds {
    /// Initialisation, order, augmentation and masks of pre-training.
    pub pretrain: u64,
    /// The same for the protocol's training.
    pub downstream: u64,
}
