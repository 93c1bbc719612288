//! Encoders as evaluation sees them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_backbones::spec::VitSpec;
use reid_backbones::vit::Resampling;
use reid_backbones::{Capture, Compute, Encoder, Input, ModuleId, ParamStore, Vit, weights};

use super::frozen::spec::Pooling;
use super::frozen::{Projection, pool};
use super::neck::RunningStats;
use crate::error::{Result, TaskError};
use crate::random::init_source;
use crate::spec::EvaluationFeature;
use crate::task::Embed;

/// timm's name of the table of positions.
const POSITIONS: &str = "pos_embed";

/// An encoder whose feature is the class token after the final norm, unless another pooling is asked for.
pub struct EncoderModel {
    vit: Vit,
    store: ParamStore,
    pooling: Pooling,
}

impl EncoderModel {
    /// Random weights of a seed: what pre-training of that seed starts from.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn random(spec: &VitSpec, seed: u64, device: &Device) -> Result<Self> {
        let mut store = ParamStore::new(device);
        // The prefix is part of the initialisation's key; objectives use the same.
        let vit = Vit::build(spec, super::ENCODER, &mut store, &init_source(seed))?;
        Ok(Self::from_parts(vit, store))
    }

    /// An encoder whose parameters stand behind [`super::ENCODER`].
    pub fn from_parts(vit: Vit, store: ParamStore) -> Self {
        Self { vit, store, pooling: Pooling::default() }
    }

    /// Weights with timm's names.
    ///
    /// # Errors
    /// If they do not fit the architecture; `path` is named.
    pub fn with_weights(
        spec: &VitSpec,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let model = Self::random(spec, 0, device)?;
        weights::load(&model.store, super::ENCODER, tensors, path)?;
        Ok(model)
    }

    /// [`Self::with_weights`] of an encoder that was trained as `from`, on another grid perhaps: then learned positions are
    /// resampled, bilinearly, as `TransReID` does when it loads a checkpoint (`resize_pos_embed`). Fixed ones are those of
    /// the new grid.
    ///
    /// # Errors
    /// If they do not fit either architecture.
    pub fn resized(
        spec: &VitSpec,
        from: &VitSpec,
        mut tensors: BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let ([old_rows, old_cols], [rows, cols]) = (from.grid(), spec.grid());
        if let Some(table) = tensors.get_mut(POSITIONS).filter(|_| from.grid() != spec.grid()) {
            *table = weights::resample_positions(table, (old_rows, old_cols), (rows, cols), Resampling::Bilinear)?;
        }
        Self::with_weights(spec, &tensors, path, device)
    }

    /// Structure and parameters, these behind [`super::ENCODER`].
    pub fn parts(&self) -> (&Vit, &ParamStore) {
        (&self.vit, &self.store)
    }

    /// The same model, its passes computed in another way.
    #[must_use]
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.set_compute(compute);
        self
    }

    /// How its passes are computed.
    pub fn set_compute(&mut self, compute: Compute) {
        self.store.set_compute(compute);
    }

    /// The same model with another feature.
    #[must_use]
    pub fn with_pooling(self, pooling: Pooling) -> Self {
        Self { pooling, ..self }
    }

    /// Width of its feature.
    pub fn width(&self) -> usize {
        self.pooling.width(self.vit.dims().width)
    }

    /// How its last block looks at pictures, and what it makes of their patches; records no graph.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`; output: see [`Look`]
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn look(&self, images: &Tensor) -> Result<Look> {
        let last = [self.vit.dims().depth - 1];
        let input = Input { capture: Capture { blocks: &[], attention: &last }, ..Input::default() };
        let tokens = self.vit.forward(&self.store.frozen(), images, &input)?;
        let attention = tokens.captured.attention[0].narrow(2, 0, 1)?.squeeze(2)?; // [b, h, prefix + n]
        let patches = attention.dim(2)? - tokens.prefix;
        Ok(Look {
            attention: attention.narrow(2, tokens.prefix, patches)?.contiguous()?,
            patches: tokens.patches()?,
            grid: tokens.grid,
        })
    }

    /// Its weights by name, behind [`super::ENCODER`].
    ///
    /// # Errors
    /// If candle refuses.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.store.tensors()?)
    }

    /// Structure and parameters.
    pub fn into_parts(self) -> (Vit, ParamStore) {
        (self.vit, self.store)
    }
}

