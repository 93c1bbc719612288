//! What the train loop runs: a pre-training objective or a protocol's training, all the same to it.

use std::collections::BTreeMap;

use candle_core::Tensor;
use reid_backbones::{Compute, ModuleId, ParamStore};
use reid_data::dataset::{Record, Split};
use reid_data::plan::EpochPlan;
use reid_data::sampler;
use reid_data::views::{ViewBatch, ViewPlan};

use crate::error::Result;
use crate::metric::MetricKey;
use crate::spec::EvaluationSpec;

/// Where a training stands, and the seed of all its random numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Epochs of the run; a budget may end inside one.
    pub epochs: f64,
    /// Optimiser step, from 0, over the whole run.
    pub step: usize,
    /// Optimiser steps of the run.
    pub steps: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// What one forward pass gives.
#[derive(Debug)]
pub struct StepOutput {
    /// Scalar to minimise.
    pub loss: Tensor,
    /// Detached scalars to record.
    pub stats: Vec<(MetricKey, Tensor)>,
    /// Tokens that went through the trained encoder.
    pub tokens: usize,
    /// Detached tensors that [`Task::after_step`] needs, such as a batch's statistics.
    pub carried: Vec<(&'static str, Tensor)>,
}

/// Everything but parameters that a resumed training needs.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Named tensors of any type.
    pub tensors: BTreeMap<String, Tensor>,
    /// Named numbers.
    pub scalars: BTreeMap<String, f64>,
}

/// Features of a split, one row per usable record, in record order.
#[derive(Clone, Debug)]
pub struct Features {
    /// `[n, d]`, row-major.
    pub values: Vec<f32>,
    /// d.
    pub width: usize,
    /// `[n]`, index of each row's record in its split.
    pub records: Vec<u32>,
}

/// A model as evaluation sees it.
pub trait Embed {
    /// One feature per picture; records no graph. `cameras` are the data set's numbers of the cameras that took them;
    /// most models do not look at them.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, `cameras`: `[b]`; output: `[b, d]`
    ///
    /// # Errors
    /// If shapes do not fit, a camera is one that the model cannot do with, or candle refuses.
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor>;
}

/// A task's model as it stands, and how it is shown pictures: what evaluation points need.
pub struct Evaluated<'a> {
    /// The model.
    pub model: Box<dyn Embed + 'a>,
    /// Views of evaluated pictures.
    pub views: ViewPlan,
    /// How its features are ranked.
    pub spec: EvaluationSpec,
}

/// What the loop offers to tasks and protocols: the data, and features of it.
pub trait Services {
    /// Records of a split.
    fn records(&self, split: Split) -> &[Record];

    /// Features of every usable picture of a split.
    ///
    /// # Errors
    /// If a picture cannot be read or the model fails.
    fn extract(&self, split: Split, views: &ViewPlan, batch: usize, model: &dyn Embed) -> Result<Features>;
}

/// The split that pre-training draws from: the unlabelled pool where there is one, else the training pictures, whose
/// labels it does not see.
pub fn pretraining_split(has_pool: bool) -> Split {
    if has_pool { Split::Pool } else { Split::Train }
}

/// The draws of an epoch of pre-training: every picture once, in an order of the epoch's own.
pub fn unlabelled_epoch(services: &dyn Services, batch: usize, epoch: usize, seed: u64) -> EpochPlan {
    let split = pretraining_split(!services.records(Split::Pool).is_empty());
    sampler::shuffle(services.records(split), batch, seed, epoch as u32)
}

/// A training. May not log, touch the disk, or know the optimiser.
pub trait Task {
    /// Views the loader makes of each draw.
    fn views(&self) -> ViewPlan;

    /// Whether the loss compares samples of one batch, so that accumulating over batches would
    /// change what is minimised.
    fn couples_samples(&self) -> bool;

    /// The draws of an epoch; a clustering protocol relabels here.
    ///
    /// # Errors
    /// If the data cannot give a batch.
    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan>;

    /// Loss and statistics of one batch; pure.
    ///
    /// # Errors
    /// If candle refuses.
    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput>;

    /// Once per optimiser step, after it: moving averages, centers, queues, memories.
    ///
    /// # Errors
    /// If candle refuses.
    fn after_step(&mut self, outputs: &[StepOutput], clock: Clock) -> Result<()>;

    /// Modules of [`Self::trainable`] that keep their values in this step's update.
    fn held(&self, _: Clock) -> Vec<ModuleId> {
        Vec::new()
    }

    /// How the models' passes are computed.
    fn set_compute(&mut self, compute: Compute);

    /// The model as it stands, for evaluation points.
    fn evaluated(&self) -> Evaluated<'_>;

    /// Parameters that the optimiser changes.
    fn trainable(&self) -> &ParamStore;

    /// Everything else that a resumed training needs.
    ///
    /// # Errors
    /// If candle refuses.
    fn save(&self) -> Result<State>;

    /// Restores what [`Self::save`] gave.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    fn load(&mut self, state: &State) -> Result<()>;

    /// The training's product by name: an encoder's weights with timm's names for an objective, the
    /// whole model for a protocol.
    ///
    /// # Errors
    /// If candle refuses.
    fn product(&self) -> Result<BTreeMap<String, Tensor>>;

    /// What beside the product is needed to show pictures of what was predicted: a decoder's parameters by name.
    /// Most have none.
    ///
    /// # Errors
    /// If candle refuses.
    fn decoder(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }
}
