//! kill -9, signals, and what is left for the next run.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use polars::prelude::{DataFrame, LazyFrame};
use reid_results::read;

use super::TINY;
use super::program::{Lab, checkpoints, children};

/// Trainings that take a while and are checkpointed often.
fn slow() -> String {
    TINY.replace(
        "epochs: 1, batch: 16",
        "epochs: 3, batch: 8, checkpoint_every: {steps: 5}, evaluate_every: {steps: 7}",
    )
    .replace("epochs: 2, batch: 8", "epochs: 8, batch: 8, checkpoint_every: {steps: 5}, evaluate_every: {epochs: 3}")
}

/// Three points with two seeds each.
fn sweep() -> String {
    let list = "{pretrain.objective: none}, {pretrain.objective.person_mae.mask_ratio: 0.25}, \
                {pretrain.objective.person_mae.mask_ratio: 0.75}";
    format!("{}seeds: [0, 1]\nsweep: {{list: [{list}]}}\n", slow())
}

/// Rows of a part of the results, less what differs between any two computations.
fn rows(frame: LazyFrame) -> DataFrame {
    let frame = frame.collect().expect("rows");
    if frame.column("at").is_ok() { frame.drop("at").expect("a column") } else { frame }
}

/// Everything that a sweep leaves, timings aside.
struct Left {
    table: String,
    artefacts: BTreeMap<String, Vec<u8>>,
    ids: Vec<String>,
    steps: DataFrame,
    queries: DataFrame,
}

impl Left {
    fn by(lab: &Lab, table: &str) -> Self {
        let frames = read(&lab.path("runs/results")).expect("results");
        Self {
            table: table.to_owned(),
            artefacts: lab.artefacts("runs"),
            ids: lab.rows("runs").into_iter().map(|row| row.run_id).collect(),
            steps: rows(frames.metrics().expect("step metrics")),
            queries: rows(frames.queries().expect("queries")),
        }
    }

    #[track_caller]
    fn assert_equals(&self, other: &Self) {
        assert_eq!(self.table, other.table);
        assert_eq!(self.ids, other.ids);
        assert_eq!(self.artefacts.keys().collect::<Vec<_>>(), other.artefacts.keys().collect::<Vec<_>>());
        for (name, bytes) in &self.artefacts {
            assert!(Some(bytes) == other.artefacts.get(name), "{name} differs");
        }
        assert!(self.steps.equals_missing(&other.steps), "step metrics differ");
        assert!(self.queries.equals_missing(&other.queries), "queries differ");
    }
}

#[test]
fn kill_9_at_any_moment_changes_nothing() {
    const KILLS: u64 = 8;
    let unbroken = Lab::with("tiny.yaml", &sweep());
    // The costs of the three pre-trainings differ, and with them stands the time that they have taken.
    let table = |lab: &Lab| lab.done(&["table", "tiny.yaml", "--cost=never"]).text().to_owned();
    unbroken.done(&["tiny.yaml"]);
    let expected = Left::by(&unbroken, &table(&unbroken));
    assert_eq!(expected.ids.len(), 6);
    assert!(expected.steps.height() > 0 && expected.queries.height() > 0);

    let broken = Lab::with("tiny.yaml", &sweep());
    let chance = RandomState::new();
    let mut resumed = 0;
    for kill in 0..KILLS {
        let jobs = if kill % 4 < 2 { "1" } else { "3" };
        let mut running = broken.start(&["tiny.yaml", "--jobs", jobs]);
        // Half of the kills are certain to find work that a new checkpoint knows of.
        if kill % 2 == 0 {
            let before = checkpoints(&broken.path("runs"));
            running.wait_until(|| checkpoints(&broken.path("runs")).difference(&before).next().is_some());
        }
        thread::sleep(Duration::from_millis(chance.hash_one(kill) % 150));
        resumed += usize::from(running.kill().err.contains(": resumed at step "));
    }
    let last = broken.done(&["tiny.yaml"]);
    resumed += usize::from(last.err.contains(": resumed at step "));
    assert!(resumed > 0, "no kill has met a training");
    Left::by(&broken, &table(&broken)).assert_equals(&expected);
    assert_eq!(broken.done(&["tiny.yaml"]).computed(), 0);
}

