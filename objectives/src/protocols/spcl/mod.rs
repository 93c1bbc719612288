//! Unsupervised domain adaptation with a memory of both domains (SpCL, Ge et al., arXiv 2006.02713).
//!
//! The memory has a place for every identity of the labelled sources and for every picture of the target. Before every
//! epoch the target's places are clustered; clusters that are not reliable are dissolved. Then a fixed number of batches,
//! half of pictures of the sources and half of the target's, each half with a neck of its own: a feature is to be more
//! similar to its class (an identity, a cluster, or a picture that stands alone) than to all others of both domains.
//! Identities of the target are never looked at, but in what is reported of the clusters.

pub mod spec;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, Encoder, Input, ParamStore, Vit, ops};
use reid_data::dataset::{Record, Split};
use reid_data::plan::EpochPlan;
use reid_data::sampler::{self, PkSettings};
use reid_data::views::{ViewBatch, ViewPlan};

use self::spec::SpclSpec;
use super::evaluation;
use super::frozen::pool;
use super::losses::{accuracy, id_loss};
use super::model::{BehindNeck, EncoderModel, Pooled};
use super::neck::{BatchStats, RunningStats, normalize_batch};
use super::usl::REPORTED;
use super::{ENCODER, NECK, training_views};
use crate::cluster::dbscan::dbscan;
use crate::cluster::hybrid::{HybridMemory, NOWHERE};
use crate::cluster::jaccard::jaccard;
use crate::cluster::quality::quality;
use crate::cluster::reliable::{Clusterings, alone, reliable};
use crate::error::{Result, TaskError};
use crate::math::distance::{NORM_EPS, normalize_rows};
use crate::metric::MetricKey;
use crate::person_mae::view_tensor;
use crate::random::{drop_paths, init_source};
use crate::spec::EvaluationFeature;
use crate::task::{Clock, Evaluated, Features, Services, State, StepOutput, Task};

/// Raised whenever the numbers that this protocol gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Prefix of the sources' neck.
const SOURCE_NECK: &str = "source_neck.";
/// Names of the memory in saved states.
const MEMORY: [&str; 2] = ["memory.places", "memory.labels"];
/// Name of the bound of independence in saved states.
const BOUND: &str = "bound";

/// A domain's BNNeck.
struct Neck {
    prefix: &'static str,
    weight: ModuleId,
    stats: RunningStats,
}

/// The protocol's training.
pub struct Spcl {
    spec: SpclSpec,
    backbone: VitSpec,
    vit: Vit,
    store: ParamStore,
    /// The target's, then the sources'.
    necks: [Neck; 2],
    /// Training pictures of the target: the first ones of the training split.
    target: usize,
    /// There from the first epoch on.
    memory: Option<HybridMemory>,
    /// How much a reliable cluster may depend on others; there from the first epoch on.
    bound: Option<f64>,
    /// What is reported of the epoch's clusters, as [`REPORTED`].
    reported: [f64; REPORTED.len()],
    device: Device,
}

