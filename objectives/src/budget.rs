//! How long a pre-training lasts: in passes over its pictures, or until something has been spent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::spec::TrainSpec;

/// What a pre-training may spend. Objectives differ in what one epoch costs, so that a fair comparison fixes what
/// it cares for. All but `train_epochs` stand above `pretrain.train.epochs`; a budget may end inside an epoch, and
/// schedules are over its optimiser steps, whose number is rounded up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetSpec {
    /// As many epochs as `pretrain.train.epochs` says.
    TrainEpochs(TrainEpochs),
    /// Passes over the pictures.
    Epochs(#[schemars(range(min = 1, max = 100_000))] usize),
    /// Pictures drawn.
    Images(#[schemars(range(min = 1.0, max = 1e12))] f64),
    /// Tokens that go through the trained encoder.
    EncoderTokens(#[schemars(range(min = 1.0, max = 1e15))] f64),
    /// Floating-point operations, forward and backward, of encoder, heads and teacher, by formula.
    Flops(#[schemars(range(min = 1.0, max = 1e24))] f64),
}

impl Default for BudgetSpec {
    fn default() -> Self {
        Self::TrainEpochs(TrainEpochs {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainEpochs {}

/// Length of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Whole epochs.
    Epochs(usize),
    /// Optimizer steps, at least 1; the last epoch may be cut.
    Steps(usize),
}

impl BudgetSpec {
    /// The length that the budget allows, where one drawn picture costs `cost`. `None` if the budget is of what
    /// the cost does not tell.
    pub fn length(self, train: &TrainSpec, cost: Option<Cost>) -> Option<Length> {
        let until = |spent: f64, of_picture: f64| {
            let of_step = of_picture * (train.batch * train.accumulate) as f64;
            (of_step > 0.0).then(|| Length::Steps((spent / of_step).ceil().max(1.0) as usize))
        };
        match self {
            Self::TrainEpochs(TrainEpochs {}) => Some(Length::Epochs(train.epochs)),
            Self::Epochs(epochs) => Some(Length::Epochs(epochs)),
            Self::Images(images) => until(images, 1.0),
            Self::EncoderTokens(tokens) => until(tokens, cost?.encoder_tokens as f64),
            Self::Flops(flops) => until(flops, cost?.flops),
        }
    }
}

impl Length {
    /// Optimizer steps, where an epoch has `per_epoch` of them.
    pub fn steps(self, per_epoch: usize) -> usize {
        match self {
            Self::Epochs(epochs) => epochs * per_epoch,
            Self::Steps(steps) => steps,
        }
    }

    /// Epochs, the last perhaps in part.
    pub fn epochs(self, per_epoch: usize) -> f64 {
        match self {
            Self::Epochs(epochs) => epochs as f64,
            Self::Steps(steps) => steps as f64 / per_epoch as f64,
        }
    }
}
