//! Settings that every initialisation chooses for itself on validation identities.

use std::collections::BTreeMap;

use reid_results::{RunRow, Scalar};

use super::TINY;
use super::program::Lab;

/// `none` and PersonMAE, each with four trials.
const TUNE: &str = "\
seeds: [0, 1]
sweep: {list: [{pretrain.objective: none}, {}]}
tune:
  over: {pretrain.train.lr: [1.0e-3, 3.0e-3], protocol.supervised.train.lr: [0.01, 0.03]}
  for: {none: {protocol.supervised.train.lr: [0.003, 0.01, 0.03, 0.1]}}
";

const PRETRAIN: &str = "pretrain.train.lr";
const TRAIN: &str = "protocol.supervised.train.lr";

fn lab() -> Lab {
    Lab::with("tiny.yaml", &format!("{TINY}{TUNE}"))
}

/// Rows that are trials, and the others.
fn parted(lab: &Lab) -> (Vec<RunRow>, Vec<RunRow>) {
    lab.rows("runs").into_iter().partition(|row| row.trial.is_some())
}

fn float(scalar: &Scalar) -> f64 {
    match scalar {
        Scalar::Float(value) => *value,
        other => panic!("{other:?} is no rate"),
    }
}

#[test]
fn every_initialisation_runs_with_what_validation_has_chosen() {
    let lab = lab();
    let check = lab.done(&["check", "tiny.yaml"]);
    for part in [
        "tiny: ok, 2 sweep points, 4 runs, after 8 trial runs\n",
        "  none: 4 trials (4 protocol.supervised.train.lr) with 1 seed\n",
        "  person_mae: 4 trials (2 pretrain.train.lr x 2 protocol.supervised.train.lr) with 1 seed\n",
    ] {
        assert!(check.text().contains(part), "no {part:?} in:\n{}", check.text());
    }
    assert!(!check.err.contains("warning"), "{}", check.err);
    let plan = lab.done(&["plan", "tiny.yaml"]);
    for part in
        ["trials of every initialisation:", "tiny: 8 runs", "then, with what validation map chooses", "tiny: 4 runs"]
    {
        assert!(plan.text().contains(part), "no {part:?} in:\n{}", plan.text());
    }
    assert!(!lab.path("runs").exists());
    lab.run(&["table", "tiny.yaml"]).assert_error(4, &["no results"]);

    let first = lab.done(&["tiny.yaml"]);
    let (trials, runs) = parted(&lab);
    assert_eq!((trials.len(), runs.len()), (8, 4));
    // The best mean of validation, which is recomputed here, and of equals the first in the grid's order.
    for label in ["none", "person_mae"] {
        let of = |rows: &[RunRow]| -> Vec<RunRow> { rows.iter().filter(|row| row.label == label).cloned().collect() };
        let tried = of(&trials);
        assert_eq!(tried.iter().map(|row| row.trial).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), Some(3)]);
        let best = tried.iter().fold(None, |best: Option<&RunRow>, row| match best {
            Some(known) if known.metrics["validation.map"] >= row.metrics["validation.map"] => Some(known),
            _ => Some(row),
        });
        let best = best.expect("a trial");
        let chosen = of(&runs);
        assert_eq!(chosen.len(), 2, "both seeds");
        for run in &chosen {
            assert_eq!(run.tuned, best.tuned, "{label}");
            let spec: serde_json::Value = serde_json::from_str(&run.config_json).expect("JSON");
            let rate = spec.pointer("/protocol/supervised/train/lr").and_then(serde_json::Value::as_f64);
            assert_eq!(rate, Some(float(&best.tuned[TRAIN])));
        }
        assert_eq!(best.tuned.contains_key(PRETRAIN), label == "person_mae", "{label}");
        // The chosen trial and the run with its seed are the same work.
        assert!(chosen.iter().any(|run| run.stage_evaluate == best.stage_evaluate && run.run_id != best.run_id));
    }
    edges_are_said(&first.err, first.text(), &runs);

    // The main table has the runs that count, the other one the trials.
    assert!(first.text().lines().any(|line| line.starts_with("none ") && line.contains("(2)")), "{}", first.text());
    assert!(first.text().contains("tuned on validation: none: protocol.supervised.train.lr="), "{}", first.text());
    assert_eq!(lab.done(&["table", "tiny.yaml"]).text(), first.text());
    assert_eq!(lab.done(&["table"]).text(), first.text());
    let trials = lab.done(&["table", "tiny.yaml", "--trials"]);
    assert_eq!(trials.text().lines().filter(|line| line.contains("(1)")).count(), 8, "{}", trials.text());
    for part in ["(validation)", "pretrain.", "supervised.train.lr = protocol", "choose nothing"] {
        assert!(trials.text().contains(part), "no {part:?} in:\n{}", trials.text());
    }
    assert!(!trials.text().contains("picks") && !trials.text().contains("highest"), "{}", trials.text());

    // Nothing is computed twice, and the plan knows the choice.
    let second = lab.done(&["tiny.yaml"]);
    assert_eq!((second.computed(), second.text()), (0, first.text()));
    let plan = lab.done(&["plan", "tiny.yaml"]);
    assert!(plan.text().contains("then, with what validation map has chosen:\ntiny: 4 runs"), "{}", plan.text());
    assert_eq!(plan.text().matches("all done").count(), 2, "{}", plan.text());
    let shown = lab.done(&["show", "tiny.yaml"]);
    assert_eq!(shown.text().matches(" trial pretrain seed 0").count(), 8);
}