impl Spcl {
    /// Puts two necks on an encoder. The first `target` training pictures are the target's.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &SpclSpec,
        backbone: &VitSpec,
        encoder: EncoderModel,
        target: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (vit, mut store) = encoder.into_parts();
        let (width, layer) = (spec.pooling.width(vit.dims().width), vit.dims().depth + 1);
        let mut neck = |prefix: &'static str| -> Result<Neck> {
            // As in the supervised protocol: the bias stays at 0.
            let weight = ParamDef { name: "weight", shape: vec![width], role: Role::Scale, init: Init::Constant(1.0) };
            let weight = store.add(prefix.trim_end_matches('.'), layer, &[weight], &init_source(seed))?;
            Ok(Neck { prefix, weight, stats: RunningStats::new(width, device)? })
        };
        let necks = [neck(NECK)?, neck(SOURCE_NECK)?];
        let (spec, backbone, device) = (spec.clone(), backbone.clone(), device.clone());
        Ok(Self {
            spec,
            backbone,
            vit,
            store,
            necks,
            target,
            memory: None,
            bound: None,
            reported: [0.0; REPORTED.len()],
            device,
        })
    }

    fn memory(&self) -> Result<&HybridMemory> {
        self.memory.as_ref().ok_or_else(|| TaskError::MissingState { name: MEMORY[0].to_owned() })
    }

    /// The model as it stands, with the target's neck.
    fn model(&self, feature: EvaluationFeature) -> BehindNeck<'_> {
        let [Neck { weight, stats, .. }, _] = &self.necks;
        let pooled = Pooled { vit: &self.vit, store: &self.store, pooling: self.spec.pooling };
        BehindNeck { pooled, stats, weight: *weight, feature }
    }

    /// Places before the first epoch: means of the sources' identities, and the target's features.
    fn first_places(&self, services: &dyn Services, identities: usize, labels: &[Option<u32>]) -> Result<Vec<f32>> {
        let views = evaluation::views(&self.spec.evaluation, &self.backbone, self.spec.augment.normalisation);
        let model = self.model(EvaluationFeature::AfterNeck);
        let Features { mut values, width, records } =
            services.extract(Split::Train, &views, self.spec.evaluation.batch, &model)?;
        normalize_rows(&mut values, width);
        let mut places = vec![0.0_f32; (identities + self.target) * width];
        for (&record, feature) in records.iter().zip(values.chunks_exact(width)) {
            match labels[record as usize] {
                Some(identity) => {
                    let sum = &mut places[identity as usize * width..][..width];
                    sum.iter_mut().zip(feature).for_each(|(sum, value)| *sum += value);
                }
                None => places[(identities + record as usize) * width..][..width].copy_from_slice(feature),
            }
        }
        normalize_rows(&mut places[..identities * width], width);
        Ok(places)
    }

    /// Classes of the target's usable pictures, numbered from 0, none for those that stand alone; reports on them.
    fn cluster(&mut self, features: &[f32], width: usize, pids: &[i64], epoch: usize) -> Result<Vec<Option<u32>>> {
        let SpclSpec { dbscan: radius, reliability, .. } = self.spec;
        let jaccard = jaccard(features, width, self.spec.jaccard);
        let with = |eps: f64| dbscan(&jaccard.within(eps as f32), radius.min_samples);
        let (labels, tight, loose) =
            (with(radius.eps), with(radius.eps - reliability.gap), with(radius.eps + reliability.gap));
        let found = reliable(Clusterings { labels: &labels, tight: &tight, loose: &loose }, self.bound, reliability);
        let quality = quality(&found.labels, pids);
        if let Some(problem) = match quality.clusters {
            0 => Some(format!("epoch {epoch}: no reliable clusters, all {} pictures stand alone", pids.len())),
            1 => Some(format!("epoch {epoch}: one cluster of all pictures but {} outliers", quality.outliers)),
            _ => None,
        } {
            let remedy = format!(
                "change `protocol.spcl.dbscan.eps` ({}), or train on the source first: `protocol: {{uda: ..}}`",
                radius.eps
            );
            return Err(TaskError::Unsuitable { problem, remedy });
        }
        self.bound = Some(found.bound);
        self.reported = [quality.clusters as f64, quality.outliers as f64, quality.ari, quality.nmi];
        Ok(found.labels)
    }
}

