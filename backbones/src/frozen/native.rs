//! Encoders of candle-transformers at the one square size that it builds each for.
//!
//! Its code takes GELU's tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415, section 2) where both models
//! were trained with the exact one. With random weights, four blocks deep, that and its epsilons of norms change
//! features by a ten-thousandth of the largest; `tests/peers/weights.py` measures it.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::beit::BeitVisionTransformer;
use candle_transformers::models::dinov2::DinoVisionTransformer;
use rayon::prelude::*;

use super::spec::FrozenEncoderSpec;
use crate::error::Result;
use crate::spec::{VitDims, VitSpec};
use crate::vit::MLP_RATIO;
use crate::weights::{self, Report};

/// Pictures per pass on an accelerator: a thousand tokens each, and attention is kept whole.
const PICTURES: usize = 8;
/// Classes of the head that both constructors demand, and that no feature passes.
const CLASSES: usize = 1000;

/// A model of candle-transformers.
pub(super) struct Native {
    model: Model,
    last: usize,
}

enum Model {
    Dinov2(DinoVisionTransformer),
    Beit(BeitVisionTransformer),
}

impl Native {
    /// # Errors
    /// If the file cannot be read, or lacks or has more than the architecture.
    pub(super) fn open(spec: &FrozenEncoderSpec, device: &Device) -> Result<(Self, Report)> {
        let geometry = spec.geometry();
        let dims = geometry.size.dims();
        let is_beit = matches!(spec, FrozenEncoderSpec::Beit(_));
        let (tensors, report) = weights::foreign(spec.path(), &wanted(&geometry, is_beit))?;
        let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        for (name, shape) in unused(dims, is_beit) {
            tensors.insert(name.to_owned(), Tensor::zeros(shape, DType::F32, &Device::Cpu)?);
        }
        let builder = VarBuilder::from_tensors(tensors, DType::F32, device);
        let VitDims { width, depth, heads } = dims;
        let model = if is_beit {
            Model::Beit(BeitVisionTransformer::new(builder, depth, width, heads)?)
        } else {
            Model::Dinov2(DinoVisionTransformer::new(builder, depth, width, heads)?)
        };
        Ok((Self { model, last: depth - 1 }, report))
    }

    /// # Shapes
    /// - `images`: `[b, 3, side, side]`; output: `[b, n, d]`
    pub(super) fn features(&self, images: &Tensor) -> Result<Tensor> {
        let b = images.dim(0)?;
        // On the processor, where candle takes one thread, each picture is a pass, and threads share the pictures.
        let on_processor = images.device().is_cpu();
        let size = if on_processor { 1 } else { PICTURES };
        let chunk = |first: usize| self.pass(&images.narrow(0, first, size.min(b - first))?);
        let firsts: Vec<usize> = (0..b).step_by(size).collect();
        let features: Vec<Tensor> = if on_processor {
            firsts.into_par_iter().map(chunk).collect::<Result<_>>()?
        } else {
            firsts.into_iter().map(chunk).collect::<Result<_>>()?
        };
        Ok(Tensor::cat(&features, 0)?)
    }

    /// # Shapes
    /// - `images`: `[b, 3, side, side]`; output: `[b, n, d]`
    fn pass(&self, images: &Tensor) -> Result<Tensor> {
        let last = [self.last];
        let of_layers = match &self.model {
            Model::Dinov2(model) => model.get_intermediate_layers(images, &last, false, false, false)?,
            Model::Beit(model) => model.get_intermediate_layers(images, &last, false, false, false)?,
        };
        Ok(of_layers.squeeze(0)?)
    }
}

/// Names and shapes of what features pass.
fn wanted(geometry: &VitSpec, is_beit: bool) -> BTreeMap<String, Vec<usize>> {
    let VitDims { width, depth, heads } = geometry.size.dims();
    let [rows, cols] = geometry.grid();
    let hidden = MLP_RATIO * width;
    let mut wanted = BTreeMap::from([
        ("cls_token".to_owned(), vec![1, 1, width]),
        ("patch_embed.proj.weight".to_owned(), vec![width, 3, geometry.patch, geometry.patch]),
        ("patch_embed.proj.bias".to_owned(), vec![width]),
    ]);
    if !is_beit {
        wanted.insert("pos_embed".to_owned(), vec![1, 1 + rows * cols, width]);
    }
    for i in 0..depth {
        let mut add = |name: &str, shape: Vec<usize>| wanted.insert(format!("blocks.{i}.{name}"), shape);
        for norm in ["norm1", "norm2"] {
            add(&format!("{norm}.weight"), vec![width]);
            add(&format!("{norm}.bias"), vec![width]);
        }
        for (name, inputs, outputs) in [
            ("attn.qkv", width, 3 * width),
            ("attn.proj", width, width),
            ("mlp.fc1", width, hidden),
            ("mlp.fc2", hidden, width),
        ] {
            add(&format!("{name}.weight"), vec![outputs, inputs]);
            add(&format!("{name}.bias"), vec![outputs]);
        }
        add("ls1.gamma", vec![width]);
        add("ls2.gamma", vec![width]);
        if is_beit {
            // Every offset of two cells, and three for the class token.
            let offsets = (2 * rows - 1) * (2 * cols - 1) + 3;
            add("attn.relative_position_bias_table", vec![offsets, heads]);
        }
    }
    wanted
}

/// Names and shapes that the constructors ask for although no feature passes them.
fn unused(VitDims { width, .. }: VitDims, is_beit: bool) -> [(&'static str, Vec<usize>); 4] {
    let inputs = if is_beit { width } else { 2 * width };
    [
        ("norm.weight", vec![width]),
        ("norm.bias", vec![width]),
        ("head.weight", vec![CLASSES, inputs]),
        ("head.bias", vec![CLASSES]),
    ]
}
