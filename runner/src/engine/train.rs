//! The one train loop. Objectives and protocols are the same to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use reid_backbones::Gradients;
use reid_backbones::optim::{Course, Optimizer};
use reid_data::dataset::Split;
use reid_data::loader::{Loader, LoaderSettings, Tail};
use reid_data::plan::EpochPlan;
use reid_data::views::ViewBatch;
use reid_objectives::TaskError;
use reid_objectives::budget::Length;
use reid_objectives::math::schedule::{RunLength, learning_rate, weight_decay};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::evaluation;
use reid_objectives::spec::{ClipScope, LrScaling, TrainSpec};
use reid_objectives::task::{Clock, Services, StepOutput, Task};

use super::checkpoint::{self, Position, Recorded, Spent};
use super::live::Onlookers;
use super::saver::Saver;
use super::snapshots::Snapshots;
use super::window::{flush, record};
use super::{DataServices, Machine, OpenData, health};
use crate::exit::RunError;
use crate::signals::Interrupt;
use crate::store::Lease;
use crate::store::checkpoints::{Checkpoint, CheckpointStore, Latest};

/// Raised whenever the loop's numbers change: clipping, accumulation, the order of updates.
pub(super) const ALGORITHM_VERSION: u32 = 1;
/// Finished batches that may wait per loader thread.
const QUEUE: usize = 4;

/// Steps of a trial before its clock runs.
const TRIAL_WARM_UP: usize = 3;
/// Fewest steps and least time that the clock of a trial runs.
const TRIAL_STEPS: usize = 4;
const TRIAL_TIME: Duration = Duration::from_secs(4);

/// Why a training ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrainError {
    /// A signal; the latest checkpoint tells how far the work is.
    #[error("interrupted")]
    Interrupted,
    /// The loss or its gradient is no number; nothing after the last sound step is kept.
    #[error("{what} is {value} at step {step} (epoch {epoch}); lower the learning rate or clip gradients; {kept}")]
    NotFinite {
        /// Loss, or norm of the gradient.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Optimizer step, from 0.
        step: usize,
        /// Epoch, from 0.
        epoch: usize,
        /// What is left of the training, in words.
        kept: String,
    },
    /// The task, its data or its tensors.
    #[error(transparent)]
    Task(TaskError),
    /// The store, or a fault of ours.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl From<TaskError> for TrainError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Interrupted => Self::Interrupted,
            other => Self::Task(other),
        }
    }
}

/// What a training stage runs with.
pub(super) struct Training<'a> {
    /// Length, batch, rate and rule.
    pub(super) spec: &'a TrainSpec,
    /// Optimizer steps, where they and not the epochs say how long.
    pub(super) steps: Option<usize>,
    /// Seed of all random numbers.
    pub(super) seed: u64,
    /// Data.
    pub(super) data: &'a Arc<OpenData>,
    /// Split whose pictures the plans index.
    pub(super) split: Split,
    /// What computes.
    pub(super) machine: &'a Machine,
    /// Set by a signal.
    pub(super) interrupt: &'a Interrupt,
    /// Encoders to keep on the way.
    pub(super) snapshots: &'a Snapshots,
}

/// What a finished training leaves besides the task itself.
pub(super) struct Report {
    pub(super) position: Position,
}

