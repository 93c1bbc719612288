//! UP-ReID, after the paper's abstract (Yang et al., arXiv 2112.00317).
//!
//! Momentum contrast tells pictures apart by two augmented views of each. Augmentation can destroy what tells
//! persons apart, so *global consistency* asks the augmented view to be as similar to other pictures as the
//! original is, and *intrinsic contrast* asks every horizontal strip of a picture to be told from its other
//! strips.
//!
//! ```text
//! q = norm(head(f(x_q))), k, o = norm(head'(f'(x_k, x_o)))          ' moves by averaging, without gradient
//! contrast    = -log softmax([q k, q u_1, .., q u_K] / t)_0         u the queue of earlier k
//! consistency = KL(softmax(o u / t_c) || softmax(q u / t_c))
//! strips      = -log softmax_j(q_i c_ij / t_s)_i                    c_ij: see `strips`
//! loss        = contrast + alpha consistency + beta strips, each with its weight; beta ramps up
//! ```
//!
//! The variant `in_batch` is MoCo v3's contrast (arXiv 2104.02057): `q = predictor(projector(f(x)))`,
//! `k = projector'(f'(x))`, others are the other pictures of the batch, both views take both parts, and the
//! loss is multiplied by `2 t`. With `alpha = beta = 0` the objective is MoCo v2 or v3; both are held to the
//! authors' numbers by the tests.
//!
//! What the paper leaves open is our design: the form of both constraints (`losses`, `strips`), all weights and
//! temperatures, and how a ViT encodes a strip: the strip's rows of patches alone enter the encoder, with the
//! positions that they have in the picture and a class token of their own. So features do not leak between
//! strips (but for the few pixels that a convolutional stem reaches over their borders), all strips of a picture
//! cost less than the picture, and no pixel is resampled. Strips have a head of
//! their own, without batch normalisation in either variant, and one anchor view, `x_q`.

mod cost;
pub mod heads;
pub mod losses;
pub mod queue;
pub mod spec;
pub mod strips;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::InitSource;
use reid_backbones::optim::ema_update;
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, Encoder, Input, ParamStore, Params, Vit, weights};
use reid_data::plan::EpochPlan;
use reid_data::spec::Size;
use reid_data::views::{Crop, ViewBatch, ViewPlan, ViewSpec};

use crate::error::Result;
use crate::health;
use crate::math::distance::l2_normalize;
use crate::math::schedule::{RunLength, ramp, teacher_momentum};
use crate::metric::MetricKey;
use crate::person_mae::view_tensor;
use crate::protocols::model::Pooled;
use crate::protocols::neck::BatchStats;
use crate::protocols::{ENCODER, evaluation};
use crate::random::{drop_paths_of, init_source};
use crate::spec::{EvaluationSpec, Pooling};
use crate::task::{Clock, Evaluated, Services, State, StepOutput, Task, unlabelled_epoch};
pub use cost::cost;
use heads::{Mlp, NormedMlp, Norms, Place};
use losses::{Similarities, consistency};
use queue::Queue;
use spec::{ContrastAugment, ContrastVariant, UpReidSpec};
use strips::strip_loss;

/// Raised whenever the numbers that this objective gives change.
pub const ALGORITHM_VERSION: u32 = 1;

/// Index of the trained encoder's view, of the momentum encoder's, and of the original picture.
const QUERY: usize = 0;
const KEY: usize = 1;
const ORIGINAL: usize = 2;
/// Key of the random choices of the first strip's pass; those of whole views are keyed by their index.
const FIRST_STRIP: u16 = 16;

/// Momentum contrast with consistency and strips.
pub struct UpReid {
    spec: UpReidSpec,
    backbone: VitSpec,
    batch: usize,
    vit: Vit,
    student: ParamStore,
    teacher: ParamStore,
    contrast: Contrast,
    strip_head: Option<Mlp>,
    device: Device,
}

