//! What a spec may say about UP-ReID and momentum contrast.

use reid_data::spec::{BlurSpec, ErasingFill, ErasingSpec, Filter, Normalisation, PhotometricSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{CosineMomentum, Duration, Momentum};

/// UP-ReID: momentum contrast of two augmented views, consistency of augmented and original pictures,
/// and contrast among horizontal strips of one picture.
///
/// The paper (arXiv 2112.00317) publishes its idea but no code; every default whose doc says "our
/// design" is ours, and the rest is that of LUPerson's MoCo v2, which the paper builds on. With
/// `consistency.weight` and `strips.weight` at 0 it is momentum contrast alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpReidSpec {
    /// Where negatives come from.
    pub variant: ContrastVariant,
    /// Contrast of two augmented views of a picture with other pictures.
    pub contrast: ContrastSpec,
    /// Consistency of the augmented with the original picture.
    pub consistency: ConsistencySpec,
    /// Contrast among the strips of one picture.
    pub strips: StripsSpec,
    /// Width of what is compared (MoCo: 128).
    #[schemars(range(min = 2, max = 65_536))]
    pub dim: usize,
    /// How fast the momentum encoder follows. MoCo v2's 0.999 throughout is a cosine from 0.999 to 0.999; MoCo v3's
    /// goes from 0.99 to 1.
    pub momentum: Momentum,
    /// Leave the patch embedding at its random initial values (MoCo v3, sec. 4.3: steadier training).
    pub freeze_patch_embed: bool,
    /// Augmentation of the view that the trained encoder sees.
    pub query: ContrastAugment,
    /// Augmentation of the view that the momentum encoder sees; `in_batch` shows both to both.
    pub key: ContrastAugment,
    /// Resampling of all views (torchvision's default).
    pub filter: Filter,
    /// Channel statistics.
    pub normalisation: Normalisation,
}

impl Default for UpReidSpec {
    fn default() -> Self {
        Self {
            variant: ContrastVariant::Queue(QueueSpec::default()),
            contrast: ContrastSpec::default(),
            consistency: ConsistencySpec::default(),
            strips: StripsSpec::default(),
            dim: 128,
            momentum: Momentum::Cosine(CosineMomentum { start: 0.999, end: 0.999 }),
            freeze_patch_embed: false,
            query: ContrastAugment::default(),
            key: ContrastAugment::default(),
            filter: Filter::Bilinear,
            normalisation: Normalisation::Imagenet,
        }
    }
}

impl UpReidSpec {
    /// Whether any term needs the original picture.
    pub fn needs_original(&self) -> bool {
        self.consistency.weight > 0.0 || (self.strips.weight > 0.0 && self.strips.original)
    }
}

/// Where negatives come from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContrastVariant {
    /// A queue of earlier keys (MoCo v2, arXiv 2003.04297): Linear, ReLU, Linear on the class token.
    Queue(QueueSpec),
    /// The other pictures of the batch (MoCo v3, arXiv 2104.02057): a projector and a predictor with batch
    /// normalisation, both views through both encoders, the loss times twice its temperature.
    InBatch(InBatchSpec),
}

/// A queue of earlier keys.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSpec {
    /// Keys that it holds (MoCo: 65,536); at least a batch.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub size: usize,
    /// Width of the head's hidden layer; 0 takes the encoder's (MoCo v2).
    #[schemars(range(min = 0, max = 65_536))]
    pub hidden: usize,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self { size: 65_536, hidden: 0 }
    }
}

/// No queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InBatchSpec {
    /// Width of the hidden layers of projector and predictor; 0 takes the encoder's (MoCo v3: 4096).
    #[schemars(range(min = 0, max = 65_536))]
    pub hidden: usize,
}

impl Default for InBatchSpec {
    fn default() -> Self {
        Self { hidden: 4096 }
    }
}

/// Contrast with other pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastSpec {
    /// Weight of the term.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
    /// Temperature of the softmax (LUPerson: 0.1; MoCo v2 and v3: 0.2).
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
}

impl Default for ContrastSpec {
    fn default() -> Self {
        Self { weight: 1.0, temperature: 0.1 }
    }
}

/// Global consistency: the augmented picture is as similar to others as the original is. Our design: the
/// divergence of the two distributions of similarity, the original's without a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsistencySpec {
    /// Weight of the term; 0 leaves it out. Our design.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
    /// Temperature of both distributions. Our design.
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
}

impl Default for ConsistencySpec {
    fn default() -> Self {
        Self { weight: 1.0, temperature: 0.1 }
    }
}

/// Intrinsic contrast: each horizontal strip of a picture is told from the picture's other strips.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StripsSpec {
    /// Weight of the term; 0 leaves it out. Our design.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
    /// Strips of equal height; divides the rows of patches. Our design.
    #[schemars(range(min = 2, max = 64))]
    pub count: usize,
    /// Temperature of the softmax over strips. Our design.
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
    /// How the views of a strip become one prototype.
    pub prototype: Prototype,
    /// Whether the original picture's strips are views too. Our design: without them a strip has one
    /// positive view, whose hardness nothing can weigh.
    pub original: bool,
    /// Length of the linear ramp of the weight. Our design: strips of one picture may be alike, so the term
    /// comes in late.
    pub warmup: Duration,
}

impl Default for StripsSpec {
    fn default() -> Self {
        Self {
            weight: 1.0,
            count: 4,
            temperature: 0.1,
            prototype: Prototype::Hard(HardPrototype::default()),
            original: true,
            warmup: Duration::Fraction(0.1),
        }
    }
}

/// How the views of a strip become one prototype.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prototype {
    /// Weighted by hardness: the least similar views of the strip itself and the most similar ones of
    /// another strip count most.
    Hard(HardPrototype),
    /// Their mean.
    Plain(PlainPrototype),
}

/// Weights by hardness.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HardPrototype {
    /// Temperature of the softmax over views that gives the weights. Our design.
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
}

impl Default for HardPrototype {
    fn default() -> Self {
        Self { temperature: 0.1 }
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlainPrototype {}

/// Augmentation of one view: random-resized crop, mirroring, colors and sharpness, erasing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastAugment {
    /// Smallest and largest share of the picture's area.
    pub scale: [f64; 2],
    /// Smallest and largest width / height of the crop before it is resized (torchvision's default, which
    /// LUPerson keeps).
    pub ratio: [f64; 2],
    /// Probability of mirroring.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Colors and sharpness.
    pub photometric: PhotometricSpec,
    /// Random erasing.
    pub erasing: ErasingSpec,
}

impl Default for ContrastAugment {
    /// LUPerson's recipe for MoCo v2 (its `ori-cj+sre`): no color jitter, erasing with the mean.
    fn default() -> Self {
        let blur = BlurSpec { probability: 0.5, ..BlurSpec::default() };
        Self {
            scale: [0.2, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            photometric: PhotometricSpec { grayscale: 0.2, blur, ..PhotometricSpec::default() },
            erasing: ErasingSpec {
                probability: 0.5,
                area: [0.02, 0.6],
                fill: ErasingFill::Zero,
                ..ErasingSpec::default()
            },
        }
    }
}
