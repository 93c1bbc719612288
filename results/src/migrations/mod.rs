//! Steps from older schema versions to the present one, applied by the reader file by file.
//!
//! One file per step, named `v1_to_v2.rs`, with a function that turns a frame of version 1 into one of version 2;
//! it is entered in [`MIGRATIONS`] and stays for ever, since results outlive programs. A column that was merely
//! added needs no step: the reader fills missing columns with null.

mod v1_to_v2;

use polars::frame::DataFrame;

use crate::Result;
use crate::schema::Part;

/// One step: from version `from` to `from + 1`.
pub struct Migration {
    /// Version that the step takes.
    pub from: i64,
    /// The step itself.
    pub apply: fn(Part, DataFrame) -> Result<DataFrame>,
}

/// All steps, ascending and without a gap up to the present version.
pub const MIGRATIONS: &[Migration] = &[Migration { from: 1, apply: v1_to_v2::apply }];

/// Brings `frame` from version `from` to the present one.
pub(crate) fn upgrade(part: Part, from: i64, frame: DataFrame) -> Result<DataFrame> {
    MIGRATIONS.iter().filter(|step| step.from >= from).try_fold(frame, |frame, step| (step.apply)(part, frame))
}
