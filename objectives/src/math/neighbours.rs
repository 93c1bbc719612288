//! The nearest of n features to each of them, exactly.

use rayon::prelude::*;
use reid_backbones::Result;

use super::ranking::{Distances, SquaredEuclidean, block_rows, order_key};

/// The k nearest of every feature, itself among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours of each.
    pub k: usize,
    /// `[n, k]`, row-major: indices by squared Euclidean distance, ties by index.
    pub indices: Vec<u32>,
    /// `[n]`: squared Euclidean distance of the farthest of all features.
    pub farthest: Vec<f32>,
}

impl Neighbours {
    /// The nearest of `features`, by blocks of rows whose size depends on n alone.
    ///
    /// # Shapes
    /// - `features`: `[n, d]`, row-major, `d = width`; output: `[n, min(k, n)]`
    ///
    /// # Errors
    /// If the matrix product fails.
    pub fn of(features: &[f32], width: usize, k: usize) -> Result<Self> {
        let n = features.len() / width;
        let k = k.min(n);
        let mut found = Self { k, indices: Vec::with_capacity(n * k), farthest: Vec::with_capacity(n) };
        if n == 0 {
            return Ok(found);
        }
        let distances = SquaredEuclidean::new(features, features, width)?;
        let block = block_rows(n);
        for first in (0..n).step_by(block) {
            let rows = distances.rows(first..(first + block).min(n))?; // [rows, n]
            let nearest: Vec<(Vec<u32>, f32)> = rows.par_chunks_exact(n).map(|row| nearest(row, k)).collect();
            for (indices, farthest) in nearest {
                found.indices.extend(indices);
                found.farthest.push(farthest);
            }
        }
        Ok(found)
    }

    /// The nearest of one, itself first unless a copy of it has a smaller index.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.indices[i * self.k..][..self.k]
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.farthest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.farthest.is_empty()
    }
}

/// The indices of the k smallest of a row, in order, and the largest value.
fn nearest(row: &[f32], k: usize) -> (Vec<u32>, f32) {
    let mut keys: Vec<u64> = Vec::with_capacity(2 * k);
    // No key above it can be among the k smallest.
    let mut bound = u64::MAX;
    let mut farthest = f32::NEG_INFINITY;
    for (index, &distance) in row.iter().enumerate() {
        farthest = farthest.max(distance);
        let key = order_key(distance, index);
        if key < bound {
            keys.push(key);
            if keys.len() == 2 * k {
                bound = *keys.select_nth_unstable(k - 1).1;
                keys.truncate(k);
            }
        }
    }
    keys.sort_unstable();
    keys.truncate(k);
    // The lower half of a key is the index.
    (keys.into_iter().map(|key| key as u32).collect(), farthest)
}
