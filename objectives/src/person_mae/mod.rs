//! PersonMAE: masked prediction across two regions of one picture (after arXiv 2311.04496).
//!
//! Two regions are cut from a picture. Patches of RegionA are hidden in blocks, as by an occluder,
//! and only the visible ones enter the encoder. From them, decoders predict all of RegionB: its
//! pixels, and the features that a teacher sees in it: a moving average of the encoder, or one that others have
//! trained.
//!
//! `L = L_pix + lambda(t) L_feat`, with `L_pix` the mean squared error of normalised pixels and
//! `L_feat` the mean squared error of layer-normed features.
//!
//! The paper has published no code and we know only its abstract: this is a re-design under it,
//! not a reproduction. The masking and the two losses follow BootMAE (arXiv 2207.07116), the crop
//! shape HAP (arXiv 2310.13125); how RegionA's tokens meet RegionB's queries is our design.
//! With `region: same`, random masks, pixel targets and loss on masked cells it is MAE
//! (arXiv 2111.06377), and the tests hold it to MAE's numbers.

mod cost;
mod decoder;
mod shown;
pub mod spec;
mod teacher;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reid_backbones::frozen::FrozenEncoder;
use reid_backbones::spec::VitSpec;
use reid_backbones::vit::{sincos_2d, sincos_at};
use reid_backbones::{Capture, Compute, Encoder, Input, Keep, ParamStore, Tokens, Vit, ops, weights};
use reid_data::plan::EpochPlan;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::{PhotometricSpec, Size};
use reid_data::views::{Crop, ViewBatch, ViewPlan, ViewSpec, Window};

pub use cost::cost;
pub use decoder::{Decoder, DecoderPositions, DecoderShape};
pub use shown::Reconstruction;
use spec::{DecoderInput, LossOn, MaskKind, PersonMaeSpec, QueryPositions, Region, Target, TeacherSpec};
use teacher::Teacher;
pub use teacher::{FrozenTeacher, pooling_weights};

use crate::error::Result;
use crate::health;
use crate::math::mask::{Grid, Mask, block_mask, hidden_count, random_mask};
use crate::math::patch::pixel_targets;
use crate::math::schedule::{RunLength, ema_momentum, ramp};
use crate::metric::MetricKey;
use crate::protocols::model::Pooled;
use crate::protocols::{ENCODER, evaluation};
use crate::random::{drop_paths, init_source};
use crate::spec::{EvaluationSpec, Pooling};
use crate::task::{Clock, Evaluated, Services, State, StepOutput, Task, unlabelled_epoch};

/// Raised whenever the numbers that this objective gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Epsilon of the norm that both sides of the feature loss go through (BootMAE).
const FEATURE_EPS: f64 = 1e-6;
/// What the names of the pixel decoder's parameters begin with.
const PIXEL_DECODER: &str = "pixel_decoder.";
/// View that RegionA is.
const REGION_A: usize = 0;

/// The objective with its student, decoders and teacher.
pub struct PersonMae {
    spec: PersonMaeSpec,
    backbone: VitSpec,
    batch: usize,
    vit: Vit,
    student: ParamStore,
    teacher: Option<Teacher>,
    pixels: Option<Decoder>,
    features: Option<Decoder>,
    device: Device,
}

/// The two regions of a batch on the device.
#[derive(Clone, Debug)]
pub struct Regions {
    /// `[b, 3, h, w]`, RegionA.
    pub a: Tensor,
    /// `[b, 3, h, w]`, RegionB.
    pub b: Tensor,
    /// Windows that the regions were cut from, or none where they are the same.
    pub windows: Option<Vec<(Window, Window)>>,
}

/// The terms of the loss of one batch.
#[derive(Debug)]
pub struct Losses {
    /// Pixel term, scalar.
    pub pixel: Option<Tensor>,
    /// Feature term, scalar, before its weight.
    pub feature: Option<Tensor>,
    /// `[b, n, p * p * 3]`, predicted pixels.
    pub predicted_pixels: Option<Tensor>,
    /// What the encoder made of the visible patches.
    pub tokens: Tokens,
}

impl PersonMae {
    /// Builds student, decoders and teacher; initial values depend on (seed, parameter name). A frozen teacher is
    /// read from its file.
    ///
    /// # Errors
    /// If that file cannot be read or does not fit, or candle refuses.
    pub fn build(spec: &PersonMaeSpec, backbone: &VitSpec, batch: usize, seed: u64, device: &Device) -> Result<Self> {
        let source = init_source(seed);
        let mut student = ParamStore::new(device);
        let vit = Vit::build(backbone, ENCODER, &mut student, &source)?;
        Self::assemble(spec.clone(), backbone.clone(), batch, vit, student, &source)
    }

