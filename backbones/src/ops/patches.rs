//! Pictures to embedded patches: a convolution whose kernels do not overlap, or as far apart as one likes, without a
//! copy of the picture in another order.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed::product;
use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::gemm::{Mat, Write, product as multiply};
use crate::kernels::rows::{add_bias, column_sums};
use crate::params::{ModuleId, Params, view};
use crate::spec::Precision;

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

/// Patches that are embedded at a time: rows that stay in a core's cache between being gathered and being
/// multiplied. Part of the bits, as the weight's gradient is summed in these portions.
const PORTION: usize = 128;

/// Most sums that the weight's gradient is made of, each as long as the weight. Part of the bits.
const SUMS: usize = 8;

/// A linear layer over square patches `stride` pixels apart, whose module holds `weight [d, c, p, p]` and, if it has
/// one, `bias [d]`. What is left at the right and lower edge is no patch.
///
/// # Shapes
/// - `images`: `[b, c, h, w]`; output: `[b, k, d]` for the kept patches
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn patch_embed(
    images: &Tensor,
    params: &Params,
    id: ModuleId,
    stride: usize,
    keep: &Keep,
) -> error::Result<Tensor> {
    let entries = params.entries(id);
    let [outputs, channels, patch, _] = entries[0].shape[..] else {
        return Err(candle_core::Error::Msg(format!("patches have a weight of shape {:?}", entries[0].shape)).into());
    };
    let cut = Cut { channels, patch, stride };
    cut.check(images.dims4()?, keep)?;
    let buffer = params.buffer(id);
    if is_fused(images) && params.precision() == Precision::F32 {
        let op = PatchEmbed { cut, outputs, bias: entries.len() == 2, keep: keep.clone() };
        return Ok(images.contiguous()?.apply_op2(&buffer, op)?);
    }
    let weight = view(&buffer, &entries[0])?.reshape((outputs, cut.width()))?;
    let y = product(&cut.gathered(images, keep)?, &weight.t()?, params.precision())?;
    match entries.get(1) {
        Some(bias) => Ok(y.broadcast_add(&view(&buffer, bias)?)?),
        None => Ok(y),
    }
}

/// How pictures are cut.
#[derive(Clone, Copy)]
struct Cut {
    channels: usize,
    patch: usize,
    stride: usize,
}

impl Cut {
    /// Values of a patch, in the order of a convolution's weight: channel, pixel row, pixel column.
    fn width(self) -> usize {
        self.channels * self.patch * self.patch
    }

    fn check(self, (b, c, h, w): (usize, usize, usize, usize), keep: &Keep) -> Result<()> {
        let p = self.patch;
        let leaves_edges = self.stride == p && (h % p != 0 || w % p != 0);
        if leaves_edges || c != self.channels || h < p || w < p || keep.cells.len() != b * keep.per_sample {
            bail!("{b} pictures of {c}x{h}x{w} do not give {} patches of {}x{p}x{p}", keep.cells.len(), self.channels);
        }
        let cells = ((h - p) / self.stride + 1) * ((w - p) / self.stride + 1);
        match keep.cells.iter().find(|&&cell| cell as usize >= cells) {
            Some(cell) => bail!("patch {cell} of a picture that has {cells}"),
            None => Ok(()),
        }
    }

    /// Calls `visit(place in the patch, place in the picture)` for each run of `patch` pixels.
    fn runs(self, (h, w): (usize, usize), cell: u32, mut visit: impl FnMut(usize, usize)) {
        let p = self.patch;
        let cols = (w - p) / self.stride + 1;
        let (top, left) = (cell as usize / cols * self.stride, cell as usize % cols * self.stride);
        for channel in 0..self.channels {
            for y in 0..p {
                visit((channel * p + y) * p, (channel * h + top + y) * w + left);
            }
        }
    }

    /// Patches as rows, by candle's own operations.
    ///
    /// # Shapes
    /// - `images`: `[b, c, h, w]`; output: `[b, k, c * p * p]`
    fn gathered(self, images: &Tensor, keep: &Keep) -> Result<Tensor> {
        let (b, c, h, w) = images.dims4()?;
        let (p, k, width) = (self.patch, keep.per_sample, self.width());
        if self.stride == p {
            let (rows, cols) = (h / p, w / p);
            let split = images.reshape(&[b, c, rows, p, cols, p][..])?;
            let all = split.permute(vec![0, 2, 4, 1, 3, 5])?.reshape((b * rows * cols, width))?;
            let at = |(i, &cell): (usize, &u32)| (i / k * rows * cols) as u32 + cell;
            let index: Vec<u32> = keep.cells.iter().enumerate().map(at).collect();
            return all.index_select(&Tensor::from_vec(index, b * k, images.device())?, 0)?.reshape((b, k, width));
        }
        let mut pixels = vec![0_u32; b * k * width];
        for (i, (row, &cell)) in pixels.chunks_exact_mut(width).zip(&keep.cells).enumerate() {
            let sample = i / k * c * h * w;
            self.runs((h, w), cell, |to, from| {
                (0..p).for_each(|x| row[to + x] = (sample + from + x) as u32);
            });
        }
        let index = Tensor::from_vec(pixels, b * k * width, images.device())?;
        images.flatten_all()?.index_select(&index, 0)?.reshape((b, k, width))
    }
}

