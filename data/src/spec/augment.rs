//! What a spec may say about how pictures are shown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Resampling filter, as PIL computes it (antialiased).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle, support 1.
    Bilinear,
    /// Keys cubic, a = -0.5, support 2.
    Bicubic,
}

/// Channel statistics that pixels in [0, 1] are normalised with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// Mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225.
    Imagenet,
    /// Mean 0.5, std 0.5 (`TransReID` and its descendants).
    Half,
}

impl Normalisation {
    /// Mean and standard deviation per channel.
    pub fn mean_std(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Imagenet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Self::Half => ([0.5; 3], [0.5; 3]),
        }
    }
}

/// Random erasing (Zhong et al., arXiv 1708.04896): one box, after normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErasingSpec {
    /// Probability that a picture is erased at all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
    /// Smallest and largest erased share of the area.
    pub area: [f64; 2],
    /// How the box's shape is drawn.
    pub law: ErasingLaw,
    /// What fills the box.
    pub fill: ErasingFill,
}

/// How an erased box's shape is drawn: its height / width lies in 0.3..1/0.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasingLaw {
    /// Uniform in its logarithm, up to ten tries to fit into the picture (timm, the TransReID family).
    #[default]
    Timm,
    /// Uniform, up to a hundred tries (the paper's code, cluster contrast).
    Zhong,
}

/// What fills an erased box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErasingFill {
    /// Every value drawn from N(0, 1) (timm's `pixel` mode, the TransReID family).
    #[default]
    Noise,
    /// The data's mean, which is 0 after normalisation (LUPerson's MoCo v2).
    Zero,
    /// `ImageNet`'s mean, 0.485, 0.456 and 0.406, though pictures are normalised already (the paper's code, cluster
    /// contrast).
    RawMean,
}

impl Default for ErasingSpec {
    fn default() -> Self {
        Self { probability: 0.5, area: [0.02, 1.0 / 3.0], law: ErasingLaw::default(), fill: ErasingFill::Noise }
    }
}

/// Changes of color and sharpness, after a view is cut and mirrored and before it is normalised: jitter,
/// grey, blur, solarise, in this order (DINO, iBOT, MoCo v3), on 8 bits and bit for bit as PIL computes
/// them. All are off by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PhotometricSpec {
    /// Brightness, contrast, saturation and hue in random order.
    pub jitter: JitterSpec,
    /// Probability of a grey picture.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub grayscale: f64,
    /// Gaussian blur.
    pub blur: BlurSpec,
    /// Probability of solarising: inverting what is at least as bright as the threshold.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub solarise: f64,
    /// Darkest value that solarising inverts (DINO: 128).
    pub solarise_threshold: u8,
}

impl Default for PhotometricSpec {
    fn default() -> Self {
        Self {
            jitter: JitterSpec::default(),
            grayscale: 0.0,
            blur: BlurSpec::default(),
            solarise: 0.0,
            solarise_threshold: 128,
        }
    }
}

/// Color jitter, as torchvision's `ColorJitter` draws it. Off by default; the amounts are DINO's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JitterSpec {
    /// Probability that a view is jittered at all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
    /// Brightness is multiplied by a factor in `1 - x ..= 1 + x`.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub brightness: f64,
    /// The same of contrast.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub contrast: f64,
    /// The same of saturation.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub saturation: f64,
    /// The hue is turned by a share in `-x ..= x` of the circle.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub hue: f64,
}

impl Default for JitterSpec {
    fn default() -> Self {
        Self { probability: 0.0, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}

/// Gaussian blur. Off by default; the radii are those of MoCo v2, DINO and iBOT.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BlurSpec {
    /// Probability that a view is blurred.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
    /// Smallest and largest standard deviation in pixels, uniform in between.
    pub radius: [f64; 2],
}

impl Default for BlurSpec {
    fn default() -> Self {
        Self { probability: 0.0, radius: [0.1, 2.0] }
    }
}