    /// Adds decoders and a teacher to an encoder that lies in `student` behind `encoder.`.
    ///
    /// # Errors
    /// If a frozen teacher's file cannot be read or does not fit, or candle refuses.
    pub fn assemble(
        spec: PersonMaeSpec,
        backbone: VitSpec,
        batch: usize,
        vit: Vit,
        mut student: ParamStore,
        source: &reid_backbones::init::InitSource,
    ) -> Result<Self> {
        let device = student.device().clone();
        let dims = vit.dims();
        let mut feature_width = dims.width;
        let teacher = match &spec.teacher {
            _ if spec.target == Target::Pixel => None,
            TeacherSpec::Ema(_) => Some(Teacher::Average(student.duplicate()?)),
            TeacherSpec::Frozen(frozen) => {
                let (encoder, _) = FrozenEncoder::open(frozen, &device)?;
                feature_width = encoder.width();
                let regions = (Size(backbone.image[0], backbone.image[1]), vit.grid());
                let teacher = FrozenTeacher::new(encoder, frozen, regions, spec.normalisation, &device)?;
                Some(Teacher::Frozen(Box::new(teacher)))
            }
        };
        let layer = dims.depth + 1;
        let shape =
            |outputs| DecoderShape { encoder_width: dims.width, encoder_head: dims.width / dims.heads, outputs };
        let pixels = match spec.target {
            Target::Feature => None,
            Target::Pixel | Target::Both => {
                let outputs = vit.patch() * vit.patch() * 3;
                Some(Decoder::build(&spec.pixel_decoder, shape(outputs), PIXEL_DECODER, layer, &mut student, source)?)
            }
        };
        let features = match spec.target {
            Target::Pixel => None,
            Target::Feature | Target::Both => Some(Decoder::build(
                &spec.feature_decoder,
                shape(feature_width),
                "feature_decoder.",
                layer,
                &mut student,
                source,
            )?),
        };
        Ok(Self { spec, backbone, batch, vit, student, teacher, pixels, features, device })
    }

    /// The terms of the loss for given regions and visible patches.
    ///
    /// # Shapes
    /// - `keep`: k visible of n patches of RegionA; `hidden`: `[b, n]`, 1 where a patch is hidden
    ///
    /// # Errors
    /// If candle refuses.
    pub fn losses(
        &self,
        regions: &Regions,
        keep: &Keep,
        hidden: &Tensor,
        drop_path: Option<&[reid_backbones::DropPath]>,
    ) -> Result<Losses> {
        let params = self.student.training();
        let decoders = [(&self.pixels, &self.spec.pixel_decoder), (&self.features, &self.spec.feature_decoder)];
        let wants_first = decoders.iter().any(|(built, spec)| built.is_some() && spec.input == DecoderInput::First);
        let blocks: &[usize] = if wants_first { &[0] } else { &[] };
        let capture = Capture { blocks, attention: &[] };
        let input = Input { keep: Some(keep), drop_path, capture, ..Input::default() };
        let tokens = self.vit.forward(&params, &regions.a, &input)?;
        let mask = (self.spec.loss_on == LossOn::Masked).then_some(hidden);

        let mut positions = BTreeMap::new();
        for width in [&self.pixels, &self.features].into_iter().flatten().map(Decoder::width) {
            if let Entry::Vacant(entry) = positions.entry(width) {
                entry.insert(self.positions(width, regions.windows.as_deref())?);
            }
        }
        let decode = |decoder: &Decoder, input: DecoderInput| -> Result<Tensor> {
            let read = match input {
                DecoderInput::First => &tokens.captured.blocks[0],
                DecoderInput::Last => &tokens.all,
            };
            decoder.forward(&params, read, keep, &positions[&decoder.width()])
        };
        let mut losses = Losses { pixel: None, feature: None, predicted_pixels: None, tokens: tokens.clone() };
        if let Some(decoder) = &self.pixels {
            let predicted = decode(decoder, self.spec.pixel_decoder.input)?; // [b, n, p * p * 3]
            let target = pixel_targets(&regions.b, self.vit.patch(), self.spec.pixel_norm)?; // [b, n, p * p * 3]
            losses.pixel = Some(ops::squared_error(&predicted, &target, mask)?);
            losses.predicted_pixels = Some(predicted);
        }
        if let (Some(decoder), Some(teacher)) = (&self.features, &self.teacher) {
            let predicted = decode(decoder, self.spec.feature_decoder.input)?; // [b, n, d']
            let target = teacher.features(&self.vit, &regions.b)?; // [b, n, d']
            let predicted = ops::standardise(&predicted, FEATURE_EPS)?;
            losses.feature = Some(ops::squared_error(&predicted, &ops::standardise(&target, FEATURE_EPS)?, mask)?);
        }
        Ok(losses)
    }

