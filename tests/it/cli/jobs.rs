//! Several stages at the same time, in one process.

use super::TINY;
use super::program::Lab;

/// Two pre-trainings, of which each serves two trainings with two seeds.
fn sweep() -> String {
    let grid = "pretrain.objective.person_mae.mask_ratio: [0.25, 0.75], protocol.supervised.label_smoothing: [0, 0.1]";
    format!("{TINY}seeds: [0, 1]\nsweep: {{grid: {{{grid}}}}}\n")
}

#[test]
fn jobs_compute_every_stage_once_and_change_no_bit() {
    let lab = Lab::with("tiny.yaml", &sweep());
    let one = lab.done(&["tiny.yaml", "--out", "one"]);
    assert_eq!(one.computed(), 4 + 8 + 8);
    let table = |store: &str| lab.done(&["table", "tiny.yaml", "--cost=never", "--out", store]).text().to_owned();
    for (jobs, threads) in [("2", "2"), ("3", "7"), ("20", "1")] {
        let store = format!("by-{jobs}");
        let said = lab.done(&["tiny.yaml", "--out", &store, "--jobs", jobs, "--threads", threads]);
        assert_eq!(said.computed(), 20, "{jobs} jobs");
        assert!(said.err.contains(", 0 reused"), "{}", said.err);
        assert!(!said.err.contains("waiting for process"), "a job waits for its own process:\n{}", said.err);
        assert!(lab.artefacts(&store) == lab.artefacts("one"), "{jobs} jobs change artefacts");
        assert_eq!(table(&store), table("one"));
    }
    assert_eq!(lab.done(&["tiny.yaml", "--out", "one", "--jobs", "4"]).computed(), 0);
}

#[test]
fn a_signal_ends_all_jobs_and_the_next_run_goes_on() {
    let spec = sweep().replace("epochs: 1, batch: 16", "epochs: 6, batch: 8");
    let lab = Lab::with("tiny.yaml", &spec);
    let mut running = lab.start(&["tiny.yaml", "--jobs", "2"]);
    running.wait_for("mask_ratio=0.75 s0: started");
    running.signal("INT");
    running.end().assert_error(75, &["stopped by SIGINT; what was done is kept"]);
    let said = lab.done(&["tiny.yaml", "--jobs", "2"]);
    assert!(said.err.matches("s0: resumed at step ").count() >= 1, "{}", said.err);
    let whole = Lab::with("tiny.yaml", &spec);
    whole.done(&["tiny.yaml"]);
    assert!(lab.artefacts("runs") == whole.artefacts("runs"), "resumed jobs change artefacts");
}

#[test]
fn a_failing_run_hurts_no_other_job() {
    let bad = "{label: bad, pretrain.objective: none, protocol.supervised.train.lr: 100, \
               protocol.supervised.train.optim: {sgd: {weight_decay: 10}}}";
    let good = "{label: good, pretrain.objective: none}";
    let spec = TINY.replace("epochs: 2, batch: 8", "epochs: 6, batch: 8");
    let lab = Lab::with("tiny.yaml", &format!("{spec}seeds: [0, 1, 2]\nsweep: {{list: [{bad}, {good}]}}\n"));
    let said = lab.run(&["tiny.yaml", "--jobs", "2"]);
    said.assert_error(100, &["train bad s0 failed: ", "train bad s2 failed: ", "3 of 6 runs failed"]);
    let rows = lab.rows("runs");
    let good = rows.iter().filter(|row| row.label == "good" && row.status.name() == "ok");
    assert_eq!((rows.len(), good.count()), (6, 3));
}

#[test]
fn fail_fast_ends_all_jobs() {
    let bad = "{label: bad, pretrain.objective: none, protocol.supervised.train.lr: 100, \
               protocol.supervised.train.optim: {sgd: {weight_decay: 10}}}";
    let good = "{label: good, pretrain.objective: none, protocol.supervised.train.epochs: 40}";
    let spec = TINY.replace("epochs: 2, batch: 8", "epochs: 6, batch: 8");
    let lab = Lab::with("tiny.yaml", &format!("{spec}seeds: [0, 1, 2, 3]\nsweep: {{list: [{bad}, {good}]}}\n"));
    let said = lab.run(&["tiny.yaml", "--jobs", "2", "--fail-fast"]);
    said.assert_error(100, &["failed: "]);
    let rows = lab.rows("runs");
    let failed = rows.iter().filter(|row| row.label == "bad").count();
    assert!((1..=2).contains(&failed), "{failed} runs have failed");
    let left = 8 - rows.len();
    assert!(said.err.contains(&format!("{left} runs not begun")), "{}", said.err);
}

#[test]
fn a_plan_shares_time_and_adds_memory() {
    let lab = Lab::with("tiny.yaml", &sweep());
    lab.run(&["plan", "tiny.yaml", "--jobs", "0"]).assert_error(2, &["--jobs"]);
    for jobs in ["1", "2"] {
        lab.done(&["plan", "tiny.yaml", "--calibrate", "--jobs", jobs, "--threads", jobs]);
    }
    let memory = |jobs: &str, threads: &str| -> f64 {
        let said = lab.done(&["plan", "tiny.yaml", "--jobs", jobs, "--threads", threads]);
        let (_, rest) = said.text().split_once(" s and ").unwrap_or_else(|| panic!("no cost in {}", said.text()));
        rest.split(' ').next().and_then(|number| number.parse().ok()).expect("megabytes")
    };
    let (one, two) = (memory("1", "1"), memory("2", "2"));
    // Each has measured its own peaks, which differ by a few hundredths from one process to the next.
    assert!(two > 1.5 * one && two < 2.2 * one, "{one} MB alone, {two} MB for two jobs");
}
