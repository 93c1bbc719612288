//! Self-distillation with masked patches: iBOT (arXiv 2111.07832), with which PersonViT (arXiv 2408.05398) is
//! pre-trained, and DINO (arXiv 2104.14294) as a case of it.
//!
//! A student sees two global views of a picture with some patches masked, and small local views; a teacher, its
//! moving average, sees the global views whole. The student's class token of every view is to agree with the
//! teacher's of the other global view, its masked patches with the teacher's patches at the same place.
//!
//! `L = w_dino / (v pairs) sum_(q != v) H(P_q, s_v) + w_mim / 2 sum_q mean_b [ sum_i m_i H(P_qi, s_qi) / max(1, sum_i
//! m_i) ]`, with `H` the cross-entropy at the two temperatures, q over global views, v over all views, i over patches.
//!
//! PersonViT has published weights and fine-tuning, not its pre-training: what it changes against iBOT is known from
//! the names of its runs only, so this is a reconstruction from iBOT's code, to whose numbers the tests hold it, not
//! a reproduction. `mim_weight: 0` without masks is DINO; with masks it is DINO on masked views; `dino_weight: 0` is
//! masked image modelling with an online teacher, for which nothing but the balance of targets forbids a collapse.
//!
//! Against the authors' code: only masked patches go through the student's head, and through the teacher's last
//! layer, whose mean output, being linear, is taken from the mean of its inputs. The same numbers, less work.

mod cost;
mod head;
mod loss;
pub mod spec;
mod targets;

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Device, Tensor};
use reid_backbones::init::{Init, InitSource};
use reid_backbones::optim::ema_update;
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Compute, DropPath, Encoder, Input, MaskedPatches, ModuleId, ParamStore, Tokens, Vit, weights};
use reid_data::plan::EpochPlan;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::Size;
use reid_data::views::{Crop, ViewBatch, ViewPlan, ViewSpec};

pub use cost::cost;
pub use head::DinoHead;
pub use loss::{class_loss, patch_loss};
use spec::{Balance, MimDinoSpec, MimMaskKind};
pub use targets::{Centers, distributions, entropy, moved, sinkhorn};

use crate::error::{Result, TaskError};
use crate::health;
use crate::math::mask::{BlockLaw, Draws, Grid, random_mask};
use crate::math::schedule::{RunLength, teacher_momentum, temperature};
use crate::metric::MetricKey;
use crate::protocols::model::Pooled;
use crate::protocols::{ENCODER, evaluation};
use crate::random::{drop_paths, init_source};
use crate::spec::{Duration, EvaluationSpec, Pooling};
use crate::task::{Clock, Evaluated, Services, State, StepOutput, Task, unlabelled_epoch};

/// Raised whenever the numbers that this objective gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// Global views of a picture.
const GLOBALS: usize = 2;
/// Names under which a batch's mean outputs go from a step to the update of the centers.
const CARRIED: [&str; 2] = ["class_mean", "patch_mean"];
/// Names of the centers in checkpoints.
const SAVED: [&str; 2] = ["center", "patch_center"];

/// The objective with its student, teacher and centers.
pub struct MimDino {
    spec: MimDinoSpec,
    backbone: VitSpec,
    batch: usize,
    vit: Vit,
    head: DinoHead,
    /// What stands in for masked patches, `[1, d]`.
    mask_token: ModuleId,
    student: ParamStore,
    teacher: ParamStore,
    centers: Centers,
    device: Device,
}

/// Views of a batch on the device, view outermost.
#[derive(Clone, Debug)]
pub struct Crops {
    /// `[2 b, 3, h, w]`.
    pub globals: Tensor,
    /// `[l b, 3, h', w']`.
    pub locals: Option<Tensor>,
}

/// Temperatures of the teacher's outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperatures {
    /// Of class tokens.
    pub class: f64,
    /// Of patches.
    pub patch: f64,
}

