//! What a spec may say about the backbone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Architecture of the encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackboneSpec {
    /// Vision Transformer (Dosovitskiy et al., arXiv 2010.11929), pre-norm.
    Vit(VitSpec),
}

/// A Vision Transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VitSpec {
    /// Named width, depth and heads.
    pub size: VitSize,
    /// Height and width of the input in pixels.
    pub image: [usize; 2],
    /// Side of a square patch in pixels.
    #[schemars(range(min = 2, max = 64))]
    pub patch: usize,
    /// Distance between patches. An encoder that a run pre-trains itself is pre-trained without overlap.
    pub stride: Stride,
    /// What comes before the patches.
    pub stem: Stem,
    /// Tokens beside the class token, each with a position of its own, as PASS has three (Zhu et al., ECCV 2022).
    #[schemars(range(max = 8))]
    pub part_tokens: usize,
    /// Position embedding.
    pub positions: Positions,
    /// Largest stochastic-depth probability, reached linearly at the last block
    /// (Huang et al., arXiv 1603.09382).
    #[schemars(range(min = 0.0, max = 0.9))]
    pub drop_path: f64,
}

impl Default for VitSpec {
    fn default() -> Self {
        Self {
            size: VitSize::Small,
            image: [256, 128],
            patch: 16,
            stride: Stride::Patch,
            stem: Stem::Patch,
            part_tokens: 0,
            positions: Positions::Learned,
            drop_path: 0.1,
        }
    }
}

impl VitSpec {
    /// Pixels between two patches.
    pub fn stride(&self) -> usize {
        match self.stride {
            Stride::Patch => self.patch,
            Stride::Pixels(pixels) => pixels,
        }
    }

    /// Rows and columns of patches; none where the picture is smaller than a patch, or the stride is 0.
    pub fn grid(&self) -> [usize; 2] {
        let along = |side: usize| {
            side.checked_sub(self.patch).and_then(|rest| rest.checked_div(self.stride())).map_or(0, |steps| steps + 1)
        };
        self.image.map(along)
    }
}

/// Distance between two patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stride {
    /// The patch's side: patches do not overlap.
    #[default]
    Patch,
    /// So many pixels, fewer than the patch has: overlapping patches (TransReID, arXiv 2102.04378, section 3.1).
    Pixels(#[schemars(range(min = 1, max = 64))] usize),
}

/// What turns a picture into patch embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// One linear layer on the pixels of a patch.
    #[default]
    Patch,
    /// Three convolutions with instance and batch norms before it, on half the resolution: the IBN-based stem of
    /// TransReID-SSL (arXiv 2111.12084, section 3.4).
    Ics,
}

/// Named sizes; head width is 64 except for `micro`, where it is 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VitSize {
    /// Width 96, 4 blocks, 3 heads: for tests and laptops.
    Micro,
    /// Width 192, 12 blocks, 3 heads.
    Tiny,
    /// Width 384, 12 blocks, 6 heads.
    Small,
    /// Width 768, 12 blocks, 12 heads.
    Base,
    /// Width 1024, 24 blocks, 16 heads.
    Large,
}

/// Width, depth and heads of a ViT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitDims {
    /// Token width.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads.
    pub heads: usize,
}

impl VitSize {
    /// What the name stands for (timm's `vit_{tiny,small,base,large}`; `micro` is ours).
    pub fn dims(self) -> VitDims {
        let (width, depth, heads) = match self {
            Self::Micro => (96, 4, 3),
            Self::Tiny => (192, 12, 3),
            Self::Small => (384, 12, 6),
            Self::Base => (768, 12, 12),
            Self::Large => (1024, 24, 16),
        };
        VitDims { width, depth, heads }
    }
}

/// How tokens learn where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A table that is trained, truncated normal with std 0.02 at the start (DINO, iBOT, TransReID).
    Learned,
    /// Fixed two-dimensional sine and cosine in MAE's layout; the class token's row is zero.
    SinCos,
    /// MoCo v3's (arXiv 2104.02057), with its initial values: as `sin_cos`, but the table runs down columns
    /// while patches run along rows. On a square grid that only mirrors the picture at its diagonal; on any
    /// other it scrambles neighbours. For weights and comparisons that need just that.
    SinCosMoco,
}

/// Arithmetic of training and evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats everywhere.
    #[default]
    F32,
    /// Matrix products in bfloat16; parameters, residual sums, norms, softmaxes and losses stay in 32 bits
    /// (mixed precision after Micikevicius et al., arXiv 1710.03740, which bfloat16's range spares loss
    /// scaling). For GPUs; on a CPU it runs, slower than `f32`.
    Bf16,
}
