//! Processes that die at a stage, such as for lack of memory.

use serde::{Deserialize, Serialize};

use crate::exit::RunError;
use crate::store::Lease;
use crate::store::atomic::write_atomic;
use crate::store::checkpoints::CheckpointStore;

/// Processes that died at a stage one after the other without getting further.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Deaths {
    count: u32,
    /// Step of the newest checkpoint at the last death.
    step: Option<u64>,
}

impl Deaths {
    /// Name of the file in the folder of unfinished work.
    const FILE: &str = "deaths.json";

    /// Notes that the attempt before this one did not end in order. One that has left a new checkpoint got
    /// further than its forerunners, so what ended them is not what ended it.
    pub(super) fn count(lease: &Lease) -> Result<u32, RunError> {
        let known = std::fs::read(lease.dir().join(Self::FILE)).ok();
        let known: Self = known.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        let step = CheckpointStore::open(lease.dir())?.newest()?;
        let count = if step > known.step { 1 } else { known.count.saturating_add(1) };
        Self { count, step }.write(lease)?;
        Ok(count)
    }

    pub(super) fn write(&self, lease: &Lease) -> Result<(), RunError> {
        let json = serde_json::to_vec(self).map_err(|error| RunError::Unexpected(error.to_string()))?;
        Ok(write_atomic(&lease.dir().join(Self::FILE), &json)?)
    }
}
