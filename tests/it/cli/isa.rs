//! Instruction sets: pinned, recorded, and what a change of them in the middle of a training leaves.

use std::time::Duration;

use polars::prelude::*;
use reid_backbones::InstructionSet;
use reid_results::read;

use super::TINY;
use super::program::{Lab, Running, Said};

/// The program with the instruction set that a variable names.
fn start(lab: &Lab, set: &str, arguments: &[&str]) -> Running {
    let mut command = lab.command(arguments);
    command.env("REID_RUN_ISA", set);
    Running::new(command, lab.root())
}

fn run(lab: &Lab, set: &str, arguments: &[&str]) -> Said {
    start(lab, set, arguments).end()
}

/// Losses of all step metrics of a store.
fn losses(lab: &Lab, store: &str) -> Vec<f64> {
    let steps = read(&lab.path(store).join("results")).expect("results").metrics().expect("step metrics");
    let rows = steps.filter(col("metric").eq(lit("loss"))).collect().expect("rows");
    let values = rows.column("value").expect("values");
    values.f64().expect("numbers").into_no_null_iter().collect()
}

/// Losses of a few steps on two instruction sets, relative.
const ELSEWHERE: f64 = 1e-3;

#[test]
fn every_instruction_set_trains_repeatably_and_alike() {
    let lab = Lab::with("tiny.yaml", TINY);
    let sets = InstructionSet::available();
    let stores: Vec<String> = sets.iter().map(|set| format!("runs-{}", set.name())).collect();
    for (set, store) in sets.iter().zip(&stores) {
        run(&lab, set.name(), &["tiny.yaml", "--out", store]).assert_code(0);
        assert_eq!(lab.rows(store)[0].instruction_set, set.features());
        let (first, other) = (losses(&lab, &stores[0]), losses(&lab, store));
        assert!(!first.is_empty() && first.len() == other.len());
        for (a, b) in first.iter().zip(&other) {
            assert!((a - b).abs() <= ELSEWHERE * a.abs(), "{}: loss {b}, elsewhere {a}", set.name());
        }
        let again = format!("{store}-again");
        run(&lab, set.name(), &["tiny.yaml", "--out", &again, "--threads", "2"]).assert_code(0);
        let contents = |store: &str| lab.artefacts(store).into_values().collect::<Vec<_>>();
        assert!(contents(store) == contents(&again), "{} gives the same bits twice", set.name());
    }
    run(&lab, "best", &["tiny.yaml"]).assert_code(0);
    assert_eq!(lab.rows("runs")[0].instruction_set, sets[0].features());

    let names = sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", ");
    let expected = format!("instruction set `mmx` is not on this machine; use `best` or one of {names}");
    run(&lab, "mmx", &["tiny.yaml"]).assert_error(2, &[&expected]);
}

#[test]
fn a_resume_on_another_instruction_set_is_said_and_marked() {
    let sets = InstructionSet::available();
    let [first, .., last] = sets.as_slice() else { return };
    let lab = Lab::with("tiny.yaml", &TINY.replace("epochs: 1, batch: 16", "epochs: 6, batch: 8"));
    let mut running = start(&lab, first.name(), &["tiny.yaml"]);
    running.wait_for("pretrain person_mae s0: started");
    std::thread::sleep(Duration::from_millis(50));
    running.signal("INT");
    running.end().assert_error(75, &["stopped by SIGINT"]);

    let mark = format!("resumed on {} after {}", last.features(), first.features());
    let resumed = run(&lab, last.name(), &["tiny.yaml"]);
    resumed.assert_code(0);
    assert!(resumed.err.contains(&mark), "no {mark:?} in:\n{}", resumed.err);
    assert_eq!(lab.rows("runs")[0].marks, [mark]);
}
