//! Unsupervised ReID by cluster contrast (Dai et al., arXiv 2103.11568), as TransReID-SSL trains a ViT with it.
//!
//! Every epoch: features of all training pictures, after the neck and of length 1; their Jaccard distance; DBSCAN; a new
//! memory of the clusters' means. Then a fixed number of batches, each of P clusters with K pictures from different
//! cameras, whose features are classified by their similarity to the centres. Outliers are not trained on in that epoch.
//! Identities are never looked at, but in what is reported of the clusters.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, Encoder, Input, ParamStore, Vit, ops};
use reid_data::dataset::Split;
use reid_data::plan::EpochPlan;
use reid_data::sampler::{self, PkSettings};
use reid_data::views::{ViewBatch, ViewPlan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evaluation;
use super::frozen::pool;
use super::losses::{accuracy, id_loss};
use super::model::{BehindNeck, EncoderModel, Pooled};
use super::neck::{BatchStats, RunningStats, normalize_batch};
use super::{ENCODER, NECK, training_views};
use crate::cluster::dbscan::dbscan;
use crate::cluster::jaccard::{JaccardSpec, jaccard};
use crate::cluster::memory::{ClusterMemory, MemorySpec};
use crate::cluster::quality::{Quality, quality};
use crate::error::{Result, TaskError};
use crate::math::distance::{NORM_EPS, normalize_rows};
use crate::metric::MetricKey;
use crate::person_mae::view_tensor;
use crate::random::{drop_paths, init_source};
use crate::spec::{EvaluationFeature, EvaluationSpec, Pooling, SupervisedAugment, TrainSpec};
use crate::task::{Clock, Evaluated, Services, State, StepOutput, Task};

/// Raised whenever the numbers that this protocol gives change.
pub const ALGORITHM_VERSION: u32 = 2;
/// Fewest clusters that can be told apart.
const FEWEST: usize = 2;
/// Name of the memory in saved states.
const MEMORY: &str = "memory";
/// What is reported of an epoch's clusters.
pub const REPORTED: [MetricKey; 4] =
    [MetricKey::Clusters, MetricKey::Outliers, MetricKey::ClusterAri, MetricKey::ClusterNmi];

/// Unsupervised ReID by clustering.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UslSpec {
    /// Length, batch, rate and rule; an epoch has `steps_per_epoch` batches.
    pub train: TrainSpec,
    /// Batches between two clusterings.
    #[schemars(range(min = 1, max = 100_000))]
    pub steps_per_epoch: usize,
    /// Clusters in a batch; each gives `batch / clusters` pictures.
    #[schemars(range(min = 2, max = 4096))]
    pub clusters_per_batch: usize,
    /// What of the final tokens is the feature.
    pub pooling: Pooling,
    /// Stochastic depth of this training.
    pub drop_path: DropPathSpec,
    /// Pictures that the neck normalises over in training.
    pub neck_batch: NeckBatch,
    /// What becomes of a cluster of one picture.
    pub singleton: reid_data::spec::Singleton,
    /// Neighbourhoods of the distance that is clustered by.
    pub jaccard: JaccardSpec,
    /// DBSCAN.
    pub dbscan: DbscanSpec,
    /// Centres of the clusters.
    pub memory: MemorySpec,
    /// Training augmentation.
    pub augment: SupervisedAugment,
    /// How features are ranked; the same pictures and features are clustered.
    pub evaluation: EvaluationSpec,
}

/// Stochastic depth of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropPathSpec {
    /// The backbone's.
    #[default]
    Backbone,
    /// Its own: the largest share of dropped branches, at the last block.
    Rate(#[schemars(range(min = 0.0, max = 0.9))] f64),
}

/// Pictures that a neck normalises over in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NeckBatch {
    /// All of a batch.
    #[default]
    Whole,
    /// So many, one group after the other, as where a batch is spread over several GPUs; running statistics are those of
    /// the first group, as PyTorch's `DataParallel` keeps them.
    Pictures(#[schemars(range(min = 2, max = 65_536))] usize),
}

/// DBSCAN on Jaccard distances.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DbscanSpec {
    /// Largest distance of neighbours; TransReID-SSL takes 0.7 on MSMT17.
    #[schemars(range(min = 0.01, max = 0.999))]
    pub eps: f64,
    /// Neighbours that make a picture a core, itself among them.
    #[schemars(range(min = 1, max = 1000))]
    pub min_samples: usize,
}

impl Default for DbscanSpec {
    fn default() -> Self {
        Self { eps: 0.6, min_samples: 4 }
    }
}

/// The protocol's training.
pub struct Usl {
    spec: UslSpec,
    backbone: VitSpec,
    vit: Vit,
    store: ParamStore,
    neck: ModuleId,
    stats: RunningStats,
    /// There from the first epoch on.
    memory: Option<ClusterMemory>,
    /// What is reported of the epoch's clusters, as [`REPORTED`].
    reported: [f64; REPORTED.len()],
    device: Device,
}

