//! The linear probe: a linear embedding of frozen features, trained with identity labels.
//!
//! Features of the training pictures are extracted once, by the evaluation's transform, and the one train loop
//! runs over them: the task shows no views, so that the loader reads no picture and a step is two small products.
//! A solution in closed form (ridge regression onto identities) would be faster still, but would be another
//! method than the supervised protocol's head, with other settings; as a task, the probe shares that head, the
//! schedules, the optimizers, checkpoints, learning curves and the stop on NaN.
//!
//! `y = W (f - mean) / std`, with the statistics of the labelled training features: MAE's batch normalisation
//! without affine parameters before its probe (arXiv 2111.06377, appendix A.1), in closed form since the features
//! do not move. On `y` stand the BNNeck and the classifier of the supervised protocol, and the loss is its
//! identity loss. Ranked is `y`, or what the BNNeck makes of it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::{Compute, ParamStore, ops};
use reid_data::dataset::{Record, Split};
use reid_data::plan::EpochPlan;
use reid_data::sampler::{self, Labels};
use reid_data::views::{ViewBatch, ViewPlan};

use super::spec::LinearProbeSpec;
use crate::error::{Result, TaskError};
use crate::metric::MetricKey;
use crate::protocols::losses::{accuracy, id_loss};
use crate::protocols::model::EncoderModel;
use crate::protocols::neck::{BatchStats, RunningStats, normalize_batch};
use crate::protocols::supervised::CLASSIFIER_STD;
use crate::protocols::{CLASSIFIER, NECK};
use crate::random::init_source;
use crate::spec::{EvaluationFeature, EvaluationSpec};
use crate::task::{Clock, Embed, Evaluated, Features, Services, State, StepOutput, Task};

/// Raised whenever the numbers that the probe gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Name of the embedding.
const EMBEDDING: &str = "probe";
/// Smallest standard deviation that a channel is divided by: a channel that never changes stays near 0.
const STD_FLOOR: f64 = 1e-6;

/// The probe's training.
pub struct LinearProbe {
    spec: LinearProbeSpec,
    evaluation: EvaluationSpec,
    /// How the encoder is shown pictures.
    views: ViewPlan,
    encoder: EncoderModel,
    store: ParamStore,
    embedding: ModuleId,
    neck: ModuleId,
    classifier: ModuleId,
    stats: RunningStats,
    /// There from the first epoch on.
    known: Option<Known>,
    device: Device,
}

/// What is known of the training pictures.
struct Known {
    /// `[n, d]`, standardised, one row per usable picture.
    features: Tensor,
    /// Row of each record in `features`; of records without one, any.
    rows: Vec<u32>,
    /// `[d]` each.
    mean: Tensor,
    std: Tensor,
}

impl LinearProbe {
    /// Puts an embedding, a neck and a classifier of `identities` classes on a frozen encoder; their initial
    /// values depend on the downstream seed.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &LinearProbeSpec,
        evaluation: &EvaluationSpec,
        (encoder, views): (EncoderModel, ViewPlan),
        identities: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let source = init_source(seed);
        let mut store = ParamStore::new(device);
        let (fan_in, fan_out) = (encoder.width(), spec.width);
        let weight =
            |shape: [usize; 2], init| [ParamDef { name: "weight", shape: shape.to_vec(), role: Role::Weight, init }];
        let init = Init::Xavier { fan_in, fan_out };
        let embedding = store.add(EMBEDDING, 0, &weight([fan_out, fan_in], init), &source)?;
        let scale = ParamDef { name: "weight", shape: vec![fan_out], role: Role::Scale, init: Init::Constant(1.0) };
        let neck = store.add(NECK.trim_end_matches('.'), 0, &[scale], &source)?;
        let init = Init::Normal(CLASSIFIER_STD);
        let classifier = store.add(CLASSIFIER, 0, &weight([identities, fan_out], init), &source)?;
        let stats = RunningStats::new(fan_out, device)?;
        let (spec, evaluation, device) = (spec.clone(), evaluation.clone(), device.clone());
        Ok(Self { spec, evaluation, views, encoder, store, embedding, neck, classifier, stats, known: None, device })
    }

    fn known(&self) -> Result<&Known> {
        self.known.as_ref().ok_or_else(|| TaskError::MissingState { name: "features".to_owned() })
    }

    /// The embedding as it stands.
    fn projection(&self) -> Result<Projection> {
        let Known { mean, std, .. } = self.known()?;
        let weight = self.store.frozen().tensor(self.embedding)?;
        Ok(Projection { weight, mean: mean.clone(), std: std.clone() })
    }
}

