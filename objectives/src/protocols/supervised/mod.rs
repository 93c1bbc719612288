//! Supervised ReID: identity loss behind a BNNeck, batch-hard triplet loss before it
//! (Luo et al., arXiv 1903.07071; TransReID, arXiv 2102.04378).

pub mod heads;
pub mod jigsaw;
pub mod network;
pub mod side;
pub mod spec;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, DropPath, Encoder, ParamStore};
use reid_data::dataset::Split;
use reid_data::plan::EpochPlan;
use reid_data::sampler::{self, Labels, PkSettings};
use reid_data::spec::SamplerSpec;
use reid_data::views::{ViewBatch, ViewPlan};

use self::heads::logits;
use self::network::{Drops, Network, named, numbered, stats_of};
use super::evaluation;
use super::losses::{accuracy, id_loss, mined_triplet_loss, smoothing};
use super::model::EncoderModel;
use super::neck::{BatchStats, RunningStats};
use super::{CLASSIFIER, ENCODER, training_views};
use crate::error::Result;
use crate::metric::MetricKey;
use crate::person_mae::view_tensor;
use crate::random::{drop_paths, drop_paths_of, init_source};
use crate::spec::{IdHead, LocalSpec, SupervisedSpec};
use crate::task::{Clock, Embed, Evaluated, Services, State, StepOutput, Task};

/// Raised whenever the numbers that this protocol gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Standard deviation of the classifier's initial weights (TransReID).
pub(super) const CLASSIFIER_STD: f64 = 0.001;

/// Tensors that a step carries of each neck.
const OF_NECK: [&str; 2] = ["mean", "variance"];

/// The protocol's training.
pub struct Supervised {
    spec: SupervisedSpec,
    backbone: VitSpec,
    network: Network,
    store: ParamStore,
    /// One for each neck.
    classifiers: Vec<ModuleId>,
    stats: Vec<RunningStats>,
    device: Device,
}

/// What a training must know of its labelled pictures beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Number of identities.
    pub identities: usize,
    /// Their cameras, in any order.
    pub cameras: &'a [u32],
}