/// What the variants hold.
enum Contrast {
    Queue {
        head: Mlp,
        queue: Queue,
    },
    InBatch {
        projector: NormedMlp,
        predictor: NormedMlp,
        /// The trained projector's and predictor's statistics.
        student: Norms,
        /// The momentum projector's: they move by its own passes, not by averaging.
        teacher: Norms,
    },
}

/// One batch's pictures, `[b, 3, h, w]` each.
struct Pictures {
    query: Tensor,
    key: Tensor,
    original: Option<Tensor>,
}

/// Terms of the loss that compare pictures.
struct Between {
    contrast: Tensor,
    consistency: Option<Tensor>,
    accuracy: Tensor,
    /// `[b, d]`, class tokens of the query view.
    features: Tensor,
    /// Tokens that went through the trained encoder.
    tokens: usize,
    carried: Vec<(&'static str, Tensor)>,
}

impl UpReid {
    /// A fresh objective: random encoder and heads of a seed, the momentum encoder their copy.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(spec: &UpReidSpec, backbone: &VitSpec, batch: usize, seed: u64, device: &Device) -> Result<Self> {
        let source = init_source(seed);
        let mut student = ParamStore::new(device);
        let vit = Vit::build(backbone, ENCODER, &mut student, &source)?;
        Self::assemble(spec.clone(), backbone.clone(), batch, vit, student, &source)
    }

