//! Trials: a few steps of every kind of work in a plan, to know what all of it will cost.

use std::time::Instant;

use reid_data::dataset::Split;
use reid_objectives::protocols::evaluation;

use super::build::Build;
use super::plan::{StageDef, evaluation_normalisation};
use super::train::{TrainError, Training};
use super::{DataServices, Machine, Plan};
use crate::calibration::{Calibration, splits};
use crate::exit::RunError;
use crate::memory;
use crate::progress::Progress;
use crate::signals::Interrupt;

/// What a run comes to use beside its work, and a trial does not: results, tables, the heaps of short-lived
/// threads. Measured with a model that needs next to nothing.
const BESIDE: u64 = 24 << 20;
/// Batches that a trial of an evaluation embeds.
const BATCHES: usize = 8;

/// Measures what the calibration does not know of these stages, each kind of work once. Keeps no result.
///
/// # Errors
/// If it is interrupted. Work that fails is named and left out.
pub fn calibrate<'a>(
    plan: &Plan,
    stages: impl Iterator<Item = &'a StageDef>,
    machine: &Machine,
    calibration: &mut Calibration,
    (progress, interrupt): (&Progress, &Interrupt),
) -> Result<(), RunError> {
    for stage in stages {
        if calibration.estimate(stage, machine).is_some() {
            continue;
        }
        progress.line(format_args!("{}: measured", stage.label));
        reid_backbones::release_memory();
        memory::reset_peak();
        let trial = Trial { plan, stage, machine, interrupt };
        match trial.run() {
            Ok(seconds) => calibration.learn_rate(stage, machine, seconds, memory::peak().map(|peak| peak + BESIDE)),
            Err(TrainError::Interrupted) => {
                return Err(RunError::Interrupted { cause: interrupt.cause().unwrap_or("a signal") });
            }
            Err(error) => progress.warn(format_args!("{}: cannot be measured: {error}", stage.label)),
        }
    }
    reid_backbones::release_memory();
    Ok(())
}

struct Trial<'a> {
    plan: &'a Plan,
    stage: &'a StageDef,
    machine: &'a Machine,
    interrupt: &'a Interrupt,
}

impl Trial<'_> {
    /// Seconds per picture.
    fn run(&self) -> Result<f64, TrainError> {
        let Self { plan, stage, machine, interrupt } = *self;
        let build = Build { plan, stage, device: &machine.device };
        let Some(spec) = &stage.train else { return self.embed(&build) };
        // What the stage would start from may not be there yet; any weights cost the same.
        let (mut task, split) = build.task(None)?;
        let StageDef { steps, seed, snapshots, .. } = stage;
        Training { spec, steps: *steps, seed: *seed, data: &stage.data, split, machine, interrupt, snapshots }
            .trial(&mut *task)
    }

    fn embed(&self, build: &Build) -> Result<f64, TrainError> {
        let protocol = &build.spec().protocol;
        let settings = protocol.evaluation();
        let views = evaluation::views(settings, &self.stage.vit, evaluation_normalisation(build.spec()));
        let model = build.model(None)?;
        let services = DataServices {
            data: self.stage.data.clone(),
            workers: self.machine.workers,
            device: self.machine.device.clone(),
            interrupt: self.interrupt.clone(),
        };
        let size = |split: &&Split| self.stage.data.dataset.split(**split).len();
        let split = *splits(self.stage).iter().max_by_key(size).unwrap_or(&Split::Gallery);
        let embed = |batches: usize| services.extract_some(split, &views, settings.batch, &*model, batches);
        embed(1)?;
        let began = Instant::now();
        let embedded = embed(BATCHES)?.records.len();
        Ok(began.elapsed().as_secs_f64() / embedded.max(1) as f64)
    }
}
