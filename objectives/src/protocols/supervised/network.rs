//! The supervised protocol's model: an encoder, what it is told besides the picture, local branches, and a neck for every
//! feature.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{D, Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::ops::DropPath;
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Capture, Compute, Encoder, Input, ParamStore, Params, Vit, weights};

use super::jigsaw::Jigsaw;
use super::side::CameraEmbedding;
use super::spec::{LocalSpec, NeckBias, SideSpec, SupervisedSpec};
use crate::error::{Result, TaskError};
use crate::protocols::frozen::pool;
use crate::protocols::model::EncoderModel;
use crate::protocols::neck::{BatchStats, RunningStats, normalize_batch};
use crate::protocols::{CLASSIFIER, NECK};
use crate::random::init_source;
use crate::spec::{EvaluationFeature, Pooling};
use crate::task::Embed;

/// Name of the list of training cameras in a product.
const CAMERAS: &str = "side.cameras";

/// Structure of the model; the numbers are in the [`ParamStore`] it was built into.
#[derive(Clone, Debug)]
pub struct Network {
    vit: Vit,
    pooling: Pooling,
    side: Option<CameraEmbedding>,
    local: Option<Jigsaw>,
    /// One for each feature: the global one, then the local ones.
    necks: Vec<Neck>,
}

/// A BNNeck's parameters.
#[derive(Clone, Copy, Debug)]
struct Neck {
    weight: ModuleId,
    /// Where it is learnt; otherwise it is 0.
    bias: Option<ModuleId>,
}

impl Neck {
    /// # Shapes
    /// - `normed`: `[b, w]`, scaled; output: the same
    fn shift(self, params: &Params, normed: Tensor) -> Result<Tensor> {
        Ok(match self.bias {
            Some(bias) => normed.broadcast_add(&params.tensor(bias)?)?,
            None => normed,
        })
    }
}

/// How stochastic depth drops branches of a training batch.
#[derive(Clone, Copy, Debug)]
pub struct Drops<'a> {
    /// One entry per block of the encoder.
    pub encoder: Option<&'a [DropPath]>,
    /// Of the local branches' block, the parts of a picture together.
    pub local: Option<&'a DropPath>,
}

impl Drops<'_> {
    /// Nothing is dropped.
    pub const NONE: Self = Self { encoder: None, local: None };
}

/// What a pass gives.
#[derive(Debug)]
pub struct Seen {
    /// The global feature `[b, w]`, then the local ones `[b, d]` each.
    pub features: Vec<Tensor>,
    /// Tokens of each picture that went through the encoder.
    pub tokens: usize,
    /// What [`Vit::learn_statistics`] takes.
    pub statistics: Vec<Tensor>,
}

/// Name of a neck, a classifier: the first has the plain name, others a number, as in TransReID.
pub(super) fn numbered(name: &str, branch: usize) -> String {
    if branch == 0 { name.to_owned() } else { format!("{name}_{branch}") }
}

