//! First runs, second runs, and the verbs around them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::TINY;
use super::program::{Lab, children};

/// A sweep of two points and two seeds.
fn sweep() -> String {
    format!("{TINY}seeds: [0, 1]\nsweep: {{list: [{{pretrain.objective: none}}, {{}}]}}\n")
}

#[test]
fn a_second_run_computes_nothing_and_prints_the_same_table() {
    let lab = Lab::with("tiny.yaml", &sweep());
    let first = lab.done(&["tiny.yaml"]);
    assert!(first.err.contains("4 runs: 10 stages computed, 0 reused"), "{}", first.err);
    for part in ["label", "mAP %", "rank-1 %", "none", "person_mae", "(2)", "does not rank methods on real images"] {
        assert!(first.text().contains(part), "no {part:?} in:\n{}", first.text());
    }
    // The table is the only thing on stdout, and nothing of it is elsewhere.
    assert!(first.text().starts_with('─') && !first.err.contains("mean ±"), "{}", first.text());

    let before = lab.artefacts("runs");
    let rows: Vec<_> = ["runs", "metrics", "queries"].map(|part| lab.path("runs/results").join(part)).to_vec();
    for folder in &rows {
        assert_eq!(children(folder).len(), 4, "{}", folder.display());
    }
    let second = lab.done(&["run", "tiny.yaml"]);
    assert_eq!(second.computed(), 0);
    assert!(second.err.contains("4 runs, 10 stages, all done"), "{}", second.err);
    assert_eq!(second.text(), first.text());
    assert_eq!(lab.artefacts("runs"), before);

    // A crash between a stage's commit and its row: the rows come back without any work.
    for folder in rows {
        std::fs::remove_dir_all(folder).expect("removed");
    }
    let third = lab.done(&["tiny.yaml"]);
    assert_eq!(third.computed(), 0);
    assert_eq!(third.text(), first.text());

    let ids: Vec<String> = lab.rows("runs").into_iter().map(|row| row.run_id).collect();
    assert_eq!(ids.len(), 4);
    table_in_every_format(&lab, first.text());
}

/// The verb `table` on the results of [`sweep`].
fn table_in_every_format(lab: &Lab, printed: &str) {
    assert_eq!(lab.done(&["table", "tiny.yaml"]).text(), printed);
    assert_eq!(lab.done(&["table"]).text(), printed);
    let table = |format: &str| lab.done(&["table", "tiny.yaml", "--format", format]);
    // A dagger may follow: the program itself may have uncommitted changes.
    assert!(table("md").text().contains("| person_mae "));
    assert!(table("csv").text().lines().any(|line| line.starts_with("person_mae,")));
    assert!(table("latex").text().contains("\\toprule"));
    let json: Value = serde_json::from_str(table("json").text()).expect("JSON");
    assert!(json.to_string().contains("person_mae"));
    assert!(table("parquet").out.starts_with(b"PAR1") && table("parquet").out.ends_with(b"PAR1"));
    let chosen = lab.done(&["table", "--metrics", "rank5,seconds", "--split", "validation"]);
    let head = chosen.text().lines().nth(1).expect("a heading").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "label rank-5 (validation) % seconds");

    lab.run(&["table", "--metrics", "maps"]).assert_error(2, &["unknown metric `maps`; metrics: ", "test.map"]);
    lab.run(&["table", "--rows", "color"]).assert_error(2, &["field `color`; fields: "]);
    lab.run(&["table", "--experiment", "other"]).assert_error(4, &["no runs to tabulate", "tiny"]);
    lab.run(&["table", "tiny.yaml", "seeds=[7]"]).assert_error(4, &["no runs to tabulate"]);
    lab.run(&["table", "--out", "nowhere"]).assert_error(4, &["no results; run a spec first", "--out", "nowhere"]);
    assert!(!lab.path("nowhere").exists());
}

#[test]
fn a_plan_shows_what_is_done_and_writes_nothing() {
    let lab = Lab::with("tiny.yaml", &sweep());
    for arguments in [&["plan", "tiny.yaml", "--stages"][..], &["-n", "tiny.yaml"]] {
        let plan = lab.done(arguments);
        for part in ["tiny: 4 runs, 10 stages\n", "pretrain     2 for 2 runs: 2 to do", "cost unknown"] {
            assert!(plan.text().contains(part), "no {part:?} in:\n{}", plan.text());
        }
        assert_eq!(plan.text().lines().filter(|line| line.starts_with("  to do  ")).count(), 10);
    }
    assert!(!lab.path("runs").exists());

    lab.done(&["tiny.yaml", "seeds=[0]"]);
    let plan = lab.done(&["plan", "tiny.yaml"]);
    for part in ["pretrain     2 for 2 runs: 1 done, 1 to do", "train        4 for 4 runs: 2 done, 2 to do", "about "] {
        assert!(plan.text().contains(part), "no {part:?} in:\n{}", plan.text());
    }
    // What a seed has computed serves the sweep.
    assert_eq!(lab.done(&["tiny.yaml"]).computed(), 5);
    assert!(lab.done(&["plan", "tiny.yaml"]).text().starts_with("tiny: 4 runs, 10 stages, all done\n"));
}

