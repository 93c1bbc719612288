//! Rows to files and back; damaged, foreign, newer and unwritable files.

use std::fs;
use std::path::PathBuf;

use polars::prelude::{
    Column, DataFrame, DataType, KeyValueMetadata, ParquetReader, ParquetWriter, SerReader, TimeUnit, TimeZone,
};
use reid_objectives::metric::{self, MetricKey};
use reid_results::schema::{self, Direction, Unit};
use reid_results::{QueryRow, ResultsError, StepRow};

use super::*;

fn step(step: i64, metric: &str, value: f64) -> StepRow {
    StepRow {
        stage_key: "aa11".to_owned(),
        stage: "pretrain".to_owned(),
        epoch: 0,
        step,
        metric: metric.to_owned(),
        value,
        at: 1_700_000_000_000_000 + step,
    }
}

fn query(query: i64, hidden: Option<f64>, ap: f64) -> QueryRow {
    QueryRow {
        split: "test".to_owned(),
        query,
        path: format!("query/{query:04}_c1s1_000001_00.jpg"),
        pid: 7,
        camera: 1,
        hidden,
        ap,
        inp: ap,
        first_hit: 1,
        matches: 3,
    }
}

/// A run that uses every field.
fn full_run() -> RunRow {
    let mut row = run("person_mae-s3-k7f2q9");
    row.status = Status::Failed;
    row.error = Some("loss is NaN\nat step 7".to_owned());
    row.failed_stage = Some("train".to_owned());
    row.spec_diff_hash = Some("d1ff".to_owned());
    row.tokens_seen = Some(3);
    row.overrides.push_str("train.lr=3e-4 objective.person_mae.mask_ratio=0.5");
    row.marks = vec!["resumed on another instruction set".to_owned(), "überprüft".to_owned()];
    row.varied.insert("a.flag".to_owned(), Scalar::Bool(true));
    row.varied.insert("a.count".to_owned(), Scalar::Int(-3));
    row.varied.insert("a.rate".to_owned(), Scalar::Float(0.1));
    row.varied.insert("objective".to_owned(), Scalar::Text("person_mae".to_owned()));
    row.tuned.insert("a.lr".to_owned(), Scalar::Float(1e-3));
    row.trial = Some(2);
    with_metric(row, "test.map", 0.123_456_789_012_345_67)
}

#[test]
fn rows_come_back_as_they_were_written() {
    let dir = folder();
    let row = full_run();
    let steps = [step(0, "loss", 1.5), step(1, "block_share", f64::NAN)];
    let queries = [query(0, Some(0.25), 0.5), query(1, None, f64::NAN)];
    write_run(dir.path(), &row, &steps, &queries).expect("writable");

    let frames = read(dir.path()).expect("readable");
    assert_eq!(frames.rows().expect("rows"), [row]);
    let metrics = frames.metrics().expect("readable").collect().expect("collects");
    assert_eq!(metrics.height(), 2);
    let values: Vec<_> = metrics.column("value").expect("value").f64().expect("floats").iter().collect();
    assert_eq!(values[0], Some(1.5));
    assert!(values[1].is_some_and(f64::is_nan), "NaN is not null");
    assert_eq!(metrics.column("program_commit").expect("commit").null_count(), 0);
    let queries = frames.queries().expect("readable").collect().expect("collects");
    let hidden: Vec<_> = queries.column("hidden").expect("hidden").f64().expect("floats").iter().collect();
    assert_eq!(hidden, [Some(0.25), None], "null is not NaN");
    assert_eq!(queries.column("spec_commit").expect("commit").null_count(), 0);
}

#[test]
fn absent_metrics_are_null_and_undefined_ones_nan() {
    let rows = [with_metric(run("a"), "test.map", f64::NAN), with_metric(run("b"), "occluded.map", 0.5)];
    let frames = frames(&rows);
    let map = frames.runs.column("metric.test.map").expect("column").f64().expect("floats");
    assert!(map.get(0).is_some_and(f64::is_nan));
    assert_eq!(map.get(1), None);
}

