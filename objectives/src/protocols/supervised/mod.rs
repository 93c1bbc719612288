//! Supervised ReID: identity loss behind a BNNeck, batch-hard triplet loss before it
//! (Luo et al., arXiv 1903.07071; TransReID, arXiv 2102.04378).

pub mod heads;
pub mod spec;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, Encoder, Input, ParamStore, Vit};
use reid_data::dataset::Split;
use reid_data::plan::EpochPlan;
use reid_data::sampler::{self, Labels, PkSettings};
use reid_data::spec::SamplerSpec;
use reid_data::views::{ViewBatch, ViewPlan};

use self::heads::logits;
use super::evaluation;
use super::frozen::pool;
use super::losses::{accuracy, id_loss, mined_triplet_loss, smoothing};
use super::model::{EncoderModel, Pooled};
use super::neck::{BatchStats, RunningStats, normalize_batch};
use super::{CLASSIFIER, ENCODER, NECK, training_views};
use crate::error::Result;
use crate::metric::MetricKey;
use crate::person_mae::view_tensor;
use crate::random::{drop_paths, init_source};
use crate::spec::{EvaluationFeature, IdHead, SupervisedSpec};
use crate::task::{Clock, Embed, Evaluated, Services, State, StepOutput, Task};

/// Raised whenever the numbers that this protocol gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Standard deviation of the classifier's initial weights (TransReID).
pub(super) const CLASSIFIER_STD: f64 = 0.001;

/// The protocol's training.
pub struct Supervised {
    spec: SupervisedSpec,
    backbone: VitSpec,
    vit: Vit,
    store: ParamStore,
    neck: ModuleId,
    classifier: ModuleId,
    stats: RunningStats,
    device: Device,
}

impl Supervised {
    /// Puts a neck and a classifier of `identities` classes on an encoder; their initial values
    /// depend on the downstream seed.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &SupervisedSpec,
        backbone: &VitSpec,
        encoder: EncoderModel,
        identities: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (vit, mut store) = encoder.into_parts();
        let (width, layer) = (spec.pooling.width(vit.dims().width), vit.dims().depth + 1);
        let source = init_source(seed);
        // TransReID's bottleneck bias is frozen at 0, so there is none.
        let weight = ParamDef { name: "weight", shape: vec![width], role: Role::Scale, init: Init::Constant(1.0) };
        let neck = store.add(NECK.trim_end_matches('.'), layer, &[weight], &source)?;
        let weight = ParamDef {
            name: "weight",
            shape: vec![identities, width],
            role: Role::Weight,
            init: match spec.id_head {
                IdHead::Linear(_) => Init::Normal(CLASSIFIER_STD),
                // Of weights only the direction counts, and the shorter they are, the faster they turn.
                _ => Init::Xavier { fan_in: width, fan_out: identities },
            },
        };
        let classifier = store.add(CLASSIFIER, layer, &[weight], &source)?;
        let stats = RunningStats::new(width, device)?;
        let (spec, backbone, device) = (spec.clone(), backbone.clone(), device.clone());
        Ok(Self { spec, backbone, vit, store, neck, classifier, stats, device })
    }

    fn images_per_identity(&self) -> usize {
        self.spec.train.batch / self.spec.identities_per_batch
    }
}

impl Task for Supervised {
    fn views(&self) -> ViewPlan {
        training_views(&self.spec.augment, &self.backbone)
    }