/// Peaks of memory by the shape of the work, in bytes.
fn learnt_peaks(lab: &Lab) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(lab.path("state/reid-run/calibration.json")).expect("a calibration");
    let known: Value = serde_json::from_str(&text).expect("JSON");
    let costs = known["costs"].as_object().expect("costs by shape");
    costs.iter().map(|(shape, cost)| (shape.clone(), cost["bytes"].as_f64().expect("Linux tells"))).collect()
}

#[test]
fn trials_tell_the_cost_before_anything_is_computed() {
    let lab = Lab::with("tiny.yaml", &sweep());
    let plan = lab.done(&["plan", "tiny.yaml", "--calibrate"]);
    for part in ["2 to do, ", " ms a step, ", " MB\n", "\nabout ", " of memory on this machine\n"] {
        assert!(plan.text().contains(part), "no {part:?} in:\n{}", plan.text());
    }
    assert!(!lab.path("runs").exists());
    // What was measured is remembered.
    assert_eq!(lab.done(&["plan", "tiny.yaml"]).text(), plan.text());
    assert!(!lab.done(&["plan", "tiny.yaml", "--calibrate"]).err.contains(": measured"));
    let foretold = learnt_peaks(&lab);

    lab.done(&["tiny.yaml"]);
    let found = learnt_peaks(&lab);
    assert!(found.keys().eq(foretold.keys()), "a kind of work was not measured");
    // A later stage's peak has what earlier ones left in it, so the greatest is what counts.
    let greatest = |peaks: BTreeMap<String, f64>| peaks.into_values().fold(0.0, f64::max);
    let (foretold, found) = (greatest(foretold), greatest(found));
    assert!((0.75..1.25).contains(&(foretold / found)), "{foretold} bytes foretold, {found} found");
}

/// With a handful of people nothing is as far from chance as the rules want it, and the exit code says so.
#[test]
fn an_audit_that_fails_is_an_error() {
    let lab = Lab::with("tiny.yaml", TINY);
    let said = lab.run(&["data", "synth", "--audit", "--spec", "tiny.yaml"]);
    assert!(said.text().contains("within 2 of chance: VIOLATED"), "{}", said.text());
    said.assert_error(5, &["of the audit: see VIOLATED above"]);
}

#[test]
fn bf16_runs_on_a_cpu_and_warns() {
    let lab = Lab::with("tiny.yaml", &format!("{TINY}precision: bf16\n"));
    let said = lab.done(&["tiny.yaml"]);
    assert!(said.err.contains("`precision: bf16` on a CPU is slower than f32"), "{}", said.err);
    assert_eq!(lab.rows("runs")[0].precision, "bf16");
    // Other arithmetic is another stage.
    assert_eq!(lab.done(&["tiny.yaml", "precision=f32"]).computed(), 3);
}

#[test]
fn check_show_and_schema() {
    let lab = Lab::with("tiny.yaml", &sweep());
    assert_eq!(lab.done(&["check", "tiny.yaml"]).text(), "tiny: ok, 2 sweep points, 4 runs\n");

    let shown = lab.done(&["show", "tiny.yaml"]);
    let runs: Vec<&str> = shown.text().split("--- # ").skip(1).collect();
    assert_eq!(runs.len(), 4);
    // What is shown is a whole spec of its own.
    lab.write("shown.yaml", &format!("# {}", runs[3]));
    assert_eq!(lab.done(&["check", "shown.yaml"]).text(), "shown: ok, 1 sweep point, 1 run\n");

    let schema: Value = serde_json::from_str(lab.done(&["schema"]).text()).expect("JSON");
    assert!(schema["properties"]["pretrain"].is_object());

    // Every mistake at once, with its place, and nothing computed.
    lab.write("broken.yaml", &TINY.replace("size: micro", "size: mikro").replace("batch: 16", "batch: many"));
    for arguments in [&["check", "broken.yaml"][..], &["broken.yaml"], &["plan", "broken.yaml"]] {
        lab.run(arguments).assert_error(3, &["broken.yaml:4:24", "mikro", "`micro`", "broken.yaml:8:29", "many"]);
    }
    lab.run(&["check", "absent.yaml"]).assert_error(3, &["absent.yaml"]);
    lab.run(&["tiny.yaml", "pretrain.train.lr=fast"]).assert_error(3, &["pretrain.train.lr=fast"]);
    assert!(!lab.path("runs").exists());
}

#[test]
fn help_and_usage() {
    let lab = Lab::new();
    let help = lab.done(&["--help"]);
    for part in ["Usage: reid-run", "Exit codes:", "--require-clean"] {
        assert!(help.text().contains(part), "no {part:?}");
    }
    assert!(help.text().lines().all(|line| line.chars().count() <= 100));
    assert!(lab.done(&["table", "--help"]).text().contains("--format"));
    assert!(lab.done(&["--version"]).text().starts_with("reid-run "));
    for arguments in [&[][..], &["--no-such-option"], &["table", "--format", "docx"], &["data", "synth"], &["plan"]] {
        lab.run(arguments).assert_code(2);
    }
}