#[test]
fn files_carry_types_version_commits_and_units() {
    let dir = folder();
    write_run(dir.path(), &with_metric(run("a"), "test.map", 0.5), &[step(0, "lr", 1e-3)], &[]).expect("writable");
    let file = fs::File::open(dir.path().join("runs/a.parquet")).expect("exists");
    let mut reader = ParquetReader::new(file);
    let pairs = reader.get_metadata().expect("metadata").key_value_metadata().clone().expect("pairs");
    let value = |key: &str| pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone());
    assert_eq!(value("reid_run.schema_version").as_deref(), Some("2"));
    assert_eq!(value("reid_run.commit"), Some("a".repeat(40)));
    assert_eq!(value("reid_run.spec_commit"), Some("5".repeat(40)));
    let units: serde_json::Value = serde_json::from_str(&value("reid_run.units").expect("units")).expect("JSON");
    assert_eq!(units["metric.test.map"]["unit"], "fraction");
    assert_eq!(units["metric.test.map"]["direction"], "higher");
    assert_eq!(units["seconds"]["unit"], "seconds");
    let frame = reader.finish().expect("readable");
    let utc = DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC));
    assert_eq!(*frame.column("started_at").expect("column").dtype(), utc);

    let file = fs::File::open(dir.path().join("metrics/a.parquet")).expect("exists");
    let mut reader = ParquetReader::new(file);
    let pairs = reader.get_metadata().expect("metadata").key_value_metadata().clone().expect("pairs");
    let units = pairs.iter().find(|pair| pair.key == "reid_run.units").and_then(|pair| pair.value.clone());
    assert!(units.expect("units").contains("\"lr\""));
}

#[test]
fn the_schema_agrees_with_the_metrics_of_the_objectives() {
    for key in MetricKey::ALL {
        let def = schema::metric_def(key.name()).unwrap_or_else(|| panic!("{} is not in the schema", key.name()));
        let unit = match key.unit() {
            metric::Unit::Fraction => Unit::Fraction,
            metric::Unit::Plain => Unit::Plain,
            metric::Unit::Seconds => Unit::Seconds,
            metric::Unit::Count => Unit::Count,
        };
        let direction = match key.direction() {
            metric::Direction::Higher => Direction::Higher,
            metric::Direction::Lower => Direction::Lower,
            metric::Direction::None => Direction::None,
        };
        assert_eq!((def.unit, def.direction), (unit, direction), "{}", key.name());
    }
}

/// The one file of a folder with one run, to be replaced by something else.
fn spoiled(bytes: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (ResultsError, PathBuf) {
    let dir = folder();
    write_all(dir.path(), &[with_metric(run("a"), "test.map", 0.5), with_metric(run("b"), "test.map", 0.6)]);
    let path = dir.path().join("runs/b.parquet");
    let whole = fs::read(&path).expect("exists");
    fs::write(&path, bytes(whole)).expect("writable");
    let error = read(dir.path()).err().expect("a spoiled file is an error");
    assert!(error.to_string().ends_with(&path.display().to_string()), "{error}");
    (error, path)
}

/// Parquet bytes of columns with file metadata.
fn parquet(columns: Vec<Column>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut frame = DataFrame::new(1, columns).expect("columns of one row");
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let mut bytes = Vec::new();
    let writer = ParquetWriter::new(&mut bytes).with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)));
    writer.finish(&mut frame).expect("encodes");
    bytes
}

