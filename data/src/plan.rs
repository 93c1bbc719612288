//! The order in which an epoch visits a split.

use serde::{Deserialize, Serialize};

/// One visit of one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// Index of the picture in its split.
    pub image: u32,
    /// Training label, 0-based; 0 where the task has no labels.
    pub label: u32,
}

/// Every draw of one epoch, in order. Part of the checkpoint: never recomputed on resume, because
/// a clustering protocol could not recompute it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochPlan {
    /// Ordered draws; the last incomplete batch is dropped.
    pub draws: Vec<Draw>,
    /// Samples in a batch.
    pub batch: usize,
}

impl EpochPlan {
    /// Whole batches in the epoch.
    pub fn steps(&self) -> usize {
        self.draws.len() / self.batch
    }
}