impl Known {
    /// Standardises features by the statistics of those with a label, in f64 and in the order of the records.
    fn new(features: &Features, records: &[Record], labels: &Labels, device: &Device) -> Result<Self> {
        let d = features.width;
        let labelled = || {
            let rows = features.values.chunks_exact(d).zip(&features.records);
            rows.filter(|(_, record)| labels.of_records[**record as usize].is_some()).map(|(row, _)| row)
        };
        let count = labelled().count().max(1) as f64;
        let mut mean = vec![0.0; d];
        for row in labelled() {
            for (mean, &value) in mean.iter_mut().zip(row) {
                *mean += f64::from(value) / count;
            }
        }
        let mut variance = vec![0.0; d];
        for row in labelled() {
            for ((variance, mean), &value) in variance.iter_mut().zip(&mean).zip(row) {
                *variance += (f64::from(value) - mean).powi(2) / count;
            }
        }
        let vector = |values: &[f64]| -> Result<Tensor> {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            Ok(Tensor::from_vec(values, d, device)?)
        };
        let std: Vec<f64> = variance.iter().map(|variance| variance.sqrt().max(STD_FLOOR)).collect();
        let (mean, std) = (vector(&mean)?, vector(&std)?);
        let values = Tensor::from_slice(&features.values, (features.records.len(), d), device)?; // [n, d]
        let mut rows = vec![0; records.len()];
        for (row, &record) in (0..).zip(&features.records) {
            rows[record as usize] = row;
        }
        Ok(Self { features: standardise(&values, &mean, &std)?, rows, mean, std })
    }
}

/// `(f - mean) / std` in each channel.
///
/// # Shapes
/// - `features`: `[b, d]`, `mean`, `std`: `[d]`; output: `[b, d]`
fn standardise(features: &Tensor, mean: &Tensor, std: &Tensor) -> Result<Tensor> {
    Ok(features.broadcast_sub(mean)?.broadcast_div(std)?)
}

/// A trained embedding: `y = W (f - mean) / std`.
#[derive(Clone, Debug)]
pub struct Projection {
    /// `[width, d]`.
    pub weight: Tensor,
    /// `[d]`.
    pub mean: Tensor,
    /// `[d]`.
    pub std: Tensor,
}

impl Projection {
    /// Names of its parts in a probe's product.
    pub const NAMES: [&str; 3] = ["probe.weight", "probe.mean", "probe.std"];

    /// # Shapes
    /// - `features`: `[b, d]`; output: `[b, width]`
    ///
    /// # Errors
    /// If the widths differ.
    pub fn apply(&self, features: &Tensor) -> Result<Tensor> {
        Ok(ops::dot_products(&standardise(features, &self.mean, &self.std)?, &self.weight)?)
    }
}

impl Task for LinearProbe {
    /// None: the features are there already.
    fn views(&self) -> ViewPlan {
        ViewPlan { views: Vec::new(), shared_flip: 0.0 }
    }

    /// The BNNeck's statistics do.
    fn couples_samples(&self) -> bool {
        true
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        let records = services.records(Split::Train);
        let labels = Labels::of(records, self.spec.labels);
        if self.known.is_none() {
            let features = services.extract(Split::Train, &self.views, self.evaluation.batch, &self.encoder)?;
            self.known = Some(Known::new(&features, records, &labels, &self.device)?);
        }
        Ok(sampler::shuffle_labels(&labels.of_records, self.spec.train.batch, seed, epoch as u32))
    }

