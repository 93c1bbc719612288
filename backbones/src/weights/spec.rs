//! What a spec may say about weights that come from a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vit::Resampling;

/// An encoder that others have trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedSpec {
    /// File of PyTorch (.pth, .pt, .bin) or of safetensors; what it is, its content tells. Relative to the spec.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Which part of the file: a prefix of names such as `student` or `model_ema`. Empty chooses by TransReID's
    /// and DINO's rule: `model` or `state_dict`, then `teacher` or `target_encoder`, then `backbone` or `base`.
    #[serde(default)]
    pub part: String,
    /// Height over width of the file's grid of positions.
    #[serde(default)]
    pub positions_ratio: PositionsRatio,
    /// How positions are resampled if the grids differ.
    #[serde(default)]
    pub positions_resize: PositionsResize,
    /// Channel statistics of the pictures that the encoder was trained on; a frozen evaluation uses them.
    #[serde(default)]
    pub normalisation: ImportedNormalisation,
    /// What becomes of PASS's part tokens (ECCV 2022), if the file has them.
    #[serde(default)]
    pub part_tokens: PartTokens,
    /// Names, or beginnings of names up to a dot, that may be left unused, such as `sie_embed`.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Refuse a file if any of its encoder's tensors would be left unused, or any of ours would keep its random
    /// start. Otherwise both are only reported.
    #[serde(default = "yes")]
    pub strict: bool,
}

fn yes() -> bool {
    true
}

impl ImportedSpec {
    /// Everything from `path` that belongs to an encoder, strictly.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            part: String::new(),
            positions_ratio: PositionsRatio::default(),
            positions_resize: PositionsResize::default(),
            normalisation: ImportedNormalisation::default(),
            part_tokens: PartTokens::default(),
            ignore: Vec::new(),
            strict: true,
        }
    }
}

/// Channel statistics of an imported encoder's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportedNormalisation {
    /// Mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225: MAE, DINO, iBOT, MoCo, and most of what is trained so.
    #[default]
    Imagenet,
    /// Mean 0.5, std 0.5: encoders fine-tuned with TransReID's recipe, timm's `augreg` weights, Google's at Hugging
    /// Face.
    Half,
}

/// Height over width of a grid of positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PositionsRatio {
    /// The encoder's own grid if it has as many cells, else a square if the number is one, else twice as high as
    /// wide.
    #[default]
    Auto,
    /// This one; 1 for encoders trained on square pictures, 2 for 256 x 128.
    Ratio(#[schemars(range(min = 0.01, max = 100.0))] f64),
}

/// How a table of positions is resampled when weights are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PositionsResize {
    /// As TransReID.
    #[default]
    Bilinear,
    /// As MAE.
    Bicubic,
    /// As timm.
    BicubicAntialias,
}

impl PositionsResize {
    /// The rule of that name.
    pub fn rule(self) -> Resampling {
        match self {
            Self::Bilinear => Resampling::Bilinear,
            Self::Bicubic => Resampling::Bicubic,
            Self::BicubicAntialias => Resampling::BicubicAntialias,
        }
    }
}

/// What becomes of part tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartTokens {
    /// They are used; the backbone needs `part_tokens` for them.
    #[default]
    Use,
    /// They are left out, and the encoder sees patches and class token only.
    Drop,
}
