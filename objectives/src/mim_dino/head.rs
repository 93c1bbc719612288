//! The head of student and teacher.

use candle_core::Tensor;
use reid_backbones::init::{Init, InitSource};
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::vit::linear_defs;
use reid_backbones::{ModuleId, ParamStore, Params, ops};

use super::spec::DinoHeadSpec;
use crate::error::Result;

/// Standard deviation of the MLP's weights at the start (DINO).
const INIT_STD: f64 = 0.02;
/// A row shorter than this is divided by it (`torch.nn.functional.normalize`).
const UNIT_EPS: f64 = 1e-12;

/// MLP with two hidden layers and exact GELU, unit length, weight-normalised linear layer (DINO, iBOT).
#[derive(Clone, Debug)]
pub struct DinoHead {
    mlp: [ModuleId; 3],
    class: ModuleId,
    patch: Option<ModuleId>,
}

impl DinoHead {
    /// Defines the parameters in `store` under iBOT's names; `layer` is the layer index of all of them.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &DinoHeadSpec,
        inputs: usize,
        layer: usize,
        store: &mut ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let widths = [inputs, spec.hidden, spec.hidden, spec.bottleneck];
        let mut linear = |i: usize| {
            let defs = linear_defs(widths[i], widths[i + 1], Init::TruncNormal(INIT_STD));
            store.add(&format!("head.mlp.{}", 2 * i), layer, &defs, source)
        };
        let mlp = [linear(0)?, linear(1)?, linear(2)?];
        let mut last = |name: &str, outputs: usize| {
            // PyTorch's default for a linear layer, which the lengths then replace.
            let init = Init::Uniform(1.0 / (spec.bottleneck as f64).sqrt());
            let shape = vec![outputs, spec.bottleneck];
            let direction = ParamDef { name: "weight_v", shape, role: Role::Weight, init };
            let length =
                ParamDef { name: "weight_g", shape: vec![outputs, 1], role: Role::Weight, init: Init::Constant(1.0) };
            let defs = if spec.norm_last_layer { vec![direction] } else { vec![length, direction] };
            store.add(name, layer, &defs, source)
        };
        let class = last("head.last_layer", spec.prototypes)?;
        let patch = match spec.patch_prototypes {
            0 => None,
            outputs => Some(last("head.last_layer2", outputs)?),
        };
        Ok(Self { mlp, class, patch })
    }

    /// The last layers.
    pub fn last_layers(&self) -> Vec<ModuleId> {
        [Some(self.class), self.patch].into_iter().flatten().collect()
    }

    /// What the last layer reads: rows of unit length.
    ///
    /// # Shapes
    /// - `x`: `[n, d]`; output: `[n, bottleneck]`
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn embed(&self, params: &Params, x: &Tensor) -> Result<Tensor> {
        let hidden = ops::linear_gelu(x, params, self.mlp[0])?; // [n, hidden]
        let hidden = ops::linear_gelu(&hidden, params, self.mlp[1])?;
        Ok(ops::l2_normalize(&ops::linear(&hidden, params, self.mlp[2])?, UNIT_EPS)?)
    }

    /// Outputs of class tokens.
    ///
    /// # Shapes
    /// - `z`: `[n, bottleneck]`; output: `[n, prototypes]`
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn class_logits(&self, params: &Params, z: &Tensor) -> Result<Tensor> {
        Ok(ops::weight_norm_linear(z, params, self.class)?)
    }

    /// Outputs of patches.
    ///
    /// # Shapes
    /// - `z`: `[n, bottleneck]`; output: `[n, patch_prototypes]`
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn patch_logits(&self, params: &Params, z: &Tensor) -> Result<Tensor> {
        Ok(ops::weight_norm_linear(z, params, self.patch.unwrap_or(self.class))?)
    }
}