    fn step(&self, batch: &ViewBatch, _: Clock) -> Result<StepOutput> {
        let Known { features, rows, .. } = self.known()?;
        let rows: Vec<u32> = batch.images.iter().map(|&image| rows[image as usize]).collect();
        let rows = Tensor::from_vec(rows, batch.len(), &self.device)?; // [b]
        let labels = Tensor::from_slice(&batch.labels, batch.len(), &self.device)?; // [b]
        let params = self.store.training();
        let embedded = ops::linear(&features.index_select(&rows, 0)?, &params, self.embedding)?; // [b, width]
        let (normed, batch_stats) = normalize_batch(&embedded, &params.tensor(self.neck)?)?; // [b, width]
        let logits = ops::linear(&normed, &params, self.classifier)?; // [b, k]
        let loss = id_loss(&logits, &labels, self.spec.label_smoothing)?;
        let stats = vec![(MetricKey::LossId, loss.detach()), (MetricKey::TrainAccuracy, accuracy(&logits, &labels)?)];
        let carried = vec![("mean", batch_stats.mean), ("variance", batch_stats.variance)];
        // No token enters the encoder.
        Ok(StepOutput { loss, stats, tokens: 0, carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], _: Clock) -> Result<()> {
        for output in outputs {
            let [(_, mean), (_, variance)] = output.carried.as_slice() else {
                unreachable!("every step carries the batch's two statistics")
            };
            self.stats.update(&BatchStats { mean: mean.clone(), variance: variance.clone() })?;
        }
        Ok(())
    }

    fn set_compute(&mut self, compute: Compute) {
        self.encoder.set_compute(compute);
        self.store.set_compute(compute);
    }

    fn evaluated(&self) -> Evaluated<'_> {
        Evaluated { model: Box::new(InTraining(self)), views: self.views.clone(), spec: self.evaluation.clone() }
    }

    fn trainable(&self) -> &ParamStore {
        &self.store
    }

    fn save(&self) -> Result<State> {
        let stats = self.stats.tensors().into_iter().map(|(name, tensor)| (format!("{NECK}{name}"), tensor));
        let mut tensors: BTreeMap<String, Tensor> = stats.collect();
        // A resumed training goes on in the midst of an epoch, and begins none.
        let Known { features, rows, mean, std } = self.known()?;
        let rows = Tensor::from_slice(rows, rows.len(), &self.device)?;
        let known = [("features", features), ("rows", &rows), ("mean", mean), ("std", std)];
        tensors.extend(known.map(|(name, tensor)| (name.to_owned(), tensor.clone())));
        Ok(State { tensors, scalars: BTreeMap::new() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let get = |name: &str| -> Result<Tensor> {
            let missing = || TaskError::MissingState { name: name.to_owned() };
            Ok(state.tensors.get(name).ok_or_else(missing)?.to_device(&self.device)?)
        };
        let [mean, variance] = RunningStats::NAMES.map(|name| get(&format!("{NECK}{name}")));
        let stats = RunningStats::from_tensors(mean?, variance?)?;
        let rows = get("rows")?.to_vec1::<u32>()?;
        let known = Known { features: get("features")?, rows, mean: get("mean")?, std: get("std")? };
        (self.stats, self.known) = (stats, Some(known));
        Ok(())
    }

    /// The encoder, the embedding and the neck: everything that evaluation needs.
    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = self.encoder.tensors()?;
        tensors.extend(self.store.tensors()?);
        tensors.remove(&format!("{CLASSIFIER}.weight"));
        tensors.extend(self.stats.tensors().map(|(name, tensor)| (format!("{NECK}{name}"), tensor)));
        let Known { mean, std, .. } = self.known()?;
        let [_, mean_name, std_name] = Projection::NAMES.map(str::to_owned);
        tensors.extend([(mean_name, mean.clone()), (std_name, std.clone())]);
        debug_assert!(Projection::NAMES.iter().all(|name| tensors.contains_key(*name)), "the embedding is whole");
        Ok(tensors)
    }
}

/// The embedding that is ranked, of a probe that is being trained.
struct InTraining<'a>(&'a LinearProbe);

impl Embed for InTraining<'_> {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        let probe = self.0;
        let embedded = probe.projection()?.apply(&probe.encoder.embed(images, cameras)?)?;
        Ok(match probe.evaluation.feature {
            EvaluationFeature::BeforeNeck => embedded,
            EvaluationFeature::AfterNeck => {
                probe.stats.normalize(&embedded, &probe.store.frozen().tensor(probe.neck)?)?
            }
        })
    }
}