    /// Adds heads and a momentum encoder to an encoder that lies in `student` behind `encoder.`.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn assemble(
        spec: UpReidSpec,
        backbone: VitSpec,
        batch: usize,
        vit: Vit,
        mut student: ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let device = student.device().clone();
        let (width, layer) = (vit.dims().width, vit.dims().depth + 1);
        let place = |prefix| Place { prefix, layer, source };
        let or_width = |hidden| if hidden == 0 { width } else { hidden };
        if spec.freeze_patch_embed {
            student.freeze(&format!("{ENCODER}patch_embed"));
        }
        let strip_head = if spec.strips.weight > 0.0 {
            Some(Mlp::build([width, width, spec.dim], place("strip_head."), &mut student)?)
        } else {
            None
        };
        let (contrast, teacher) = match spec.variant {
            ContrastVariant::Queue(settings) => {
                let head = Mlp::build([width, or_width(settings.hidden), spec.dim], place("head."), &mut student)?;
                let queue = Queue::random(settings.size, spec.dim, source, &device)?;
                (Contrast::Queue { head, queue }, student.duplicate()?)
            }
            ContrastVariant::InBatch(settings) => {
                let (hidden, dim) = (or_width(settings.hidden), spec.dim);
                let projector = NormedMlp::build(&[width, hidden, hidden, dim], place("head."), &mut student)?;
                // The momentum encoder ends before the predictor, which is the trained encoder's alone.
                let teacher = student.duplicate()?;
                let predictor = NormedMlp::build(&[dim, hidden, dim], place("predictor."), &mut student)?;
                let norms = (
                    Norms::new(projector.norms().chain(predictor.norms()), &device)?,
                    Norms::new(projector.norms(), &device)?,
                );
                (Contrast::InBatch { projector, predictor, student: norms.0, teacher: norms.1 }, teacher)
            }
        };
        Ok(Self { spec, backbone, batch, vit, student, teacher, contrast, strip_head, device })
    }

    fn pictures(&self, batch: &ViewBatch) -> Result<Pictures> {
        let image = |view| view_tensor(batch, view, &self.device);
        let original = if self.spec.needs_original() { Some(image(ORIGINAL)?) } else { None };
        Ok(Pictures { query: image(QUERY)?, key: image(KEY)?, original })
    }

    /// Class tokens of whole pictures.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`; output: `[b, d]`
    fn encode(&self, params: &Params, images: &Tensor) -> Result<Tensor> {
        Ok(self.vit.forward(params, images, &Input::default())?.class()?)
    }

    /// The same of the trained encoder, with stochastic depth, and how many tokens went through it.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`; output: `[b, d]`
    fn encode_trained(&self, images: &Tensor, view: usize, batch: &ViewBatch, clock: Clock) -> Result<(Tensor, usize)> {
        let sequences: Vec<(u32, u16)> = batch.draws.iter().map(|&draw| (draw, view as u16)).collect();
        let depth = self.vit.dims().depth;
        let drops = drop_paths_of(self.backbone.drop_path, depth, clock.seed, clock.epoch, &sequences);
        let input = Input { drop_path: drops.as_deref(), ..Input::default() };
        let tokens = self.vit.forward(&self.student.training(), images, &input)?;
        Ok((tokens.class()?, tokens.all.dim(0)? * tokens.all.dim(1)?))
    }

    fn between(&self, pictures: &Pictures, batch: &ViewBatch, clock: Clock) -> Result<Between> {
        let (student, teacher) = (self.student.training(), self.teacher.frozen());
        let temperature = self.spec.contrast.temperature;
        let consistent = |original: &Similarities, augmented: &Similarities| {
            consistency(&original.to_others()?, &augmented.to_others()?, self.spec.consistency.temperature)
        };
        let original = pictures.original.as_ref().filter(|_| self.spec.consistency.weight > 0.0);
        let original = original.map(|images| self.encode(&teacher, images)).transpose()?; // [b, d]
        let (features, mut tokens) = self.encode_trained(&pictures.query, QUERY, batch, clock)?; // [b, d]
        Ok(match &self.contrast {
            Contrast::Queue { head, queue } => {
                let query = l2_normalize(&head.forward(&student, &features)?)?; // [b, dim]
                let of_teacher =
                    |features: &Tensor| Ok::<_, crate::TaskError>(l2_normalize(&head.forward(&teacher, features)?)?);
                let key = of_teacher(&self.encode(&teacher, &pictures.key)?)?; // [b, dim]
                let similarities = Similarities::with_queue(&query, &key, queue.keys())?; // [b, 1 + k]
                let consistency = match original {
                    Some(original) => {
                        // Its own key is left out again: consistency looks at others only.
                        let original = Similarities::with_queue(&of_teacher(&original)?, &key, queue.keys())?;
                        Some(consistent(&original, &similarities)?)
                    }
                    None => None,
                };
                Between {
                    contrast: similarities.info_nce(temperature)?,
                    consistency,
                    accuracy: similarities.accuracy()?,
                    features,
                    tokens,
                    carried: vec![("keys", key)],
                }
            }
            Contrast::InBatch { projector, predictor, .. } => {
                let mut carried = Vec::new();
                let (other, of_other) = self.encode_trained(&pictures.key, KEY, batch, clock)?; // [b, d]
                tokens += of_other;
                let mut queries = Vec::with_capacity(2);
                for features in [&features, &other] {
                    let (projected, of_projector) = projector.forward(&student, features)?;
                    let (predicted, of_predictor) = predictor.forward(&student, &projected)?;
                    queries.push(l2_normalize(&predicted)?); // [b, dim]
                    carried.extend(of_projector.into_iter().chain(of_predictor).flat_map(carry));
                }
                let mut keys = Vec::with_capacity(2);
                for images in [&pictures.query, &pictures.key] {
                    let (projected, stats) = projector.forward(&teacher, &self.encode(&teacher, images)?)?;
                    keys.push(l2_normalize(&projected)?); // [b, dim]
                    carried.extend(stats.into_iter().flat_map(carry));
                }
                // The original is no view of the contrast: its pass moves no statistics.
                let original = original
                    .map(|features| {
                        Ok::<_, crate::TaskError>(l2_normalize(&projector.forward(&teacher, &features)?.0)?)
                    })
                    .transpose()?;
                let crossed = [(&queries[0], &keys[1]), (&queries[1], &keys[0])];
                let mut both = Vec::with_capacity(2);
                let mut divergences = Vec::with_capacity(2);
                for (query, key) in crossed {
                    let similarities = Similarities::in_batch(query, key)?; // [b, b]
                    if let Some(original) = &original {
                        divergences.push(consistent(&Similarities::in_batch(original, key)?, &similarities)?);
                    }
                    both.push(similarities);
                }
                let losses = (both[0].info_nce(temperature)? + both[1].info_nce(temperature)?)?;
                let consistency = match divergences.as_slice() {
                    [first, second] => Some(((first + second)? / 2.0)?),
                    _ => None,
                };
                Between {
                    contrast: (losses * (2.0 * temperature))?,
                    consistency,
                    accuracy: ((both[0].accuracy()? + both[1].accuracy()?)? / 2.0)?,
                    features,
                    tokens,
                    carried,
                }
            }
        })
    }

    /// The loss of the strips, if they have a weight, and how many tokens went through the trained encoder.
    fn within(&self, pictures: &Pictures, batch: &ViewBatch, clock: Clock) -> Result<Option<(Tensor, usize)>> {
        let Some(head) = &self.strip_head else { return Ok(None) };
        let (student, teacher) = (self.student.training(), self.teacher.frozen());
        let count = self.spec.strips.count;
        let strips = |params: &Params, images: &Tensor, drop_path| -> Result<(Tensor, usize)> {
            let input = Input { split: Some(count), drop_path, ..Input::default() };
            let tokens = self.vit.forward(params, images, &input)?;
            let unit = l2_normalize(&head.forward(params, &tokens.class()?)?)?; // [b * m, dim]
            let passed = tokens.all.dim(0)? * tokens.all.dim(1)?;
            Ok((unit.reshape((batch.len(), count, self.spec.dim))?, passed))
        };
        let of_draw = |&draw: &u32| (0..count as u16).map(move |strip| (draw, FIRST_STRIP + strip));
        let sequences: Vec<(u32, u16)> = batch.draws.iter().flat_map(of_draw).collect();
        let depth = self.vit.dims().depth;
        let drops = drop_paths_of(self.backbone.drop_path, depth, clock.seed, clock.epoch, &sequences);
        let (anchor, tokens) = strips(&student, &pictures.query, drops.as_deref())?; // [b, m, dim]
        let mut others = vec![strips(&teacher, &pictures.key, None)?.0];
        if let Some(original) = pictures.original.as_ref().filter(|_| self.spec.strips.original) {
            others.push(strips(&teacher, original, None)?.0);
        }
        Ok(Some((strip_loss(&anchor, &others, &self.spec.strips)?, tokens)))
    }
}