    /// Positions for a decoder of the given width.
    fn positions(&self, width: usize, windows: Option<&[(Window, Window)]>) -> Result<DecoderPositions> {
        let (rows, cols) = self.vit.grid();
        let class = std::iter::repeat_n(0.0, width);
        let mut table: Vec<f32> = class.chain(sincos_2d(width, rows, cols)).collect();
        let windows = windows.filter(|_| self.spec.query_positions == QueryPositions::Relative);
        if let Some(windows) = windows {
            table.extend(relative_positions(width, (rows, cols), windows));
        }
        let table = Tensor::from_slice(&table, (1, table.len() / width, width), &self.device)?;
        Ok(DecoderPositions { table, cells: rows * cols, relative: windows.is_some() })
    }

    /// Masks of a batch, keyed by each sample's draw.
    fn masks(&self, draws: &[u32], clock: Clock) -> Vec<Mask> {
        let (rows, cols) = self.vit.grid();
        let count = hidden_count(rows * cols, self.spec.mask_ratio);
        let mask = |&draw: &u32| {
            let key = Key { seed: clock.seed, stream: Stream::Mask, epoch: clock.epoch as u32, draw, view: 0 };
            let mut rng = Rng::new(key);
            match self.spec.mask {
                MaskKind::Block => block_mask(&mut rng, Grid { rows, cols }, count),
                MaskKind::Random => random_mask(&mut rng, rows * cols, count),
            }
        };
        draws.iter().map(mask).collect()
    }

    fn regions(&self, batch: &ViewBatch) -> Result<Regions> {
        let image = |view| view_tensor(batch, view, &self.device);
        let a = image(REGION_A)?;
        if self.spec.region == Region::Same {
            return Ok(Regions { b: a.clone(), a, windows: None });
        }
        let windows = |view| {
            let (group, at) = batch.find(view);
            group.windows[at * batch.len()..(at + 1) * batch.len()].to_vec()
        };
        let pairs = windows(REGION_A).into_iter().zip(windows(1)).collect();
        Ok(Regions { a, b: image(1)?, windows: Some(pairs) })
    }
}

/// One view of a batch as a tensor.
///
/// # Shapes
/// - output: `[b, 3, h, w]`
///
/// # Errors
/// If the device cannot hold it.
pub fn view_tensor(batch: &ViewBatch, view: usize, device: &Device) -> Result<Tensor> {
    let (group, at) = batch.find(view);
    let Size(h, w) = group.size;
    let len = batch.len() * 3 * h * w;
    Ok(Tensor::from_slice(&group.pixels[at * len..(at + 1) * len], (batch.len(), 3, h, w), device)?)
}

/// Where RegionB's cells lie in RegionA's grid, as sine-cosine positions. A cell's centre at row i of
/// B is `((top_b + (i + 0.5) / rows * height_b) - top_a) / height_a * rows - 0.5` rows of A; columns
/// likewise.
///
/// # Shapes
/// - `windows`: `[b]`, RegionA's and RegionB's of each sample; output: `[b, n, width]`, row-major,
///   `n = rows * cols`
///
/// # Panics
/// If `width` is no multiple of 4; the checks of a spec see to it.
pub fn relative_positions(width: usize, (rows, cols): (usize, usize), windows: &[(Window, Window)]) -> Vec<f32> {
    let half = width / 2;
    let mut out = vec![0.0; windows.len() * rows * cols * width];
    out.par_chunks_mut(rows * cols * width).zip(windows).for_each(|(sample, (a, b))| {
        let along = |count: usize, start_a: f32, size_a: f32, start_b: f32, size_b: f32| -> Vec<(f64, f64)> {
            let centre = |i: usize| f64::from(start_b) + (i as f64 + 0.5) / count as f64 * f64::from(size_b);
            let at = |i| (centre(i) - f64::from(start_a)) / f64::from(size_a) * count as f64 - 0.5;
            (0..count).map(|i| (at(i), at(i))).collect()
        };
        // The embedding is separable, so rows and columns are computed once each.
        let by_col = sincos_at(width, &along(cols, a.left, a.width, b.left, b.width));
        let by_row = sincos_at(width, &along(rows, a.top, a.height, b.top, b.height));
        for (cell, token) in sample.chunks_exact_mut(width).enumerate() {
            let (row, col) = (cell / cols, cell % cols);
            for (channel, value) in token.iter_mut().enumerate() {
                let table = if channel < half { &by_col[col * width..] } else { &by_row[row * width..] };
                *value = table[channel] as f32;
            }
        }
    });
    out
}