impl Usl {
    /// Puts a neck on an encoder.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &UslSpec,
        backbone: &VitSpec,
        encoder: EncoderModel,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (vit, mut store) = encoder.into_parts();
        let (width, layer) = (spec.pooling.width(vit.dims().width), vit.dims().depth + 1);
        // As in the supervised protocol, and in TransReID-SSL: the bias stays at 0.
        let weight = ParamDef { name: "weight", shape: vec![width], role: Role::Scale, init: Init::Constant(1.0) };
        let neck = store.add(NECK.trim_end_matches('.'), layer, &[weight], &init_source(seed))?;
        let stats = RunningStats::new(width, device)?;
        let (spec, mut backbone, device) = (spec.clone(), backbone.clone(), device.clone());
        if let DropPathSpec::Rate(rate) = spec.drop_path {
            backbone.drop_path = rate;
        }
        Ok(Self { spec, backbone, vit, store, neck, stats, memory: None, reported: [0.0; 4], device })
    }

    fn memory(&self) -> Result<&ClusterMemory> {
        self.memory.as_ref().ok_or_else(|| TaskError::MissingState { name: MEMORY.to_owned() })
    }

    /// The neck in training, over groups of a batch.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, `weight`: `[d]`; output: `[b, d]` and statistics of the first group
    fn normalize(&self, features: &Tensor, weight: &Tensor) -> Result<(Tensor, BatchStats)> {
        let group = match self.spec.neck_batch {
            NeckBatch::Pictures(group) if group < features.dim(0)? => group,
            _ => return Ok(normalize_batch(features, weight)?),
        };
        let (first, stats) = normalize_batch(&features.narrow(0, 0, group)?.contiguous()?, weight)?;
        let mut normed = vec![first];
        for at in (group..features.dim(0)?).step_by(group) {
            normed.push(normalize_batch(&features.narrow(0, at, group)?.contiguous()?, weight)?.0);
        }
        Ok((Tensor::cat(&normed, 0)?, stats))
    }

    /// The model as it stands.
    fn model(&self, feature: EvaluationFeature) -> BehindNeck<'_> {
        let pooled = Pooled { vit: &self.vit, store: &self.store, pooling: self.spec.pooling };
        BehindNeck { pooled, stats: &self.stats, weight: self.neck, feature }
    }

    /// Why clusters cannot be trained on, if they cannot.
    fn refused(&self, found: Quality, epoch: usize) -> Option<TaskError> {
        let Quality { clusters, outliers, .. } = found;
        let (wanted, eps) = (self.spec.clusters_per_batch, self.spec.dbscan.eps);
        let problem = match clusters {
            0 => format!("epoch {epoch}: no clusters, all {outliers} pictures are outliers"),
            1 => format!(
                "epoch {epoch}: one cluster of all pictures but {outliers} outliers: the features have collapsed"
            ),
            few if few < wanted.max(FEWEST) => {
                format!("epoch {epoch}: {few} clusters and {outliers} outliers, but a batch takes {wanted} clusters")
            }
            _ => return None,
        };
        let remedy = match clusters {
            1 => format!("lower `protocol.usl.dbscan.eps` ({eps}) or the learning rate"),
            _ => format!("raise `protocol.usl.dbscan.eps` ({eps}), lower `jaccard.k1`, or take fewer clusters a batch"),
        };
        Some(TaskError::Unsuitable { problem, remedy })
    }
}

impl Task for Usl {
    fn views(&self) -> ViewPlan {
        training_views(&self.spec.augment, &self.backbone)
    }

