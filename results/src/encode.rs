//! Rows to data frames, and the metadata that goes with them.

use std::collections::BTreeMap;

use polars::prelude::{
    Column, DataFrame, Int64Chunked, IntoSeries, NamedFrom, NewChunkedArray, Series, TimeUnit, TimeZone,
};
use serde_json::json;

use crate::row::{QueryRow, RunRow, Scalar, StepRow};
use crate::schema::{self, CFG, ColumnDef, METRIC, Part, TUNED};
use crate::{Result, ResultsError, checksum};

/// Collects columns in schema order and checks that none is forgotten.
struct Columns {
    part: Part,
    columns: Vec<Column>,
}

impl Columns {
    fn new(part: Part) -> Self {
        Self { part, columns: Vec::with_capacity(part.columns().len()) }
    }

    /// Appends the next column; its values must have the type that the schema names.
    fn push(&mut self, column: Column) {
        let def: &ColumnDef = &self.part.columns()[self.columns.len()];
        assert!(
            column.name() == def.name && *column.dtype() == def.kind.dtype(),
            "column {} is written where the schema has {}",
            column.name(),
            def.name
        );
        self.columns.push(column);
    }

    fn text(&mut self, name: &str, values: Vec<Option<&str>>) {
        self.push(Column::new(name.into(), values));
    }

    fn int(&mut self, name: &str, values: Vec<Option<i64>>) {
        self.push(Column::new(name.into(), values));
    }

    fn float(&mut self, name: &str, values: Vec<Option<f64>>) {
        self.push(Column::new(name.into(), values));
    }

    fn flag(&mut self, name: &str, values: Vec<Option<bool>>) {
        self.push(Column::new(name.into(), values));
    }

    /// `values`: microseconds since 1970 in UTC.
    fn time(&mut self, name: &str, values: &[i64]) {
        let micros = Int64Chunked::from_slice(name.into(), values);
        self.push(micros.into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)).into_series().into());
    }

    fn finish(self, height: usize) -> Result<DataFrame> {
        assert_eq!(self.columns.len(), self.part.columns().len(), "all columns of the schema are written");
        DataFrame::new(height, self.columns).map_err(ResultsError::internal("collecting the columns"))
    }
}

/// The one row of a `runs` file.
pub(crate) fn run_frame(run: &RunRow) -> Result<DataFrame> {
    let mut out = Columns::new(Part::Runs);
    out.text("run_id", vec![Some(&run.run_id)]);
    out.text("experiment", vec![Some(&run.experiment)]);
    out.text("label", vec![Some(&run.label)]);
    out.int("point", vec![Some(run.point)]);
    out.int("seed_pretrain", vec![Some(run.seed_pretrain)]);
    out.int("seed_downstream", vec![Some(run.seed_downstream)]);
    out.text("status", vec![Some(run.status.name())]);
    out.text("error", vec![run.error.as_deref()]);
    out.text("failed_stage", vec![run.failed_stage.as_deref()]);
    out.text("stage_pretrain", vec![run.stage_pretrain.as_deref()]);
    out.text("stage_train", vec![run.stage_train.as_deref()]);
    out.text("stage_evaluate", vec![run.stage_evaluate.as_deref()]);
    out.text("spec_commit", vec![run.spec_commit.as_deref()]);
    out.flag("spec_dirty", vec![run.spec_dirty]);
    out.text("spec_diff_hash", vec![run.spec_diff_hash.as_deref()]);
    out.text("program_commit", vec![run.program_commit.as_deref()]);
    out.flag("program_dirty", vec![run.program_dirty]);
    out.text("computed_commit", vec![run.computed_commit.as_deref()]);
    out.text("program_version", vec![Some(&run.program_version)]);
    out.text("dataset", vec![Some(&run.dataset)]);
    out.text("dataset_fingerprint", vec![Some(&run.dataset_fingerprint)]);
    out.flag("synthetic", vec![Some(run.synthetic)]);
    out.int("corrupt_images", vec![Some(run.corrupt_images)]);
    out.text("protocol", vec![Some(&run.protocol)]);
    out.text("host", vec![Some(&run.host)]);
    out.text("device", vec![Some(&run.device)]);
    out.text("instruction_set", vec![Some(&run.instruction_set)]);
    out.text("precision", vec![Some(&run.precision)]);
    out.time("started_at", &[run.started_at]);
    out.float("seconds", vec![Some(run.seconds)]);
    out.float("seconds_pretrain", vec![run.seconds_pretrain]);
    out.float("seconds_train", vec![run.seconds_train]);
    out.int("images_pretrain", vec![run.images_pretrain]);
    out.int("tokens_pretrain", vec![run.tokens_pretrain]);
    out.float("flops_pretrain", vec![run.flops_pretrain]);
    out.int("peak_rss_bytes", vec![run.peak_rss_bytes]);
    out.int("images_seen", vec![run.images_seen]);
    out.int("tokens_seen", vec![run.tokens_seen]);
    out.int("labelled_identities", vec![run.labelled_identities]);
    out.int("labelled_images", vec![run.labelled_images]);
    out.text("overrides", vec![Some(&run.overrides)]);
    out.int("attempts", vec![Some(run.attempts)]);
    out.int("trial", vec![run.trial]);
    let marks: Vec<&str> = run.marks.iter().map(String::as_str).collect();
    out.push(Column::new("marks".into(), [Series::new("".into(), marks)]));
    out.text("config_json", vec![Some(&run.config_json)]);
    let mut frame = out.finish(1)?;

    let varied = run.varied.iter().map(|(path, value)| scalar_column(&format!("{CFG}{path}"), value));
    let tuned = run.tuned.iter().map(|(path, value)| scalar_column(&format!("{TUNED}{path}"), value));
    let metrics = run.metrics.iter().map(|(name, value)| Column::new(format!("{METRIC}{name}").into(), [*value]));
    for column in varied.chain(tuned).chain(metrics) {
        frame.with_column(column).map_err(ResultsError::internal("adding a column"))?;
    }
    Ok(frame)
}