/// Choices at the edge of their grid are warned of, marked in the rows and said below the table.
fn edges_are_said(err: &str, table: &str, runs: &[RunRow]) {
    let grids: BTreeMap<(&str, &str), (f64, f64)> = BTreeMap::from([
        (("none", TRAIN), (0.003, 0.1)),
        (("person_mae", TRAIN), (0.01, 0.03)),
        (("person_mae", PRETRAIN), (1e-3, 3e-3)),
    ]);
    let mut edges = 0;
    for ((label, field), (smallest, largest)) in grids {
        for run in runs.iter().filter(|run| run.label == label) {
            let value = float(&run.tuned[field]);
            let is = |end: f64| value.to_bits() == end.to_bits();
            let end = match (is(smallest), is(largest)) {
                (true, _) => "smallest",
                (_, true) => "largest",
                _ => continue,
            };
            edges += 1;
            let mark = format!("tuned `{field}`: {value} is the {end} value of its grid");
            assert!(run.marks.contains(&mark), "{:?}", run.marks);
            assert!(err.contains(&format!("{label}: {mark}; widen it")), "{err}");
            let flat = table.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(&mark), "{table}");
        }
    }
    assert!(edges >= 4, "a grid of two values has no middle");
}

#[test]
fn an_interrupted_search_goes_on_and_a_widened_grid_adds_its_trials() {
    let lab = lab();
    let only = [
        "tiny.yaml",
        "seeds=[0]",
        "tune.for.none.protocol.supervised.train.lr=[0.01, 0.03]",
        "tune.over.pretrain.train.lr=[1.0e-3]",
    ];
    let mut running = lab.start(&only);
    running.wait_until(|| !lab.stages("runs").is_empty());
    running.kill();
    lab.done(&only);
    let (trials, runs) = parted(&lab);
    assert_eq!((trials.len(), runs.len()), (4, 2));
    let unbroken = self::lab();
    unbroken.done(&only);
    assert_eq!(lab.artefacts("runs"), unbroken.artefacts("runs"));

    // Two more trials for `none`, and no more than their own stages.
    let said = lab.done(&[only[0], only[1], only[3]]);
    assert_eq!(said.computed(), 4, "{}", said.err);
    assert_eq!(parted(&lab).0.len(), 6);
}

#[test]
fn trials_that_fail_are_out_of_the_running() {
    let spec = TINY.replace("epochs: 2, batch: 8", "epochs: 6, batch: 8, optim: {sgd: {weight_decay: 10}}");
    let lab = Lab::with("tiny.yaml", &format!("{spec}tune: {{over: {{{TRAIN}: [0.01, 100]}}}}\n"));
    let none = "pretrain.objective=none";
    let said = lab.run(&["tiny.yaml", none]);
    said.assert_error(100, &["1 of 3 runs failed", "validation map chooses protocol.supervised.train.lr=0.01"]);
    let (trials, runs) = parted(&lab);
    assert_eq!((trials.len(), runs.len()), (2, 1));
    assert_eq!(runs[0].tuned[TRAIN], Scalar::Float(0.01));

    // Where nothing is left, the point is not run, and everything else would be.
    let hopeless = "tune.over.protocol.supervised.train.lr=[100, 90]";
    let said = lab.run(&["tiny.yaml", none, hopeless]);
    said.assert_error(100, &["no setting has a result for every seed of its trials; not run"]);
    lab.run(&["table", "tiny.yaml", none, hopeless])
        .assert_error(4, &["no settings are chosen yet for none", "--trials"]);
}

#[test]
fn mistakes_of_tuning_are_explained() {
    let lab = lab();
    let check = |overrides: &[&str]| lab.run(&[&["check", "tiny.yaml"], overrides].concat());
    check(&["data.synthetic.validation_identities=0"]).assert_error(
        3,
        &["spec::no-validation", "`tune` chooses on validation identities, but there are none", "tiny.yaml:"],
    );
    check(&["protocol.supervised.train.lr=0.5"])
        .assert_error(3, &["spec::hidden-override", "`tune` chooses it", "~tune"]);
    check(&["~tune", "protocol.supervised.train.lr=0.5"]).assert_code(0);
    let fewer = check(&["~tune.for"]);
    fewer.assert_code(0);
    for part in ["warning[spec::unequal-trials]", "`none` 2, `person_mae` 4", "for: {none: {FIELD: [...]}}"] {
        assert!(fewer.err.contains(part), "no {part:?} in:\n{}", fewer.err);
    }
    // What cannot be trained at all has nothing to choose, and that is no one's disadvantage.
    let list = "sweep.list=[{label: untrained, pretrain.objective: none, protocol: frozen}, {}]";
    let untrained = check(&[list, "~tune.for"]);
    untrained.assert_code(0);
    assert!(untrained.text().contains("  untrained: nothing to choose\n"), "{}", untrained.text());
    assert!(!untrained.err.contains("warning"), "{}", untrained.err);
    lab.run(&["table", "tiny.yaml", "~tune", "--trials"]).assert_code(4);
}