    /// The neck's statistics do.
    fn couples_samples(&self) -> bool {
        true
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        let views = evaluation::views(&self.spec.evaluation, &self.backbone, self.spec.augment.normalisation);
        let clustered = self.model(EvaluationFeature::AfterNeck);
        let mut features = services.extract(Split::Train, &views, self.spec.evaluation.batch, &clustered)?;
        normalize_rows(&mut features.values, features.width);
        let jaccard = jaccard(&features.values, features.width, self.spec.jaccard);
        let clusters = dbscan(&jaccard.within(self.spec.dbscan.eps as f32), self.spec.dbscan.min_samples);

        let records = services.records(Split::Train);
        let pids: Vec<i64> = features.records.iter().map(|&record| records[record as usize].pid).collect();
        let found = quality(&clusters, &pids);
        if let Some(error) = self.refused(found, epoch) {
            return Err(error);
        }
        self.reported = [found.clusters as f64, found.outliers as f64, found.ari, found.nmi];
        let memory =
            ClusterMemory::of_members(&features.values, features.width, &clusters, found.clusters, &self.device);
        self.memory = Some(memory);

        let mut labels = vec![None; records.len()];
        for (&record, label) in features.records.iter().zip(clusters) {
            labels[record as usize] = label;
        }
        let identities = self.spec.clusters_per_batch;
        let settings = PkSettings { identities, images: self.spec.train.batch / identities };
        let (steps, order) = (Some(self.spec.steps_per_epoch), (seed, epoch as u32));
        Ok(sampler::multi_gallery(records, &labels, settings, self.spec.singleton, steps, order)?)
    }

    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput> {
        let images = view_tensor(batch, 0, &self.device)?;
        let labels = Tensor::from_slice(&batch.labels, batch.len(), &self.device)?; // [b]
        let params = self.store.training();
        let depth = self.vit.dims().depth;
        let drops = drop_paths(self.backbone.drop_path, depth, clock.seed, clock.epoch, &batch.draws, 0..1);
        let input = Input { drop_path: drops.as_deref(), batch_statistics: true, ..Input::default() };
        let tokens = self.vit.forward(&params, &images, &input)?;
        let pooled = pool(&tokens, self.spec.pooling)?; // [b, d]
        let (normed, batch_stats) = self.normalize(&pooled, &params.tensor(self.neck)?)?; // [b, d]
        let feature = ops::l2_normalize(&normed, NORM_EPS)?; // [b, d]
        let logits = self.memory()?.logits(&feature, self.spec.memory.temperature)?; // [b, c]
        let loss = id_loss(&logits, &labels, 0.0)?;
        let mut stats =
            vec![(MetricKey::LossCluster, loss.detach()), (MetricKey::TrainAccuracy, accuracy(&logits, &labels)?)];
        for (key, value) in REPORTED.into_iter().zip(self.reported) {
            stats.push((key, Tensor::new(value as f32, &self.device)?));
        }
        let mut carried = vec![
            ("mean", batch_stats.mean),
            ("variance", batch_stats.variance),
            ("feature", feature.detach()),
            ("labels", labels),
        ];
        carried.extend(tokens.captured.statistics.into_iter().map(|of_stem| ("stem", of_stem)));
        let (rows, cols) = self.vit.grid();
        Ok(StepOutput { loss, stats, tokens: batch.len() * (tokens.prefix + rows * cols), carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], _: Clock) -> Result<()> {
        for output in outputs {
            let [(_, mean), (_, variance), (_, feature), (_, labels), of_stem @ ..] = output.carried.as_slice() else {
                unreachable!("every step carries statistics, features and labels")
            };
            self.stats.update(&BatchStats { mean: mean.clone(), variance: variance.clone() })?;
            let of_stem: Vec<Tensor> = of_stem.iter().map(|(_, tensor)| tensor.clone()).collect();
            self.vit.learn_statistics(&self.store, &of_stem)?;
            let (features, labels) = (feature.flatten_all()?.to_vec1::<f32>()?, labels.to_vec1::<u32>()?);
            if let Some(memory) = &mut self.memory {
                memory.follow(&features, &labels, self.spec.memory);
            }
        }
        Ok(())
    }

    fn set_compute(&mut self, compute: Compute) {
        self.store.set_compute(compute);
    }

    fn evaluated(&self) -> Evaluated<'_> {
        let evaluation = &self.spec.evaluation;
        Evaluated {
            model: Box::new(self.model(evaluation.feature)),
            views: evaluation::views(evaluation, &self.backbone, self.spec.augment.normalisation),
            spec: evaluation.clone(),
        }
    }

    fn trainable(&self) -> &ParamStore {
        &self.store
    }

    fn save(&self) -> Result<State> {
        let mut tensors: BTreeMap<String, Tensor> = self.neck_tensors();
        // A resumed training goes on in the midst of an epoch, and clusters nothing.
        tensors.insert(MEMORY.to_owned(), self.memory()?.tensor()?);
        let scalars = REPORTED.into_iter().zip(self.reported).map(|(key, value)| (key.name().to_owned(), value));
        Ok(State { tensors, scalars: scalars.collect() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let get = |name: &str| -> Result<Tensor> {
            let missing = || TaskError::MissingState { name: name.to_owned() };
            Ok(state.tensors.get(name).ok_or_else(missing)?.to_device(&self.device)?)
        };
        let [mean, variance] = RunningStats::NAMES.map(|name| get(&format!("{NECK}{name}")));
        let stats = RunningStats::from_tensors(mean?, variance?)?;
        let memory = ClusterMemory::from_tensor(&get(MEMORY)?, &self.device)?;
        let mut reported = [0.0; REPORTED.len()];
        for (name, value) in REPORTED.map(MetricKey::name).into_iter().zip(&mut reported) {
            let missing = || TaskError::MissingState { name: name.to_owned() };
            *value = *state.scalars.get(name).ok_or_else(missing)?;
        }
        (self.stats, self.memory, self.reported) = (stats, Some(memory), reported);
        Ok(())
    }

    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = self.store.tensors()?;
        tensors.extend(self.neck_tensors());
        debug_assert!(tensors.keys().any(|name| name.starts_with(ENCODER)), "the encoder is part of the product");
        Ok(tensors)
    }
}

impl Usl {
    fn neck_tensors(&self) -> BTreeMap<String, Tensor> {
        self.stats.tensors().into_iter().map(|(name, tensor)| (format!("{NECK}{name}"), tensor)).collect()
    }
}