/// What one batch gives.
#[derive(Debug)]
pub struct Losses {
    /// Class-token term, scalar, before its weight.
    pub class: Option<Tensor>,
    /// Masked-patch term, scalar, before its weight; none where no patch is masked.
    pub patch: Option<Tensor>,
    /// `[2 b, prototypes]`, the teacher's outputs of class tokens.
    pub teacher_class: Tensor,
    /// `[2 b, prototypes]`, its distributions.
    pub targets: Tensor,
    /// `[(2 + l) b, prototypes]`, the student's outputs of class tokens.
    pub student_class: Option<Tensor>,
    /// `[1, prototypes]`, mean of the teacher's outputs of class tokens.
    pub class_mean: Tensor,
    /// `[1, patch prototypes]`, mean of the teacher's outputs of patches, where they are centered.
    pub patch_mean: Option<Tensor>,
    /// The student's tokens of the global views.
    pub tokens: Tokens,
    /// Tokens that went through the student's encoder.
    pub encoded: usize,
}

impl MimDino {
    /// Builds student and teacher; initial values depend on (seed, parameter name).
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(spec: &MimDinoSpec, backbone: &VitSpec, batch: usize, seed: u64, device: &Device) -> Result<Self> {
        let source = init_source(seed);
        let mut student = ParamStore::new(device);
        let vit = Vit::build(backbone, ENCODER, &mut student, &source)?;
        Self::assemble(spec.clone(), backbone.clone(), batch, vit, student, &source)
    }

