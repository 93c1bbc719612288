//! What a spec may say about evaluation.

use reid_data::spec::Filter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::math::expansion::AlphaSpec;
use crate::math::ranking::{AveragePrecision, CmcShots, RankSpec, SameCamera};
use crate::math::rerank::KReciprocalSpec;

/// How features are made comparable and ranked. Part of every result; tables refuse to mix two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationSpec {
    /// Resampling of the evaluated pictures (the TransReID family: bilinear, unlike training).
    pub filter: Filter,
    /// Which feature is ranked.
    pub feature: EvaluationFeature,
    /// Whether the feature is the mean of the picture's and its mirror image's (fast-reid's `TEST.FLIP`).
    pub flip_test: bool,
    /// What becomes of gallery pictures that show the query's identity to the query's camera.
    pub same_camera: SameCamera,
    /// How precision is averaged over the matches of a query.
    pub average_precision: AveragePrecision,
    /// What rank-1 and the other ranks count.
    pub cmc: CmcShots,
    /// Whether features are moved towards their neighbours' before they are ranked.
    pub expansion: ExpansionSpec,
    /// Whether a gallery is ranked anew by the neighbours of its pictures.
    pub reranking: RerankingSpec,
    /// Whether pairs are verified too: how many of one person are recognised while few of two people are confused.
    pub verification: bool,
    /// Pictures per forward pass; no effect on the numbers.
    #[schemars(range(min = 1, max = 4096))]
    pub batch: usize,
}

impl Default for EvaluationSpec {
    fn default() -> Self {
        Self {
            filter: Filter::Bilinear,
            feature: EvaluationFeature::BeforeNeck,
            flip_test: false,
            same_camera: SameCamera::default(),
            average_precision: AveragePrecision::default(),
            cmc: CmcShots::default(),
            expansion: ExpansionSpec::default(),
            reranking: RerankingSpec::default(),
            verification: false,
            batch: 64,
        }
    }
}

impl EvaluationSpec {
    /// What counts in a ranked gallery.
    pub fn rank(&self) -> RankSpec {
        let Self { same_camera, average_precision, cmc, .. } = *self;
        RankSpec { same_camera, average_precision, cmc }
    }
}

/// Which feature is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationFeature {
    /// What goes into the BNNeck: the pooled tokens after the final norm, or a probe's embedding.
    BeforeNeck,
    /// After the BNNeck's normalisation with running statistics.
    AfterNeck,
}

/// Whether features are moved towards their neighbours'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpansionSpec {
    /// They are ranked as they are.
    None(NoExpansion),
    /// Weighted means of the nearest, of queries and gallery together.
    Alpha(AlphaSpec),
}

impl Default for ExpansionSpec {
    fn default() -> Self {
        Self::None(NoExpansion {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoExpansion {}

/// Whether a gallery is ranked anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerankingSpec {
    /// By the distance of features alone.
    None(NoReranking),
    /// By k-reciprocal neighbours among queries and gallery.
    KReciprocal(KReciprocalSpec),
}

impl Default for RerankingSpec {
    fn default() -> Self {
        Self::None(NoReranking {})
    }
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReranking {}