#[test]
fn torn_files_are_named_at_any_cut() {
    let dir = folder();
    write_all(dir.path(), &[run("a")]);
    let length = fs::read(dir.path().join("runs/a.parquet")).expect("exists").len();
    for cut in [0, 1, 3, 4, 11, length / 3, length - 9, length - 8, length - 1] {
        let (error, _) = spoiled(|mut bytes| {
            bytes.truncate(cut);
            bytes
        });
        assert!(matches!(error, ResultsError::Unreadable { .. }), "{cut}: {error}");
        assert!(error.to_string().contains("move it away and run again"), "{error}");
    }
    let (error, _) = spoiled(|_| b"PAR1 is not enough to be Parquet".to_vec());
    assert!(matches!(error, ResultsError::Unreadable { .. }), "{error}");
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_or_harmless() {
    let dir = folder();
    write_all(dir.path(), &[full_run()]);
    let path = dir.path().join("runs").join(format!("{}.parquet", full_run().run_id));
    let whole = fs::read(&path).expect("exists");
    let key = whole.windows(17).rposition(|window| window == b"reid_run.checksum").expect("in the footer");
    let mut accepted = Vec::new();
    for at in (0..whole.len()).step_by(7).chain(key - 2..key + 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&path, bytes).expect("writable");
        match read(dir.path()) {
            Ok(_) => accepted.push(at),
            Err(error) => assert!(error.to_string().ends_with(&path.display().to_string()), "byte {at}: {error}"),
        }
    }
    // Only a checksum whose very name is damaged goes unnoticed; all else is then sound.
    assert!(accepted.iter().all(|at| (key..key + 19).contains(at)), "{accepted:?}");
    fs::write(&path, whole).expect("writable");
    assert_eq!(read(dir.path()).expect("sound again").rows().expect("rows"), [full_run()]);
}

#[test]
fn a_newer_schema_is_refused_before_its_columns_are_read() {
    // The column would be refused too, if it were looked at.
    let bytes = parquet(vec![Column::new("status".into(), [7_i64])], &[("reid_run.schema_version", "3")]);
    let (error, path) = spoiled(|_| bytes);
    assert_eq!(
        error.to_string(),
        format!(
            "results schema 3 is newer than schema 2 of this program; use a newer reid-run, or another output folder: {}",
            path.display()
        )
    );
}

#[test]
fn foreign_parquet_and_wrong_types_are_refused() {
    let (error, _) = spoiled(|_| parquet(vec![Column::new("x".into(), [1_i64])], &[]));
    assert!(matches!(error, ResultsError::Foreign { .. }), "{error}");
    for version in ["0", "-1", "one"] {
        let bytes = parquet(vec![Column::new("x".into(), [1_i64])], &[("reid_run.schema_version", version)]);
        let (error, _) = spoiled(|_| bytes);
        assert!(matches!(error, ResultsError::Foreign { .. }), "{error}");
    }
    let metadata = [("reid_run.schema_version", "1"), ("reid_run.part", "queries")];
    let (error, _) = spoiled(|_| parquet(vec![Column::new("x".into(), [1_i64])], &metadata));
    assert!(matches!(error, ResultsError::Foreign { .. }), "{error}");
    let columns = vec![
        Column::new("run_id".into(), ["b"]),
        Column::new("status".into(), ["ok"]),
        Column::new("seconds".into(), ["twelve"]),
    ];
    let (error, _) = spoiled(|_| parquet(columns, &[("reid_run.schema_version", "1")]));
    assert!(matches!(&error, ResultsError::ColumnType { column, .. } if column == "seconds"), "{error}");
    let columns = vec![Column::new("run_id".into(), ["b"]), Column::new("status".into(), ["maybe"])];
    let (error, _) = spoiled(|_| parquet(columns, &[("reid_run.schema_version", "1")]));
    assert!(matches!(error, ResultsError::Unreadable { .. }), "{error}");
}

