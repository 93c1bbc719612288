//! Pixels as patches: the targets of MAE (arXiv 2111.06377) and BootMAE (arXiv 2207.07116).

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use crate::person_mae::spec::PixelNorm;

/// Colour channels of a picture.
const CHANNELS: usize = 3;

/// Added to the variance of a whole patch (MAE).
const PATCH_EPS: f64 = 1e-6;

/// Added to the variance of one channel of a patch (BootMAE).
const CHANNEL_EPS: f64 = 1e-5;

/// Cuts pictures into square patches of side `patch`: tokens row-major, in a token pixel row, pixel
/// column, channel, the last varying fastest.
///
/// # Shapes
/// - `images`: `[b, 3, h, w]`; output: `[b, n, p * p * 3]`, `n = (h / p) (w / p)`
///
/// # Errors
/// If the side does not divide height and width.
pub fn patchify(images: &Tensor, patch: usize) -> Result<Tensor> {
    let (b, c, h, w) = images.dims4()?;
    if patch == 0 || h % patch != 0 || w % patch != 0 {
        candle_core::bail!("patches of side {patch} do not divide a picture of {h} x {w}");
    }
    let (rows, cols) = (h / patch, w / patch);
    let split = images.reshape((b, c, rows, patch, cols, patch))?;
    let tokens = split.permute([0, 2, 4, 3, 5, 1])?; // [b, rows, cols, p, p, 3]
    tokens.reshape((b, rows * cols, patch * patch * c)) // [b, n, p * p * 3]
}

/// The inverse of [`patchify`] for a grid of `rows` x `cols` patches.
///
/// # Shapes
/// - `tokens`: `[b, n, p * p * 3]`, `n = rows * cols`; output: `[b, 3, h, w]`
///
/// # Errors
/// If the tokens are no such grid of such patches.
pub fn unpatchify(tokens: &Tensor, patch: usize, rows: usize, cols: usize) -> Result<Tensor> {
    let (b, _n, _values) = tokens.dims3()?;
    let split = tokens.reshape((b, rows, cols, patch, patch, CHANNELS))?;
    let images = split.permute([0, 5, 1, 3, 2, 4])?; // [b, 3, rows, p, cols, p]
    images.reshape((b, CHANNELS, rows * patch, cols * patch)) // [b, 3, h, w]
}

/// Pixel targets: patches, normalized one by one as `norm` says.
///
/// # Shapes
/// - `patches`: `[b, n, p * p * 3]`; output: the same
///
/// # Errors
/// If the last dimension holds no whole pixels.
pub fn normalize_patches(patches: &Tensor, norm: PixelNorm) -> Result<Tensor> {
    match norm {
        PixelNorm::None => Ok(patches.clone()),
        PixelNorm::Patch => {
            let values = patches.dim(D::Minus1)?;
            standardize(patches, D::Minus1, values.saturating_sub(1), PATCH_EPS)
        }
        PixelNorm::Channel => {
            let (b, n, values) = patches.dims3()?;
            let pixels = patches.reshape((b, n, values / CHANNELS, CHANNELS))?;
            standardize(&pixels, D::Minus2, values / CHANNELS, CHANNEL_EPS)?.reshape((b, n, values))
        }
    }
}

/// The inverse of [`normalize_patches`], with the statistics of `patches`.
///
/// # Shapes
/// - `normalized`, `patches`: `[b, n, p * p * 3]`; output: the same
///
/// # Errors
/// If the last dimension holds no whole pixels.
pub fn denormalize_patches(normalized: &Tensor, patches: &Tensor, norm: PixelNorm) -> Result<Tensor> {
    let (b, n, values) = patches.dims3()?;
    match norm {
        PixelNorm::None => Ok(normalized.clone()),
        PixelNorm::Patch => undo(normalized, patches, D::Minus1, values.saturating_sub(1), PATCH_EPS),
        PixelNorm::Channel => {
            let pixels = |x: &Tensor| x.reshape((b, n, values / CHANNELS, CHANNELS));
            let undone = undo(&pixels(normalized)?, &pixels(patches)?, D::Minus2, values / CHANNELS, CHANNEL_EPS)?;
            undone.reshape((b, n, values))
        }
    }
}

/// [`standardize`] the other way round, with mean and deviation of `like`.
fn undo(x: &Tensor, like: &Tensor, dim: D, divisor: usize, eps: f64) -> Result<Tensor> {
    let mean = like.mean_keepdim(dim)?;
    let variance = (like.broadcast_sub(&mean)?.sqr()?.sum_keepdim(dim)? / divisor.max(1) as f64)?;
    x.broadcast_mul(&(variance + eps)?.sqrt()?)?.broadcast_add(&mean)
}

/// `(x - mean) / sqrt(sum of squared deviations / divisor + eps)` over one dimension.
fn standardize(x: &Tensor, dim: D, divisor: usize, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(dim)?)?;
    let variance = (centered.sqr()?.sum_keepdim(dim)? / divisor.max(1) as f64)?;
    centered.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// [`patchify`] and [`normalize_patches`] in one pass over the pictures.
///
/// # Shapes
/// - `images`: `[b, 3, h, w]`; output: `[b, n, p * p * 3]`, `n = (h / p) (w / p)`
///
/// # Errors
/// If the side does not divide height and width.
pub fn pixel_targets(images: &Tensor, patch: usize, norm: PixelNorm) -> Result<Tensor> {
    let (b, c, h, w) = images.dims4()?;
    if !images.device().is_cpu() || patch == 0 || h % patch != 0 || w % patch != 0 || c != CHANNELS {
        return normalize_patches(&patchify(images, patch)?, norm);
    }
    let (cols, cells, width) = (w / patch, (h / patch) * (w / patch), patch * patch * CHANNELS);
    let pixels: Vec<f32> = images.flatten_all()?.to_vec1()?;
    let mut out = vec![0.0; b * cells * width];
    out.par_chunks_mut(width).enumerate().for_each(|(token, out)| {
        let (sample, cell) = (token / cells, token % cells);
        let (top, left) = (cell / cols * patch, cell % cols * patch);
        for channel in 0..CHANNELS {
            for y in 0..patch {
                let row = &pixels[((sample * CHANNELS + channel) * h + top + y) * w + left..][..patch];
                for (pixel, &value) in out[y * patch * CHANNELS..].chunks_exact_mut(CHANNELS).zip(row) {
                    pixel[channel] = value;
                }
            }
        }
        match norm {
            PixelNorm::None => {}
            PixelNorm::Patch => standardize_strided(out, 0, 1, width - 1, PATCH_EPS),
            PixelNorm::Channel => {
                for channel in 0..CHANNELS {
                    standardize_strided(out, channel, CHANNELS, patch * patch, CHANNEL_EPS);
                }
            }
        }
    });
    Tensor::from_vec(out, (b, cells, width), images.device())
}

/// [`standardize`] of every `step`th value from `first` on, in place.
fn standardize_strided(values: &mut [f32], first: usize, step: usize, divisor: usize, eps: f64) {
    let count = (values.len() - first).div_ceil(step);
    let each = || values.iter().skip(first).step_by(step).map(|&v| f64::from(v));
    let mean = each().sum::<f64>() / count as f64;
    let squares: f64 = each().map(|v| (v - mean) * (v - mean)).sum();
    let scale = 1.0 / (squares / divisor.max(1) as f64 + eps).sqrt();
    for value in values.iter_mut().skip(first).step_by(step) {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}
