//! `watch` on experiments that are finished, have failed, go on, or were stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::TINY;
use super::program::{Lab, checkpoints, children};

/// Every file below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for path in children(folder) {
        if path.is_dir() {
            files.append(&mut self::files(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

/// What a look shows, off a terminal and so in 80 columns.
#[track_caller]
fn look(lab: &Lab, arguments: &[&str]) -> String {
    let said = lab.done(&[&["watch", "tiny.yaml", "--once"][..], arguments].concat());
    let text = said.text().to_owned();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    text
}

#[test]
fn a_finished_experiment_is_over_and_a_look_leaves_no_trace() {
    let lab = Lab::with("tiny.yaml", TINY);
    assert_eq!(look(&lab, &[]), "tiny\n1 run: 0 done, 0 failed, 1 waiting\n");
    assert!(!lab.path("runs").exists());

    lab.done(&["tiny.yaml"]);
    let before = files(&lab.path("runs"));
    assert_eq!(look(&lab, &[]), "tiny\n1 run: 1 done, 0 failed, 0 waiting\n");
    assert!(files(&lab.path("runs")) == before, "the store has changed");
    // Without a terminal there is one look.
    assert_eq!(lab.done(&["watch", "tiny.yaml"]).text(), look(&lab, &[]));
    lab.run(&["watch", "tiny.yaml", "--interval", "0"]).assert_error(2, &["--interval"]);
}

#[test]
fn a_failed_run_is_counted_and_its_log_is_shown() {
    let settings = "epochs: 6, batch: 8, lr: 100, optim: {sgd: {weight_decay: 10}}";
    let lab = Lab::with("tiny.yaml", &TINY.replace("epochs: 2, batch: 8, lr: 0.01", settings));
    let none = ["pretrain.objective=none"];
    lab.run(&["tiny.yaml", none[0]]).assert_error(100, &["train none s0 failed: "]);
    let text = look(&lab, &none);
    assert!(text.starts_with("tiny\n1 run: 0 done, 1 failed, 0 waiting\nnewest warnings of the log:\n  20"), "{text}");
    assert!(text.contains("Z none-synthetic-first-s0-") && text.contains(": train none s0"), "{text}");
}

#[test]
fn work_is_shown_while_it_goes_on_and_after_it_was_stopped() {
    let settings = "epochs: 40, batch: 8, checkpoint_every: {steps: 10}";
    let lab = Lab::with("tiny.yaml", &TINY.replace("epochs: 1, batch: 16", settings));
    let mut running = lab.start(&["tiny.yaml"]);
    running.wait_until(|| !checkpoints(&lab.path("runs")).is_empty());
    let text = look(&lab, &[]);
    assert!(text.starts_with("tiny\npretrain person_mae s0: process "), "{text}");
    assert!(text.contains("/1200 steps") && text.ends_with("\n1 run: 0 done, 0 failed, 1 waiting\n"), "{text}");
    running.signal("INT");
    running.end().assert_code(75);

    let before = files(&lab.path("runs"));
    let text = look(&lab, &[]);
    assert!(files(&lab.path("runs")) == before, "the store has changed");
    assert!(text.starts_with("tiny\npretrain person_mae s0: begun, and nobody works on it\n  ["), "{text}");
    assert!(text.contains(" images/s\n  loss ") && text.contains('▁') && !text.contains("ETA"), "{text}");
    let (step, _) = text.split_once("] ").and_then(|(_, rest)| rest.split_once("/1200 steps, ")).expect("steps");

    // What it shows is what the next process goes on with.
    let mut running = lab.start(&["tiny.yaml"]);
    running.wait_for(&format!("pretrain person_mae s0: resumed at step {step} of 1200"));
    running.signal("INT");
    running.end().assert_code(75);
}
