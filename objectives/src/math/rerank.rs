//! Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017): a query's gallery is ranked by a mixture of the
//! distance of features and the [Jaccard distance](super::reciprocal) of neighbourhoods among queries and gallery
//! together.
//!
//! Without an array of n x n values: of each picture only its nearest neighbours are kept, with the distance of the
//! farthest, by which its distances are divided; the final distances exist for one block of queries at a time. Public
//! implementations hold several n x n arrays (`MSMT17`: 35 GB each).

use std::ops::Range;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distance::squared_norm;
use super::neighbours::Neighbours;
use super::ranking::{Distances, SquaredEuclidean};
use super::reciprocal::{Jaccard, Scratch, Sizes, round_to_even_half};

/// Settings of re-ranking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KReciprocalSpec {
    /// Nearest neighbours that may be reciprocal.
    #[schemars(range(min = 1, max = 1000))]
    pub k1: usize,
    /// Nearest neighbours over which neighbourhoods are averaged; 1 for none.
    #[schemars(range(min = 1, max = 1000))]
    pub k2: usize,
    /// Share of the distance of features in the mixture.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// Whose implementation; their numbers differ.
    pub variant: RerankVariant,
}

impl Default for KReciprocalSpec {
    /// Zhong's; the `TransReID` family takes 50 and 15.
    fn default() -> Self {
        Self { k1: 20, k2: 6, lambda: 0.3, variant: RerankVariant::Zhong }
    }
}

/// Implementations of re-ranking in public use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RerankVariant {
    /// The paper's: squared Euclidean distances, those of a picture divided by the largest of them, weigh neighbours and
    /// are mixed in.
    Zhong,
    /// torchreid's: the same of distances that have been squared once more.
    Torchreid,
    /// fast-reid's: neighbourhoods of k1 pictures, not k1 + 1, weighed by squared Euclidean distances as they are; the
    /// cosine distance is mixed in.
    FastReid,
}

/// Re-ranked distances.
pub struct Reranked<'a> {
    jaccard: Jaccard,
    plain: SquaredEuclidean<'a>,
    /// `[q]`: what a query's distances are divided by.
    farthest: Vec<f32>,
    queries: usize,
    spec: KReciprocalSpec,
}

impl<'a> Reranked<'a> {
    /// Of features of length 1.
    ///
    /// # Shapes
    /// - `query`: `[q, d]`, `gallery`: `[g, d]`, row-major, `d = width`
    pub fn new(query: &'a [f32], gallery: &'a [f32], width: usize, spec: KReciprocalSpec) -> Self {
        let all = [query, gallery].concat(); // [q + g, d]
        let own = usize::from(spec.variant != RerankVariant::FastReid);
        let near = Neighbours::of(&all, width, spec.k1 + own);
        // Where all features are one, distances are 0 whatever they are divided by.
        let farthest: Vec<f32> = near.farthest.iter().map(|&distance| distance.max(f32::MIN_POSITIVE)).collect();
        let norms: Vec<f64> = all.par_chunks_exact(width).map(squared_norm).collect();
        let sizes =
            Sizes { whole: spec.k1 + own, half: round_to_even_half(spec.k1) + 1, averaged: spec.k2.min(near.k) };
        let jaccard = Jaccard::of_neighbours(&near, sizes, (&all, width), |i, j, product| {
            let distance = (norms[i] + norms[j] - 2.0 * product).max(0.0);
            match spec.variant {
                RerankVariant::Zhong => distance / f64::from(farthest[i]),
                RerankVariant::Torchreid => (distance / f64::from(farthest[i])).powi(2),
                RerankVariant::FastReid => distance,
            }
        });
        let queries = query.len() / width;
        let plain = SquaredEuclidean::new(query, gallery, width);
        let farthest = farthest[..queries].to_vec();
        Self { jaccard, plain, farthest, queries, spec }
    }
}

impl Distances for Reranked<'_> {
    fn begin(&self, queries: Range<usize>, out: &mut [f32]) {
        let KReciprocalSpec { lambda, variant, .. } = self.spec;
        let (lambda, first) = (lambda as f32, queries.start);
        self.plain.begin(queries, out); // [rows, g]
        let gallery = self.jaccard.len() - self.queries;
        let mix = |scratch: &mut Scratch, (offset, row): (usize, &mut [f32])| {
            let query = first + offset;
            let farthest = self.farthest[query];
            self.plain.finish(query, row);
            for value in row.iter_mut() {
                let distance = match variant {
                    RerankVariant::Zhong => *value / farthest,
                    RerankVariant::Torchreid => (*value / farthest).powi(2),
                    // Of features of length 1.
                    RerankVariant::FastReid => *value / 2.0,
                };
                *value = (1.0 - lambda) + lambda * distance;
            }
            for (j, distance) in self.jaccard.near(query, scratch) {
                // Queries come first.
                if let Some(value) = (j as usize).checked_sub(self.queries).map(|j| &mut row[j]) {
                    *value -= (1.0 - lambda) * (1.0 - distance);
                }
            }
        };
        out.par_chunks_exact_mut(gallery).enumerate().for_each_init(Scratch::default, mix);
    }

    fn finish(&self, _: usize, _: &mut [f32]) {}
}
