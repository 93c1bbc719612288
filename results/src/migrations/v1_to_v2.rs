//! Version 2 says what the pre-training alone has cost, and that no pre-training costs nothing.
//!
//! Version 1 counted pictures and tokens over pre-training and training together, so the parts are known only
//! where one of the two is missing; operations were not counted. Its `seconds_pretrain` was null without a
//! pre-training, and is 0 from now on.

use polars::prelude::{Column, DataFrame};

use crate::schema::{Kind, Part};
use crate::{Result, ResultsError, decode};

/// Adds the columns of version 2 to a frame of version 1.
pub(super) fn apply(part: Part, mut frame: DataFrame) -> Result<DataFrame> {
    if part != Part::Runs {
        return Ok(frame);
    }
    let rows = || 0..frame.height();
    let has = |column: &str, row: usize| decode::text(&frame, column, row).is_some();
    let is_ok = |row: usize| decode::text(&frame, "status", row).as_deref() == Some("ok");
    let amount = |row: usize, whole: &str| match (has("stage_pretrain", row), has("stage_train", row)) {
        (false, _) => Some(0),
        (true, false) => decode::int(&frame, whole, row),
        (true, true) => None,
    };
    let of = |whole: &str| -> Vec<Option<i64>> {
        rows().map(|row| if is_ok(row) { amount(row, whole) } else { None }).collect()
    };
    let free = |row: usize| is_ok(row) && !has("stage_pretrain", row);
    let seconds = |row: usize| decode::float(&frame, "seconds_pretrain", row).or(free(row).then_some(0.0));
    // Of a wrong type it is left for the reader to refuse.
    let is_wrong = frame.column("seconds_pretrain").is_ok_and(|column| *column.dtype() != Kind::Float.dtype());
    let seconds = (!is_wrong).then(|| Column::new("seconds_pretrain".into(), rows().map(seconds).collect::<Vec<_>>()));
    let columns = [
        Column::new("images_pretrain".into(), of("images_seen")),
        Column::new("tokens_pretrain".into(), of("tokens_seen")),
        Column::new("flops_pretrain".into(), rows().map(|row| free(row).then_some(0.0)).collect::<Vec<_>>()),
    ];
    for column in columns.into_iter().chain(seconds) {
        frame.with_column(column).map_err(ResultsError::internal("bringing a file up to date"))?;
    }
    Ok(frame)
}
