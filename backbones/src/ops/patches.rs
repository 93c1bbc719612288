//! Pictures to rows of patches: a copy that autograd would make slow.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::host::{slice, values};
use crate::error;

/// Which patches of each sample are used: indices into the row-major grid, the same number for
/// every sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `[b, k]`, sample-major.
    pub cells: Vec<u32>,
    /// k.
    pub per_sample: usize,
}

impl Keep {
    /// Every one of `cells` patches, for `samples` samples.
    pub fn all(samples: usize, cells: usize) -> Self {
        Self { cells: (0..samples).flat_map(|_| 0..cells as u32).collect(), per_sample: cells }
    }
}

/// Cuts pictures into rows of `channel, pixel row, pixel column`, the order of a convolution's weight.
///
/// # Shapes
/// - `images`: `[b, c, h, w]`; output: `[b, k, c * p * p]` for the kept patches
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn patch_rows(images: &Tensor, patch: usize, keep: &Keep) -> error::Result<Tensor> {
    overlapping_patch_rows(images, patch, patch, keep)
}

/// [`patch_rows`] of patches `stride` pixels apart; what is left at the right and lower edge is no patch.
///
/// # Shapes
/// - `images`: `[b, c, h, w]`; output: `[b, k, c * p * p]` for the kept patches
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn overlapping_patch_rows(images: &Tensor, patch: usize, stride: usize, keep: &Keep) -> error::Result<Tensor> {
    let (b, c, h, w) = images.dims4()?;
    if images.device().is_cpu() {
        let op = PatchRows { patch, stride, keep: keep.clone() };
        return Ok(images.contiguous()?.apply_op1(op)?);
    }
    if stride != patch {
        return gathered(images, patch, stride, keep);
    }
    let (rows, cols) = (h / patch, w / patch);
    let split = images.reshape(&[b, c, rows, patch, cols, patch][..])?;
    let all = split.permute(vec![0, 2, 4, 1, 3, 5])?.reshape((b * rows * cols, c * patch * patch))?;
    let index = flat_index(keep, b, rows * cols);
    let picked = all.index_select(&Tensor::from_vec(index, b * keep.per_sample, images.device())?, 0)?;
    Ok(picked.reshape((b, keep.per_sample, c * patch * patch))?)
}

/// Overlapping patches pixel by pixel.
fn gathered(images: &Tensor, patch: usize, stride: usize, keep: &Keep) -> error::Result<Tensor> {
    let (b, c, h, w) = images.dims4()?;
    let (k, width) = (keep.per_sample, c * patch * patch);
    let cuts = PatchRows { patch, stride, keep: keep.clone() };
    let mut pixels = vec![0_u32; b * k * width];
    for (i, (row, &cell)) in pixels.chunks_exact_mut(width).zip(&keep.cells).enumerate() {
        let sample = i / k * c * h * w;
        cuts.runs((c, h, w), cell as usize, |to, from| {
            (0..patch).for_each(|x| row[to + x] = (sample + from + x) as u32);
        });
    }
    let index = Tensor::from_vec(pixels, b * k * width, images.device())?;
    Ok(images.flatten_all()?.index_select(&index, 0)?.reshape((b, k, width))?)
}

/// Row numbers of the kept cells in a table of `cells` rows per sample.
fn flat_index(keep: &Keep, samples: usize, cells: usize) -> Vec<u32> {
    let at = |(i, &cell): (usize, &u32)| (i / keep.per_sample * cells) as u32 + cell;
    keep.cells[..samples * keep.per_sample].iter().enumerate().map(at).collect()
}

struct PatchRows {
    patch: usize,
    stride: usize,
    keep: Keep,
}

impl PatchRows {
    /// Calls `copy(row of patches, pixels of one image row)` for each run of `patch` pixels.
    fn runs(&self, (c, h, w): (usize, usize, usize), cell: usize, mut visit: impl FnMut(usize, usize)) {
        let p = self.patch;
        let cols = (w - p) / self.stride + 1;
        let (top, left) = (cell / cols * self.stride, cell % cols * self.stride);
        for channel in 0..c {
            for y in 0..p {
                visit((channel * p + y) * p, (channel * h + top + y) * w + left);
            }
        }
    }
}

impl CustomOp1 for PatchRows {
    fn name(&self) -> &'static str {
        "patch-rows"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, h, w) = layout.shape().dims4()?;
        let (images, p, k) = (slice(storage, layout)?, self.patch, self.keep.per_sample);
        let is_cut = self.stride == p && (h % p != 0 || w % p != 0);
        if is_cut || h < p || w < p || self.keep.cells.len() != b * k {
            bail!("{b} pictures of {h}x{w} do not give {} patches of side {p}", self.keep.cells.len());
        }
        let cells = ((h - p) / self.stride + 1) * ((w - p) / self.stride + 1);
        if let Some(cell) = self.keep.cells.iter().find(|&&cell| cell as usize >= cells) {
            bail!("patch {cell} of a picture that has {cells}");
        }
        let width = c * p * p;
        let mut out = vec![0.0; b * k * width];
        out.par_chunks_mut(k * width).enumerate().for_each(|(sample, rows)| {
            let image = &images[sample * c * h * w..(sample + 1) * c * h * w];
            for (row, &cell) in rows.chunks_exact_mut(width).zip(&self.keep.cells[sample * k..]) {
                self.runs((c, h, w), cell as usize, |to, from| row[to..to + p].copy_from_slice(&image[from..from + p]));
            }
        });
        Ok((CpuStorage::F32(out), (b, k, width).into()))
    }

    fn bwd(&self, images: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (b, c, h, w) = images.dims4()?;
        let (p, k) = (self.patch, self.keep.per_sample);
        let grad = grad.contiguous()?;
        let grad = values(&grad)?;
        let width = c * p * p;
        let mut out = vec![0.0; b * c * h * w];
        out.par_chunks_mut(c * h * w).enumerate().for_each(|(sample, image)| {
            let rows = grad[sample * k * width..].chunks_exact(width);
            for (row, &cell) in rows.zip(&self.keep.cells[sample * k..(sample + 1) * k]) {
                self.runs((c, h, w), cell as usize, |from, to| {
                    for (sum, value) in image[to..to + p].iter_mut().zip(&row[from..from + p]) {
                        *sum += value;
                    }
                });
            }
        });
        Ok(Some(Tensor::from_vec(out, (b, c, h, w), images.device())?))
    }
}
