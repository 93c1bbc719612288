//! The nearest of n features to each of them, exactly.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reid_backbones::{Result, ops};

use crate::math::distance::squared_norm;
use crate::math::ranking::order_key;

/// Values in one block of distances: 32 MiB.
const BLOCK_VALUES: usize = 1 << 23;

/// The k nearest of every feature, itself among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Neighbours of each.
    pub k: usize,
    /// `[n, k]`, row-major: indices by squared Euclidean distance, ties by index.
    pub indices: Vec<u32>,
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
        if n == 0 {
            return Ok(Self { k, indices: Vec::new() });
        }
        let norms: Vec<f32> = features.chunks_exact(width).map(|row| squared_norm(row) as f32).collect();
        let all = Tensor::from_slice(features, (n, width), &Device::Cpu)?; // [n, d]
        let block_rows = (BLOCK_VALUES / n).clamp(16, 512);
        let mut indices = Vec::with_capacity(n * k);
        for (block, rows) in features.chunks(block_rows * width).enumerate() {
            let first = block * block_rows;
            let rows = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?; // [rows, d]
            let products: Vec<f32> = ops::dot_products(&rows, &all)?.flatten_all()?.to_vec1()?; // [rows, n]
            let nearest = products.par_chunks_exact(n).enumerate().map(|(offset, products)| {
                let own = norms[first + offset];
                let key =
                    |(index, (product, norm)): (usize, (&f32, &f32))| order_key(own + norm - 2.0 * product, index);
                let mut keys: Vec<u64> = products.iter().zip(&norms).enumerate().map(key).collect();
                if k < n {
                    keys.select_nth_unstable(k - 1);
                    keys.truncate(k);
                }
                keys.sort_unstable();
                keys.into_iter().map(|key| key as u32).collect::<Vec<u32>>()
            });
            indices.par_extend(nearest.flatten_iter());
        }
        Ok(Self { k, indices })
    }

    /// The nearest of one, itself first unless a copy of it has a smaller index.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.indices[i * self.k..][..self.k]
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.indices.len().checked_div(self.k).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}
