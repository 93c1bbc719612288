//! What work costs on this machine, learnt from the stages that it has computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reid_data::dataset::Split::{Gallery, OccludedQuery, Pool, Query, Train, ValidationGallery, ValidationQuery};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{StageDef, StageKind};
use crate::store::atomic::write_atomic;

/// Seconds per unit of work by shape of stage: per picture drawn for trainings, per stage for
/// evaluations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    seconds: BTreeMap<String, f64>,
    #[serde(skip)]
    path: PathBuf,
}

impl Calibration {
    /// Reads what earlier runs have learnt; nothing if there is no such file or it is damaged: it
    /// only serves estimates.
    pub fn load(state: &Path) -> Self {
        let path = state.join("calibration.json");
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Self { path, ..known.unwrap_or_default() }
    }

    /// Remembers a stage's cost. A folder that cannot be written costs estimates, nothing else.
    pub fn learn(&mut self, stage: &StageDef, threads: usize, seconds: f64) {
        if seconds > 0.0 {
            self.seconds.insert(shape(stage, threads), seconds / units(stage));
            if let (Some(folder), Ok(text)) = (self.path.parent(), serde_json::to_string_pretty(self)) {
                let _ = std::fs::create_dir_all(folder).map(|()| write_atomic(&self.path, text.as_bytes()));
            }
        }
    }

    /// Expected seconds of a stage, if a stage of its shape has been computed here.
    pub fn estimate(&self, stage: &StageDef, threads: usize) -> Option<f64> {
        Some(self.seconds.get(&shape(stage, threads))? * units(stage))
    }
}

/// Pictures that a stage goes through.
fn units(stage: &StageDef) -> f64 {
    let pictures = |split| stage.data.dataset.split(split).len() as f64;
    match (&stage.train, stage.kind) {
        (Some(train), StageKind::Pretrain) => {
            train.epochs as f64 * if pictures(Pool) > 0.0 { pictures(Pool) } else { pictures(Train) }
        }
        (Some(train), _) => train.epochs as f64 * pictures(Train),
        (None, _) => [Query, Gallery, OccludedQuery, ValidationQuery, ValidationGallery].map(pictures).iter().sum(),
    }
}

/// What decides the cost of a picture: architecture, objective or protocol, batch, threads.
fn shape(stage: &StageDef, threads: usize) -> String {
    let science = &stage.key.science()["science"];
    let part = |name: &str| science.get(name).cloned().unwrap_or(Value::Null);
    let batch = stage.train.as_ref().map(|train| train.batch);
    let shape = json!({ "kind": stage.kind.name(), "backbone": part("backbone"), "objective": part("objective"),
                        "batch": batch, "threads": threads, "picture": stage.data.dataset.size.0 * stage.data.dataset.size.1 });
    blake3::hash(reid_experiments::canonical(&shape).as_bytes()).to_hex().to_string()
}