fn scalar_column(name: &str, value: &Scalar) -> Column {
    match value {
        Scalar::Bool(value) => Column::new(name.into(), [*value]),
        Scalar::Int(value) => Column::new(name.into(), [*value]),
        Scalar::Float(value) => Column::new(name.into(), [*value]),
        Scalar::Text(value) => Column::new(name.into(), [value.as_str()]),
    }
}

/// Rows of a `metrics` file.
pub(crate) fn step_frame(run: &RunRow, steps: &[StepRow]) -> Result<DataFrame> {
    let mut out = Columns::new(Part::Metrics);
    out.text("run_id", vec![Some(&run.run_id); steps.len()]);
    out.text("stage_key", steps.iter().map(|row| Some(row.stage_key.as_str())).collect());
    out.text("stage", steps.iter().map(|row| Some(row.stage.as_str())).collect());
    out.int("epoch", steps.iter().map(|row| Some(row.epoch)).collect());
    out.int("step", steps.iter().map(|row| Some(row.step)).collect());
    out.text("metric", steps.iter().map(|row| Some(row.metric.as_str())).collect());
    out.float("value", steps.iter().map(|row| Some(row.value)).collect());
    out.time("at", &steps.iter().map(|row| row.at).collect::<Vec<_>>());
    out.text("spec_commit", vec![run.spec_commit.as_deref(); steps.len()]);
    out.text("program_commit", vec![run.program_commit.as_deref(); steps.len()]);
    out.finish(steps.len())
}

/// Rows of a `queries` file.
pub(crate) fn query_frame(run: &RunRow, queries: &[QueryRow]) -> Result<DataFrame> {
    let mut out = Columns::new(Part::Queries);
    out.text("run_id", vec![Some(&run.run_id); queries.len()]);
    out.text("split", queries.iter().map(|row| Some(row.split.as_str())).collect());
    out.int("query", queries.iter().map(|row| Some(row.query)).collect());
    out.text("path", queries.iter().map(|row| Some(row.path.as_str())).collect());
    out.int("pid", queries.iter().map(|row| Some(row.pid)).collect());
    out.int("camera", queries.iter().map(|row| Some(row.camera)).collect());
    out.float("hidden", queries.iter().map(|row| row.hidden).collect());
    out.float("ap", queries.iter().map(|row| Some(row.ap)).collect());
    out.float("inp", queries.iter().map(|row| Some(row.inp)).collect());
    out.int("first_hit", queries.iter().map(|row| Some(row.first_hit)).collect());
    out.int("matches", queries.iter().map(|row| Some(row.matches)).collect());
    out.text("spec_commit", vec![run.spec_commit.as_deref(); queries.len()]);
    out.text("program_commit", vec![run.program_commit.as_deref(); queries.len()]);
    out.finish(queries.len())
}

/// File metadata of one part of a run.
pub(crate) fn metadata(part: Part, run: &RunRow, steps: &[StepRow]) -> Vec<(String, String)> {
    let mut units = BTreeMap::new();
    for def in part.columns() {
        let about = json!({"unit": def.unit.name(), "direction": def.direction.name(), "doc": def.doc});
        units.insert(def.name.to_owned(), about);
    }
    match part {
        Part::Runs => {
            for key in run.metrics.keys() {
                units.insert(format!("{METRIC}{key}"), metric_about(key.rsplit('.').next().unwrap_or(key)));
            }
        }
        Part::Metrics => {
            for step in steps {
                units.entry(step.metric.clone()).or_insert_with(|| metric_about(&step.metric));
            }
        }
        Part::Queries => {}
    }
    let pairs = [
        (schema::KEY_VERSION, schema::SCHEMA_VERSION.to_string()),
        (schema::KEY_PART, part.folder().to_owned()),
        (schema::KEY_COMMIT, run.program_commit.clone().unwrap_or_default()),
        (schema::KEY_SPEC_COMMIT, run.spec_commit.clone().unwrap_or_default()),
        (schema::KEY_UNITS, json!(units).to_string()),
        (schema::KEY_CHECKSUM, checksum::PLACEHOLDER.to_owned()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn metric_about(name: &str) -> serde_json::Value {
    match schema::metric_def(name) {
        Some(def) => json!({"unit": def.unit.name(), "direction": def.direction.name(), "doc": def.doc}),
        None => json!({"unit": "plain", "direction": "none", "doc": ""}),
    }
}
