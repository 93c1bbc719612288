//! Whose features of `RegionB` are predicted: those of a moving average of the encoder, or of an encoder that others
//! have trained.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_backbones::frozen::{FrozenEncoder, last_block};
use reid_backbones::optim::ema_update;
use reid_backbones::vit::{Resampling, resize_weights};
use reid_backbones::{Compute, ParamStore, Vit};
use reid_data::spec::{Normalisation, Size};

use crate::error::Result;
use crate::spec::of_imported;

/// What the parameters of a moving average are called in a checkpoint.
const PREFIX: &str = "teacher.";

/// A teacher; its features never carry a gradient (`BootMAE`, section 3.2).
pub(super) enum Teacher {
    /// Moving average of the student's encoder.
    Average(ParamStore),
    /// An encoder that never changes.
    Frozen(Box<FrozenTeacher>),
}

impl Teacher {
    /// The last block's patches before the final norm.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, the student's; output: `[b, n, d]`, `n` cells of the student's grid, `d` the
    ///   teacher's width
    pub(super) fn features(&self, vit: &Vit, images: &Tensor) -> Result<Tensor> {
        match self {
            Self::Average(store) => Ok(last_block(vit, store, images)?),
            Self::Frozen(frozen) => frozen.features(images),
        }
    }

    /// Follows the student after a step.
    pub(super) fn follow(&self, student: &ParamStore, momentum: f64) -> Result<()> {
        match self {
            Self::Average(store) => Ok(ema_update(store, student, momentum)?),
            Self::Frozen(_) => Ok(()),
        }
    }

    pub(super) fn set_compute(&mut self, compute: Compute) {
        match self {
            Self::Average(store) => store.set_compute(compute),
            Self::Frozen(frozen) => frozen.encoder.set_compute(compute),
        }
    }

    /// What a resumed training needs of it.
    pub(super) fn save(&self) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Self::Average(store) => Ok(store.buffers(PREFIX)?.into_iter().collect()),
            Self::Frozen(_) => Ok(BTreeMap::new()),
        }
    }

    pub(super) fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        match self {
            Self::Average(store) => Ok(store.restore(PREFIX, tensors)?),
            Self::Frozen(_) => Ok(()),
        }
    }
}

/// A frozen encoder that sees the student's regions: they are brought to its size and channel statistics, and its
/// patches to the student's grid.
pub struct FrozenTeacher {
    encoder: FrozenEncoder,
    /// `[H, h]` and `[w, W]`, where sizes differ.
    resize: Option<(Tensor, Tensor)>,
    /// `[1, 3, 1, 1]` each, factor and summand, where channel statistics differ.
    recolour: Option<(Tensor, Tensor)>,
    /// `[n, N]`, where grids differ.
    pool: Option<Tensor>,
}

impl FrozenTeacher {
    /// Adapts an encoder to regions of this size, normalisation and grid of patches. Regions are resized as PIL's
    /// bicubic filter does; patches are pooled as by PyTorch's `adaptive_avg_pool2d`.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn new(
        encoder: FrozenEncoder,
        spec: &FrozenEncoderSpec,
        (Size(height, width), grid): (Size, (usize, usize)),
        normalisation: Normalisation,
        device: &Device,
    ) -> Result<Self> {
        let (to, cells) = (encoder.image(), encoder.grid());
        let along = |from: usize, to: usize| -> Result<Tensor> {
            let weights = resize_weights(Resampling::BicubicAntialias, (from, 1), (to, 1));
            Ok(Tensor::from_vec(weights, (to, from), device)?)
        };
        let resize = if to == (height, width) {
            None
        } else {
            Some((along(height, to.0)?, along(width, to.1)?.t()?.contiguous()?))
        };
        let theirs = of_imported(spec.normalisation());
        let recolour = if theirs == normalisation { None } else { Some(recolouring(normalisation, theirs, device)?) };
        let pool = if cells == grid {
            None
        } else {
            let weights = pooling_weights(cells, grid);
            Some(Tensor::from_vec(weights, (grid.0 * grid.1, cells.0 * cells.1), device)?)
        };
        Ok(Self { encoder, resize, recolour, pool })
    }

    /// Width of its tokens.
    pub fn width(&self) -> usize {
        self.encoder.width()
    }

    /// The last block's patches before the final norm.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`, the student's; output: `[b, n, d]`, `n` cells of the student's grid
    ///
    /// # Errors
    /// If candle refuses.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let mut images = images.clone();
        if let Some((vertical, horizontal)) = &self.resize {
            let (b, channels, h, w) = images.dims4()?;
            let wide = images.reshape((b * channels * h, w))?.matmul(horizontal)?; // [b * 3 * h, W]
            let (to_h, to_w) = self.encoder.image();
            let planes = wide.reshape((b * channels, h, to_w))?;
            let vertical = vertical.unsqueeze(0)?.expand((b * channels, to_h, h))?.contiguous()?;
            images = vertical.matmul(&planes)?.reshape((b, channels, to_h, to_w))?;
        }
        if let Some((factor, summand)) = &self.recolour {
            images = images.broadcast_mul(factor)?.broadcast_add(summand)?;
        }
        let features = self.encoder.features(&images)?; // [b, N, d]
        let Some(pool) = &self.pool else { return Ok(features) };
        let pool = pool.unsqueeze(0)?.expand((features.dim(0)?, pool.dim(0)?, pool.dim(1)?))?.contiguous()?;
        Ok(pool.matmul(&features)?) // [b, n, d]
    }
}

/// Factor and summand of each channel from pictures normalised in one way to the other.
fn recolouring(from: Normalisation, to: Normalisation, device: &Device) -> Result<(Tensor, Tensor)> {
    let ((mean, std), (to_mean, to_std)) = (from.mean_std(), to.mean_std());
    let of = |value: &dyn Fn(usize) -> f32| -> Result<Tensor> {
        Ok(Tensor::from_vec((0..3).map(value).collect::<Vec<f32>>(), (1, 3, 1, 1), device)?)
    };
    Ok((of(&|c| std[c] / to_std[c])?, of(&|c| (mean[c] - to_mean[c]) / to_std[c])?))
}

/// Weights that average the cells of a grid over those of another: cell `i` of `new` takes the cells from
/// `floor(i old / new)` to before `ceil((i + 1) old / new)` along each axis.
///
/// # Shapes
/// - output: `[new rows * new cols, old rows * old cols]`, row-major
pub fn pooling_weights(old: (usize, usize), new: (usize, usize)) -> Vec<f32> {
    let range = |i: usize, old: usize, new: usize| i * old / new..((i + 1) * old).div_ceil(new);
    let mut weights = vec![0.0; old.0 * old.1 * new.0 * new.1];
    for (cell, of_cell) in weights.chunks_exact_mut(old.0 * old.1).enumerate() {
        let (rows, cols) = (range(cell / new.1, old.0, new.0), range(cell % new.1, old.1, new.1));
        let share = 1.0 / (rows.len() * cols.len()) as f32;
        for row in rows {
            of_cell[row * old.1..][cols.clone()].fill(share);
        }
    }
    weights
}
