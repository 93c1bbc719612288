//! Heads of momentum contrast: what turns a class token into what is compared.
//!
//! Layers are numbered as in the authors' `Sequential`s, activations included, so that weights have the
//! same names.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::{Init, InitSource};
use reid_backbones::params::{ModuleId, ParamDef, Role};
use reid_backbones::{ParamStore, Params, ops};

use crate::error::{Result, TaskError};
use crate::protocols::neck::{BatchStats, RunningStats, standardise_batch};

/// Where a head lies in a store: names of its parameters begin with `prefix`.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Such as `head.`.
    pub prefix: &'a str,
    /// Layer for layer-wise rates.
    pub layer: usize,
    /// Initial values.
    pub source: &'a InitSource<'a>,
}

impl Place<'_> {
    /// A linear layer that starts as PyTorch's does: uniform in `+-1 / sqrt(inputs)`.
    fn linear(
        &self,
        index: usize,
        inputs: usize,
        outputs: usize,
        bias: bool,
        store: &mut ParamStore,
    ) -> Result<ModuleId> {
        let init = Init::Uniform(1.0 / (inputs as f64).sqrt());
        let mut defs =
            vec![ParamDef { name: "weight", shape: vec![outputs, inputs], role: Role::Weight, init: init.clone() }];
        if bias {
            defs.push(ParamDef { name: "bias", shape: vec![outputs], role: Role::Bias, init });
        }
        Ok(store.add(&format!("{}{index}", self.prefix), self.layer, &defs, self.source)?)
    }
}

/// Linear, ReLU, Linear (MoCo v2, arXiv 2003.04297).
#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    first: ModuleId,
    second: ModuleId,
}

impl Mlp {
    /// Defines the parameters; `widths` are those of input, hidden layer and output.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(widths: [usize; 3], place: Place, store: &mut ParamStore) -> Result<Self> {
        let [inputs, hidden, outputs] = widths;
        let first = place.linear(0, inputs, hidden, true, store)?;
        let second = place.linear(2, hidden, outputs, true, store)?;
        Ok(Self { first, second })
    }

    /// # Shapes
    /// - `x`: `[b, i]`; output: `[b, o]`
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let hidden = ops::linear(x, params, self.first)?.relu()?;
        Ok(ops::linear(&hidden, params, self.second)?)
    }
}

/// Linear layers without bias, a batch normalisation behind each, ReLU in between; the last normalisation
/// has neither scale nor shift (MoCo v3, arXiv 2104.02057: three layers project, two predict).
#[derive(Clone, Debug)]
pub struct NormedMlp {
    layers: Vec<NormedLayer>,
}

#[derive(Clone, Debug)]
struct NormedLayer {
    linear: ModuleId,
    /// Scale and shift of the normalisation, if it has them.
    affine: Option<[ModuleId; 2]>,
    /// Name of the normalisation, and its width.
    norm: (String, usize),
}

impl NormedMlp {
    /// Defines the parameters; `widths` are those of the input and of every layer.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(widths: &[usize], place: Place, store: &mut ParamStore) -> Result<Self> {
        let last = widths.len().saturating_sub(2);
        let mut layers = Vec::with_capacity(last + 1);
        for (at, pair) in widths.windows(2).enumerate() {
            // Each layer is three modules of the authors': linear, normalisation, activation.
            let linear = place.linear(3 * at, pair[0], pair[1], false, store)?;
            let name = format!("{}{}", place.prefix, 3 * at + 1);
            let vector = |name, role, value| ParamDef { name, shape: vec![pair[1]], role, init: Init::Constant(value) };
            let affine = if at == last {
                None
            } else {
                let scale = store.add(&name, place.layer, &[vector("weight", Role::Scale, 1.0)], place.source)?;
                let shift = vector("", Role::Bias, 0.0);
                Some([scale, store.add(&format!("{name}.bias"), place.layer, &[shift], place.source)?])
            };
            layers.push(NormedLayer { linear, affine, norm: (name, pair[1]) });
        }
        Ok(Self { layers })
    }

    /// The output, and the batch's statistics at every normalisation.
    ///
    /// # Shapes
    /// - `x`: `[b, i]`; output: `[b, o]`
    ///
    /// # Errors
    /// If shapes do not fit, or the batch holds a single sample.
    pub fn forward(&self, params: &Params, x: &Tensor) -> Result<(Tensor, Vec<BatchStats>)> {
        let mut x = x.clone();
        let mut stats = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (normed, batch) = standardise_batch(&ops::linear(&x, params, layer.linear)?)?;
            stats.push(batch);
            x = match layer.affine {
                Some([scale, shift]) => {
                    let scaled = normed.broadcast_mul(&params.tensor(scale)?)?;
                    scaled.broadcast_add(&params.tensor(shift)?)?.relu()?
                }
                None => normed,
            };
        }
        Ok((x, stats))
    }

    /// Names and widths of the normalisations, in order.
    pub fn norms(&self) -> impl Iterator<Item = &(String, usize)> {
        self.layers.iter().map(|layer| &layer.norm)
    }
}

/// Running statistics of batch normalisations in a fixed order. Training never reads them; they are kept
/// because they belong to the head.
#[derive(Clone, Debug)]
pub struct Norms {
    all: Vec<(String, RunningStats)>,
}

impl Norms {
    /// Mean 0 and variance 1 for every normalisation.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new<'a>(norms: impl IntoIterator<Item = &'a (String, usize)>, device: &Device) -> Result<Self> {
        let stats = |(name, width): &(String, usize)| Ok((name.clone(), RunningStats::new(*width, device)?));
        Ok(Self { all: norms.into_iter().map(stats).collect::<Result<_>>()? })
    }

    /// Moves to the statistics of one pass through all of them.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn update(&mut self, batch: &[BatchStats]) -> Result<()> {
        debug_assert_eq!(self.all.len(), batch.len(), "statistics of another head");
        for ((_, stats), batch) in self.all.iter_mut().zip(batch) {
            stats.update(batch)?;
        }
        Ok(())
    }

    /// The statistics by name.
    pub fn tensors(&self, prefix: &str) -> impl Iterator<Item = (String, Tensor)> {
        self.all.iter().flat_map(move |(norm, stats)| {
            stats.tensors().map(|(name, tensor)| (format!("{prefix}{norm}.{name}"), tensor))
        })
    }

    /// Restores what [`Self::tensors`] gave.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    pub fn restore(&mut self, prefix: &str, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (norm, stats) in &mut self.all {
            let get = |name: &str| -> Result<Tensor> {
                let name = format!("{prefix}{norm}.{name}");
                let saved = state.get(&name).ok_or(TaskError::MissingState { name })?;
                Ok(saved.to_device(stats.mean.device())?)
            };
            let [mean, variance] = RunningStats::NAMES.map(get);
            *stats = RunningStats::from_tensors(mean?, variance?)?;
        }
        Ok(())
    }
}
