//! Runs that fail, stores that cannot be used, settings that are none.

use std::collections::BTreeMap;
use std::fs;

use polars::prelude::{Column, DataFrame, KeyValueMetadata, ParquetWriter};
use reid_results::RunRow;

use super::program::{Lab, children};
use super::{TINY, UNTRAINED};

/// Point `bad` diverges within a few steps, the others are sound.
fn diverging() -> String {
    let bad = "{pretrain.objective: none, label: bad, protocol.supervised.train.lr: 100, \
               protocol.supervised.train.optim: {sgd: {weight_decay: 10}}}";
    let good = |label: &str, smoothing: f64| {
        format!("{{pretrain.objective: none, label: {label}, protocol.supervised.label_smoothing: {smoothing}}}")
    };
    let spec = TINY.replace("epochs: 2, batch: 8", "epochs: 6, batch: 8");
    format!("{spec}sweep: {{list: [{}, {bad}, {}]}}\n", good("one", 0.0), good("two", 0.1))
}

fn by_label(rows: Vec<RunRow>) -> BTreeMap<String, RunRow> {
    rows.into_iter().map(|row| (row.label.clone(), row)).collect()
}

#[test]
fn a_failing_run_is_recorded_retried_once_and_hurts_no_other() {
    let lab = Lab::with("tiny.yaml", &diverging());
    let first = lab.run(&["tiny.yaml"]);
    first.assert_error(100, &["train bad s0 failed: ", "is NaN at step ", "lower the learning rate"]);
    first.assert_error(100, &["error: 1 of 3 runs failed; run the same command again to retry them"]);
    assert!(first.text().contains("1 of 3 runs failed and enter no mean"), "{}", first.text());
    let before = by_label(lab.rows("runs"));
    let bad = &before["bad"];
    assert_eq!((bad.status.name(), bad.attempts, bad.failed_stage.as_deref()), ("failed", 1, Some("train bad s0")));
    assert!(bad.error.as_ref().is_some_and(|error| error.contains(" at step ")), "{:?}", bad.error);
    assert!(bad.metrics.is_empty());

    let second = lab.run(&["tiny.yaml"]);
    second.assert_error(100, &["train bad s0 failed: ", "they have been retried, and are not tried again"]);
    assert_eq!(by_label(lab.rows("runs"))["bad"].attempts, 2);

    let third = lab.run(&["tiny.yaml"]);
    third.assert_error(100, &["failed 2 times, not tried again (", " at step ", "delete its row to try anew: "]);
    assert!(!third.err.contains("train bad s0: started"), "{}", third.err);
    assert_eq!((second.text(), third.text()), (first.text(), first.text()));

    // The rows of the others are as they were, and the remedy in the message works.
    let after = by_label(lab.rows("runs"));
    assert_eq!((&after["one"], &after["two"]), (&before["one"], &before["two"]));
    let row = third.err.lines().find_map(|line| line.split("to try anew: ").nth(1)).expect("a path");
    fs::remove_file(row).expect("the row");
    lab.run(&["tiny.yaml"]).assert_error(100, &["train bad s0 failed: "]);
    assert_eq!(by_label(lab.rows("runs"))["bad"].attempts, 1);
}

#[test]
fn a_training_that_diverges_keeps_its_last_sound_checkpoint() {
    let spec = diverging().replace("epochs: 6, batch: 8", "epochs: 6, batch: 8, checkpoint_every: {steps: 1}");
    let lab = Lab::with("tiny.yaml", &spec);
    let said = lab.run(&["tiny.yaml"]);
    let line = said.err.lines().find(|line| line.contains("train bad s0 failed: ")).expect("a failure");
    let number = |text: &str| -> u64 {
        let (_, rest) = line.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {line}"));
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).expect("a number")
    };
    let (failed, kept) = (number("is NaN at step "), number("the state at step "));
    assert!(kept <= failed && kept + 1 >= failed, "{line}");
    let path = line.split_once(" is kept: ").expect("a path").1;
    assert!(std::path::Path::new(path).is_file(), "{path}");
    // Without one, that is said too.
    let said = Lab::with("tiny.yaml", &diverging()).run(&["tiny.yaml"]);
    said.assert_error(100, &["is NaN at step ", "no checkpoint had been written before"]);
}

