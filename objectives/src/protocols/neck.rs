//! BNNeck (Luo et al., arXiv 1903.07071): batch normalization with a weight and no bias between the
//! feature that the triplet loss sees and the one that the classifier sees.
//!
//! Functions of explicit tensors: [`normalize_batch`] is pure, and the running statistics move only
//! in [`RunningStats::update`], after the optimizer step.

use candle_core::{DType, Device, Result, Tensor};

/// Added to the variance (PyTorch's `BatchNorm1d`).
const EPS: f64 = 1e-5;

/// Share of the newest batch in the running statistics (PyTorch's `BatchNorm1d`).
const MOMENTUM: f64 = 0.1;

/// Mean and variance of one batch, without gradients.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[d]`.
    pub mean: Tensor,
    /// `[d]`, unbiased: divided by `b - 1`.
    pub variance: Tensor,
}

/// Normalizes by the batch's own mean and biased variance, and scales: training.
///
/// # Shapes
/// - `features`: `[b, d]`, `weight`: `[d]`; output: `[b, d]` and statistics of `[d]`
///
/// # Errors
/// If shapes differ, or the batch holds a single sample, which has no variance.
pub fn normalize_batch(features: &Tensor, weight: &Tensor) -> Result<(Tensor, BatchStats)> {
    let (normalized, stats) = standardise_batch(features)?;
    Ok((normalized.broadcast_mul(weight)?, stats))
}

/// [`normalize_batch`] without the scale.
///
/// # Shapes
/// - `features`: `[b, d]`; output: `[b, d]` and statistics of `[d]`
///
/// # Errors
/// If the batch holds a single sample, which has no variance.
pub fn standardise_batch(features: &Tensor) -> Result<(Tensor, BatchStats)> {
    let (b, _d) = features.dims2()?;
    if b < 2 {
        candle_core::bail!("batch normalization in training needs at least two samples, got {b}");
    }
    let mean = features.mean_keepdim(0)?; // [1, d]
    let centered = features.broadcast_sub(&mean)?; // [b, d]
    let squares = centered.sqr()?.sum_keepdim(0)?; // [1, d]
    let biased = (&squares / b as f64)?;
    let normalized = centered.broadcast_div(&(biased + EPS)?.sqrt()?)?; // [b, d]
    let stats = BatchStats {
        // The statistics are remembered, not learned through.
        mean: mean.detach().squeeze(0)?,
        variance: (squares.detach() / (b - 1) as f64)?.squeeze(0)?,
    };
    Ok((normalized, stats))
}

/// Moving averages of the batches' statistics, for evaluation.
#[derive(Clone, Debug)]
pub struct RunningStats {
    /// `[d]`, f32.
    pub mean: Tensor,
    /// `[d]`, f32.
    pub variance: Tensor,
}

impl RunningStats {
    /// Names of the mean and the variance in saved states, as in PyTorch.
    pub const NAMES: [&str; 2] = ["running_mean", "running_var"];

    /// Mean 0 and variance 1.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn new(width: usize, device: &Device) -> Result<Self> {
        let mean = Tensor::zeros(width, DType::F32, device)?;
        let variance = Tensor::ones(width, DType::F32, device)?;
        Ok(Self { mean, variance })
    }

    /// From the tensors that [`Self::tensors`] gave.
    ///
    /// # Errors
    /// If they are not two vectors of one length.
    pub fn from_tensors(mean: Tensor, variance: Tensor) -> Result<Self> {
        if mean.dims1()? != variance.dims1()? {
            candle_core::bail!("running mean and variance differ in length: {:?}, {:?}", mean.dims(), variance.dims());
        }
        Ok(Self { mean, variance })
    }

    /// The statistics with their names in saved states.
    pub fn tensors(&self) -> [(&'static str, Tensor); 2] {
        let [mean, variance] = Self::NAMES;
        [(mean, self.mean.clone()), (variance, self.variance.clone())]
    }

    /// Moves a tenth of the way to a batch's statistics.
    ///
    /// # Errors
    /// If shapes differ.
    pub fn update(&mut self, batch: &BatchStats) -> Result<()> {
        self.mean = ((&self.mean * (1.0 - MOMENTUM))? + (&batch.mean * MOMENTUM)?)?;
        self.variance = ((&self.variance * (1.0 - MOMENTUM))? + (&batch.variance * MOMENTUM)?)?;
        Ok(())
    }

    /// Normalizes by the running statistics, and scales: evaluation.
    ///
    /// # Shapes
    /// - `features`: `[b, d]`, `weight`: `[d]`; output: `[b, d]`
    ///
    /// # Errors
    /// If shapes differ.
    pub fn normalize(&self, features: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let scale = (weight / (&self.variance + EPS)?.sqrt()?)?; // [d]
        features.broadcast_sub(&self.mean)?.broadcast_mul(&scale)
    }
}
