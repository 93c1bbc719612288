//! Tests of the results: files, statistics, tables and their exports.

use std::collections::BTreeMap;
use std::path::Path;

use reid_results::{Frames, RunRow, Scalar, Status, TableOptions, export, read, tabulate, write_run};
use tempfile::TempDir;

mod compare;
mod conditions;
mod costs;
mod differences;
mod exports;
mod files;
mod index;
mod report;
mod statistics;
mod tables;

/// Path of the one swept field of [`sweep`].
const RATIO: &str = "objective.person_mae.mask_ratio";

/// A run that ended well, with nothing special about it.
fn run(id: &str) -> RunRow {
    RunRow {
        run_id: id.to_owned(),
        experiment: "ablation".to_owned(),
        label: "person_mae".to_owned(),
        point: 0,
        seed_pretrain: 0,
        seed_downstream: 0,
        status: Status::Ok,
        error: None,
        failed_stage: None,
        stage_pretrain: Some("aa11".to_owned()),
        stage_train: Some("bb22".to_owned()),
        stage_evaluate: Some("cc33".to_owned()),
        spec_commit: Some("5".repeat(40)),
        spec_dirty: Some(false),
        spec_diff_hash: None,
        program_commit: Some("a".repeat(40)),
        program_dirty: Some(false),
        computed_commit: Some("a".repeat(40)),
        program_version: "0.1.0".to_owned(),
        dataset: "market1501".to_owned(),
        dataset_fingerprint: "f00d".to_owned(),
        synthetic: false,
        corrupt_images: 0,
        protocol: "cosine, bnneck, same camera removed, AP by interpolation".to_owned(),
        host: "node".to_owned(),
        device: "cpu".to_owned(),
        instruction_set: "avx2".to_owned(),
        precision: "f32".to_owned(),
        started_at: 1_700_000_000_000_000,
        seconds: 12.5,
        seconds_pretrain: Some(40.25),
        seconds_train: Some(7.5),
        images_pretrain: Some(10_240),
        tokens_pretrain: None,
        flops_pretrain: Some(1.5e12),
        peak_rss_bytes: Some(512 << 20),
        images_seen: Some(12_800),
        tokens_seen: None,
        labelled_identities: Some(751),
        labelled_images: None,
        overrides: String::new(),
        attempts: 1,
        trial: None,
        marks: Vec::new(),
        config_json: "{}".to_owned(),
        varied: BTreeMap::new(),
        tuned: BTreeMap::new(),
        metrics: BTreeMap::new(),
    }
}

/// Sets one metric.
fn with_metric(mut run: RunRow, name: &str, value: f64) -> RunRow {
    run.metrics.insert(name.to_owned(), value);
    run
}

/// Three seeds of a baseline and of two masking ratios; the last point is by far the best on test.
fn sweep() -> Vec<RunRow> {
    sweep_of(3)
}

/// [`sweep`] with other seeds: from five on the last point may be called the best.
fn sweep_of(seeds: i32) -> Vec<RunRow> {
    let points = [("none", None, 0.401), ("person_mae", Some(0.5), 0.452), ("person_mae", Some(0.75), 0.583)];
    let mut runs = Vec::new();
    for (point, (label, ratio, map)) in points.into_iter().enumerate() {
        for seed in 0..seeds {
            let mut row = run(&format!("{label}-{point}-s{seed}"));
            label.clone_into(&mut row.label);
            row.point = point as i64;
            (row.seed_pretrain, row.seed_downstream) = (i64::from(seed), i64::from(seed));
            row.varied.extend(ratio.map(|ratio| (RATIO.to_owned(), Scalar::Float(ratio))));
            // Seeds shift all points alike, up to a small remainder that differs between points.
            let shift = 0.004 * f64::from(seed) + 0.0007 * f64::from((seed * (point as i32 + 1)) % 3);
            for (name, offset) in
                [("test.map", 0.0), ("test.rank1", 0.1), ("test.minp", -0.2), ("validation.map", 0.05)]
            {
                row.metrics.insert(name.to_owned(), map + shift + offset);
            }
            runs.push(row);
        }
    }
    runs
}

/// A folder that vanishes after the test. In memory where that is possible: each run costs six fsyncs.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("temporary folder")
}

/// Writes runs without step and query rows.
fn write_all(dir: &Path, runs: &[RunRow]) {
    for run in runs {
        write_run(dir, run, &[], &[]).expect("a temporary folder is writable");
    }
}

/// Writes runs and reads them back.
fn frames(runs: &[RunRow]) -> Frames {
    let dir = folder();
    write_all(dir.path(), runs);
    read(dir.path()).expect("what was written can be read")
}

/// The table of `runs` as text.
fn text(runs: &[RunRow], options: &TableOptions) -> String {
    let table = tabulate(&frames(runs), options).expect("the options fit the runs");
    String::from_utf8(export(&table, options).expect("a table can be exported")).expect("texts are UTF-8")
}