    /// Adds a head, a mask token and a teacher to an encoder that lies in `student` behind `encoder.`.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn assemble(
        spec: MimDinoSpec,
        backbone: VitSpec,
        batch: usize,
        vit: Vit,
        mut student: ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let device = student.device().clone();
        let dims = vit.dims();
        let head = DinoHead::build(&spec.head, dims.width, dims.depth + 1, &mut student, source)?;
        let teacher = student.duplicate()?;
        let token = ParamDef { name: "", shape: vec![1, dims.width], role: Role::Token, init: Init::Constant(0.0) };
        let mask_token = student.add("masked_embed", 0, &[token], source)?;
        let patch_prototypes = match spec.head.patch_prototypes {
            0 => spec.head.prototypes,
            own => own,
        };
        let centers = Centers::zeros(spec.head.prototypes, patch_prototypes, &device)?;
        Ok(Self { spec, backbone, batch, vit, head, mask_token, student, teacher, centers, device })
    }

    /// The teacher.
    pub fn teacher(&self) -> &ParamStore {
        &self.teacher
    }

    /// Running means of the teacher's outputs.
    pub fn centers(&self) -> &Centers {
        &self.centers
    }

    /// The terms of the loss for given views and masks.
    ///
    /// # Shapes
    /// - `hidden`: `[2 b, n]`, whether a patch of a global view is masked
    ///
    /// # Errors
    /// If candle refuses.
    pub fn losses(
        &self,
        crops: &Crops,
        hidden: &[bool],
        temperatures: Temperatures,
        drop_path: Option<&DropPaths>,
    ) -> Result<Losses> {
        let params = self.student.training();
        let teacher = self.teacher.frozen();
        let seen = self.vit.forward(&teacher, &crops.globals, &Input::default())?;
        let teacher_class = self.head.class_logits(&teacher, &self.head.embed(&teacher, &seen.class()?)?)?;
        let targets = distributions(self.spec.balance, &teacher_class, &self.centers.class, temperatures.class)?;

        let token = params.tensor(self.mask_token)?.unsqueeze(0)?; // [1, 1, d]
        let mask = hidden.contains(&true).then_some(MaskedPatches { hidden, token: &token });
        let input = Input { mask, drop_path: drop_path.map(|d| &d.globals[..]), ..Input::default() };
        let tokens = self.vit.forward(&params, &crops.globals, &input)?;
        let mut encoded = tokens.all.dim(0)? * tokens.all.dim(1)?;

        let mut losses = Losses {
            class: None,
            patch: None,
            class_mean: teacher_class.mean_keepdim(0)?,
            teacher_class,
            targets,
            student_class: None,
            patch_mean: None,
            tokens,
            encoded: 0,
        };
        if self.spec.dino_weight > 0.0 {
            let mut class = vec![losses.tokens.class()?];
            if let Some(locals) = &crops.locals {
                let input = Input { drop_path: drop_path.map(|d| &d.locals[..]), ..Input::default() };
                let tokens = self.vit.forward(&params, locals, &input)?;
                encoded += tokens.all.dim(0)? * tokens.all.dim(1)?;
                class.push(tokens.class()?);
            }
            let class = if class.len() == 1 { class.remove(0) } else { Tensor::cat(&class, 0)? }; // [v b, d]
            let logits = self.head.class_logits(&params, &self.head.embed(&params, &class)?)?;
            losses.class = Some(class_loss(&logits, &losses.targets, self.spec.student_temperature)?);
            losses.student_class = Some(logits);
        }
        if self.spec.mim_weight > 0.0 {
            self.patch_term(&mut losses, &seen, hidden, temperatures.patch)?;
        }
        losses.encoded = encoded;
        Ok(losses)
    }

    /// The term of masked patches, and the mean of the teacher's patches.
    fn patch_term(&self, losses: &mut Losses, seen: &Tokens, hidden: &[bool], temperature: f64) -> Result<()> {
        let (params, teacher) = (self.student.training(), self.teacher.frozen());
        let flat = |tokens: &Tokens| -> Result<Tensor> {
            let patches = tokens.patches()?;
            Ok(patches.flatten(0, 1)?) // [2 b n, d]
        };
        let masked: Vec<u32> = (0..).zip(hidden).filter(|&(_, &hidden)| hidden).map(|(i, _)| i).collect();
        let count = masked.len();
        let rows = Tensor::from_vec(masked, count, &self.device)?;
        let theirs = flat(seen)?;
        let theirs = if matches!(self.spec.balance, Balance::Centering(_)) {
            let all = self.head.embed(&teacher, &theirs)?; // [2 b n, bottleneck]
            losses.patch_mean = Some(self.head.patch_logits(&teacher, &all.mean_keepdim(0)?)?);
            (count > 0).then(|| all.index_select(&rows, 0)).transpose()?
        } else if count > 0 {
            Some(self.head.embed(&teacher, &theirs.index_select(&rows, 0)?)?)
        } else {
            None
        };
        let Some(theirs) = theirs else { return Ok(()) };
        let logits = self.head.patch_logits(&teacher, &theirs)?; // [m, patch prototypes]
        let targets = distributions(self.spec.balance, &logits, &self.centers.patch, temperature)?;
        let ours = flat(&losses.tokens)?.index_select(&rows, 0)?; // [m, d]
        let ours = self.head.patch_logits(&params, &self.head.embed(&params, &ours)?)?;
        let views = losses.targets.dim(0)?;
        losses.patch = Some(patch_loss(&ours, &targets, hidden, views, self.spec.student_temperature)?);
        Ok(())
    }

    fn run(clock: Clock) -> RunLength {
        RunLength { steps: clock.steps, epochs: clock.epochs }
    }

    /// Whole epochs of a length.
    fn epochs(duration: Duration, clock: Clock) -> usize {
        let per_epoch = clock.steps as f64 / clock.epochs;
        (Self::run(clock).steps_of(duration) / per_epoch).round() as usize
    }

    /// Masks of a batch, keyed by each sample's draw and view.
    ///
    /// # Shapes
    /// - output: `[2 b, n]`, view outermost
    fn masks(&self, draws: &[u32], clock: Clock) -> Vec<bool> {
        let (rows, cols) = self.vit.grid();
        let grid = Grid { rows, cols };
        let begun = clock.epoch >= Self::epochs(self.spec.mim_start, clock);
        let mut hidden = Vec::with_capacity(GLOBALS * draws.len() * grid.cells());
        for view in 0..GLOBALS {
            for &draw in draws {
                let view = view as u16;
                let key = Key { seed: clock.seed, stream: Stream::Mask, epoch: clock.epoch as u32, draw, view };
                let mut rng = Rng::new(key);
                if begun {
                    hidden.extend(draw_mask(&self.spec, grid, &mut rng));
                } else {
                    hidden.extend(std::iter::repeat_n(false, grid.cells()));
                }
            }
        }
        hidden
    }

    fn crops(&self, batch: &ViewBatch) -> Result<Crops> {
        let locals = self.spec.used_locals();
        Ok(Crops {
            globals: stacked(batch, 0..GLOBALS, &self.device)?,
            locals: (locals > 0).then(|| stacked(batch, GLOBALS..GLOBALS + locals, &self.device)).transpose()?,
        })
    }

    fn local_size(&self) -> Size {
        let [h, w] = self.spec.views.local_size(self.backbone.image);
        Size(h, w)
    }
}

