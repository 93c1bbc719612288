//! The resolved experiment: one run's science, nothing optional.

use reid_backbones::spec::{BackboneSpec, Precision, VitSpec};
use reid_data::spec::{DataSpec, OnCorrupt, ValidationSpec};
use reid_objectives::budget::Length;
use reid_objectives::cost::cost;
use reid_objectives::spec::{BudgetSpec, ObjectiveSpec, ProtocolSpec, TrainSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One run, before its seeds: what a spec says once `extends`, overrides, presets and the sweep's
/// choice for this run have been applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Data of the downstream protocol, and of pre-training unless `pretrain.data` says otherwise.
    pub data: DataSpec,
    /// Which training identities are held out to choose on.
    #[serde(default)]
    pub validation: ValidationSpec,
    /// What to do with pictures that cannot be decoded.
    #[serde(default)]
    pub on_corrupt: OnCorrupt,
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
    /// training split where it has no pool.
    #[serde(default)]
    pub data: PretrainData,
    /// What is learnt.
    pub objective: ObjectiveSpec,
    /// What it may spend.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// Length, batch, rate and rule.
    #[serde(default)]
    pub train: TrainSpec,
}

impl PretrainSpec {
    /// The length that the budget allows, for this architecture; none without a pre-training, or where the budget
    /// is of something that the objective's cost does not tell.
    pub fn length(&self, vit: &VitSpec) -> Option<Length> {
        self.objective.algorithm()?;
        self.budget.length(&self.train, cost(&self.objective, vit))
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
}

/// Seeds of a run. They never change the data or its splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seeds {
    /// Initialisation, order, augmentation and masks of pre-training.
    pub pretrain: u64,
    /// The same for the protocol's training.
    pub downstream: u64,
}