/// A normalisation's statistics as a step hands them on.
fn carry(stats: BatchStats) -> [(&'static str, Tensor); 2] {
    [("mean", stats.mean), ("variance", stats.variance)]
}

/// The statistics that [`carry`] handed on.
fn carried_stats(carried: &[(&'static str, Tensor)]) -> Vec<BatchStats> {
    let stats =
        |pair: &[(&'static str, Tensor); 2]| BatchStats { mean: pair[0].1.clone(), variance: pair[1].1.clone() };
    carried.as_chunks::<2>().0.iter().map(stats).collect()
}

impl Task for UpReid {
    fn views(&self) -> ViewPlan {
        let size = Size(self.backbone.image[0], self.backbone.image[1]);
        let original = ViewSpec { filter: self.spec.filter, ..ViewSpec::whole(size, self.spec.normalisation) };
        let augmented = |augment: &ContrastAugment| ViewSpec {
            crop: Crop::RandomResized { scale: augment.scale, ratio: augment.ratio },
            flip: augment.flip,
            photometric: augment.photometric,
            erasing: (augment.erasing.probability > 0.0).then_some(augment.erasing),
            ..original.clone()
        };
        let mut views = vec![augmented(&self.spec.query), augmented(&self.spec.key)];
        if self.spec.needs_original() {
            views.push(original);
        }
        ViewPlan { views, shared_flip: 0.0 }
    }

    /// With a queue, a picture is compared with earlier batches only; in the batch, with the others.
    fn couples_samples(&self) -> bool {
        matches!(self.contrast, Contrast::InBatch { .. })
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        Ok(unlabelled_epoch(services, self.batch, epoch, seed))
    }

    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput> {
        let pictures = self.pictures(batch)?;
        let between = self.between(&pictures, batch, clock)?;
        let mut loss = (&between.contrast * self.spec.contrast.weight)?;
        let mut stats = vec![(MetricKey::LossContrast, between.contrast.detach())];
        let mut tokens = between.tokens;
        if let Some(consistency) = between.consistency {
            loss = (loss + (&consistency * self.spec.consistency.weight)?)?;
            stats.push((MetricKey::LossConsistency, consistency.detach()));
        }
        if let Some((strips, of_strips)) = self.within(&pictures, batch, clock)? {
            let run = RunLength { steps: clock.steps, epochs: clock.epochs };
            let weight = self.spec.strips.weight * ramp(self.spec.strips.warmup, clock.step, run);
            loss = (loss + (&strips * weight)?)?;
            stats.push((MetricKey::LossStrips, strips.detach()));
            tokens += of_strips;
        }
        stats.push((MetricKey::ContrastAccuracy, between.accuracy));
        if let Contrast::Queue { queue, .. } = &self.contrast {
            stats.push((MetricKey::QueueAge, Tensor::new(queue.age(clock.step) as f32, &self.device)?));
        }
        stats.extend(health::of(&between.features)?);
        Ok(StepOutput { loss, stats, tokens, carried: between.carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], clock: Clock) -> Result<()> {
        let run = RunLength { steps: clock.steps, epochs: clock.epochs };
        // What is averaged now makes the keys of the next step, so its momentum is due.
        ema_update(&self.teacher, &self.student, teacher_momentum(self.spec.momentum, clock.step + 1, run))?;
        for output in outputs {
            match &mut self.contrast {
                Contrast::Queue { queue, .. } => {
                    let [(_, keys)] = output.carried.as_slice() else {
                        unreachable!("every step with a queue carries its keys")
                    };
                    queue.push(keys, clock.step)?;
                }
                Contrast::InBatch { projector, predictor, student, teacher } => {
                    let stats = carried_stats(&output.carried);
                    let of_teacher = projector.norms().count();
                    let of_student = of_teacher + predictor.norms().count();
                    let (first, second) = stats.split_at(2 * of_student);
                    first.chunks_exact(of_student).try_for_each(|pass| student.update(pass))?;
                    second.chunks_exact(of_teacher).try_for_each(|pass| teacher.update(pass))?;
                }
            }
        }
        Ok(())
    }

    fn set_compute(&mut self, compute: Compute) {
        self.student.set_compute(compute);
        self.teacher.set_compute(compute);
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
        let mut state =
            State { tensors: self.teacher.buffers("teacher.")?.into_iter().collect(), scalars: BTreeMap::new() };
        match &self.contrast {
            Contrast::Queue { queue, .. } => queue.save(&mut state)?,
            Contrast::InBatch { student, teacher, .. } => {
                state.tensors.extend(student.tensors("student."));
                state.tensors.extend(teacher.tensors("teacher."));
            }
        }
        Ok(state)
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.teacher.restore("teacher.", &state.tensors)?;
        match &mut self.contrast {
            Contrast::Queue { queue, .. } => queue.restore(state),
            Contrast::InBatch { student, teacher, .. } => {
                student.restore("student.", &state.tensors)?;
                teacher.restore("teacher.", &state.tensors)
            }
        }
    }

    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(weights::with_prefix(&self.student, ENCODER)?)
    }
}