impl Training<'_> {
    /// Trains to the end, from the latest checkpoint in the lease's folder if there is one. `onlookers` are told of it
    /// once the length is known.
    pub(super) fn run(
        &self,
        task: &mut dyn Task,
        lease: &Lease,
        onlookers: &Onlookers<'_>,
    ) -> Result<Report, TrainError> {
        if task.couples_samples() && self.spec.accumulate > 1 {
            let problem =
                "the loss compares the samples of a batch, so accumulating batches would change it".to_owned();
            let remedy = "set `accumulate: 1` and a larger batch".to_owned();
            return Err(TaskError::Unsuitable { problem, remedy }.into());
        }
        let services = self.services();
        let mut optimizer = Optimizer::new(&self.spec.optim, task.trainable());
        let checkpoints = CheckpointStore::open(lease.dir()).map_err(RunError::from)?;
        let Latest { checkpoint, damaged: mut notes } = checkpoints.latest().map_err(RunError::from)?;
        let checkpoint = self.with_snapshots(checkpoint, lease, &mut notes)?;
        let resumed = self.resume(checkpoint, task, &mut optimizer)?;
        let (mut position, mut plan) = if let Some(resumed) = resumed {
            resumed
        } else {
            let plan = task.begin_epoch(0, self.seed, &services)?;
            let per_epoch = self.per_epoch(&plan)?;
            (Position { per_epoch, ..self.start() }, plan)
        };
        let run = self.run_length(position.per_epoch);
        let steps = run.steps;
        let mut shown = onlookers.begin(lease, steps, &position);
        for text in notes {
            shown.note(text);
        }
        if position.updates > 0 {
            shown.note(format_args!("resumed at step {} of {steps}", position.updates));
            for mark in &position.marks {
                shown.note(format_args!("{mark}: the result is marked"));
            }
        }
        if self.spec.evaluate_every.duration().is_some() && services.records(Split::ValidationQuery).is_empty() {
            let problem =
                "`evaluate_every` asks for evaluation points, but the data have no validation part".to_owned();
            let remedy = "hold out identities, such as `validation: {identities: 0.1}`, or leave it out".to_owned();
            return Err(TaskError::Unsuitable { problem, remedy }.into());
        }
        let every = run.steps_of(self.spec.checkpoint_every).max(1.0);
        let mut saver = Saver::new(lease, checkpoints, &position, every);

        // Where an evaluation point was interrupted, it comes first.
        if !self.evaluation_point(task, &services, &mut position, run)? {
            return Err(TrainError::Interrupted);
        }
        while !self.is_over(&position) {
            let loader = self.loader(&plan, task, &position)?;
            let mut batches = loader.into_iter();
            while self.goes_on(&position, &plan) {
                let clock = self.clock(&position, run);
                let loss = self
                    .update(task, &mut optimizer, &mut batches, clock, &mut position)
                    .map_err(|error| saver.with_kept(error))?;
                if let Some(mark) = position.collapse.take() {
                    shown.warn(format_args!("{mark}; {}", health::REMEDY));
                    position.marks.push(mark);
                }
                let rate = position.images as f64 / (saver.seconds() + f64::EPSILON);
                shown.step(clock.step as u64 + 1, loss, rate, &position);
                if self.interrupt.requested() || !self.evaluation_point(task, &services, &mut position, run)? {
                    saver.save(&mut position, &plan, task, &optimizer)?;
                    shown.pause(&position);
                    return Err(TrainError::Interrupted);
                }
                if self.goes_on(&position, &plan) && saver.is_due(&position) {
                    saver.save(&mut position, &plan, task, &optimizer)?;
                }
            }
            drop(batches);
            if position.in_epoch < plan.steps() / self.spec.accumulate {
                break; // A budget that ends inside the epoch.
            }
            position.epoch += 1;
            position.in_epoch = 0;
            // Before any checkpoint that is beyond this epoch.
            if self.snapshots.keep(task, lease.dir(), position.epoch, run)? {
                let (images, tokens, seconds) = (position.images, position.tokens, saver.seconds());
                position.kept.insert(position.epoch, Spent { images, tokens, seconds });
            }
            if !self.is_over(&position) {
                plan = task.begin_epoch(position.epoch, self.seed, &services)?;
                if saver.is_due(&position) {
                    saver.save(&mut position, &plan, task, &optimizer)?;
                }
            }
        }
        let last = position.updates - 1;
        let epoch = position.epoch - usize::from(position.in_epoch == 0);
        flush(&mut position, epoch, last);
        position.seconds = saver.seconds();
        let rate = position.images as f64 / position.seconds.max(f64::EPSILON);
        let took = crate::progress::short_duration(Duration::from_secs_f64(position.seconds));
        let waited = 100.0 * position.waited / position.seconds.max(f64::EPSILON);
        let text = format!("{} steps in {took}, {rate:.0} images/s, {waited:.1} % waiting for data", position.updates);
        shown.finish(&text, &position);
        Ok(Report { position })
    }

    /// Runs a few steps, writes a checkpoint, and keeps nothing. Returns seconds per picture drawn, the first steps left out, in
    /// which buffers are made.
    pub(super) fn trial(&self, task: &mut dyn Task) -> Result<f64, TrainError> {
        let services = self.services();
        let mut optimizer = Optimizer::new(&self.spec.optim, task.trainable());
        let mut plan = task.begin_epoch(0, self.seed, &services)?;
        let per_epoch = self.per_epoch(&plan)?;
        let mut position = Position { per_epoch, ..self.start() };
        let run = self.run_length(per_epoch);
        let (mut began, mut images) = (Instant::now(), 0);
        loop {
            let mut batches = self.loader(&plan, task, &position)?;
            while position.in_epoch < plan.steps() / self.spec.accumulate {
                if position.updates == TRIAL_WARM_UP {
                    (began, images) = (Instant::now(), position.images);
                }
                if position.updates >= TRIAL_WARM_UP + TRIAL_STEPS && began.elapsed() >= TRIAL_TIME {
                    let seconds = began.elapsed().as_secs_f64() / (position.images - images) as f64;
                    // A checkpoint belongs to the peak of memory.
                    let scratch = tempfile::NamedTempFile::new();
                    let scratch = scratch.map_err(|e| RunError::Unexpected(format!("a temporary file: {e}")))?;
                    checkpoint::write(scratch.path(), &position, &plan, task, &optimizer)?;
                    return Ok(seconds);
                }
                if self.interrupt.requested() {
                    return Err(TrainError::Interrupted);
                }
                let clock = self.clock(&position, run);
                self.update(task, &mut optimizer, &mut batches, clock, &mut position)?;
            }
            position.epoch += 1;
            position.in_epoch = 0;
            plan = task.begin_epoch(position.epoch, self.seed, &services)?;
        }
    }

    fn services(&self) -> DataServices {
        DataServices {
            data: Arc::clone(self.data),
            workers: self.machine.workers,
            device: self.machine.device.clone(),
            interrupt: self.interrupt.clone(),
        }
    }

    /// Optimizer steps of an epoch, at least one.
    fn per_epoch(&self, plan: &EpochPlan) -> Result<usize, TrainError> {
        let per_epoch = plan.steps() / self.spec.accumulate;
        if per_epoch == 0 {
            let (n, batch) = (plan.draws.len(), self.spec.batch * self.spec.accumulate);
            let problem = format!("an epoch has {n} pictures, but one optimizer step takes {batch}");
            let remedy = "use a smaller batch or more data".to_owned();
            return Err(TaskError::Unsuitable { problem, remedy }.into());
        }
        Ok(per_epoch)
    }

    /// Length of the whole training in epochs of `per_epoch` optimizer steps.
    fn run_length(&self, per_epoch: usize) -> RunLength {
        let length = self.length();
        RunLength { steps: length.steps(per_epoch), epochs: length.epochs(per_epoch) }
    }

    fn length(&self) -> Length {
        self.steps.map_or(Length::Epochs(self.spec.epochs), Length::Steps)
    }

    /// Whether all is done. Epochs may have unequal numbers of steps, so their count decides where it is given.
    fn is_over(&self, position: &Position) -> bool {
        match self.length() {
            Length::Epochs(epochs) => position.epoch >= epochs,
            Length::Steps(steps) => position.updates >= steps,
        }
    }

    /// Whether another step of this epoch follows.
    fn goes_on(&self, position: &Position, plan: &EpochPlan) -> bool {
        position.in_epoch < plan.steps() / self.spec.accumulate && !self.is_over(position)
    }

    fn start(&self) -> Position {
        Position {
            device: self.machine.class.to_owned(),
            instruction_set: self.machine.instruction_set.to_owned(),
            batch: self.spec.batch,
            ..Position::default()
        }
    }

    /// The latest checkpoint, if it was made on this class of device.
    fn resume(
        &self,
        latest: Option<Checkpoint>,
        task: &mut dyn Task,
        optimizer: &mut Optimizer,
    ) -> Result<Option<(Position, EpochPlan)>, TrainError> {
        let Some(found) = latest else { return Ok(None) };
        let (mut position, plan) = checkpoint::read(&found.path, task, optimizer)?;
        if position.device != self.machine.class {
            let (was, is, path) = (&position.device, self.machine.class, found.path.display());
            let text = format!(
                "the stage was begun on {was} and cannot be resumed on {is}; resume it there or delete its checkpoint: {path}"
            );
            return Err(RunError::Unexpected(text).into());
        }
        let instructions = self.machine.instruction_set;
        if position.instruction_set != instructions {
            position.marks.push(format!("resumed on {instructions} after {}", position.instruction_set));
            instructions.clone_into(&mut position.instruction_set);
        }
        Ok(Some((position, plan)))
    }

    /// The checkpoint, unless an encoder of an epoch before it is wanted and was not kept: then the training begins
    /// anew, and comes by the same bits to the same end.
    fn with_snapshots(
        &self,
        found: Option<Checkpoint>,
        lease: &Lease,
        notes: &mut Vec<String>,
    ) -> Result<Option<Checkpoint>, TrainError> {
        let Some(checkpoint) = &found else { return Ok(None) };
        if self.snapshots.files().is_empty() {
            return Ok(found);
        }
        let done = checkpoint::position(&checkpoint.path)?.epoch;
        let Some(epoch) = self.snapshots.missed(lease.dir(), done) else { return Ok(found) };
        notes.push(format!("begun anew: its encoder of epoch {epoch} is wanted, and was not kept on the way"));
        Ok(None)
    }

    fn loader(&self, plan: &EpochPlan, task: &dyn Task, position: &Position) -> Result<Loader, TrainError> {
        let settings = LoaderSettings {
            seed: self.seed,
            epoch: position.epoch as u32,
            start: position.in_epoch * self.spec.accumulate,
            tail: Tail::Drop,
            workers: self.machine.workers,
            queue: QUEUE,
        };
        let pictures = self.data.pictures(self.split).map_err(TaskError::from)?;
        let loader = Loader::new(pictures, Arc::new(plan.clone()), Arc::new(task.views()), settings);
        Ok(loader.map_err(TaskError::from)?)
    }

    /// Samplers may give epochs of unequal length; schedules see each as long as the first.
    fn clock(&self, position: &Position, run: RunLength) -> Clock {
        let nominal = position.in_epoch.min(position.per_epoch - 1);
        let step = position.epoch * position.per_epoch + nominal;
        Clock { epoch: position.epoch, epochs: run.epochs, step, steps: run.steps, seed: self.seed }
    }

    /// One optimizer step over `accumulate` batches. Returns the mean loss.
    fn update(
        &self,
        task: &mut dyn Task,
        optimizer: &mut Optimizer,
        batches: &mut impl Iterator<Item = reid_data::Result<ViewBatch>>,
        clock: Clock,
        position: &mut Position,
    ) -> Result<f64, TrainError> {
        let mut outputs = Vec::with_capacity(self.spec.accumulate);
        let mut sum: Option<Gradients> = None;
        for _ in 0..self.spec.accumulate {
            let asked = Instant::now();
            let batch = batches.next().ok_or_else(|| RunError::Unexpected("the loader ended early".to_owned()))?;
            let batch = batch.map_err(TaskError::from)?;
            position.waited += asked.elapsed().as_secs_f64();
            let output = task.step(&batch, clock)?;
            let loss = scalar(&output.loss)?;
            if !loss.is_finite() {
                return Err(not_finite("loss", loss, position));
            }
            let mut grads = output.loss.backward().map_err(TaskError::from)?;
            let grads = task.trainable().gradients(&mut grads).map_err(TaskError::from)?;
            match &mut sum {
                Some(sum) => sum.accumulate(&grads).map_err(TaskError::from)?,
                None => sum = Some(grads),
            }
            position.images += batch.len() as u64;
            position.tokens += output.tokens as u64;
            outputs.push(StepOutput { loss: output.loss.detach(), ..output });
        }
        let mut grads = sum.ok_or_else(|| RunError::Unexpected("no batch in a step".to_owned()))?;
        if self.spec.accumulate > 1 {
            grads.scale(1.0 / self.spec.accumulate as f64).map_err(TaskError::from)?;
        }
        let norm = match self.spec.clip_scope {
            _ if self.spec.clip <= 0.0 => grads.norm(),
            ClipScope::All => grads.clip(self.spec.clip),
            ClipScope::Tensor => grads.clip_tensors(task.trainable(), self.spec.clip),
        }
        .map_err(TaskError::from)?;
        // An update by such a gradient would spoil the parameters, and the next checkpoint with them.
        if !norm.is_finite() {
            return Err(not_finite("gradient norm", norm, position));
        }
        let rate = |multiplier| {
            let run = RunLength { steps: clock.steps, epochs: clock.epochs };
            learning_rate(&self.spec.schedule, self.base_rate(), multiplier, clock.step, run)
        };
        let decay = |start| {
            let run = RunLength { steps: clock.steps, epochs: clock.epochs };
            weight_decay(&self.spec.optim, start, clock.step, run)
        };
        let held = task.held(clock);
        let course = Course { rate: &rate, decay: &decay, held: &held };
        optimizer.step(task.trainable(), &grads, &course).map_err(TaskError::from)?;
        task.after_step(&outputs, clock)?;
        let loss = record(&outputs, norm, rate(1.0), position, clock.steps)?;
        position.in_epoch += 1;
        position.updates += 1;
        Ok(loss)
    }

    /// Evaluates on the validation part if that is due. Returns false if it was interrupted; then it is due
    /// again after the resume.
    fn evaluation_point(
        &self,
        task: &dyn Task,
        services: &DataServices,
        position: &mut Position,
        run: RunLength,
    ) -> Result<bool, TrainError> {
        let Some(every) = self.spec.evaluate_every.duration() else { return Ok(true) };
        let every = run.steps_of(every).max(1.0);
        let passed = |updates: usize| (updates as f64 / every).floor();
        if passed(position.updates) <= passed(position.evaluated) {
            return Ok(true);
        }
        let scores = match evaluation::validate(&task.evaluated(), services) {
            Err(TaskError::Interrupted) => return Ok(false),
            scores => scores?,
        };
        let (epoch, step, at) = (position.epoch, position.updates, jiff::Timestamp::now().as_microsecond());
        let record = |(key, value): (MetricKey, f64)| {
            let metric = format!("{}{}", evaluation::VALIDATION_PREFIX, key.name());
            value.is_finite().then_some(Recorded { epoch, step, metric, value, at })
        };
        position.records.extend(scores.into_iter().flat_map(|scores| scores.metrics).filter_map(record));
        position.evaluated = position.updates;
        Ok(true)
    }

    fn base_rate(&self) -> f64 {
        match self.spec.lr_scaling {
            LrScaling::None => self.spec.lr,
            LrScaling::Linear256 => self.spec.lr * (self.spec.batch * self.spec.accumulate) as f64 / 256.0,
        }
    }
}

fn not_finite(what: &'static str, value: f64, position: &Position) -> TrainError {
    let kept = "nothing is kept of a trial".to_owned();
    TrainError::NotFinite { what, value, step: position.updates, epoch: position.epoch, kept }
}

pub(super) fn scalar(tensor: &Tensor) -> Result<f64, TrainError> {
    Ok(f64::from(tensor.to_scalar::<f32>().map_err(TaskError::from)?))
}