#[test]
fn fail_fast_stops_at_the_first_failure() {
    let lab = Lab::with("tiny.yaml", &diverging());
    let said = lab.run(&["tiny.yaml", "--fail-fast"]);
    said.assert_error(100, &["1 run failed, 1 run not begun", "1 of 3 runs failed"]);
    let rows = by_label(lab.rows("runs"));
    assert_eq!(rows.keys().map(String::as_str).collect::<Vec<_>>(), ["bad", "one"]);
}

#[test]
fn a_store_that_cannot_be_used_is_refused_before_any_work() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    lab.write("file", "a file");
    for out in ["file", "file/runs"] {
        let said = lab.run(&["untrained.yaml", "--out", out]);
        said.assert_error(6, &["error: making the store: ", "choose another with `--out`", out]);
        assert!(said.out.is_empty());
    }
    assert_eq!(fs::read_to_string(lab.path("file")).expect("a file"), "a file");

    // A store of a newer program is left as it is.
    lab.write("newer/store.json", r#"{"schema_version": 99, "program_version": "9.0.0", "created": "later"}"#);
    for verb in [&["untrained.yaml"][..], &["plan", "untrained.yaml"], &["table"]] {
        let said = lab.run(&[verb, &["--out", "newer"]].concat());
        said.assert_error(6, &["the store has schema 99, written by version 9.0.0", "newer"]);
    }
    assert_eq!(children(&lab.path("newer")).len(), 1);
}

#[test]
fn results_that_cannot_be_read_are_refused_and_left_alone() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    lab.done(&["untrained.yaml"]);
    let earlier = children(&lab.path("runs/results/runs"));
    let contents = || children(&lab.path("runs/results/runs")).iter().map(|p| fs::read(p).expect("a file")).collect();

    let mut newer = Vec::new();
    let mut frame = DataFrame::new(1, vec![Column::new("run_id".into(), ["later"])]).expect("a column");
    let version = KeyValueMetadata::from_static(vec![("reid_run.schema_version".to_owned(), "99".to_owned())]);
    ParquetWriter::new(&mut newer).with_key_value_metadata(Some(version)).finish(&mut frame).expect("encoded");
    let path = lab.path("runs/results/runs/later.parquet");
    for (bytes, problem) in [(newer, "results schema 99 is newer"), (b"PAR1 torn".to_vec(), "not a readable Parquet")] {
        fs::write(&path, &bytes).expect("written");
        let before: Vec<Vec<u8>> = contents();
        for verb in [&["untrained.yaml", "seeds=[1]"][..], &["untrained.yaml"], &["table"]] {
            lab.run(verb).assert_error(6, &[problem, "later.parquet"]);
        }
        assert_eq!(contents(), before);
    }
    fs::remove_file(&path).expect("removed");
    assert_eq!(children(&lab.path("runs/results/runs")), earlier);
    lab.done(&["table"]);
}

#[test]
fn settings_come_from_the_machine_and_science_from_the_spec_alone() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    let with = |name: &str, value: &str| {
        let mut command = lab.command(&["untrained.yaml"]);
        command.env(name, value);
        super::program::Running::new(command, lab.root()).end()
    };
    with("REID_RUN_MASK_RATIO", "0.9").assert_error(2, &["REID_RUN_MASK_RATIO is no setting", "REID_RUN_OUT"]);
    with("REID_RUN_THREADS", "many").assert_error(2, &["REID_RUN_THREADS must be a whole number", "many"]);
    with("REID_RUN_JOBS", "two").assert_error(2, &["REID_RUN_JOBS must be a whole number", "two"]);
    with("REID_RUN_JOBS", "0").assert_error(2, &["REID_RUN_JOBS must be at least 1"]);
    with("REID_RUN_DEVICE", "gpu")
        .assert_error(2, &["there is no device `gpu`; use `cpu`, `cuda:N` such as `cuda:0`, or `metal`"]);
    with("REID_RUN_OUT", "by-variable").assert_code(0);
    assert_eq!(lab.rows("by-variable").len(), 1);

    lab.write("config/reid-run/config.yaml", "out: by-file\n");
    lab.done(&["untrained.yaml"]);
    assert_eq!(lab.rows("by-file").len(), 1);
    lab.write("config/reid-run/config.yaml", "out: by-file\nseeds: [1]\n");
    lab.run(&["untrained.yaml"]).assert_error(2, &["machine settings", "seeds", "config.yaml"]);
    assert!(!lab.path("runs").exists());
}