/// What an encoder's last block does with pictures.
#[derive(Clone, Debug)]
pub struct Look {
    /// `[b, h, n]`, share of the class token's attention that each head gives each patch.
    pub attention: Tensor,
    /// `[b, n, d]`, patch tokens after the final norm.
    pub patches: Tensor,
    /// Rows and columns of patches, `n` of them row by row.
    pub grid: (usize, usize),
}

impl Embed for EncoderModel {
    fn embed(&self, images: &Tensor, _: &[u32]) -> Result<Tensor> {
        pool(&self.vit.forward(&self.store.frozen(), images, &Input::default())?, self.pooling)
    }
}

/// The feature of an encoder that is being trained.
pub struct Pooled<'a> {
    /// Structure.
    pub vit: &'a Vit,
    /// Parameters as they stand.
    pub store: &'a ParamStore,
    /// What of the tokens is the feature.
    pub pooling: Pooling,
}

impl Embed for Pooled<'_> {
    fn embed(&self, images: &Tensor, _: &[u32]) -> Result<Tensor> {
        pool(&self.vit.forward(&self.store.frozen(), images, &Input::default())?, self.pooling)
    }
}

/// The feature of a model that is being trained, before or after its neck.
pub struct BehindNeck<'a> {
    /// The feature before it.
    pub pooled: Pooled<'a>,
    /// The neck's running statistics.
    pub stats: &'a RunningStats,
    /// Its weight, in the same parameters.
    pub weight: ModuleId,
    /// Which of the two.
    pub feature: EvaluationFeature,
}

impl Embed for BehindNeck<'_> {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        let feature = self.pooled.embed(images, cameras)?;
        Ok(match self.feature {
            EvaluationFeature::BeforeNeck => feature,
            EvaluationFeature::AfterNeck => {
                self.stats.normalize(&feature, &self.pooled.store.frozen().tensor(self.weight)?)?
            }
        })
    }
}

/// A trained protocol's model: encoder, a probe's embedding if there is one, and BNNeck.
pub struct NeckModel {
    encoder: EncoderModel,
    projection: Option<Projection>,
    weight: Tensor,
    stats: RunningStats,
    feature: EvaluationFeature,
}

impl NeckModel {
    /// From a protocol's product; a probe's holds an embedding.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    pub fn from_product(
        spec: &VitSpec,
        product: &BTreeMap<String, Tensor>,
        feature: EvaluationFeature,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let strip =
            |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix(super::ENCODER)?.to_owned(), tensor.clone()));
        let encoder: BTreeMap<String, Tensor> = product.iter().filter_map(strip).collect();
        let get = |name: &str| -> Result<Tensor> {
            let found = product.get(name).ok_or_else(|| TaskError::MissingState { name: name.to_owned() })?;
            Ok(found.to_device(device)?)
        };
        let [mean, variance] = RunningStats::NAMES.map(|name| get(&format!("{}{name}", super::NECK)));
        let projection = match Projection::NAMES {
            [weight, ..] if !product.contains_key(weight) => None,
            [weight, mean, std] => Some(Projection { weight: get(weight)?, mean: get(mean)?, std: get(std)? }),
        };
        Ok(Self {
            encoder: EncoderModel::with_weights(spec, &encoder, path, device)?,
            projection,
            weight: get(&format!("{}weight", super::NECK))?,
            stats: RunningStats::from_tensors(mean?, variance?)?,
            feature,
        })
    }
}

impl NeckModel {
    /// As [`EncoderModel::with_compute`].
    #[must_use]
    pub fn with_compute(self, compute: Compute) -> Self {
        Self { encoder: self.encoder.with_compute(compute), ..self }
    }

    /// As [`EncoderModel::with_pooling`].
    #[must_use]
    pub fn with_pooling(self, pooling: Pooling) -> Self {
        Self { encoder: self.encoder.with_pooling(pooling), ..self }
    }
}

impl Embed for NeckModel {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        let feature = self.encoder.embed(images, cameras)?;
        let feature = match &self.projection {
            Some(projection) => projection.apply(&feature)?,
            None => feature,
        };
        match self.feature {
            EvaluationFeature::BeforeNeck => Ok(feature),
            EvaluationFeature::AfterNeck => Ok(self.stats.normalize(&feature, &self.weight)?),
        }
    }
}
