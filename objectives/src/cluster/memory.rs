//! A memory of cluster centres (Dai et al., cluster contrast, arXiv 2103.11568): features are classified by their
//! similarity to the centres, which follow the features without a gradient.

use candle_core::{Device, Tensor};
use reid_backbones::{Result, ops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::math::distance::normalize_rows;

/// Settings of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemorySpec {
    /// Share of the old centre that is kept in an update.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// What similarities are divided by.
    #[schemars(range(min = 1e-3, max = 10.0))]
    pub temperature: f64,
    /// Which features of a batch a centre follows.
    pub follow: Follow,
}

impl Default for MemorySpec {
    /// Those of TransReID-SSL's scripts.
    fn default() -> Self {
        Self { momentum: 0.2, temperature: 0.05, follow: Follow::Hardest }
    }
}

/// Which features of a batch a centre follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// Every one, one after the other, in the batch's order.
    All,
    /// The one of the cluster that is least similar to the centre (`--use-hard`).
    Hardest,
}

/// Centres of clusters.
#[derive(Clone, Debug)]
pub struct ClusterMemory {
    /// `[c, d]`, rows of length 1.
    centres: Vec<f32>,
    width: usize,
    device: Device,
}

impl ClusterMemory {
    /// Means of the members' features, normalised.
    ///
    /// # Shapes
    /// - `features`: `[n, d]`, row-major, `d = width`; `labels`: `[n]`, below `clusters`
    pub fn of_members(
        features: &[f32],
        width: usize,
        labels: &[Option<u32>],
        clusters: usize,
        device: &Device,
    ) -> Self {
        let mut sums = vec![0.0_f64; clusters * width];
        for (row, label) in features.chunks_exact(width).zip(labels) {
            let Some(label) = label else { continue };
            for (sum, value) in sums[*label as usize * width..][..width].iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        // Length 1 whatever the number of members.
        let centres: Vec<f32> = sums
            .chunks_exact(width)
            .flat_map(|row| {
                let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
                row.iter().map(move |value| (value / norm) as f32)
            })
            .collect();
        Self { centres, width, device: device.clone() }
    }

    /// From what [`Self::tensor`] gave.
    ///
    /// # Shapes
    /// - `centres`: `[c, d]`
    ///
    /// # Errors
    /// If it is no matrix of f32.
    pub fn from_tensor(centres: &Tensor, device: &Device) -> Result<Self> {
        let (_, width) = centres.dims2()?;
        Ok(Self { centres: centres.flatten_all()?.to_vec1()?, width, device: device.clone() })
    }

    /// The centres.
    ///
    /// # Shapes
    /// - output: `[c, d]`
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.centres, (self.centres.len() / self.width, self.width), &self.device)?)
    }

    /// Similarities to the centres over the temperature: logits of the clusters.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, rows of length 1; output: `[b, c]`
    ///
    /// # Errors
    /// If shapes differ.
    pub fn logits(&self, features: &Tensor, temperature: f64) -> Result<Tensor> {
        Ok((ops::dot_products(features, &self.tensor()?)? / temperature)?)
    }

    /// Lets centres follow a batch, after its gradient has been taken.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, row-major, rows of length 1; `labels`: `[b]`
    pub fn follow(&mut self, features: &[f32], labels: &[u32], spec: MemorySpec) {
        let width = self.width;
        let row = |at: usize| &features[at * width..][..width];
        let order: Vec<usize> = match spec.follow {
            Follow::All => (0..labels.len()).collect(),
            Follow::Hardest => {
                let mut hardest: Vec<usize> = Vec::new();
                let mut places: Vec<usize> = (0..labels.len()).collect();
                places.sort_by_key(|&at| labels[at]);
                for own in places.chunk_by(|&a, &b| labels[a] == labels[b]) {
                    let centre = &self.centres[labels[own[0]] as usize * width..][..width];
                    let similarity = |at: &usize| -> f64 {
                        row(*at).iter().zip(centre).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                    };
                    // The first of equals.
                    hardest.extend(own.iter().copied().min_by(|a, b| similarity(a).total_cmp(&similarity(b))));
                }
                hardest
            }
        };
        let momentum = spec.momentum as f32;
        for at in order {
            let centre = &mut self.centres[labels[at] as usize * width..][..width];
            for (centre, value) in centre.iter_mut().zip(row(at)) {
                *centre = momentum * *centre + (1.0 - momentum) * value;
            }
            normalize_rows(centre, width);
        }
    }
}
