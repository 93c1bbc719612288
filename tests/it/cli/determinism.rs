//! What may change the numbers, and what may not.

use std::collections::BTreeMap;

use super::TINY;
use super::program::{Lab, Running};

#[test]
fn threads_and_workers_do_not_change_a_bit() {
    let lab = Lab::with("tiny.yaml", &format!("{TINY}seeds: [3]\n"));
    let run = |threads: &str, workers: &str| {
        let out = format!("runs-{threads}-{workers}");
        let said = lab.done(&["tiny.yaml", "--threads", threads, "--workers", workers, "--out", &out]);
        (said.text().to_owned(), lab.artefacts(&out))
    };
    let (table, artefacts) = run("1", "0");
    let names: Vec<&str> = artefacts.keys().filter_map(|name| name.rsplit('/').next()).collect();
    for name in ["encoder.safetensors", "model.safetensors", "scores.json", "steps.json"] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
    for (threads, workers) in [("2", "1"), ("3", "3")] {
        let other = run(threads, workers);
        assert!(other.1 == artefacts, "{threads} threads and {workers} workers change artefacts");
        assert_eq!(other.0, table);
    }
}

/// Number of finished stages by the first word of their label.
fn kinds(lab: &Lab) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for label in lab.stages("runs").into_values() {
        *kinds.entry(label.split(' ').next().expect("a word").to_owned()).or_default() += 1;
    }
    kinds
}

#[test]
fn runs_share_pre_trainings() {
    let sweep = "sweep: {grid: {protocol.supervised.label_smoothing: [0, 0.1]}}\n";
    let lab = Lab::with("tiny.yaml", &format!("{TINY}seeds: [0, 1]\n{sweep}"));
    let said = lab.done(&["tiny.yaml"]);
    let counts = |pretrain, train| {
        BTreeMap::from([("pretrain", pretrain), ("train", train), ("evaluate", train)].map(|(k, n)| (k.to_owned(), n)))
    };
    assert_eq!(kinds(&lab), counts(2, 4));
    assert!(said.text().contains("label_smoothing"), "{}", said.text());

    // Nested seeds: each pre-training serves all downstream seeds.
    lab.done(&["tiny.yaml", "seeds={pretrain: [0, 1], downstream: [0, 1]}"]);
    assert_eq!(kinds(&lab), counts(2, 8));
    let rows = lab.rows("runs");
    assert_eq!(rows.len(), 8);
    let mut ids: Vec<_> = rows.iter().map(|row| &row.run_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 8);
}

/// Keys of the stages that a spec comes to, by kind.
fn keys(lab: &Lab, arguments: &[&str]) -> BTreeMap<String, String> {
    let said = lab.done(&[&["plan", "--stages"], arguments].concat());
    let stages = said.text().lines().filter_map(|line| line.strip_prefix("  to do  "));
    let key = |line: &str| {
        let mut words = line.split(' ');
        let key = words.next().expect("a key").to_owned();
        (words.next().expect("a kind").to_owned(), key)
    };
    stages.map(key).collect()
}

