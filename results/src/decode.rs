//! Data frames back to rows, and single cells to scalars.

use std::collections::BTreeMap;

use polars::prelude::{AnyValue, DataFrame};

use crate::row::{RunRow, Scalar, Status};
use crate::schema::{CFG, METRIC, TUNED};
use crate::{Result, ResultsError};

/// Names of the columns, in order.
pub(crate) fn names(frame: &DataFrame) -> Vec<&str> {
    frame.columns().iter().map(|column| column.name().as_str()).collect()
}

/// Cell as a scalar; `None` for null and for types that are no scalar. Timestamps become microseconds.
pub(crate) fn scalar(frame: &DataFrame, column: &str, row: usize) -> Option<Scalar> {
    let value = frame.column(column).ok()?.get(row).ok()?;
    match value {
        AnyValue::Boolean(value) => Some(Scalar::Bool(value)),
        AnyValue::Int64(value) | AnyValue::Datetime(value, _, _) | AnyValue::DatetimeOwned(value, _, _) => {
            Some(Scalar::Int(value))
        }
        AnyValue::Float64(value) => Some(Scalar::Float(value)),
        AnyValue::String(value) => Some(Scalar::Text(value.to_owned())),
        AnyValue::StringOwned(value) => Some(Scalar::Text(value.to_string())),
        _ => None,
    }
}

/// Text of a cell; `None` for null.
pub(crate) fn text(frame: &DataFrame, column: &str, row: usize) -> Option<String> {
    match scalar(frame, column, row)? {
        Scalar::Text(value) => Some(value),
        _ => None,
    }
}

/// Integer of a cell; `None` for null.
pub(crate) fn int(frame: &DataFrame, column: &str, row: usize) -> Option<i64> {
    match scalar(frame, column, row)? {
        Scalar::Int(value) => Some(value),
        _ => None,
    }
}

/// Float of a cell; `None` for null.
pub(crate) fn float(frame: &DataFrame, column: &str, row: usize) -> Option<f64> {
    match scalar(frame, column, row)? {
        Scalar::Float(value) => Some(value),
        _ => None,
    }
}

/// Flag of a cell; `None` for null.
pub(crate) fn flag(frame: &DataFrame, column: &str, row: usize) -> Option<bool> {
    match scalar(frame, column, row)? {
        Scalar::Bool(value) => Some(value),
        _ => None,
    }
}

/// Texts of a list cell; empty for null.
pub(crate) fn texts(frame: &DataFrame, column: &str, row: usize) -> Vec<String> {
    match frame.column(column).and_then(|column| column.get(row)) {
        Ok(AnyValue::List(series)) => match series.str() {
            Ok(values) => values.iter().flatten().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Row `row` of a frame that the reader conformed to the schema. A null in a field that is never null in files of
/// this version (an older file without the column) becomes empty or zero; only the status must be known.
pub(crate) fn run_row(frame: &DataFrame, row: usize) -> Result<RunRow> {
    let text = |column| text(frame, column, row);
    let int = |column| int(frame, column, row);
    let float = |column| float(frame, column, row);
    let flag = |column| flag(frame, column, row);
    let run_id = text("run_id").unwrap_or_default();
    let Some(status) = text("status").as_deref().and_then(Status::from_name) else {
        let problem = "its status is neither `ok` nor `failed`".to_owned();
        return Err(ResultsError::InvalidRow { run_id, problem });
    };
    let mut varied = BTreeMap::new();
    let (mut tuned, mut metrics) = (BTreeMap::new(), BTreeMap::new());
    for name in names(frame) {
        if let Some(path) = name.strip_prefix(CFG) {
            varied.extend(scalar(frame, name, row).map(|value| (path.to_owned(), value)));
        } else if let Some(path) = name.strip_prefix(TUNED) {
            tuned.extend(scalar(frame, name, row).map(|value| (path.to_owned(), value)));
        } else if let Some(key) = name.strip_prefix(METRIC) {
            metrics.extend(float(name).map(|value| (key.to_owned(), value)));
        }
    }
    Ok(RunRow {
        run_id,
        experiment: text("experiment").unwrap_or_default(),
        label: text("label").unwrap_or_default(),
        point: int("point").unwrap_or_default(),
        seed_pretrain: int("seed_pretrain").unwrap_or_default(),
        seed_downstream: int("seed_downstream").unwrap_or_default(),
        status,
        error: text("error"),
        failed_stage: text("failed_stage"),
        stage_pretrain: text("stage_pretrain"),
        stage_train: text("stage_train"),
        stage_evaluate: text("stage_evaluate"),
        spec_commit: text("spec_commit"),
        spec_dirty: flag("spec_dirty"),
        spec_diff_hash: text("spec_diff_hash"),
        program_commit: text("program_commit"),
        program_dirty: flag("program_dirty"),
        computed_commit: text("computed_commit"),
        program_version: text("program_version").unwrap_or_default(),
        dataset: text("dataset").unwrap_or_default(),
        dataset_fingerprint: text("dataset_fingerprint").unwrap_or_default(),
        synthetic: flag("synthetic").unwrap_or_default(),
        corrupt_images: int("corrupt_images").unwrap_or_default(),
        protocol: text("protocol").unwrap_or_default(),
        host: text("host").unwrap_or_default(),
        device: text("device").unwrap_or_default(),
        instruction_set: text("instruction_set").unwrap_or_default(),
        precision: text("precision").unwrap_or_default(),
        started_at: int("started_at").unwrap_or_default(),
        seconds: float("seconds").unwrap_or_default(),
        seconds_pretrain: float("seconds_pretrain"),
        seconds_train: float("seconds_train"),
        images_pretrain: int("images_pretrain"),
        tokens_pretrain: int("tokens_pretrain"),
        flops_pretrain: float("flops_pretrain"),
        peak_rss_bytes: int("peak_rss_bytes"),
        images_seen: int("images_seen"),
        tokens_seen: int("tokens_seen"),
        labelled_identities: int("labelled_identities"),
        labelled_images: int("labelled_images"),
        overrides: text("overrides").unwrap_or_default(),
        attempts: int("attempts").unwrap_or_default(),
        trial: int("trial"),
        marks: texts(frame, "marks", row),
        config_json: text("config_json").unwrap_or_default(),
        varied,
        tuned,
        metrics,
    })
}
