//! What a spec may say about `mim_dino`.

use reid_data::spec::{BlurSpec, Filter, JitterSpec, Normalisation, PhotometricSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{CosineMomentum, Duration, Momentum, TemperatureSpec};

/// Self-distillation of class tokens and of masked patches: DINO (arXiv 2104.14294), iBOT (arXiv 2111.07832), and
/// so PersonViT's pre-training (arXiv 2408.05398). Defaults are iBOT's for a ViT-S with PersonViT's crops, as far
/// as they are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MimDinoSpec {
    /// Weight of the loss on class tokens across views; 0 leaves the local crops out.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub dino_weight: f64,
    /// Weight of the loss on masked patches; 0 leaves the patches' head out.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub mim_weight: f64,
    /// Views of a picture.
    pub views: MultiCropSpec,
    /// Patches that are hidden from the student's global views.
    pub mask: MimMaskSpec,
    /// Head of student and teacher.
    pub head: DinoHeadSpec,
    /// How the teacher's outputs become targets that do not collapse.
    pub balance: Balance,
    /// Temperature of the student's outputs.
    #[schemars(range(min = 0.001, max = 10.0))]
    pub student_temperature: f64,
    /// Temperature of the teacher's class tokens.
    pub teacher_temperature: TemperatureSpec,
    /// Temperature of the teacher's patches.
    pub patch_temperature: TemperatureSpec,
    /// The teacher's momentum.
    pub teacher_momentum: Momentum,
    /// How long the head's last layer keeps its random values, rounded to whole epochs (DINO: the first epoch).
    pub freeze_last_layer: Duration,
    /// Masks begin after this time, rounded to whole epochs (iBOT: 0).
    pub mim_start: Duration,
}

impl Default for MimDinoSpec {
    fn default() -> Self {
        Self {
            dino_weight: 1.0,
            mim_weight: 1.0,
            views: MultiCropSpec::default(),
            mask: MimMaskSpec::default(),
            head: DinoHeadSpec::default(),
            balance: Balance::Centering(Centering::default()),
            student_temperature: 0.1,
            teacher_temperature: TemperatureSpec::default(),
            patch_temperature: TemperatureSpec::default(),
            teacher_momentum: Momentum::Cosine(CosineMomentum::default()),
            freeze_last_layer: Duration::Epochs(1.0),
            mim_start: Duration::Epochs(0.0),
        }
    }
}

impl MimDinoSpec {
    /// Local crops that are used at all.
    pub fn used_locals(&self) -> usize {
        if self.dino_weight > 0.0 { self.views.locals } else { 0 }
    }
}

/// Two global views and a number of local ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MultiCropSpec {
    /// Smallest and largest share of the picture that a global view shows (PersonViT's run names; PASS trains with
    /// the same).
    pub global_scale: [f64; 2],
    /// Local views of each picture (iBOT's larger setting has 10, PersonViT's run names 8).
    #[schemars(range(min = 0, max = 64))]
    pub locals: usize,
    /// Smallest and largest share of the picture that a local view shows (as `global_scale`).
    pub local_scale: [f64; 2],
    /// Height and width of a local view in pixels; 0 takes half the encoder's (TransReID-SSL: 128 x 64 of
    /// 256 x 128).
    pub local_image: [usize; 2],
    /// Smallest and largest width / height of a view (PersonViT's run names; HAP).
    pub ratio: [f64; 2],
    /// Probability of mirroring each view.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Resampling of the views.
    pub filter: Filter,
    /// Channel statistics.
    pub normalisation: Normalisation,
    /// Colors and sharpness of the first global view.
    pub first: PhotometricSpec,
    /// Of the second global view.
    pub second: PhotometricSpec,
    /// Of the local views.
    pub local: PhotometricSpec,
}