impl Supervised {
    /// Puts necks and classifiers on an encoder; their initial values depend on the downstream seed.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &SupervisedSpec,
        backbone: &VitSpec,
        encoder: EncoderModel,
        seen: Seen<'_>,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let (network, mut store) = Network::build(spec, encoder, seen.cameras, seed)?;
        let source = init_source(seed);
        let mut classifiers = Vec::new();
        for (branch, width) in network.widths(&store).into_iter().enumerate() {
            let weight = ParamDef {
                name: "weight",
                shape: vec![seen.identities, width],
                role: Role::Weight,
                init: match spec.id_head {
                    IdHead::Linear(_) => Init::Normal(CLASSIFIER_STD),
                    // Of weights only the direction counts, and the shorter they are, the faster they turn.
                    _ => Init::Xavier { fan_in: width, fan_out: seen.identities },
                },
            };
            let layer = network.vit().dims().depth + 1;
            classifiers.push(store.add(&numbered(CLASSIFIER, branch), layer, &[weight], &source)?);
        }
        let stats = network.new_stats(&store)?;
        let (spec, backbone, device) = (spec.clone(), backbone.clone(), device.clone());
        Ok(Self { spec, backbone, network, store, classifiers, stats, device })
    }

    /// Stochastic depth of a batch: the parts of a picture are views of their own, after the whole.
    fn drops(&self, draws: &[u32], clock: Clock) -> (Option<Vec<DropPath>>, Option<DropPath>) {
        let (rate, depth) = (self.backbone.drop_path, self.network.vit().dims().depth);
        let of_encoder = drop_paths(rate, depth, clock.seed, clock.epoch, draws, 0..1);
        let LocalSpec::Jigsaw(jigsaw) = self.spec.local else { return (of_encoder, None) };
        let parts = |&draw: &u32| (1..=jigsaw.parts as u16).map(move |part| (draw, part));
        let sequences: Vec<(u32, u16)> = draws.iter().flat_map(parts).collect();
        let of_parts = drop_paths_of(rate, depth, clock.seed, clock.epoch, &sequences);
        (of_encoder, of_parts.and_then(|mut blocks| blocks.pop()))
    }

    /// Weight of each branch in every loss.
    fn branch_weights(&self) -> Vec<f64> {
        match self.spec.local {
            LocalSpec::None(_) => vec![1.0],
            LocalSpec::Jigsaw(jigsaw) => {
                let of_part = jigsaw.weight / jigsaw.parts as f64;
                std::iter::once(1.0 - jigsaw.weight).chain(std::iter::repeat_n(of_part, jigsaw.parts)).collect()
            }
        }
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
        let (of_encoder, of_parts) = self.drops(&batch.draws, clock);
        let drops = Drops { encoder: of_encoder.as_deref(), local: of_parts.as_ref() };
        let seen = self.network.forward(&params, &images, &batch.cameras, drops, true)?;

        let (mut id, mut triplet) = (Vec::new(), Vec::new());
        let (mut carried, mut told) = (Vec::new(), None);
        let branches = self.classifiers.iter().zip(&seen.features).zip(self.branch_weights());
        for (branch, ((&classifier, feature), weight)) in branches.enumerate() {
            let (normed, of_batch) = self.network.behind_neck(&params, branch, feature)?; // [b, w]
            let logits = logits(self.spec.id_head, &normed, &labels, &params, classifier)?; // [b, k]
            let smoothing = smoothing(self.spec.smoothing, self.spec.label_smoothing, logits.plain.dim(1)?);
            id.push((id_loss(&logits.trained, &labels, smoothing)?, weight));
            let (margin, mining) = (self.spec.triplet_margin, self.spec.triplet_mining);
            triplet.push((mined_triplet_loss(feature, &labels, margin, mining)?, weight));
            carried.extend(OF_NECK.into_iter().zip([of_batch.mean, of_batch.variance]));
            // Identities are told by the global feature.
            told = told.or(Some(accuracy(&logits.plain, &labels)?));
        }
        let (id, triplet) = (weighted_sum(id)?, weighted_sum(triplet)?);
        let loss = ((&id * self.spec.id_weight)? + (&triplet * self.spec.triplet_weight)?)?;
        let mut stats = vec![(MetricKey::LossId, id.detach()), (MetricKey::LossTriplet, triplet.detach())];
        stats.extend(told.map(|accuracy| (MetricKey::TrainAccuracy, accuracy)));
        carried.extend(seen.statistics.into_iter().map(|of_stem| ("stem", of_stem)));
        Ok(StepOutput { loss, stats, tokens: batch.len() * seen.tokens, carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], _: Clock) -> Result<()> {
        for output in outputs {
            let (of_necks, of_stem) = output.carried.split_at(OF_NECK.len() * self.stats.len());
            for (stats, pair) in self.stats.iter_mut().zip(of_necks.chunks_exact(OF_NECK.len())) {
                stats.update(&BatchStats { mean: pair[0].1.clone(), variance: pair[1].1.clone() })?;
            }
            let of_stem: Vec<Tensor> = of_stem.iter().map(|(_, tensor)| tensor.clone()).collect();
            self.network.vit().learn_statistics(&self.store, &of_stem)?;
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
        Ok(State { tensors: named(&self.stats).collect(), scalars: BTreeMap::new() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.stats = stats_of(&state.tensors, self.stats.len(), &self.device)?;
        Ok(())
    }

    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensors = self.network.product(&self.store, &self.stats)?;
        debug_assert!(tensors.keys().any(|name| name.starts_with(ENCODER)), "the encoder is part of the product");
        Ok(tensors)
    }
}

/// A sum of scalars by weight.
fn weighted_sum(terms: Vec<(Tensor, f64)>) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (term, weight) in terms {
        let term = (term * weight)?;
        sum = Some(match sum {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(sum.unwrap_or_else(|| unreachable!("there is always a global feature")))
}

/// The feature that is ranked, of a model that is being trained.
struct InTraining<'a>(&'a Supervised);

impl Embed for InTraining<'_> {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        let Supervised { spec, network, store, stats, .. } = self.0;
        network.ranked(&store.frozen(), stats, spec.evaluation.feature, images, cameras)
    }
}
