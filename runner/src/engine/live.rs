//! What is told of a training while it goes on: to the terminal, to `watch` by a small file beside the checkpoints, and
//! to TensorBoard. The training reads nothing of it again, so its numbers are the same without.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Engine;
use super::checkpoint::{Position, Recorded};
use super::plan::{StageDef, StageKind};
use crate::progress::StageProgress;
use crate::store::Lease;
use crate::store::atomic::replace;
use crate::tensorboard::{Board, Curves, Scalar};

/// Least time between two states that are written for `watch`.
const EVERY: Duration = Duration::from_secs(2);

/// How far a training was when it last told: the content of `progress.json` in the folder of an attempt. It is no
/// artefact, so the stage's commit removes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Optimizer steps done.
    pub step: usize,
    /// Optimizer steps in all.
    pub steps: usize,
    /// Pictures per second over all attempts; none before the first step of this one.
    pub images_per_second: Option<f64>,
    /// Seconds per optimizer step in this attempt; none before its first.
    pub seconds_per_step: Option<f64>,
    /// When this was written, microseconds since 1970, UTC.
    pub at: i64,
    /// Remarks that belong to the result.
    pub marks: Vec<String>,
    /// Recorded values of every metric, each with its step.
    pub metrics: BTreeMap<String, Vec<(usize, f64)>>,
}

impl Standing {
    /// Name of the file.
    pub const FILE: &str = "progress.json";

    /// What the training of an attempt has told last; none if it is not known.
    pub fn read(attempt: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(attempt.join(Self::FILE)).ok()?).ok()
    }
}

/// Whoever is to be told of the training of a stage.
pub(super) struct Onlookers<'a> {
    engine: &'a Engine,
    stage: &'a StageDef,
}

impl<'a> Onlookers<'a> {
    pub(super) fn new(engine: &'a Engine, stage: &'a StageDef) -> Self {
        Self { engine, stage }
    }

    /// Begins to tell of a training of `steps` optimizer steps, which begins or goes on where the position says.
    pub(super) fn begin(&self, lease: &Lease, steps: usize, position: &Position) -> Live<'a> {
        let Self { engine, stage } = *self;
        let begin = |board: &'a Board| board.begin(&stage.label, lease, &scalars(stage.kind, &position.records));
        let mut live = Live {
            terminal: engine.progress.stage(&stage.label, steps as u64),
            curves: engine.board.as_ref().map(begin),
            kind: stage.kind,
            steps,
            told: position.records.len(),
            path: lease.dir().join(Standing::FILE),
            first: (position.updates, Instant::now()),
            rate: None,
            written: Instant::now(),
        };
        live.write(position);
        live
    }
}

/// Tells of one training.
pub(super) struct Live<'a> {
    terminal: StageProgress,
    curves: Option<Curves<'a>>,
    kind: StageKind,
    steps: usize,
    /// Records that the curves have.
    told: usize,
    /// The file for `watch`, and when it was written.
    path: PathBuf,
    written: Instant,
    /// Optimizer steps done when this attempt began, and when that was.
    first: (usize, Instant),
    /// Pictures per second.
    rate: Option<f64>,
}

impl Live<'_> {
    /// A line about the stage.
    pub(super) fn note(&self, text: impl Display) {
        self.terminal.note(text);
    }

    /// A warning about the stage.
    pub(super) fn warn(&self, text: impl Display) {
        self.terminal.warn(text);
    }

    /// `step` steps are done by the schedules' clock, with the latest loss and pictures per second.
    pub(super) fn step(&mut self, step: u64, loss: f64, rate: f64, position: &Position) {
        self.terminal.step(step, loss, rate);
        self.rate = Some(rate);
        self.draw(position);
        if self.written.elapsed() >= EVERY {
            self.write(position);
        }
    }

    /// The training ends for now.
    pub(super) fn pause(&mut self, position: &Position) {
        self.draw(position);
        self.write(position);
    }

    /// The training is done.
    pub(super) fn finish(mut self, text: &str, position: &Position) {
        self.pause(position);
        self.terminal.finish(text);
    }

    /// Adds what is new to the curves.
    fn draw(&mut self, position: &Position) {
        let new = position.records.get(self.told..).unwrap_or_default();
        if let Some(curves) = self.curves.as_mut().filter(|_| !new.is_empty()) {
            curves.append(&scalars(self.kind, new));
        }
        self.told = position.records.len();
    }

    fn write(&mut self, position: &Position) {
        self.written = Instant::now();
        let (first, since) = self.first;
        let covered = position.updates.saturating_sub(first);
        let mut metrics: BTreeMap<String, Vec<(usize, f64)>> = BTreeMap::new();
        for Recorded { metric, step, value, .. } in &position.records {
            metrics.entry(metric.clone()).or_default().push((*step, *value));
        }
        let standing = Standing {
            step: position.updates,
            steps: self.steps,
            images_per_second: self.rate,
            seconds_per_step: (covered > 0).then(|| since.elapsed().as_secs_f64() / covered as f64),
            at: Timestamp::now().as_microsecond(),
            marks: position.marks.clone(),
            metrics,
        };
        // Nothing depends on it: where it cannot be written, the next checkpoint says why.
        let _ = serde_json::to_vec(&standing).map(|json| replace(&self.path, &json));
    }
}

/// Records as points of curves.
fn scalars(kind: StageKind, records: &[Recorded]) -> Vec<Scalar> {
    let scalar = |recorded: &Recorded| Scalar {
        tag: format!("{}/{}", kind.name(), recorded.metric),
        step: recorded.step as i64,
        at: recorded.at,
        value: recorded.value,
    };
    records.iter().map(scalar).collect()
}