impl Default for MultiCropSpec {
    fn default() -> Self {
        let photometric = |blur, solarise| PhotometricSpec {
            jitter: JitterSpec { probability: 0.8, ..JitterSpec::default() },
            grayscale: 0.2,
            blur: BlurSpec { probability: blur, ..BlurSpec::default() },
            solarise,
            ..PhotometricSpec::default()
        };
        Self {
            global_scale: [0.4, 1.0],
            locals: 8,
            local_scale: [0.1, 0.8],
            local_image: [0, 0],
            ratio: [0.375, 2.0 / 3.0],
            flip: 0.5,
            filter: Filter::Bicubic,
            normalisation: Normalisation::Imagenet,
            first: photometric(1.0, 0.0),
            second: photometric(0.1, 0.2),
            local: photometric(0.5, 0.0),
        }
    }
}

impl MultiCropSpec {
    /// Height and width of a local view beside global ones of `image`.
    pub fn local_size(&self, image: [usize; 2]) -> [usize; 2] {
        let side = |i: usize| if self.local_image[i] == 0 { image[i] / 2 } else { self.local_image[i] };
        [side(0), side(1)]
    }
}

/// Masks of the student's global views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MimMaskSpec {
    /// How patches are hidden.
    pub kind: MimMaskKind,
    /// Shares of patches to hide; each view draws one of them. Never empty; `[{mean: 0}]` hides nothing.
    #[schemars(length(min = 1))]
    pub ratios: Vec<MaskRatio>,
}

impl Default for MimMaskSpec {
    /// iBOT's: half of the views unmasked, the others at 0.1 to 0.5.
    fn default() -> Self {
        let ratios = vec![MaskRatio { mean: 0.0, spread: 0.0 }, MaskRatio { mean: 0.3, spread: 0.2 }];
        Self { kind: MimMaskKind::Block, ratios }
    }
}

/// How patches are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MimMaskKind {
    /// iBOT's blocks, which may hide fewer patches than asked for.
    Block,
    /// Independent patches.
    Random,
}

/// A share of patches, uniform in `mean - spread ..= mean + spread`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskRatio {
    /// Middle.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub mean: f64,
    /// Half the width.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub spread: f64,
}

/// DINO's head: an MLP to a narrow layer, unit length, and a weight-normalised linear layer to the prototypes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DinoHeadSpec {
    /// Width of the MLP's two hidden layers.
    #[schemars(range(min = 1, max = 65_536))]
    pub hidden: usize,
    /// Width before the last layer.
    #[schemars(range(min = 1, max = 65_536))]
    pub bottleneck: usize,
    /// Outputs for class tokens (iBOT: 8192 with a shared head; DINO: 65536).
    #[schemars(range(min = 2, max = 1_000_000))]
    pub prototypes: usize,
    /// Outputs for patches, of a last layer of their own; 0 shares the class tokens' (iBOT's `shared_head`).
    #[schemars(range(min = 0, max = 1_000_000))]
    pub patch_prototypes: usize,
    /// Whether the rows of the last layer keep length 1 (DINO's `norm_last_layer`; iBOT's ViT-S command: false).
    pub norm_last_layer: bool,
}

impl Default for DinoHeadSpec {
    fn default() -> Self {
        Self { hidden: 2048, bottleneck: 256, prototypes: 8192, patch_prototypes: 0, norm_last_layer: false }
    }
}

/// How the teacher's outputs become targets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// A running mean of outputs is subtracted before the softmax (DINO).
    Centering(Centering),
    /// Rows and columns of a batch's outputs are scaled in turn until every prototype is used equally (Sinkhorn
    /// and Knopp; SwAV, arXiv 2006.09882; for DINO: DINOv2, arXiv 2304.07193).
    Sinkhorn(Sinkhorn),
}

/// Running means of the teacher's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Centering {
    /// Momentum of the class tokens' mean.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub momentum: f64,
    /// Momentum of the patches' mean, which is over all of them, masked or not.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub patch_momentum: f64,
}

impl Default for Centering {
    fn default() -> Self {
        Self { momentum: 0.9, patch_momentum: 0.9 }
    }
}

/// Sinkhorn-Knopp scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sinkhorn {
    /// Rounds of scaling (DINOv2: 3).
    #[schemars(range(min = 1, max = 100))]
    pub iterations: usize,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self { iterations: 3 }
    }
}
