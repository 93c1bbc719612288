//! What a spec may say about an encoder that others have trained and that is used as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{VitSize, VitSpec};
use crate::weights::spec::{ImportedNormalisation, ImportedSpec};

/// An encoder that others have trained, kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrozenEncoderSpec {
    /// Our own ViT with imported weights.
    Vit(FrozenVitSpec),
    /// DINOv2 (arXiv 2304.07193) of candle-transformers, at the 518 x 518 pixels that it was finished at.
    Dinov2(Dinov2Spec),
    /// BEiT (arXiv 2106.08254) of candle-transformers, at 384 x 384 pixels.
    Beit(BeitSpec),
}

/// Our own ViT with imported weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrozenVitSpec {
    /// Its architecture, which may differ from the trained encoder's; pictures are resized to it.
    #[serde(default)]
    pub backbone: VitSpec,
    /// Its file.
    pub weights: ImportedSpec,
}

/// DINOv2 without registers, with patches of 14 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dinov2Spec {
    /// File of PyTorch or of safetensors, with Meta's names or Hugging Face's. Relative to the spec.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Its size.
    #[serde(default = "small")]
    pub size: VitSize,
}

/// BEiT with relative positions in each block, with patches of 16 pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeitSpec {
    /// File of PyTorch or of safetensors, with Microsoft's names, timm's or Hugging Face's. Relative to the spec.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Its size.
    #[serde(default = "base")]
    pub size: VitSize,
}

fn small() -> VitSize {
    VitSize::Small
}

fn base() -> VitSize {
    VitSize::Base
}

impl FrozenEncoderSpec {
    /// Side of DINOv2's pictures and of its patches, and of BEiT's: what candle-transformers builds.
    pub(super) const DINOV2: (usize, usize) = (518, 14);
    pub(super) const BEIT: (usize, usize) = (384, 16);

    /// Pictures, patches and size, as those of a ViT.
    pub fn geometry(&self) -> VitSpec {
        let square = |(side, patch), size| VitSpec { size, image: [side, side], patch, ..VitSpec::default() };
        match self {
            Self::Vit(spec) => spec.backbone.clone(),
            Self::Dinov2(spec) => square(Self::DINOV2, spec.size),
            Self::Beit(spec) => square(Self::BEIT, spec.size),
        }
    }

    /// Its file.
    pub fn path(&self) -> &str {
        match self {
            Self::Vit(spec) => &spec.weights.path,
            Self::Dinov2(spec) => &spec.path,
            Self::Beit(spec) => &spec.path,
        }
    }

    /// Channel statistics of the pictures that it was trained on.
    pub fn normalisation(&self) -> ImportedNormalisation {
        match self {
            Self::Vit(spec) => spec.weights.normalisation,
            Self::Dinov2(_) => ImportedNormalisation::Imagenet,
            Self::Beit(_) => ImportedNormalisation::Half,
        }
    }
}
