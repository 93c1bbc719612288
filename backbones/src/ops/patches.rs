//! Pictures to rows of patches, and patches to token sequences: copies that autograd would make slow.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
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
    let (b, c, h, w) = images.dims4()?;
    if images.device().is_cpu() {
        let op = PatchRows { patch, keep: keep.clone() };
        return Ok(images.contiguous()?.apply_op1(op)?);
    }
    let (rows, cols) = (h / patch, w / patch);
    let split = images.reshape(&[b, c, rows, patch, cols, patch][..])?;
    let all = split.permute(vec![0, 2, 4, 1, 3, 5])?.reshape((b * rows * cols, c * patch * patch))?;
    let index = flat_index(keep, b, rows * cols, 0);
    let picked = all.index_select(&Tensor::from_vec(index, b * keep.per_sample, images.device())?, 0)?;
    Ok(picked.reshape((b, keep.per_sample, c * patch * patch))?)
}

/// Row numbers of the kept cells in a table of `cells` rows per sample that starts at `first`.
fn flat_index(keep: &Keep, samples: usize, cells: usize, first: usize) -> Vec<u32> {
    let at = |(i, &cell): (usize, &u32)| (i / keep.per_sample * cells + first) as u32 + cell;
    keep.cells[..samples * keep.per_sample].iter().enumerate().map(at).collect()
}

struct PatchRows {
    patch: usize,
    keep: Keep,
}

impl PatchRows {
    /// Calls `copy(row of patches, pixels of one image row)` for each run of `patch` pixels.
    fn runs(&self, (c, h, w): (usize, usize, usize), cell: usize, mut visit: impl FnMut(usize, usize)) {
        let p = self.patch;
        let (top, left) = (cell / (w / p) * p, cell % (w / p) * p);
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
        if h % p != 0 || w % p != 0 || self.keep.cells.len() != b * k {
            bail!("{b} pictures of {h}x{w} do not give {} patches of side {p}", self.keep.cells.len());
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

/// Class token and kept patches, each with its position: `[cls + pos_0, patch_i + pos_(1 + cell_i)]`.
///
/// # Shapes
/// - `patches`: `[b, k, d]`; `class`: `[1, 1, d]`; `positions`: `[1, 1 + n, d]`; output: `[b, 1 + k, d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn assemble(patches: &Tensor, class: &Tensor, positions: &Tensor, keep: &Keep) -> error::Result<Tensor> {
    let (b, k, d) = patches.dims3()?;
    if patches.device().is_cpu() {
        let op = Assemble { keep: keep.clone() };
        return Ok(patches.contiguous()?.apply_op3(&class.contiguous()?, &positions.contiguous()?, op)?);
    }
    let index = Tensor::from_vec(flat_index(keep, b, 0, 1), b * k, patches.device())?;
    let picked = positions.squeeze(0)?.index_select(&index, 0)?.reshape((b, k, d))?;
    let class = (class + positions.narrow(1, 0, 1)?)?.expand((b, 1, d))?;
    Ok(Tensor::cat(&[&class, &(patches + picked)?], 1)?)
}

struct Assemble {
    keep: Keep,
}

impl CustomOp3 for Assemble {
    fn name(&self) -> &'static str {
        "assemble-tokens"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, k, d) = l1.shape().dims3()?;
        let (patches, class, positions) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let sum = |out: &mut [f32], x: &[f32], y: &[f32]| {
            for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
                *out = x + y;
            }
        };
        let mut out = vec![0.0; b * (1 + k) * d];
        out.par_chunks_mut((1 + k) * d).enumerate().for_each(|(sample, tokens)| {
            sum(&mut tokens[..d], class, &positions[..d]);
            for (i, token) in tokens[d..].chunks_exact_mut(d).enumerate() {
                let row = 1 + self.keep.cells[sample * k + i] as usize;
                sum(token, &patches[(sample * k + i) * d..], &positions[row * d..]);
            }
        });
        Ok((CpuStorage::F32(out), (b, 1 + k, d).into()))
    }

    fn bwd(
        &self,
        patches: &Tensor,
        class: &Tensor,
        positions: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (b, k, d) = patches.dims3()?;
        let grad = grad.contiguous()?;
        let grad = values(&grad)?;
        let mut dpatches = vec![0.0; b * k * d];
        dpatches.par_chunks_mut(k * d).enumerate().for_each(|(sample, out)| {
            out.copy_from_slice(&grad[(sample * (1 + k) + 1) * d..(sample + 1) * (1 + k) * d]);
        });
        let (mut dclass, mut dpositions) = (vec![0.0; d], vec![0.0; positions.elem_count()]);
        // In sample order on one thread: a few additions per token, and always the same bits.
        for (sample, tokens) in grad.chunks_exact((1 + k) * d).enumerate() {
            let rows = &self.keep.cells[sample * k..(sample + 1) * k];
            let rows = std::iter::once(0).chain(rows.iter().map(|&cell| 1 + cell as usize));
            for (token, row) in tokens.chunks_exact(d).zip(rows) {
                for (sum, value) in dpositions[row * d..(row + 1) * d].iter_mut().zip(token) {
                    *sum += value;
                }
            }
            for (sum, value) in dclass.iter_mut().zip(&tokens[..d]) {
                *sum += value;
            }
        }
        let wrap = |of: &Tensor, values: Vec<f32>| {
            of.track_op().then(|| Tensor::from_vec(values, of.dims(), of.device())).transpose()
        };
        Ok((wrap(patches, dpatches)?, wrap(class, dclass)?, wrap(positions, dpositions)?))
    }
}
