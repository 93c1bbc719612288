//! Pixels as patches, and the reconstruction loss of MAE (arXiv 2111.06377).

use candle_core::{D, Result, Tensor};

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

/// `(x - mean) / sqrt(sum of squared deviations / divisor + eps)` over one dimension.
fn standardize(x: &Tensor, dim: D, divisor: usize, eps: f64) -> Result<Tensor> {
    let centered = x.broadcast_sub(&x.mean_keepdim(dim)?)?;
    let variance = (centered.sqr()?.sum_keepdim(dim)? / divisor.max(1) as f64)?;
    centered.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// Mean squared error per patch, averaged over the patches that `mask` marks, of the whole batch
/// together (MAE), or over all patches without a mask.
///
/// A mask that marks nothing gives 0. The target gets no gradient: it is data, or a teacher's.
///
/// # Shapes
/// - `prediction`, `target`: `[b, n, d]`; `mask`: `[b, n]`, 1 where the loss is taken, else 0;
///   output: scalar
///
/// # Errors
/// If shapes or types differ.
pub fn mae_loss(prediction: &Tensor, target: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let error = (prediction - target.detach())?.sqr()?;
    let per_patch = error.mean(D::Minus1)?; // [b, n]
    match mask {
        None => per_patch.mean_all(),
        // A sum of zeros and ones is 0 or at least 1, so the clamp only catches the empty mask.
        Some(mask) => (per_patch * mask)?.sum_all()? / mask.sum_all()?.maximum(1.0)?,
    }
}
