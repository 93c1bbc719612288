//! Query expansion: features moved towards those of their neighbours.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distance::normalize_rows;
use super::neighbours::Neighbours;
use super::reciprocal::dot;

/// Alpha query expansion (Radenovic et al., arXiv 1711.02512) of queries and gallery together, as fast-reid does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlphaSpec {
    /// Nearest pictures that a feature becomes the mean of, itself among them.
    #[schemars(range(min = 1, max = 1000))]
    pub k: usize,
    /// Power of the cosine that weighs each of them. Whole, since a cosine may be negative.
    #[schemars(range(min = 0, max = 100))]
    pub alpha: u32,
    /// How often.
    #[schemars(range(min = 1, max = 100))]
    pub rounds: usize,
}

impl Default for AlphaSpec {
    /// fast-reid's configuration.
    fn default() -> Self {
        Self { k: 5, alpha: 3, rounds: 1 }
    }
}

/// Replaces each feature by the mean, over its k nearest by cosine, of `cos^alpha` times the feature.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, `d = width`, of any length
pub fn expand(features: &mut Vec<f32>, width: usize, spec: AlphaSpec) {
    for _ in 0..spec.rounds {
        let mut normalized = features.clone();
        normalize_rows(&mut normalized, width);
        let near = Neighbours::of(&normalized, width, spec.k);
        let of = &*features;
        let expanded = |i: usize| {
            let mut sum = vec![0.0; width];
            for &j in near.row(i) {
                let j = j as usize;
                let weight = dot(&normalized, width, i, j).powi(spec.alpha as i32);
                for (sum, value) in sum.iter_mut().zip(&of[j * width..][..width]) {
                    *sum += weight * f64::from(*value);
                }
            }
            sum.into_iter().map(|sum| (sum / near.k as f64) as f32).collect::<Vec<f32>>()
        };
        *features = (0..near.len()).into_par_iter().flat_map_iter(expanded).collect();
    }
}
