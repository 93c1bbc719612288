//! Step metrics as rows, for whoever knows no data frames.

use std::collections::BTreeSet;

use crate::row::StepRow;
use crate::{Frames, Result, decode};

impl Frames {
    /// Step metrics of the runs with these ids, each with the id of its run: in run order, and within a run as they
    /// were recorded. A row without a metric or a value is left out. The files are opened and checked here, not before.
    ///
    /// # Errors
    /// As [`crate::read`].
    pub fn steps(&self, ids: &BTreeSet<String>) -> Result<Vec<(String, StepRow)>> {
        let known = (0..self.runs.height()).filter_map(|row| decode::text(&self.runs, "run_id", row));
        let frame = self.steps_of(known.filter(|id| ids.contains(id)))?;
        let row = |at: usize| {
            let text = |column| decode::text(&frame, column, at);
            let int = |column| decode::int(&frame, column, at);
            let step = StepRow {
                stage_key: text("stage_key").unwrap_or_default(),
                stage: text("stage").unwrap_or_default(),
                epoch: int("epoch").unwrap_or_default(),
                step: int("step").unwrap_or_default(),
                metric: text("metric")?,
                value: decode::float(&frame, "value", at)?,
                at: int("at").unwrap_or_default(),
            };
            Some((text("run_id")?, step))
        };
        Ok((0..frame.height()).filter_map(row).collect())
    }
}