struct PatchEmbed {
    cut: Cut,
    outputs: usize,
    bias: bool,
    keep: Keep,
}

impl PatchEmbed {
    /// Patches `first..` of all samples as rows.
    fn gather(&self, images: &[f32], (h, w): (usize, usize), first: usize, rows: &mut [f32]) {
        let p = self.cut.patch;
        let picture = self.cut.channels * h * w;
        for (i, row) in rows.chunks_exact_mut(self.cut.width()).enumerate() {
            let image = &images[(first + i) / self.keep.per_sample * picture..][..picture];
            self.cut.runs((h, w), self.keep.cells[first + i], |to, from| {
                row[to..to + p].copy_from_slice(&image[from..from + p]);
            });
        }
    }

    /// Gradient of the weight and bias: one sum in each of a fixed number of portions, then over the portions.
    fn backward_params(&self, images: &[f32], size: (usize, usize), dy: &[f32], params: usize) -> Vec<f32> {
        let (width, outputs) = (self.cut.width(), self.outputs);
        let portions = dy.len().div_ceil(PORTION * outputs);
        let rows_per_sum = portions.div_ceil(SUMS).max(1) * PORTION;
        let sums: Vec<Vec<f32>> = dy
            .par_chunks(rows_per_sum * outputs)
            .enumerate()
            .map(|(i, dy)| {
                let mut sum = vec![0.0; params];
                let (dweight, dbias) = sum.split_at_mut(width * outputs);
                let mut rows = vec![0.0; PORTION.min(dy.len() / outputs) * width];
                for (j, dy) in dy.chunks(PORTION * outputs).enumerate() {
                    let n = dy.len() / outputs;
                    let rows = &mut rows[..n * width];
                    self.gather(images, size, i * rows_per_sum + j * PORTION, rows);
                    let (dy, rows) = (Mat::new(dy, n, outputs), Mat::new(rows, n, width));
                    multiply(dweight, width, Write::Add, 1.0, dy.t(), rows);
                }
                if self.bias {
                    column_sums(dy, dbias);
                }
                sum
            })
            .collect();
        let mut sums = sums.into_iter();
        let mut total = sums.next().unwrap_or_else(|| vec![0.0; params]);
        for sum in sums {
            total.iter_mut().zip(&sum).for_each(|(total, value)| *total += value);
        }
        total
    }

    /// Gradient of the pictures.
    fn backward_images(&self, (b, c, h, w): (usize, usize, usize, usize), dy: &[f32], weight: &[f32]) -> Vec<f32> {
        let (p, k, width, outputs) = (self.cut.patch, self.keep.per_sample, self.cut.width(), self.outputs);
        let mut out = vec![0.0; b * c * h * w];
        out.par_chunks_mut(c * h * w).enumerate().for_each(|(sample, image)| {
            let mut rows = vec![0.0; k * width];
            let dy = Mat::new(&dy[sample * k * outputs..][..k * outputs], k, outputs);
            multiply(&mut rows, width, Write::Replace, 1.0, dy, Mat::new(weight, outputs, width));
            for (row, &cell) in rows.chunks_exact(width).zip(&self.keep.cells[sample * k..]) {
                self.cut.runs((h, w), cell, |from, to| {
                    let run = image[to..to + p].iter_mut().zip(&row[from..from + p]);
                    run.for_each(|(sum, value)| *sum += value);
                });
            }
        });
        out
    }
}

impl CustomOp2 for PatchEmbed {
    fn name(&self) -> &'static str {
        "patch-embed"
    }

    fn cpu_fwd(&self, images: &CpuStorage, li: &Layout, p: &CpuStorage, lp: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, _, h, w) = li.shape().dims4()?;
        let (images, params) = (slice(images, li)?, slice(p, lp)?);
        let (width, outputs) = (self.cut.width(), self.outputs);
        let (weight, bias) = params.split_at(width * outputs);
        let mut out = vec![0.0; b * self.keep.per_sample * outputs];
        out.par_chunks_mut(PORTION * outputs).enumerate().for_each(|(i, out)| {
            let n = out.len() / outputs;
            let mut rows = vec![0.0; n * width];
            self.gather(images, (h, w), i * PORTION, &mut rows);
            let weight = Mat::new(weight, outputs, width).t();
            multiply(out, outputs, Write::Replace, 1.0, Mat::new(&rows, n, width), weight);
        });
        if self.bias {
            add_bias(&mut out, bias);
        }
        Ok((CpuStorage::F32(out), (b, self.keep.per_sample, outputs).into()))
    }

    fn bwd(&self, images: &Tensor, p: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (b, c, h, w) = images.dims4()?;
        let dy = dy.contiguous()?;
        let (dy, params) = (values(&dy)?, values(p)?);
        let dimages = if images.track_op() {
            let weight = &params[..self.cut.width() * self.outputs];
            let dimages = self.backward_images((b, c, h, w), &dy, weight);
            Some(Tensor::from_vec(dimages, (b, c, h, w), images.device())?)
        } else {
            None
        };
        let dparams = if p.track_op() {
            let dparams = self.backward_params(&values(images)?, (h, w), &dy, params.len());
            Some(Tensor::from_vec(dparams, p.dims(), p.device())?)
        } else {
            None
        };
        Ok((dimages, dparams))
    }
}