#[test]
fn missing_columns_are_null_and_unknown_ones_ignored() {
    let dir = folder();
    write_all(dir.path(), &[with_metric(run("a"), "test.map", 0.5)]);
    let old = parquet(
        vec![
            Column::new("run_id".into(), ["old"]),
            Column::new("status".into(), ["ok"]),
            Column::new("experiment".into(), ["aaa"]),
            Column::new("point".into(), [3_i32]),
            Column::new("color".into(), ["blue"]),
        ],
        &[("reid_run.schema_version", "1")],
    );
    fs::write(dir.path().join("runs/old.parquet"), old).expect("writable");
    fs::write(dir.path().join("runs/.new.parquet.1-1.tmp"), b"unfinished").expect("writable");
    fs::write(dir.path().join("runs/notes.txt"), b"not ours").expect("writable");
    let frames = read(dir.path()).expect("readable");
    assert_eq!(frames.runs.height(), 2);
    assert!(frames.runs.column("color").is_err());
    let rows = frames.rows().expect("rows");
    assert_eq!((rows[0].run_id.as_str(), rows[0].point, rows[0].protocol.as_str()), ("old", 3, ""));
    assert_eq!(frames.runs.column("protocol").expect("column").null_count(), 1);
    assert_eq!(frames.metrics().expect("readable").collect().expect("collects").height(), 0);
}

#[test]
fn swept_fields_of_different_types_get_a_common_one() {
    let varied = [
        vec![("x", Scalar::Int(1)), ("y", Scalar::Int(1))],
        vec![("x", Scalar::Float(0.5)), ("y", Scalar::Text("auto".to_owned()))],
        vec![("y", Scalar::Bool(true))],
    ];
    let rows: Vec<RunRow> = varied
        .into_iter()
        .enumerate()
        .map(|(point, varied)| {
            let mut row = run(&format!("r{point}"));
            row.point = point as i64;
            row.varied = varied.into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
            row
        })
        .collect();
    let rows = frames(&rows).rows().expect("rows");
    let values = |path: &str| rows.iter().map(|row| row.varied.get(path).cloned()).collect::<Vec<_>>();
    assert_eq!(values("x"), [Some(Scalar::Float(1.0)), Some(Scalar::Float(0.5)), None]);
    assert_eq!(values("y"), ["1", "auto", "true"].map(|text| Some(Scalar::Text(text.to_owned()))));
}

#[test]
fn an_empty_or_absent_folder_has_no_runs_but_all_columns() {
    let dir = folder();
    for path in [dir.path().to_owned(), dir.path().join("absent")] {
        let frames = read(&path).expect("no runs are no fault");
        assert_eq!(frames.runs.height(), 0);
        assert_eq!(frames.runs.width(), schema::RUN_COLUMNS.len());
        assert_eq!(frames.metrics().expect("readable").collect().expect("collects").height(), 0);
    }
}

#[test]
fn runs_are_sorted_by_experiment_point_and_seeds() {
    let mut rows = sweep();
    let expected: Vec<String> = rows.iter().map(|row| row.run_id.clone()).collect();
    rows.reverse();
    rows[4].experiment = "aaa".to_owned();
    let read = frames(&rows).rows().expect("rows");
    assert_eq!(read[0].experiment, "aaa");
    let rest: Vec<String> = read[1..].iter().map(|row| row.run_id.clone()).collect();
    assert_eq!(rest, expected.into_iter().filter(|id| *id != read[0].run_id).collect::<Vec<_>>());
}

#[test]
fn a_retry_replaces_the_row_of_a_failed_run() {
    let dir = folder();
    let mut row = full_run();
    write_run(dir.path(), &row, &[step(0, "loss", 1.0)], &[]).expect("writable");
    row.status = Status::Ok;
    (row.error, row.failed_stage, row.attempts) = (None, None, 2);
    write_run(dir.path(), &row, &[step(0, "loss", 0.5), step(1, "loss", 0.25)], &[]).expect("writable");
    let frames = read(dir.path()).expect("readable");
    assert_eq!(frames.rows().expect("rows"), [row]);
    assert_eq!(frames.metrics().expect("readable").collect().expect("collects").height(), 2);
    for part in ["runs", "metrics", "queries"] {
        assert_eq!(fs::read_dir(dir.path().join(part)).expect("folder").count(), 1, "no temporary file stays");
    }
}