impl Task for PersonMae {
    fn views(&self) -> ViewPlan {
        let size = Size(self.backbone.image[0], self.backbone.image[1]);
        let view = |scale| ViewSpec {
            size,
            crop: Crop::RandomResized { scale, ratio: self.spec.ratio },
            filter: self.spec.filter,
            flip: 0.0,
            photometric: PhotometricSpec::default(),
            normalisation: self.spec.normalisation,
            erasing: None,
        };
        let mut views = vec![view(self.spec.scale_a)];
        if self.spec.region == Region::Cross {
            views.push(view(self.spec.scale_b));
        }
        // Mirrored before the regions are cut, so that their windows stay comparable.
        ViewPlan { views, shared_flip: self.spec.flip }
    }

    fn couples_samples(&self) -> bool {
        false
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        Ok(unlabelled_epoch(services, self.batch, epoch, seed))
    }

    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput> {
        let masks = self.masks(&batch.draws, clock);
        let cells: Vec<u32> = masks.iter().flat_map(Mask::visible).collect();
        let keep = Keep { per_sample: cells.len() / masks.len(), cells };
        let hidden: Vec<f32> = masks.iter().flat_map(|mask| &mask.hidden).map(|&h| f32::from(u8::from(h))).collect();
        let hidden = Tensor::from_vec(hidden, (masks.len(), masks[0].hidden.len()), &self.device)?; // [b, n]
        let depth = self.vit.dims().depth;
        let drops = drop_paths(self.backbone.drop_path, depth, clock.seed, clock.epoch, &batch.draws, 0..1);
        let losses = self.losses(&self.regions(batch)?, &keep, &hidden, drops.as_deref())?;

        let run = RunLength { steps: clock.steps, epochs: clock.epochs };
        let weight = self.spec.feature_weight * ramp(self.spec.feature_ramp, clock.step, run);
        let weighted = losses.feature.as_ref().map(|feature| feature * weight).transpose()?;
        let loss = match (&losses.pixel, weighted) {
            (Some(pixel), Some(feature)) => (pixel + feature)?,
            (Some(pixel), None) => pixel.clone(),
            (None, Some(feature)) => feature,
            (None, None) => unreachable!("a target has at least one decoder"),
        };
        let hidden_cells: usize = masks.iter().map(Mask::count).sum();
        let from_blocks: usize = masks.iter().map(|mask| mask.from_blocks).sum();
        let block_share = from_blocks as f32 / hidden_cells.max(1) as f32;
        let mut stats = vec![(MetricKey::BlockShare, Tensor::new(block_share, &self.device)?)];
        stats.extend(health::of(&losses.tokens.class()?)?);
        stats.extend(losses.pixel.map(|loss| (MetricKey::LossPixel, loss.detach())));
        stats.extend(losses.feature.map(|loss| (MetricKey::LossFeature, loss.detach())));
        let tokens = losses.tokens.all.dim(0)? * losses.tokens.all.dim(1)?;
        Ok(StepOutput { loss, stats, tokens, carried: Vec::new() })
    }

    fn after_step(&mut self, _: &[StepOutput], clock: Clock) -> Result<()> {
        if let Some(teacher) = &self.teacher {
            let run = RunLength { steps: clock.steps, epochs: clock.epochs };
            teacher.follow(&self.student, ema_momentum(self.spec.teacher_half_life, run))?;
        }
        Ok(())
    }

    fn set_compute(&mut self, compute: Compute) {
        self.student.set_compute(compute);
        if let Some(teacher) = &mut self.teacher {
            teacher.set_compute(compute);
        }
    }

    fn evaluated(&self) -> Evaluated<'_> {
        let evaluation = EvaluationSpec::default();
        Evaluated {
            model: Box::new(Pooled { vit: &self.vit, store: &self.student, pooling: Pooling::Cls }),
            views: evaluation::views(&evaluation, &self.backbone, self.spec.normalisation),
            spec: evaluation,
        }
    }

    fn trainable(&self) -> &ParamStore {
        &self.student
    }

    fn save(&self) -> Result<State> {
        let tensors = self.teacher.as_ref().map_or_else(|| Ok(BTreeMap::new()), Teacher::save)?;
        Ok(State { tensors, scalars: BTreeMap::new() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        if let Some(teacher) = &self.teacher {
            teacher.load(&state.tensors)?;
        }
        Ok(())
    }

    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(weights::with_prefix(&self.student, ENCODER)?)
    }

    fn decoder(&self) -> Result<BTreeMap<String, Tensor>> {
        let of_decoder = |(name, _): &(String, Tensor)| name.starts_with(PIXEL_DECODER);
        Ok(self.student.tensors()?.into_iter().filter(of_decoder).collect())
    }
}