#[test]
fn a_signal_ends_the_step_and_the_next_run_goes_on_from_there() {
    let spec = format!("{}seeds: [5]\n", TINY.replace("epochs: 1, batch: 16", "epochs: 6, batch: 8"));
    let unbroken = Lab::with("tiny.yaml", &spec);
    let expected = Left::by(&unbroken, unbroken.done(&["tiny.yaml"]).text());

    let broken = Lab::with("tiny.yaml", &spec);
    let mut running = broken.start(&["tiny.yaml"]);
    running.wait_for("pretrain person_mae s5: started");
    thread::sleep(Duration::from_millis(100));
    running.signal("INT");
    let first = running.end();
    first.assert_error(75, &["stopped by SIGINT; what was done is kept, run the same command again to resume"]);
    assert!(first.out.is_empty(), "a table of unfinished runs:\n{}", first.text());
    assert!(broken.rows("runs").is_empty());
    let plan = broken.done(&["plan", "tiny.yaml"]);
    assert!(plan.text().contains("pretrain     1 for 1 run: 1 begun"), "{}", plan.text());

    let mut running = broken.start(&["tiny.yaml"]);
    running.wait_for("pretrain person_mae s5: resumed at step ");
    running.signal("TERM");
    running.end().assert_error(75, &["stopped by SIGTERM"]);

    let last = broken.done(&["tiny.yaml"]);
    assert!(last.err.contains("pretrain person_mae s5: resumed at step "), "{}", last.err);
    assert!(!last.err.contains("taken over"), "{}", last.err);
    Left::by(&broken, last.text()).assert_equals(&expected);
}

#[test]
fn a_stage_that_ends_processes_lets_the_other_runs_go_first() {
    let list = "{pretrain.objective.person_mae.mask_ratio: 0.25}, {pretrain.objective: none}";
    let spec = TINY.replace("epochs: 1, batch: 16", "epochs: 6, batch: 8");
    let lab = Lab::with("tiny.yaml", &format!("{spec}sweep: {{list: [{list}]}}\n"));
    for _ in 0..2 {
        let mut running = lab.start(&["tiny.yaml"]);
        running.wait_for("pretrain person_mae s0: started");
        running.kill();
    }
    // More often, and when nothing else is left to do: the run has failed, and is tried again by the next invocation.
    let other = Lab::with("tiny.yaml", &format!("{spec}sweep: {{list: [{list}]}}\n"));
    for _ in 0..10 {
        let mut running = other.start(&["tiny.yaml"]);
        running.wait_for("pretrain person_mae s0: started");
        running.kill();
    }
    other.run(&["tiny.yaml"]).assert_error(100, &["pretrain person_mae s0 failed: 10 processes have died at it"]);
    other.done(&["tiny.yaml"]);

    let last = lab.done(&["tiny.yaml"]);
    let place = |text: &str| last.err.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{}", last.err));
    assert!(place("processes have died more than once while they were at it") < place("train none s0: started"));
    assert!(place("evaluate none s0: test mAP") < place("pretrain person_mae s0: started"));
}

#[test]
fn a_second_ctrl_c_ends_a_long_step_at_once() {
    // One step of this takes far longer than the test.
    let spec =
        TINY.replace("size: micro", "size: small").replace("image: [32, 16], patch: 8", "image: [64, 64], patch: 4");
    let lab = Lab::with("tiny.yaml", &spec);
    let mut running = lab.start(&["tiny.yaml", "pretrain.train.batch=240"]);
    running.wait_for("pretrain person_mae s0: started");
    running.signal("INT");
    thread::sleep(Duration::from_millis(100));
    running.signal("INT");
    let said = running.end();
    said.assert_code(130);
    assert!(said.out.is_empty());
}

#[test]
fn a_damaged_checkpoint_and_a_damaged_stage_cost_work_and_nothing_else() {
    let spec = format!("{}seeds: [0]\n", slow());
    let unbroken = Lab::with("tiny.yaml", &spec);
    let expected = Left::by(&unbroken, unbroken.done(&["tiny.yaml"]).text());

    let broken = Lab::with("tiny.yaml", &spec);
    let mut running = broken.start(&["tiny.yaml"]);
    running.wait_until(|| !checkpoints(&broken.path("runs")).is_empty());
    running.kill();
    for attempt in children(&broken.path("runs/partial")).into_iter().flat_map(|key| children(&key)) {
        for file in children(&attempt.join("checkpoints")) {
            if file.extension().is_some_and(|extension| extension == "safetensors") {
                std::fs::write(&file, "torn").expect("written");
            }
        }
    }
    let last = broken.done(&["tiny.yaml"]);
    Left::by(&broken, last.text()).assert_equals(&expected);

    let is_model = |name: &&String| name.ends_with("model.safetensors");
    let model = expected.artefacts.keys().find(is_model).expect("a model");
    std::fs::remove_file(broken.path("runs").join(model)).expect("removed");
    let repaired = broken.done(&["tiny.yaml"]);
    assert_eq!(repaired.computed(), 1);
    assert!(repaired.err.contains("is damaged (model.safetensors is missing)"), "{}", repaired.err);
    Left::by(&broken, repaired.text()).assert_equals(&expected);
}