impl Network {
    /// Puts everything but classifiers on an encoder; initial values depend on the downstream seed. `cameras` are those of
    /// the training pictures.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &SupervisedSpec,
        encoder: EncoderModel,
        cameras: &[u32],
        seed: u64,
    ) -> Result<(Self, ParamStore)> {
        let (vit, mut store) = encoder.into_parts();
        let (dims, source) = (vit.dims(), init_source(seed));
        let neck = NECK.trim_end_matches('.');
        let mut widths = vec![spec.pooling.width(dims.width)];
        if let LocalSpec::Jigsaw(jigsaw) = spec.local {
            widths.resize(1 + jigsaw.parts, dims.width);
        }
        let mut necks = Vec::with_capacity(widths.len());
        for (branch, width) in widths.into_iter().enumerate() {
            let (name, layer) = (numbered(neck, branch), dims.depth + 1);
            let def = |name, role, init| ParamDef { name, shape: vec![width], role, init };
            let weight = store.add(&name, layer, &[def("weight", Role::Scale, Init::Constant(1.0))], &source)?;
            let bias = match spec.neck_bias {
                NeckBias::Zero => None,
                NeckBias::Learned => {
                    let bias = def("", Role::Bias, Init::Constant(0.0));
                    Some(store.add(&format!("{name}.bias"), layer, &[bias], &source)?)
                }
            };
            necks.push(Neck { weight, bias });
        }
        let local = match spec.local {
            LocalSpec::None(_) => None,
            LocalSpec::Jigsaw(jigsaw) => Some(Jigsaw::build(jigsaw, dims, &mut store, &source)?),
        };
        let side = match spec.side {
            SideSpec::None(_) => None,
            SideSpec::Cameras(side) => {
                Some(CameraEmbedding::build(side, cameras.to_vec(), dims.width, &mut store, &source)?)
            }
        };
        Ok((Self { vit, pooling: spec.pooling, side, local, necks }, store))
    }

    /// The encoder.
    pub fn vit(&self) -> &Vit {
        &self.vit
    }

    /// Width of each feature.
    pub fn widths(&self, store: &ParamStore) -> Vec<usize> {
        self.necks.iter().map(|neck| store.module(neck.weight).len()).collect()
    }

    /// A feature behind its neck, and the batch's statistics: training.
    ///
    /// # Shapes
    /// - `feature`: `[b, w]`, of the branch's width; output: the same
    ///
    /// # Errors
    /// If shapes differ, or the batch holds a single sample.
    pub fn behind_neck(&self, params: &Params, branch: usize, feature: &Tensor) -> Result<(Tensor, BatchStats)> {
        let neck = self.necks[branch];
        let (normed, stats) = normalize_batch(feature, &params.tensor(neck.weight)?)?;
        Ok((neck.shift(params, normed)?, stats))
    }

    /// Running statistics of all necks, as they are before a training.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new_stats(&self, store: &ParamStore) -> Result<Vec<RunningStats>> {
        self.widths(store).into_iter().map(|width| Ok(RunningStats::new(width, store.device())?)).collect()
    }

    /// The features of pictures.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, `cameras`: `[b]`; output: see [`Seen`]
    ///
    /// # Errors
    /// If shapes do not fit, a camera is unknown, or candle refuses.
    pub fn forward(
        &self,
        params: &Params,
        images: &Tensor,
        cameras: &[u32],
        drops: Drops<'_>,
        batch_statistics: bool,
    ) -> Result<Seen> {
        let side = match &self.side {
            Some(side) => side.forward(params, cameras)?,
            None => None,
        };
        let before_last = [self.vit.dims().depth.saturating_sub(2)];
        let capture = match &self.local {
            Some(_) => Capture { blocks: &before_last, ..Capture::default() },
            None => Capture::default(),
        };
        let drop_path = drops.encoder;
        let input = Input { side: side.as_ref(), drop_path, batch_statistics, capture, ..Input::default() };
        let mut seen = self.vit.forward(params, images, &input)?;
        let mut features = vec![pool(&seen, self.pooling)?]; // [b, w]
        if let (Some(local), Some(trunk)) = (&self.local, seen.captured.blocks.pop()) {
            let parts = local.forward(params, &trunk, drops.local)?; // [b, parts, d]
            for part in 0..parts.dim(1)? {
                features.push(parts.narrow(1, part, 1)?.squeeze(1)?.contiguous()?);
            }
        }
        let (rows, cols) = seen.grid;
        Ok(Seen { features, tokens: seen.prefix + rows * cols, statistics: seen.captured.statistics })
    }

    /// The feature that is ranked: the global one, then the local ones divided by their number (TransReID).
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, `cameras`: `[b]`; output: `[b, w + parts * d]`
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn ranked(
        &self,
        params: &Params,
        stats: &[RunningStats],
        feature: EvaluationFeature,
        images: &Tensor,
        cameras: &[u32],
    ) -> Result<Tensor> {
        let mut features = self.forward(params, images, cameras, Drops::NONE, false)?.features;
        if feature == EvaluationFeature::AfterNeck {
            for ((feature, &neck), stats) in features.iter_mut().zip(&self.necks).zip(stats) {
                *feature = neck.shift(params, stats.normalize(feature, &params.tensor(neck.weight)?)?)?;
            }
        }
        let parts = features.len() - 1;
        if parts == 0 {
            return Ok(features.swap_remove(0));
        }
        for local in &mut features[1..] {
            *local = (&*local / parts as f64)?;
        }
        Ok(Tensor::cat(&features, D::Minus1)?)
    }

    /// All numbers of a trained model by name: what [`SupervisedModel::from_product`] reads.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn product(&self, store: &ParamStore, stats: &[RunningStats]) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = store.tensors()?;
        tensors.retain(|name, _| !name.starts_with(CLASSIFIER));
        tensors.extend(named(stats));
        if let Some(side) = &self.side {
            let cameras = side.cameras();
            tensors.insert(CAMERAS.to_owned(), Tensor::from_slice(cameras, cameras.len(), &Device::Cpu)?);
        }
        Ok(tensors)
    }
}

