//! Encoders that a pre-training leaves besides its last one, so that a protocol can start from an earlier epoch.
//!
//! They lie beside the checkpoints as `encoder@epoch=N.safetensors`, each there as a whole or not at all, and are
//! committed with the stage. One is written before any checkpoint that is beyond its epoch, so a resumed training
//! has all that it needs, or is told what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use reid_backbones::weights;
use reid_experiments::spec::{PretrainSpec, TakeSpec};
use reid_objectives::math::schedule::RunLength;
use reid_objectives::spec::{EvaluateEvery, TrainSpec};
use reid_objectives::task::Task;
use serde_json::{Map, Value, json};

use super::build::ENCODER_FILE;
use super::checkpoint::Spent;
use super::train::TrainError;
use crate::exit::RunError;
use crate::store::atomic::place_atomic;
use crate::store::{StageDir, io_error};

const PREFIX: &str = "encoder@epoch=";
const SUFFIX: &str = ".safetensors";

/// Name of the artefact, in keys, that a run takes from its pre-training, whose length is `steps` or, without a
/// budget, the epochs of `train`.
pub(super) fn artefact(pretrain: &PretrainSpec, train: &TrainSpec, steps: Option<usize>) -> String {
    match (pretrain.take, steps) {
        (TakeSpec::Epoch(epoch), _) => format!("{PREFIX}{epoch}"),
        (TakeSpec::Last, None) => format!("{PREFIX}{}", train.epochs),
        (TakeSpec::Last, Some(steps)) => format!("encoder@step={steps}"),
    }
}

/// Name of its file.
pub(super) fn file_of(pretrain: &PretrainSpec) -> String {
    match pretrain.take {
        TakeSpec::Last => ENCODER_FILE.to_owned(),
        TakeSpec::Epoch(epoch) => file(epoch),
    }
}

fn file(epoch: usize) -> String {
    format!("{PREFIX}{epoch}{SUFFIX}")
}

/// Which encoders a stage leaves besides the last: no part of its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshots {
    /// Epochs that runs start from.
    taken: BTreeSet<usize>,
    /// How often another is kept.
    every: Vec<EvaluateEvery>,
}

impl Snapshots {
    /// Adds what one more run wants of the stage.
    pub(super) fn add(&mut self, pretrain: &PretrainSpec) {
        if let TakeSpec::Epoch(epoch) = pretrain.take {
            self.taken.insert(epoch);
        }
        if !self.every.contains(&pretrain.keep_every) {
            self.every.push(pretrain.keep_every);
        }
    }

    /// Files that runs start from, which a finished stage must have.
    pub fn files(&self) -> Vec<String> {
        self.taken.iter().copied().map(file).collect()
    }

    /// In words, the encoders that runs start from and that a finished stage does not have.
    pub fn lacking(&self, stage: &StageDir) -> Option<String> {
        let is_missing = |epoch: &&usize| !stage.artefacts().contains_key(&file(**epoch));
        let epochs: Vec<String> = self.taken.iter().filter(is_missing).map(ToString::to_string).collect();
        let plural = if epochs.len() == 1 { "epoch" } else { "epochs" };
        let text = || format!("its encoder of {plural} {} was not kept", epochs.join(", "));
        (!epochs.is_empty()).then(text)
    }

    /// The first epoch whose encoder a training that has `done` epochs should have left in its folder, but has not.
    pub(super) fn missed(&self, folder: &Path, done: usize) -> Option<usize> {
        self.taken.range(..=done).copied().find(|&epoch| !folder.join(file(epoch)).exists())
    }

    /// Writes the encoder as it stands after `done` epochs, if it is to be kept, and says whether it was.
    pub(super) fn keep(&self, task: &dyn Task, folder: &Path, done: usize, run: RunLength) -> Result<bool, TrainError> {
        let is_wanted = self.taken.contains(&done) || self.every.iter().any(|&every| is_due(every, done, run));
        // The last one is an artefact by another name.
        if !is_wanted || done as f64 >= run.epochs {
            return Ok(false);
        }
        let product = task.product()?;
        let write = |path: &Path| -> Result<(), RunError> {
            weights::write(path, &product).map_err(|error| RunError::Unexpected(error.to_string()))
        };
        place_atomic(&folder.join(file(done)), write)?;
        Ok(true)
    }
}

/// Whether a point of `every` lies in the epoch that ends with `done`.
fn is_due(every: EvaluateEvery, done: usize, run: RunLength) -> bool {
    let Some(every) = every.duration() else { return false };
    let every = run.steps_of(every).max(1.0);
    let passed = |epochs: usize| (epochs as f64 * run.steps as f64 / run.epochs / every).floor();
    passed(done) > passed(done - 1)
}

/// Name of a stage's note on its kept encoders.
pub(super) const NOTE: &str = "kept";

/// What had been spent on each kept encoder, by epoch.
pub(super) fn note(kept: &BTreeMap<usize, Spent>) -> Value {
    kept.iter().map(|(epoch, spent)| (epoch.to_string(), json!(spent))).collect::<Map<_, _>>().into()
}

/// What had been spent on the encoder that a run takes; none where that is the last one.
pub(super) fn spent(pretrain: &PretrainSpec, stage: &StageDir) -> Option<Spent> {
    let TakeSpec::Epoch(epoch) = pretrain.take else { return None };
    let note = stage.manifest().notes.get(NOTE)?.get(epoch.to_string())?;
    serde_json::from_value(note.clone()).ok()
}

/// Whether the last encoder in a folder is that of the stage, bit by bit.
pub(super) fn is_repeated(stage: &StageDir, folder: &Path) -> bool {
    let known = stage.artefacts().get(ENCODER_FILE);
    let bytes = std::fs::read(folder.join(ENCODER_FILE));
    known.zip(bytes.ok()).is_none_or(|(known, bytes)| known.blake3 == blake3::hash(&bytes).to_hex().as_str())
}

/// Names of the kept encoders in a folder, sorted.
pub(super) fn kept(folder: &Path) -> Result<Vec<String>, RunError> {
    let failed = || io_error("reading the folder of an unfinished stage", folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed())? {
        let path: PathBuf = entry.map_err(failed())?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        names.extend(name.filter(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)).map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}
