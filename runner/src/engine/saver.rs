//! Checkpoints of a training: when they are due, and how long the work has taken.

use std::time::{Duration, Instant};

use reid_backbones::optim::Optimizer;
use reid_data::plan::EpochPlan;
use reid_objectives::task::Task;

use super::checkpoint::{self, Position};
use super::train::TrainError;
use crate::exit::RunError;
use crate::store::Lease;
use crate::store::checkpoints::{Checkpoint, CheckpointStore, Latest};

/// Longest time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(1);

/// Where checkpoints go, when the last one was, and how long the work has taken.
pub(super) struct Saver<'a> {
    lease: &'a Lease,
    checkpoints: CheckpointStore,
    last_time: Instant,
    last_updates: usize,
    /// Optimizer steps between two checkpoints.
    every: f64,
    began: Instant,
    /// Seconds of earlier attempts.
    before: f64,
}

impl<'a> Saver<'a> {
    /// Of a training that stands where the position says; a checkpoint is due after `every` optimizer steps, or after
    /// [`CHECKPOINT_EVERY`].
    pub(super) fn new(lease: &'a Lease, checkpoints: CheckpointStore, position: &Position, every: f64) -> Self {
        let now = Instant::now();
        let (last_updates, before) = (position.updates, position.seconds);
        Self { lease, checkpoints, last_time: now, last_updates, every, began: now, before }
    }

    pub(super) fn save(
        &mut self,
        position: &mut Position,
        plan: &EpochPlan,
        task: &dyn Task,
        optimizer: &Optimizer,
    ) -> Result<(), TrainError> {
        self.lease.ensure_held().map_err(RunError::from)?;
        position.seconds = self.seconds();
        let written = self
            .checkpoints
            .save_with(position.updates as u64, |path| checkpoint::write(path, position, plan, task, optimizer));
        written.map_err(|error| match error {
            RunError::Store(error) => RunError::Store(self.lease.explain(error)),
            other => other,
        })?;
        self.last_time = Instant::now();
        self.last_updates = position.updates;
        Ok(())
    }

    /// Says of a training that has diverged what is kept of it.
    pub(super) fn with_kept(&self, error: TrainError) -> TrainError {
        let TrainError::NotFinite { what, value, step, epoch, .. } = error else { return error };
        let kept = match self.checkpoints.latest() {
            Ok(Latest { checkpoint: Some(Checkpoint { step, path }), .. }) => {
                format!("the state at step {step} is kept: {}", path.display())
            }
            _ => "no checkpoint had been written before".to_owned(),
        };
        TrainError::NotFinite { what, value, step, epoch, kept }
    }

    /// Whether a checkpoint is due, by steps or by time.
    pub(super) fn is_due(&self, position: &Position) -> bool {
        (position.updates - self.last_updates) as f64 >= self.every || self.last_time.elapsed() >= CHECKPOINT_EVERY
    }

    pub(super) fn seconds(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }
}