    /// The BNNeck's statistics do, whatever the triplet's weight.
    fn couples_samples(&self) -> bool {
        true
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        let records = services.records(Split::Train);
        let labels = Labels::of(records, self.spec.labels).of_records;
        let settings = PkSettings { identities: self.spec.identities_per_batch, images: self.images_per_identity() };
        let (batch, epoch) = (self.spec.train.batch, epoch as u32);
        Ok(match self.spec.sampler {
            SamplerSpec::Pk => sampler::pk_labels(&labels, settings, seed, epoch)?,
            SamplerSpec::MultiGallery(spec) => {
                sampler::multi_gallery(records, &labels, settings, spec.singleton, None, (seed, epoch))?
            }
            SamplerSpec::Shuffle => sampler::shuffle_labels(&labels, batch, seed, epoch),
        })
    }

    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput> {
        let images = view_tensor(batch, 0, &self.device)?;
        let labels = Tensor::from_slice(&batch.labels, batch.len(), &self.device)?; // [b]
        let params = self.store.training();
        let depth = self.vit.dims().depth;
        let drops = drop_paths(self.backbone.drop_path, depth, clock.seed, clock.epoch, &batch.draws, 0..1);
        let input = Input { drop_path: drops.as_deref(), batch_statistics: true, ..Input::default() };
        let tokens = self.vit.forward(&params, &images, &input)?;
        let feature = pool(&tokens, self.spec.pooling)?; // [b, d]
        let (normed, batch_stats) = normalize_batch(&feature, &params.tensor(self.neck)?)?; // [b, d]
        let logits = logits(self.spec.id_head, &normed, &labels, &params, self.classifier)?; // [b, k]
        let smoothing = smoothing(self.spec.smoothing, self.spec.label_smoothing, logits.plain.dim(1)?);
        let id = id_loss(&logits.trained, &labels, smoothing)?;
        let triplet = mined_triplet_loss(&feature, &labels, self.spec.triplet_margin, self.spec.triplet_mining)?;
        let loss = ((&id * self.spec.id_weight)? + (&triplet * self.spec.triplet_weight)?)?;
        let stats = vec![
            (MetricKey::LossId, id.detach()),
            (MetricKey::LossTriplet, triplet.detach()),
            (MetricKey::TrainAccuracy, accuracy(&logits.plain, &labels)?),
        ];
        let mut carried = vec![("mean", batch_stats.mean), ("variance", batch_stats.variance)];
        carried.extend(tokens.captured.statistics.into_iter().map(|of_stem| ("stem", of_stem)));
        let (rows, cols) = self.vit.grid();
        Ok(StepOutput { loss, stats, tokens: batch.len() * (tokens.prefix + rows * cols), carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], _: Clock) -> Result<()> {
        for output in outputs {
            let [(_, mean), (_, variance), of_stem @ ..] = output.carried.as_slice() else {
                unreachable!("every step carries the batch's two statistics")
            };
            self.stats.update(&BatchStats { mean: mean.clone(), variance: variance.clone() })?;
            let of_stem: Vec<Tensor> = of_stem.iter().map(|(_, tensor)| tensor.clone()).collect();
            self.vit.learn_statistics(&self.store, &of_stem)?;
        }
        Ok(())
    }

    fn set_compute(&mut self, compute: Compute) {
        self.store.set_compute(compute);
    }

    fn evaluated(&self) -> Evaluated<'_> {
        let evaluation = &self.spec.evaluation;
        Evaluated {
            model: Box::new(InTraining(self)),
            views: evaluation::views(evaluation, &self.backbone, self.spec.augment.normalisation),
            spec: evaluation.clone(),
        }
    }

    fn trainable(&self) -> &ParamStore {
        &self.store
    }

    fn save(&self) -> Result<State> {
        let tensors = self.stats.tensors().into_iter().map(|(name, tensor)| (format!("{NECK}{name}"), tensor));
        Ok(State { tensors: tensors.collect(), scalars: BTreeMap::new() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let get = |name: &str| {
            let name = format!("{NECK}{name}");
            state.tensors.get(&name).cloned().ok_or(crate::TaskError::MissingState { name })
        };
        let [mean, variance] = RunningStats::NAMES.map(get);
        self.stats = RunningStats::from_tensors(mean?.to_device(&self.device)?, variance?.to_device(&self.device)?)?;
        Ok(())
    }

    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = self.store.tensors()?;
        tensors.remove(&format!("{CLASSIFIER}.weight"));
        tensors.extend(self.save()?.tensors);
        debug_assert!(tensors.keys().any(|name| name.starts_with(ENCODER)), "the encoder is part of the product");
        Ok(tensors)
    }
}

/// The feature that is ranked, of a model that is being trained.
struct InTraining<'a>(&'a Supervised);

impl Embed for InTraining<'_> {
    fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let Supervised { spec, vit, store, stats, neck, .. } = self.0;
        let feature = Pooled { vit, store, pooling: spec.pooling }.embed(images)?;
        Ok(match spec.evaluation.feature {
            EvaluationFeature::BeforeNeck => feature,
            EvaluationFeature::AfterNeck => stats.normalize(&feature, &store.frozen().tensor(*neck)?)?,
        })
    }
}