/// Running statistics by name.
pub(super) fn named(stats: &[RunningStats]) -> impl Iterator<Item = (String, Tensor)> {
    let neck = NECK.trim_end_matches('.');
    stats.iter().enumerate().flat_map(move |(branch, stats)| {
        stats.tensors().into_iter().map(move |(name, tensor)| (format!("{}.{name}", numbered(neck, branch)), tensor))
    })
}

/// Running statistics of `count` necks out of named tensors.
///
/// # Errors
/// If one is missing or does not fit.
pub(super) fn stats_of(tensors: &BTreeMap<String, Tensor>, count: usize, device: &Device) -> Result<Vec<RunningStats>> {
    let neck = NECK.trim_end_matches('.');
    let of_branch = |branch| {
        let get = |name: &str| {
            let name = format!("{}.{name}", numbered(neck, branch));
            let found = tensors.get(&name).ok_or(TaskError::MissingState { name })?;
            Result::Ok(found.to_device(device)?)
        };
        let [mean, variance] = RunningStats::NAMES.map(get);
        Ok(RunningStats::from_tensors(mean?, variance?)?)
    };
    (0..count).map(of_branch).collect()
}

/// A trained model as evaluation sees it.
pub struct SupervisedModel {
    network: Network,
    store: ParamStore,
    stats: Vec<RunningStats>,
    feature: EvaluationFeature,
}

impl SupervisedModel {
    /// From a training's product.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    pub fn from_product(
        spec: &SupervisedSpec,
        backbone: &VitSpec,
        product: &BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let cameras = product.get(CAMERAS).map(Tensor::to_vec1::<u32>).transpose()?.unwrap_or_default();
        let encoder = EncoderModel::random(backbone, 0, device)?;
        let (network, store) = Network::build(spec, encoder, &cameras, 0)?;
        let stats = stats_of(product, network.necks.len(), device)?;
        let mut tensors = product.clone();
        tensors.remove(CAMERAS);
        for (name, _) in named(&stats) {
            tensors.remove(&name);
        }
        weights::load(&store, "", &tensors, path)?;
        Ok(Self { network, store, stats, feature: spec.evaluation.feature })
    }

    /// How its passes are computed.
    #[must_use]
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.store.set_compute(compute);
        self
    }

    /// Takes every camera as unknown: those of another data set are others, whatever their numbers.
    #[must_use]
    pub fn among_strangers(mut self) -> Self {
        if let Some(side) = &mut self.network.side {
            side.forget();
        }
        self
    }
}

impl Embed for SupervisedModel {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        self.network.ranked(&self.store.frozen(), &self.stats, self.feature, images, cameras)
    }
}