/// The sources' identities among training pictures, numbered from 0; the target's pictures have none.
fn source_labels(records: &[Record], target: usize) -> (Vec<Option<u32>>, usize) {
    let of_source = |at: usize| at >= target && records[at].usable;
    let mut pids: Vec<i64> = (0..records.len()).filter(|&at| of_source(at)).map(|at| records[at].pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let number = |pid: i64| pids.binary_search(&pid).ok().map(|at| at as u32);
    let labels = (0..records.len()).map(|at| if of_source(at) { number(records[at].pid) } else { None });
    (labels.collect(), pids.len())
}

/// The batches of both plans, side by side.
fn alternate(source: &EpochPlan, target: &EpochPlan) -> EpochPlan {
    let halves = source.draws.chunks_exact(source.batch).zip(target.draws.chunks_exact(target.batch));
    let draws = halves.flat_map(|(source, target)| source.iter().chain(target)).copied().collect();
    EpochPlan { draws, batch: source.batch + target.batch }
}

impl Task for Spcl {
    fn views(&self) -> ViewPlan {
        training_views(&self.spec.augment, &self.backbone)
    }

    /// The necks' statistics do.
    fn couples_samples(&self) -> bool {
        true
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        let records = services.records(Split::Train);
        let (of_source, identities) = source_labels(records, self.target);
        let places = match &self.memory {
            Some(memory) => memory.places().to_vec(),
            None => self.first_places(services, identities, &of_source)?,
        };
        let width = places.len() / (identities + self.target);
        let usable: Vec<usize> = (0..self.target).filter(|&at| records[at].usable).collect();
        let features: Vec<f32> =
            usable.iter().flat_map(|at| &places[(identities + at) * width..][..width]).copied().collect();
        let pids: Vec<i64> = usable.iter().map(|&at| records[at].pid).collect();
        let found = self.cluster(&features, width, &pids, epoch)?;

        let mut labels: Vec<u32> = (0..identities as u32).collect();
        labels.resize(identities + self.target, NOWHERE);
        let mut of_target = vec![None; records.len()];
        for (&at, class) in usable.iter().zip(alone(&found)) {
            let class = identities as u32 + class;
            labels[identities + at] = class;
            of_target[at] = Some(class);
        }
        self.memory = Some(HybridMemory::new(places, width, labels, &self.device));

        let (half, classes) = (self.spec.train.batch / 2, self.spec.identities_per_batch);
        let settings = PkSettings { identities: classes, images: half / classes };
        let (steps, order) = (Some(self.spec.steps_per_epoch), (seed, epoch as u32));
        let plan = |labels: &[Option<u32>]| {
            sampler::multi_gallery(records, labels, settings, self.spec.singleton, steps, order)
        };
        Ok(alternate(&plan(&of_source)?, &plan(&of_target)?))
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
        let half = batch.len() / 2;
        let [target, source] = &self.necks;
        let (mut normed, mut carried) = (Vec::new(), Vec::new());
        // As batches are made: the sources' pictures first.
        for (neck, first) in [(source, 0), (target, half)] {
            let part = pooled.narrow(0, first, half)?.contiguous()?;
            let (part, stats) = normalize_batch(&part, &params.tensor(neck.weight)?)?;
            normed.push(part);
            carried.extend([("mean", stats.mean), ("variance", stats.variance)]);
        }
        let feature = ops::l2_normalize(&Tensor::cat(&normed, 0)?, NORM_EPS)?; // [b, d]
        let logits = self.memory()?.logits(&feature, self.spec.temperature)?; // [b, c]
        let loss = id_loss(&logits, &labels, 0.0)?;
        let mut stats =
            vec![(MetricKey::LossCluster, loss.detach()), (MetricKey::TrainAccuracy, accuracy(&logits, &labels)?)];
        for (key, value) in REPORTED.into_iter().zip(self.reported) {
            stats.push((key, Tensor::new(value as f32, &self.device)?));
        }
        // A picture of the sources moves its identity's place, one of the target its own.
        let identities = self.memory()?.places().len() / feature.dim(1)? - self.target;
        let place = |(at, (&image, &label)): (usize, (&u32, &u32))| {
            if at < half { label } else { identities as u32 + image }
        };
        let places: Vec<u32> = batch.images.iter().zip(&batch.labels).enumerate().map(place).collect();
        carried
            .extend([("feature", feature.detach()), ("places", Tensor::from_vec(places, batch.len(), &self.device)?)]);
        carried.extend(tokens.captured.statistics.into_iter().map(|of_stem| ("stem", of_stem)));
        let (rows, cols) = self.vit.grid();
        Ok(StepOutput { loss, stats, tokens: batch.len() * (tokens.prefix + rows * cols), carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], _: Clock) -> Result<()> {
        for output in outputs {
            let [source_mean, source_variance, mean, variance, (_, feature), (_, places), of_stem @ ..] =
                output.carried.as_slice()
            else {
                unreachable!("every step carries two necks' statistics, features and places")
            };
            let [target, source] = &mut self.necks;
            for (neck, mean, variance) in [(source, source_mean, source_variance), (target, mean, variance)] {
                neck.stats.update(&BatchStats { mean: mean.1.clone(), variance: variance.1.clone() })?;
            }
            let of_stem: Vec<Tensor> = of_stem.iter().map(|(_, tensor)| tensor.clone()).collect();
            self.vit.learn_statistics(&self.store, &of_stem)?;
            let (features, places) = (feature.flatten_all()?.to_vec1::<f32>()?, places.to_vec1::<u32>()?);
            if let Some(memory) = &mut self.memory {
                memory.follow(&features, &places, self.spec.momentum);
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
        let mut tensors: BTreeMap<String, Tensor> = self.necks.iter().flat_map(Neck::tensors).collect();
        // A resumed training goes on in the midst of an epoch, and clusters nothing.
        let (places, labels) = self.memory()?.tensors()?;
        tensors.extend(MEMORY.map(str::to_owned).into_iter().zip([places, labels]));
        let mut scalars: BTreeMap<String, f64> =
            REPORTED.into_iter().zip(self.reported).map(|(key, value)| (key.name().to_owned(), value)).collect();
        scalars.extend(self.bound.map(|bound| (BOUND.to_owned(), bound)));
        Ok(State { tensors, scalars })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        let missing = |name: &str| TaskError::MissingState { name: name.to_owned() };
        let get = |name: &str| -> Result<Tensor> {
            Ok(state.tensors.get(name).ok_or_else(|| missing(name))?.to_device(&self.device)?)
        };
        let scalar = |name: &str| state.scalars.get(name).copied().ok_or_else(|| missing(name));
        let mut stats = Vec::with_capacity(self.necks.len());
        for neck in &self.necks {
            let [mean, variance] = RunningStats::NAMES.map(|name| get(&format!("{}{name}", neck.prefix)));
            stats.push(RunningStats::from_tensors(mean?, variance?)?);
        }
        let memory = HybridMemory::from_tensors(&get(MEMORY[0])?, &get(MEMORY[1])?, &self.device)?;
        let mut reported = [0.0; REPORTED.len()];
        for (key, value) in REPORTED.into_iter().zip(&mut reported) {
            *value = scalar(key.name())?;
        }
        self.bound = Some(scalar(BOUND)?);
        (self.memory, self.reported) = (Some(memory), reported);
        for (neck, stats) in self.necks.iter_mut().zip(stats) {
            neck.stats = stats;
        }
        Ok(())
    }

    /// Encoder and the target's neck.
    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = self.store.tensors()?;
        tensors.retain(|name, _| !name.starts_with(SOURCE_NECK));
        tensors.extend(self.necks[0].tensors());
        debug_assert!(tensors.keys().any(|name| name.starts_with(ENCODER)), "the encoder is part of the product");
        Ok(tensors)
    }
}

impl Neck {
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let named = |(name, tensor): (&str, Tensor)| (format!("{}{name}", self.prefix), tensor);
        self.stats.tensors().into_iter().map(named).collect()
    }
}