#[test]
fn run_ids_stay_inside_the_folder() {
    let dir = folder();
    for id in ["", ".hidden", "..", "../outside", "a/b", "a b", "a\0b", "é"] {
        let error = write_run(dir.path(), &run(id), &[], &[]).expect_err("not a file name");
        assert!(matches!(error, ResultsError::InvalidRow { .. }), "{id:?}: {error}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 0);
}

#[test]
fn what_cannot_be_written_leaves_earlier_results_intact() {
    let dir = folder();
    write_all(dir.path(), &[run("a")]);
    let before = read(dir.path()).expect("readable").rows().expect("rows");
    // A file where a folder belongs cannot be written into, not even by root.
    let blocked = dir.path().join("blocked");
    fs::write(&blocked, b"").expect("writable");
    let error = write_run(&blocked, &run("b"), &[], &[]).expect_err("not a folder");
    assert!(matches!(error, ResultsError::Io { .. }), "{error}");
    assert!(error.to_string().contains("free space or permit writing"), "{error}");
    // A folder where the last of the three files belongs: the rename fails after all was written.
    fs::create_dir_all(dir.path().join("runs/b.parquet/x")).expect("writable");
    let error = write_run(dir.path(), &run("b"), &[], &[]).expect_err("a folder is in the way");
    assert!(matches!(error, ResultsError::Io { .. }), "{error}");
    fs::remove_dir_all(dir.path().join("runs/b.parquet")).expect("removable");
    let names: Vec<_> = fs::read_dir(dir.path().join("runs")).expect("folder").collect();
    assert_eq!(names.len(), 1, "no temporary file stays");
    assert_eq!(read(dir.path()).expect("readable").rows().expect("rows"), before);
}

/// A file of version 1: what every such file had of a run's cost.
fn of_version_1(id: &str, stages: [Option<&str>; 2], status: &str) -> Vec<u8> {
    let [pretrain, train] = stages;
    let seconds = pretrain.map(|_| 40.25);
    let columns = vec![
        Column::new("run_id".into(), [id]),
        Column::new("status".into(), [status]),
        Column::new("stage_pretrain".into(), [pretrain]),
        Column::new("stage_train".into(), [train]),
        Column::new("seconds_pretrain".into(), [seconds]),
        Column::new("images_seen".into(), [Some(12_800_i64)]),
        Column::new("tokens_seen".into(), [Some(217_600_i64)]),
    ];
    parquet(columns, &[("reid_run.schema_version", "1"), ("reid_run.part", "runs")])
}

#[test]
fn files_of_version_1_are_brought_up_to_date() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("runs")).expect("a folder");
    let files = [
        ("both", [Some("aa"), Some("bb")], "ok"),
        ("direct", [Some("aa"), None], "ok"),
        ("failed", [None, None], "failed"),
        ("none", [None, Some("bb")], "ok"),
    ];
    for (id, stages, status) in files {
        fs::write(dir.path().join(format!("runs/{id}.parquet")), of_version_1(id, stages, status)).expect("writable");
    }
    let rows = read(dir.path()).expect("readable").rows().expect("rows");
    let costs = |row: &RunRow| (row.images_pretrain, row.tokens_pretrain, row.flops_pretrain, row.seconds_pretrain);
    let found: Vec<_> = rows.iter().map(|row| (row.run_id.as_str(), costs(row))).collect();
    let expected = [
        // Pictures and tokens were counted over both trainings.
        ("both", (None, None, None, Some(40.25))),
        ("direct", (Some(12_800), Some(217_600), None, Some(40.25))),
        ("failed", (None, None, None, None)),
        ("none", (Some(0), Some(0), Some(0.0), Some(0.0))),
    ];
    assert_eq!(found, expected);
    assert!(rows.iter().all(|row| row.trial.is_none() && row.tuned.is_empty() && row.seconds_train.is_none()));
    // A column of a wrong type is still refused, not replaced.
    let columns = ["run_id", "status", "seconds_pretrain"].map(|name| Column::new(name.into(), ["ok"])).to_vec();
    let (error, _) = spoiled(|_| parquet(columns, &[("reid_run.schema_version", "1")]));
    assert!(matches!(&error, ResultsError::ColumnType { column, .. } if column == "seconds_pretrain"), "{error}");
}