/// Stochastic depth of a batch's views, one entry per block each.
#[derive(Clone, Debug)]
pub struct DropPaths {
    /// Of `[2 b]` global views.
    pub globals: Vec<DropPath>,
    /// Of `[l b]` local views.
    pub locals: Vec<DropPath>,
}

/// Hides patches of one view: draws a ratio for each entry, chooses an entry, then places blocks or single cells
/// (iBOT's order of random choices).
///
/// # Shapes
/// - output: `[n]`, row-major
pub fn draw_mask(spec: &MimDinoSpec, grid: Grid, draws: &mut impl Draws) -> Vec<bool> {
    let ratios = &spec.mask.ratios;
    let drawn: Vec<f64> = ratios
        .iter()
        .map(|ratio| {
            if ratio.spread > 0.0 {
                draws.real(ratio.mean - ratio.spread, ratio.mean + ratio.spread)
            } else {
                ratio.mean
            }
        })
        .collect();
    let chosen = if drawn.len() > 1 { drawn[draws.choice(drawn.len())] } else { drawn[0] };
    let target = chosen.max(0.0) * grid.cells() as f64;
    match spec.mask.kind {
        MimMaskKind::Block => BlockLaw::ibot(grid).draw(draws, grid, target).hidden,
        MimMaskKind::Random => random_mask(draws, grid.cells(), (target as usize).min(grid.cells())).hidden,
    }
}

/// Views of a batch as one tensor.
///
/// # Shapes
/// - output: `[v b, 3, h, w]`, view outermost
fn stacked(batch: &ViewBatch, views: Range<usize>, device: &Device) -> Result<Tensor> {
    // Views of one size lie one behind the other in their group.
    let (group, at) = batch.find(views.start);
    let Size(h, w) = group.size;
    let (count, len) = (views.len() * batch.len(), 3 * h * w);
    let first = at * batch.len() * len;
    Ok(Tensor::from_slice(&group.pixels[first..first + count * len], (count, 3, h, w), device)?)
}

impl Task for MimDino {
    fn views(&self) -> ViewPlan {
        let spec = &self.spec.views;
        let view = |size, scale, photometric| ViewSpec {
            size,
            crop: Crop::RandomResized { scale, ratio: spec.ratio },
            filter: spec.filter,
            flip: spec.flip,
            photometric,
            normalisation: spec.normalisation,
            erasing: None,
        };
        let global = Size(self.backbone.image[0], self.backbone.image[1]);
        let mut views = vec![view(global, spec.global_scale, spec.first), view(global, spec.global_scale, spec.second)];
        let local = view(self.local_size(), spec.local_scale, spec.local);
        views.extend(std::iter::repeat_n(local, self.spec.used_locals()));
        ViewPlan { views, shared_flip: 0.0 }
    }

    fn couples_samples(&self) -> bool {
        // Centers are those before the step, so only Sinkhorn compares the samples of a batch.
        matches!(self.spec.balance, Balance::Sinkhorn(_))
    }

    fn begin_epoch(&mut self, epoch: usize, seed: u64, services: &dyn Services) -> Result<EpochPlan> {
        Ok(unlabelled_epoch(services, self.batch, epoch, seed))
    }

