//! What a spec may say about PersonMAE.

use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_data::spec::{Filter, Normalisation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::Duration;

/// PersonMAE: see part of a person through an occlusion-like mask (RegionA), predict all of another
/// crop (RegionB) as pixels and as the teacher's features.
///
/// The paper (arXiv 2311.04496) publishes its idea but not these numbers; every default whose doc
/// says "our design" is ours, after MAE, BootMAE and HAP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PersonMaeSpec {
    /// How patches of RegionA are hidden. Block-wise is the paper's; the random top-up to an exact
    /// count is BootMAE's.
    pub mask: MaskKind,
    /// Share of RegionA's patches that is hidden; the count is exact. Our design: 0.5, HAP's value
    /// on the same data.
    #[schemars(range(min = 0.0, max = 0.99))]
    pub mask_ratio: f64,
    /// How RegionB relates to RegionA.
    pub region: Region,
    /// Smallest and largest share of the picture's area that RegionA shows. Our design.
    pub scale_a: [f64; 2],
    /// The same for RegionB. Our design.
    pub scale_b: [f64; 2],
    /// Smallest and largest width / height of a region (HAP's, for person shape).
    pub ratio: [f64; 2],
    /// Probability of mirroring the picture before the regions are cut.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Resampling of the regions.
    pub filter: Filter,
    /// Channel statistics.
    pub normalisation: Normalisation,
    /// What is predicted.
    pub target: Target,
    /// On which cells of RegionB the loss is taken. `masked` needs `region: same`.
    pub loss_on: LossOn,
    /// How pixel targets are normalised.
    pub pixel_norm: PixelNorm,
    /// Decoder of the pixels.
    pub pixel_decoder: DecoderSpec,
    /// Decoder of the features; its blocks are as wide as the encoder where `width` is 0.
    pub feature_decoder: DecoderSpec,
    /// Weight of the feature loss relative to the pixel loss (BootMAE: 1).
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub feature_weight: f64,
    /// Length of the linear ramp of that weight (BootMAE: a quarter of the run).
    pub feature_ramp: Duration,
    /// Whose features are predicted.
    pub teacher: TeacherSpec,
    /// Half-life of the teacher's exponential moving average, if it is one. Our design: a share of the run, so
    /// that short runs keep BootMAE's proportion.
    pub teacher_half_life: Duration,
    /// Positions of RegionB's queries.
    pub query_positions: QueryPositions,
}

impl Default for PersonMaeSpec {
    fn default() -> Self {
        Self {
            mask: MaskKind::Block,
            mask_ratio: 0.5,
            region: Region::Cross,
            scale_a: [0.5, 1.0],
            scale_b: [0.5, 1.0],
            ratio: [0.375, 2.0 / 3.0],
            flip: 0.5,
            filter: Filter::Bicubic,
            normalisation: Normalisation::Imagenet,
            target: Target::Both,
            loss_on: LossOn::All,
            pixel_norm: PixelNorm::Patch,
            pixel_decoder: DecoderSpec::default(),
            feature_decoder: DecoderSpec { width: 0, ..DecoderSpec::default() },
            feature_weight: 1.0,
            feature_ramp: Duration::Fraction(0.25),
            teacher: TeacherSpec::Ema(EmaTeacher {}),
            teacher_half_life: Duration::Fraction(0.02),
            query_positions: QueryPositions::Relative,
        }
    }
}

impl PersonMaeSpec {
    /// Whether a moving average of the encoder is predicted.
    pub fn has_average(&self) -> bool {
        self.target != Target::Pixel && matches!(self.teacher, TeacherSpec::Ema(_))
    }

    /// The encoder of others whose features are predicted, if so.
    pub fn frozen_teacher(&self) -> Option<&FrozenEncoderSpec> {
        match &self.teacher {
            TeacherSpec::Frozen(spec) if self.target != Target::Pixel => Some(spec),
            _ => None,
        }
    }
}

/// Whose features are predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TeacherSpec {
    /// Those of the encoder's own moving average (BootMAE).
    Ema(EmaTeacher),
    /// Those of an encoder that others have trained. It sees RegionB resized to its own pictures, and its patches
    /// are averaged over RegionB's grid. Our design.
    Frozen(FrozenEncoderSpec),
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmaTeacher {}

/// How patches are hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskKind {
    /// Blocks (BEiT, arXiv 2106.08254), topped up at random to the exact count.
    Block,
    /// Independent cells (MAE).
    Random,
}

/// How RegionB relates to RegionA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// An independent crop of the same picture.
    Cross,
    /// The same crop.
    Same,
}

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// RegionB's pixels.
    Pixel,
    /// The teacher's features of RegionB.
    Feature,
    /// Both.
    Both,
}

/// On which cells of RegionB the loss is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossOn {
    /// All of them (PersonMAE).
    All,
    /// Those whose patch was hidden (MAE).
    Masked,
}

/// How pixel targets are normalised, per patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PixelNorm {
    /// Not at all.
    None,
    /// Over all values, unbiased variance, eps 1e-6 (MAE).
    Patch,
    /// Per colour channel, biased variance, eps 1e-5 (BootMAE).
    Channel,
}

/// Positions of RegionB's queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueryPositions {
    /// Where the query's centre lies in RegionA's grid, continuously. Our design: without it, with
    /// independent crops the task is ill-posed.
    Relative,
    /// The query's own cell, as if RegionB were RegionA.
    Grid,
}

/// A decoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderSpec {
    /// How queries meet the encoder's tokens.
    pub kind: DecoderKind,
    /// Blocks (BootMAE: 2).
    #[schemars(range(min = 1, max = 24))]
    pub depth: usize,
    /// Width; 0 takes the encoder's. Our design.
    #[schemars(range(min = 0, max = 4096))]
    pub width: usize,
    /// Heads; 0 gives heads as wide as the encoder's. Our design.
    #[schemars(range(min = 0, max = 64))]
    pub heads: usize,
    /// Which tokens of the encoder it reads.
    pub input: DecoderInput,
}

impl Default for DecoderSpec {
    fn default() -> Self {
        Self { kind: DecoderKind::Joint, depth: 2, width: 0, heads: 0, input: DecoderInput::Last }
    }
}

/// How queries meet the encoder's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecoderKind {
    /// Self-attention over the encoder's tokens followed by the queries. Our design.
    Joint,
    /// Self-attention among queries, then cross-attention to the encoder's tokens (BootMAE).
    Cross,
    /// Visible tokens put back in their cells, mask tokens elsewhere, self-attention (MAE). Needs
    /// `region: same`.
    Unshuffle,
}

/// Which tokens of the encoder a decoder reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecoderInput {
    /// The output of the first block (BootMAE's pixel decoder).
    First,
    /// The final norm's output.
    Last,
}
