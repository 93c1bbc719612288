//! The Jaccard distance that pictures are clustered by, as cluster contrast computes it (its `faiss_rerank.py`; the same
//! in `SpCL` and `OpenUnReID`).
//!
//! Neighbourhoods have `k1` and `round(k1 / 2) + 1` pictures, the picture itself among them, where `round` is to even;
//! neighbours are weighed by the softmax of `-(2 - 2 cos(i, j))`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::math::neighbours::Neighbours;
use crate::math::reciprocal::{Jaccard, Sizes, round_to_even_half};

/// Neighbourhoods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JaccardSpec {
    /// Nearest neighbours that may be reciprocal, the picture itself among them.
    #[schemars(range(min = 2, max = 1000))]
    pub k1: usize,
    /// Nearest neighbours over which rows are averaged; 1 for none.
    #[schemars(range(min = 1, max = 1000))]
    pub k2: usize,
}

impl Default for JaccardSpec {
    /// Those of cluster contrast's and `SpCL`'s scripts.
    fn default() -> Self {
        Self { k1: 30, k2: 6 }
    }
}

/// Distances between features of length 1.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, `d = width`
pub fn jaccard(features: &[f32], width: usize, spec: JaccardSpec) -> Jaccard {
    let near = Neighbours::of(features, width, spec.k1);
    let sizes = Sizes { whole: spec.k1, half: round_to_even_half(spec.k1) + 1, averaged: spec.k2 };
    Jaccard::of_neighbours(&near, sizes, (features, width), |_, _, product| 2.0 - 2.0 * product)
}