#[test]
fn keys_follow_the_science_alone() {
    let lab = Lab::with("tiny.yaml", TINY);
    let base = keys(&lab, &["tiny.yaml"]);
    assert_eq!(base.len(), 3);

    // Threads, paths, comments, key order, names and how often checkpoints are written.
    assert_eq!(keys(&lab, &["tiny.yaml", "--threads", "2", "--workers", "3", "--out", "elsewhere"]), base);
    let mut lines: Vec<String> = TINY.lines().map(str::to_owned).collect();
    let protocol = lines.iter().position(|line| line == "protocol:").expect("a protocol");
    lines.rotate_left(protocol);
    lines.insert(0, "# another order".to_owned());
    lab.write("folder/other.yaml", &lines.join("\n").replace("name: tiny", "name: other"));
    assert_eq!(keys(&lab, &["folder/other.yaml"]), base);
    assert_eq!(keys(&lab, &["tiny.yaml", "pretrain.train.checkpoint_every={steps: 3}"]), base);
    assert_eq!(keys(&lab, &["tiny.yaml", "pretrain.train.lr=0.001"]), base);

    let changed = |overrides: &[&str]| {
        let other = keys(&lab, &[&["tiny.yaml"], overrides].concat());
        let differ = base.iter().filter(|(kind, key)| other.get(*kind) != Some(*key));
        differ.map(|(kind, _)| kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(changed(&["pretrain.train.lr=2e-3"]), ["evaluate", "pretrain", "train"]);
    assert_eq!(changed(&["seeds=[1]"]), ["evaluate", "pretrain", "train"]);
    assert_eq!(changed(&["data.synthetic.occlusion=0.2"]), ["evaluate", "pretrain", "train"]);
    assert_eq!(changed(&["protocol.supervised.train.lr=0.02"]), ["evaluate", "train"]);
    assert_eq!(changed(&["protocol.supervised.evaluation.filter=bicubic"]), ["evaluate"]);
    assert_eq!(changed(&["protocol.supervised.evaluation.batch=7"]), [""; 0]);
}

#[test]
fn two_processes_compute_each_stage_once() {
    let spec = format!(
        "{TINY}seeds: [0, 1]\nsweep: {{list: [{{pretrain.objective: none}}, \
         {{pretrain.objective.person_mae.mask_ratio: 0.25}}, {{pretrain.objective.person_mae.mask_ratio: 0.75}}]}}\n"
    );
    let lab = Lab::with("tiny.yaml", &spec);
    let both = [lab.start(&["tiny.yaml"]), lab.start(&["tiny.yaml"])];
    let said = both.map(super::program::Running::end);
    for said in &said {
        said.assert_code(0);
        assert_eq!(said.text(), said.text());
    }
    assert_eq!(said[0].text(), said[1].text());
    let stages = lab.stages("runs").len();
    assert_eq!(stages, 4 + 6 + 6);
    assert_eq!(said[0].computed() + said[1].computed(), stages, "{}\n{}", said[0].err, said[1].err);
    assert_eq!(lab.rows("runs").len(), 6);
    assert!(lab.rows("runs").iter().all(|row| row.attempts == 1));
}

#[test]
fn stages_of_another_commit_are_told_apart_and_can_be_computed_again() {
    let lab = Lab::with("untrained.yaml", super::UNTRAINED);
    let table = lab.done(&["untrained.yaml"]).text().to_owned();
    let description = lab.path("runs").join("stages");
    let stage = super::program::children(&description).into_iter().find(|path| path.is_dir()).expect("a shelf");
    let file = super::program::children(&stage)[0].join("key.json");
    let mut text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).expect("a description")).expect("JSON");
    text["manifest"]["program"]["commit"] = "1".repeat(40).into();
    std::fs::write(&file, text.to_string()).expect("written");

    // Its numbers stand, and the table says whose they are.
    let said = lab.done(&["untrained.yaml"]);
    assert_eq!(said.computed(), 0);
    assert!(said.text().contains("† computed at commit 1111111, asked for at "), "{}", said.text());
    let again = lab.done(&["untrained.yaml", "--rerun-on=code"]);
    assert_eq!(again.computed(), 1);
    assert_eq!(again.text(), table);
    assert_eq!(lab.done(&["untrained.yaml", "--rerun-on=code"]).computed(), 0);
}

#[test]
fn packed_pictures_and_joined_sets() {
    let joined = "train_with: [{synthetic: {domain: second, size: [32, 16], train_identities: 4, \
                  validation_identities: 0, test_identities: 4, images_per_identity: 4, cameras: 2}}]\n";
    let lab = Lab::with("tiny.yaml", &format!("{TINY}{joined}"));
    let plain = lab.done(&["tiny.yaml", "--out", "plain"]);
    // Ten pictures in the pool for each of the 24 + 16 that are trained on.
    assert!(
        plain.err.contains("400 pictures from 8 cameras") || plain.err.contains("400 pool + 40 train"),
        "{}",
        plain.err
    );
    let mut command = lab.command(&["tiny.yaml", "--out", "packed", "--cache", "kept"]);
    command.env("REID_RUN_PACK", "true");
    let packed = Running::new(command, lab.root()).end();
    packed.assert_code(0);
    let packs = std::fs::read_dir(lab.path("kept/packs")).expect("a folder of packs").count();
    assert!(packs >= 2, "the pool and the training pictures are packed: {packs}");
    assert!(lab.artefacts("plain") == lab.artefacts("packed"), "where pictures are read from changes no bit");
    // Which sets are joined is part of what a stage is.
    let alone = lab.done(&["tiny.yaml", "train_with=[]", "--out", "plain"]);
    assert!(alone.err.contains("3 stages computed"), "{}", alone.err);
    lab.run(&["check", "tiny.yaml", "train_with=[{images: {root: .}}]"])
        .assert_error(3, &["`train_with.0`: `images` has no names to train with"]);
}
