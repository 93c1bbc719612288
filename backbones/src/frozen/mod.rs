//! Encoders that others have trained, used as they are: our own ViT with imported weights, and what
//! candle-transformers brings.

mod native;
pub mod spec;

use candle_core::{Device, Tensor};

use crate::encoder::{Capture, Encoder, Input};
use crate::error::Result;
use crate::ops;
use crate::params::{Compute, ParamStore};
use crate::spec::VitSpec;
use crate::vit::Vit;
use crate::weights::{self, Report};
use native::Native;
use spec::FrozenEncoderSpec;

/// Raised whenever the same file and pictures give other features.
pub const ALGORITHM_VERSION: u32 = 1;

/// Prefix of its parameters.
const PREFIX: &str = "frozen.";

/// An encoder whose weights never change.
pub struct FrozenEncoder {
    model: Model,
    geometry: VitSpec,
}

enum Model {
    Vit(Box<(Vit, ParamStore)>),
    Native(Native),
}

impl FrozenEncoder {
    /// Reads an encoder from its file. What a lenient import leaves out is zero.
    ///
    /// # Errors
    /// If the file cannot be read, or does not fit; the report is part of the error.
    pub fn open(spec: &FrozenEncoderSpec, device: &Device) -> Result<(Self, Report)> {
        let geometry = spec.geometry();
        let (model, report) = match spec {
            FrozenEncoderSpec::Vit(spec) => {
                let mut store = ParamStore::new(device);
                let vit = Vit::build(&spec.backbone, PREFIX, &mut store, &|_| Box::new(|| 0.0))?;
                let report = weights::import(&spec.weights, &vit, &store, PREFIX)?;
                (Model::Vit(Box::new((vit, store))), report)
            }
            FrozenEncoderSpec::Dinov2(_) | FrozenEncoderSpec::Beit(_) => {
                let (native, report) = Native::open(spec, device)?;
                (Model::Native(native), report)
            }
        };
        Ok((Self { model, geometry }, report))
    }

    /// Height and width of its pictures in pixels.
    pub fn image(&self) -> (usize, usize) {
        (self.geometry.image[0], self.geometry.image[1])
    }

    /// Rows and columns of its patches.
    pub fn grid(&self) -> (usize, usize) {
        let [rows, cols] = self.geometry.grid();
        (rows, cols)
    }

    /// Width of its tokens.
    pub fn width(&self) -> usize {
        self.geometry.size.dims().width
    }

    /// How its passes are computed; those of candle-transformers stay in 32 bits.
    pub fn set_compute(&mut self, compute: Compute) {
        if let Model::Vit(vit) = &mut self.model {
            vit.1.set_compute(compute);
        }
    }

    /// The last block's patches, before any final norm; records no graph.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, `(h, w)` = [`Self::image`]; output: `[b, n, d]`, `n` cells of [`Self::grid`]
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        match &self.model {
            Model::Vit(vit) => last_block(&vit.0, &vit.1, images),
            Model::Native(native) => native.features(images),
        }
    }
}

/// Patches after the last block, before the final norm; records no graph.
///
/// # Shapes
/// - `images`: `[b, 3, h, w]`; output: `[b, n, d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn last_block(vit: &Vit, store: &ParamStore, images: &Tensor) -> Result<Tensor> {
    let last = [vit.dims().depth - 1];
    let capture = Capture { blocks: &last, attention: &[] };
    let tokens = vit.forward(&store.frozen(), images, &Input { capture, ..Input::default() })?;
    let block = tokens.captured.blocks[0].detach();
    ops::take_tokens(&block, tokens.prefix, block.dim(1)? - tokens.prefix)
}
