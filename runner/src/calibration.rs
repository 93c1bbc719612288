//! What work costs on this machine, learnt from the stages that it has computed, or from trials of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reid_backbones::optim::spec::OptimSpec;
use reid_data::dataset::Split::{self, Gallery, OccludedQuery, Pool, Query, Train, ValidationGallery, ValidationQuery};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::engine::{Machine, StageDef, StageKind};
use crate::store::atomic::write_atomic;

/// What one stage costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Cost {
    /// Seconds per picture drawn.
    seconds: f64,
    /// Peak memory, less what grows with the data; absent where the system does not tell.
    bytes: Option<u64>,
}

/// What a stage is expected to cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Seconds in all.
    pub seconds: f64,
    /// Seconds of an optimizer step, for stages that train.
    pub step: Option<f64>,
    /// Peak memory in bytes, less decoded pictures that are kept.
    pub bytes: Option<u64>,
}

/// Costs by shape of stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    costs: BTreeMap<String, Cost>,
    #[serde(skip)]
    path: PathBuf,
}

impl Calibration {
    /// Reads what was learnt before; nothing if there is no such file or it is damaged: it only serves
    /// estimates.
    pub fn load(state: &Path) -> Self {
        let path = state.join("calibration.json");
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        Self { path, ..known.unwrap_or_default() }
    }

    /// Remembers what a computed stage has cost in all, and the process's peak of memory meanwhile; without it, what is
    /// known of that stays.
    pub fn learn(&mut self, stage: &StageDef, machine: &Machine, seconds: f64, peak: Option<u64>) {
        self.learn_rate(stage, machine, seconds / pictures(stage), peak);
    }

    /// Remembers seconds per picture. A folder that cannot be written costs estimates, nothing else.
    pub fn learn_rate(&mut self, stage: &StageDef, machine: &Machine, seconds: f64, peak: Option<u64>) {
        if seconds > 0.0 {
            let bytes = peak.map(|peak| peak.saturating_sub(features_bytes(stage) + stage.data.kept_bytes()));
            let known = self.costs.entry(shape(stage, machine)).or_insert(Cost { seconds, bytes });
            *known = Cost { seconds, bytes: bytes.or(known.bytes) };
            if let (Some(folder), Ok(text)) = (self.path.parent(), serde_json::to_string_pretty(self)) {
                let _ = std::fs::create_dir_all(folder).map(|()| write_atomic(&self.path, text.as_bytes()));
            }
        }
    }

    /// Expected cost of a stage, if one of its shape has been computed or measured here.
    pub fn estimate(&self, stage: &StageDef, machine: &Machine) -> Option<Estimate> {
        let cost = self.costs.get(&shape(stage, machine))?;
        let step = stage.train.as_ref().map(|train| cost.seconds * (train.batch * train.accumulate) as f64);
        let bytes = cost.bytes.map(|bytes| bytes + features_bytes(stage));
        Some(Estimate { seconds: cost.seconds * pictures(stage), step, bytes })
    }
}

/// Splits that an evaluation embeds.
const EVALUATED: [Split; 5] = [Query, Gallery, OccludedQuery, ValidationQuery, ValidationGallery];

/// Splits whose pictures a stage reads.
pub fn splits(stage: &StageDef) -> &'static [Split] {
    match stage.kind {
        StageKind::Pretrain if stage.data.dataset.split(Pool).is_empty() => &[Train],
        StageKind::Pretrain => &[Pool],
        StageKind::Train => &[Train],
        StageKind::Evaluate => &EVALUATED,
    }
}

/// Pictures that a stage goes through, as often as it does.
fn pictures(stage: &StageDef) -> f64 {
    if let (Some(train), Some(steps)) = (&stage.train, stage.steps) {
        return steps as f64 * (train.batch * train.accumulate) as f64;
    }
    let count: usize = splits(stage).iter().map(|&split| stage.data.dataset.split(split).len()).sum();
    (count * stage.train.as_ref().map_or(1, |train| train.epochs)) as f64
}

/// Bytes of an evaluation's features.
fn features_bytes(stage: &StageDef) -> u64 {
    match stage.kind {
        StageKind::Evaluate => pictures(stage) as u64 * (stage.vit.size.dims().width * size_of::<f32>()) as u64,
        _ => 0,
    }
}

/// What decides the cost of a picture: the stage's science less its length, rates and seeds, and the machine.
fn shape(stage: &StageDef, machine: &Machine) -> String {
    let science = &stage.key.science();
    let mut work = science["science"].clone();
    if let Some(work) = work.as_object_mut() {
        work.remove("train");
        work.remove("steps");
        for part in work.values_mut().filter_map(Value::as_object_mut) {
            part.remove("train");
        }
    }
    let train = stage.train.as_ref().map(|train| {
        json!([train.batch, train.accumulate, train.recompute, !matches!(train.optim, OptimSpec::Sgd(_))])
    });
    let Machine { class, instruction_set, jobs, threads, workers, .. } = machine;
    let mut shape = json!({ "kind": stage.kind.name(), "backbone": stage.vit, "work": work, "train": train, "precision": science["precision"],
                        "picture": [stage.data.dataset.size.0, stage.data.dataset.size.1],
                        "machine": [class, instruction_set, threads, workers] });
    // Beside others a stage takes longer.
    if *jobs > 1 {
        shape["jobs"] = json!(jobs);
    }
    blake3::hash(reid_experiments::canonical(&shape).as_bytes()).to_hex().to_string()
}