    fn step(&self, batch: &ViewBatch, clock: Clock) -> Result<StepOutput> {
        let (run, spec) = (Self::run(clock), &self.spec);
        let temperatures = Temperatures {
            class: temperature(spec.teacher_temperature, Duration::Steps(0.0), clock.epoch, run),
            patch: temperature(spec.patch_temperature, spec.mim_start, clock.epoch, run),
        };
        let hidden = self.masks(&batch.draws, clock);
        let depth = self.vit.dims().depth;
        let drops = |views: Range<usize>| {
            let views = views.start as u16..views.end as u16;
            drop_paths(self.backbone.drop_path, depth, clock.seed, clock.epoch, &batch.draws, views)
        };
        let drop_path = match (drops(0..GLOBALS), drops(GLOBALS..GLOBALS + spec.used_locals())) {
            (Some(globals), Some(locals)) => Some(DropPaths { globals, locals }),
            _ => None,
        };
        let losses = self.losses(&self.crops(batch)?, &hidden, temperatures, drop_path.as_ref())?;

        let terms = [(&losses.class, spec.dino_weight), (&losses.patch, spec.mim_weight)];
        let mut loss = None;
        for (term, weight) in terms {
            let Some(term) = term else { continue };
            let term = (term * weight)?;
            loss = Some(match loss {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        // A batch in which no patch is masked and no class token counts has nothing to learn from.
        let loss = match loss {
            Some(loss) => loss,
            None => (losses.tokens.all.sum_all()? * 0.0)?,
        };
        let share = hidden.iter().filter(|&&hidden| hidden).count() as f32 / hidden.len() as f32;
        let class = losses.tokens.class()?;
        let mut stats = vec![
            (MetricKey::TeacherEntropy, entropy(&losses.targets)?),
            (MetricKey::CenterNorm, self.centers.class.sqr()?.sum_all()?.sqrt()?),
            (MetricKey::MaskedShare, Tensor::new(share, &self.device)?),
        ];
        stats.extend(health::of(&class.narrow(0, 0, batch.len())?)?);
        stats.extend(losses.class.map(|loss| (MetricKey::LossDino, loss.detach())));
        stats.extend(losses.patch.map(|loss| (MetricKey::LossMim, loss.detach())));
        let mut carried = vec![(CARRIED[0], losses.class_mean)];
        carried.extend(losses.patch_mean.map(|mean| (CARRIED[1], mean)));
        Ok(StepOutput { loss, stats, tokens: losses.encoded, carried })
    }

    fn after_step(&mut self, outputs: &[StepOutput], clock: Clock) -> Result<()> {
        let momentum = teacher_momentum(self.spec.teacher_momentum, clock.step, Self::run(clock));
        ema_update(&self.teacher, &self.student, momentum)?;
        let Balance::Centering(centering) = self.spec.balance else { return Ok(()) };
        let mean = |name: &str| -> Result<Option<Tensor>> {
            let of = |output: &StepOutput| output.carried.iter().find(|(n, _)| *n == name).map(|(_, t)| t.detach());
            let means: Vec<Tensor> = outputs.iter().filter_map(of).collect();
            if means.is_empty() { Ok(None) } else { Ok(Some(Tensor::cat(&means, 0)?.mean_keepdim(0)?)) }
        };
        if let Some(mean) = mean(CARRIED[0])? {
            self.centers.class = moved(&self.centers.class, &mean, centering.momentum)?;
        }
        if let Some(mean) = mean(CARRIED[1])? {
            self.centers.patch = moved(&self.centers.patch, &mean, centering.patch_momentum)?;
        }
        Ok(())
    }

    fn held(&self, clock: Clock) -> Vec<ModuleId> {
        if clock.epoch < Self::epochs(self.spec.freeze_last_layer, clock) {
            self.head.last_layers()
        } else {
            Vec::new()
        }
    }

    fn set_compute(&mut self, compute: Compute) {
        self.student.set_compute(compute);
        self.teacher.set_compute(compute);
    }

    fn evaluated(&self) -> Evaluated<'_> {
        let evaluation = EvaluationSpec::default();
        Evaluated {
            model: Box::new(Pooled { vit: &self.vit, store: &self.teacher, pooling: Pooling::Cls }),
            views: evaluation::views(&evaluation, &self.backbone, self.spec.views.normalisation),
            spec: evaluation,
        }
    }

    fn trainable(&self) -> &ParamStore {
        &self.student
    }

    fn save(&self) -> Result<State> {
        let mut tensors: BTreeMap<String, Tensor> = self.teacher.buffers("teacher.")?.into_iter().collect();
        tensors.insert(SAVED[0].to_owned(), self.centers.class.clone());
        tensors.insert(SAVED[1].to_owned(), self.centers.patch.clone());
        Ok(State { tensors, scalars: BTreeMap::new() })
    }

    fn load(&mut self, state: &State) -> Result<()> {
        self.teacher.restore("teacher.", &state.tensors)?;
        for (name, center) in SAVED.into_iter().zip([&mut self.centers.class, &mut self.centers.patch]) {
            let saved = state.tensors.get(name).ok_or_else(|| TaskError::MissingState { name: name.to_owned() })?;
            *center = saved.to_device(&self.device)?.reshape(center.shape())?;
        }
        Ok(())
    }

    /// The teacher's encoder, which is what DINO and its descendants use downstream.
    fn product(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(weights::with_prefix(&self.teacher, ENCODER)?)
    }
}
