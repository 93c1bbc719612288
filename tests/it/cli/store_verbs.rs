//! Verbs that look into a store, `status`, `logs` and `why`, and the one that tidies it, `gc`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use reid_results::{RunRow, write_run};
use reid_runner::provenance::program;
use reid_runner::store::{Claim, StageKey, StageManifest, Store};
use serde_json::{Value, json};

use super::program::{Lab, checkpoints, children};
use super::{TINY, UNTRAINED};

const NONE: &str = "pretrain.objective=none";
const RATE: &str = "protocol.supervised.train.lr";

/// A training that diverges within a few steps.
const DIVERGING: [&str; 5] = [
    "tiny.yaml",
    NONE,
    "protocol.supervised.train.lr=100",
    "protocol.supervised.train.optim={sgd: {weight_decay: 10}}",
    "protocol.supervised.train.epochs=6",
];

/// Size and time stamp of everything below a folder, folders included.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::metadata(&path).expect("metadata");
        left.extend(children(&path));
        found.insert(path, (metadata.len(), metadata.modified().expect("a time")));
    }
    found
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// A training that goes on until it is killed, with a checkpoint after each step.
fn endless() -> Lab {
    let train = "epochs: 4000, batch: 8, checkpoint_every: {steps: 1}";
    Lab::with("tiny.yaml", &TINY.replace("epochs: 1, batch: 16", train))
}

#[test]
fn status_tells_where_runs_stand_and_changes_nothing() {
    let lab = Lab::with("untrained.yaml", &format!("{UNTRAINED}seeds: [0, 1]\n"));
    lab.run(&["status"]).assert_error(4, &["no results", "--out"]);
    assert_has(lab.done(&["status", "untrained.yaml"]).text(), &["waiting  untrained s0", "2 runs: 2 waiting\n"]);
    assert!(!lab.path("runs").exists());

    lab.done(&["untrained.yaml", "seeds=[0]"]);
    let id = lab.rows("runs").remove(0).run_id;
    let before = tree(&lab.path("runs"));
    let said = lab.done(&["status", "untrained.yaml"]);
    assert_has(said.text(), &["done     untrained s0", "waiting  untrained s1", &id, "2 runs: 1 done, 1 waiting\n"]);
    assert!(said.text().lines().all(|line| line.chars().count() <= 80), "{}", said.text());

    let json = lab.done(&["status", "untrained.yaml", "--format", "json"]);
    let json: Value = serde_json::from_str(json.text()).expect("JSON");
    let runs = json.pointer("/phases/0/runs").and_then(Value::as_array).expect("runs");
    assert_eq!((&runs[0]["state"], &runs[0]["id"]), (&json!("done"), &json!(id)));
    assert_eq!(runs[1]["stages"][0]["state"], "waiting");

    let whole = lab.done(&["status"]);
    assert_has(whole.text(), &["untrained: 1 run: 1 done", "evaluate      1 "]);
    let json: Value = serde_json::from_str(lab.done(&["status", "--format", "json"]).text()).expect("JSON");
    assert_eq!(json["experiments"]["untrained"]["run"], json!({"done": 1, "failed": 0}));
    assert_eq!((&json["work"], &json["stages"]["evaluate"]["number"]), (&json!([]), &json!(1)));
    assert_eq!(tree(&lab.path("runs")), before);

    // Without its row a run is still to be recorded, at no cost; without its stage the row stays.
    let row = lab.path("runs/results/runs").join(format!("{id}.parquet"));
    let kept = fs::read(&row).expect("a row");
    fs::remove_file(&row).expect("removed");
    assert_has(lab.done(&["status", "untrained.yaml"]).text(), &["the next run writes its row", "2 runs: 2 waiting"]);
    fs::write(&row, kept).expect("written");
    fs::remove_dir_all(stage(&lab, "evaluate untrained s0")).expect("removed");
    assert_has(lab.done(&["status", "untrained.yaml"]).text(), &["its result is kept, but 1 of 1 stage", "1 done"]);
}

/// Folder of the finished stage of a label.
fn stage(lab: &Lab, label: &str) -> PathBuf {
    let (key, _) = lab.stages("runs").into_iter().find(|(_, of)| of == label).expect("a stage");
    lab.path("runs/stages").join(&key[..2]).join(key)
}

#[test]
fn work_in_progress_is_shown_and_left_alone_and_then_given_up() {
    let lab = endless();
    let mut running = lab.start(&["tiny.yaml"]);
    assert!(running.wait_until(|| !checkpoints(&lab.path("runs")).is_empty()));
    let status = lab.done(&["status", "tiny.yaml"]);
    assert_has(
        status.text(),
        &["running  person_mae s0", "pretrain person_mae s0, at step ", "process ", "1 run: 1 running"],
    );
    assert_has(lab.done(&["why", "tiny.yaml"]).text(), &["pretrain person_mae s0: process ", " computes it, at step "]);
    let gc = lab.done(&["gc", "--yes", "--older-than", "0"]);
    assert_eq!(gc.text(), "nothing to remove\n");
    // It goes on.
    let before = checkpoints(&lab.path("runs"));
    assert!(running.wait_until(|| checkpoints(&lab.path("runs")).difference(&before).next().is_some()));
    running.kill();

    let status = lab.done(&["status", "tiny.yaml"]);
    assert_has(status.text(), &["begun    person_mae s0", "pretrain person_mae s0, at step ", "1 run: 1 begun\n"]);
    let holdings = lab.done(&["status"]);
    assert_has(holdings.text(), &["pretrain person_mae s0, at step ", "nobody works on it: its process is gone"]);
    assert_has(
        lab.done(&["why", "tiny.yaml"]).text(),
        &["pretrain person_mae s0: begun, at step ", "follows pretrain person_mae s0, which is not finished"],
    );

    assert_eq!(lab.done(&["gc", "--yes"]).text(), "nothing to remove\n", "it is not old");
    let listed = lab.done(&["gc", "--dry-run", "--older-than", "0"]);
    assert_has(
        listed.text(),
        &["unfinished work that nobody is at:", "pretrain person_mae s0", "nothing was removed\n"],
    );
    assert!(!checkpoints(&lab.path("runs")).is_empty());
    assert_has(lab.done(&["gc", "--yes", "--older-than", "0"]).text(), &["freed ", ": 1 thing removed\n"]);
    let names = |folder: &str| {
        let all = children(&lab.path("runs").join(folder)).into_iter();
        all.filter(|path| path.file_name().is_some_and(|name| name.len() >= 64)).count()
    };
    assert_eq!((names("partial"), names("leases"), names("quarantine")), (0, 0, 0));
    assert_has(lab.done(&["status", "tiny.yaml"]).text(), &["1 run: 1 waiting\n"]);
}

#[test]
fn failed_runs_say_where_and_logs_what() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.run(&DIVERGING).assert_code(100);
    let id = lab.rows("runs").remove(0).run_id;
    let with = |verb: &str, tail: &[&str]| lab.run(&[&[verb][..], &DIVERGING, tail].concat());

    let status = with("status", &[]);
    assert_has(status.text(), &["failed   none s0", "1 attempt; train none s0: ", "1 run: 1 failed\n"]);
    assert_has(with("why", &[]).text(), &["train none s0: ", "failed after 1 attempt: ", " is NaN at step "]);
    assert_has(lab.done(&["why", &id]).text(), &["failed at train none s0 after 1 attempt: ", "name its spec"]);
    assert_has(lab.done(&["status"]).text(), &["tiny: 1 run: 0 done, 1 failed"]);

    let logs = with("logs", &["--level", "error"]);
    logs.assert_code(0);
    assert_eq!(logs.text().lines().count(), 1, "{}", logs.text());
    assert_has(logs.text(), &["  error  ", &id, "train none s0 failed: "]);
    let of_run = lab.done(&["logs", &id]);
    assert_has(of_run.text(), &["train none s0: begun, key ", "train none s0 failed: "]);
}

#[test]
fn logs_tell_settings_of_one_label_apart_and_survive_torn_lines() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.run(&["logs", "tiny.yaml", NONE]).assert_error(4, &["no results"]);
    lab.done(&["tiny.yaml", NONE]);
    let id = lab.rows("runs").remove(0).run_id;
    let other = format!("{RATE}=0.02");
    lab.done(&["tiny.yaml", NONE, &other]);
    // Another experiment has computed the first one's stages as far as its own log tells.
    lab.write("other.yaml", &TINY.replace("name: tiny", "name: other"));
    lab.done(&["other.yaml", NONE, "protocol.supervised.evaluation.flip_test=true"]);

    let first = lab.done(&["logs", &id]);
    assert_eq!(first.text(), lab.done(&["logs", "tiny.yaml", NONE]).text());
    assert_eq!(first.text().matches("begun, key ").count(), 2, "a training and an evaluation:\n{}", first.text());
    let second = lab.done(&["logs", "tiny.yaml", NONE, &other]);
    assert_eq!(second.text().matches("begun, key ").count(), 2, "{}", second.text());
    assert_ne!(first.text(), second.text());
    let of_other = lab.done(&["logs", "other.yaml", NONE, "protocol.supervised.evaluation.flip_test=true"]);
    assert_eq!(of_other.text().matches("train none s0: begun").count(), 1, "by the other:\n{}", of_other.text());
    assert_eq!(of_other.text().matches("evaluate none s0: begun").count(), 1, "{}", of_other.text());

    let log = lab.path("runs/logs/tiny.jsonl");
    let append =
        |text: &str| fs::File::options().append(true).open(&log).and_then(|mut file| file.write_all(text.as_bytes()));
    append("{\"at\": \"2026-01-01T00:00").expect("written");
    let torn = lab.done(&["logs", &id]);
    assert_eq!(torn.text(), first.text());
    assert!(torn.err.contains("warning: 1 line cut short and left out: ") && torn.err.contains("tiny.jsonl"));

    let json = lab.done(&["logs", &id, "--format", "json"]);
    let json: Value = serde_json::from_str(json.text()).expect("JSON");
    let times: Vec<&str> = json["events"].as_array().expect("a list").iter().filter_map(|e| e["at"].as_str()).collect();
    assert!(times.len() == 2 && times.is_sorted(), "{times:?}");
    lab.run(&["logs", &id, "--level", "error"]).assert_error(4, &["no such events", "--level", &id]);
    lab.run(&["logs", "nobody"]).assert_error(4, &["no such run", "nobody"]);
    lab.run(&["logs", &id, NONE]).assert_error(2, &["overrides change a spec"]);
}

#[test]
fn why_names_the_fields_in_which_the_nearest_stage_differs() {
    let lab = Lab::with("tiny.yaml", TINY);
    let nothing = lab.done(&["why", "tiny.yaml", NONE]);
    assert_has(nothing.text(), &["tiny: 0 of 2 stages finished", "train none s0: not finished; nothing of its kind"]);
    assert!(!lab.path("runs").exists());
    lab.done(&["tiny.yaml", NONE]);
    let done = lab.done(&["why", "tiny.yaml", NONE]);
    assert_has(done.text(), &["tiny: 2 of 2 stages finished", "  train none s0: finished ", " UTC in ", " s by "]);

    // A nearer one is found among several.
    lab.done(&["tiny.yaml", NONE, "protocol.supervised.label_smoothing=0.2", &format!("{RATE}=0.03")]);
    let changed = lab.done(&["why", "tiny.yaml", NONE, &format!("{RATE}=0.02")]);
    assert_has(
        changed.text(),
        &[
            "tiny: 0 of 2 stages finished",
            "train none s0: not finished\n",
            "    nearest: train none s0, finished ",
            "    supervised.train.lr: 0.02 here, 0.01 there\n",
            "evaluate none s0: not finished; follows train none s0, which is not finished\n",
        ],
    );
    assert_eq!(changed.text().matches(" there\n").count(), 1, "{}", changed.text());
    // The start is another, which no hash has to tell.
    let other = lab.done(&["why", "tiny.yaml"]);
    assert_has(
        other.text(),
        &["pretrain person_mae s0: not finished; nothing of its kind", "input: another stage's encoder here, a random"],
    );
    let seed = lab.done(&["why", "tiny.yaml", NONE, "seeds=[7]"]);
    assert_has(seed.text(), &["    seed: 7 here, 0 there\n", "    input.init: 7 here, 0 there\n"]);
    assert!(!seed.text().split_whitespace().any(|word| word.len() >= 64), "{}", seed.text());

    let row = lab.rows("runs").into_iter().find(|row| row.config_json.contains("\"lr\":0.01")).expect("the first run");
    assert_has(lab.done(&["why", &row.run_id]).text(), &["train none s0: finished ", "evaluate none s0: finished "]);
    let folder = |key: &str| lab.path("runs/stages").join(&key[..2]).join(key);
    let (train, evaluate) = (row.stage_train.expect("a key"), row.stage_evaluate.expect("a key"));
    let model = folder(&train).join("model.safetensors");
    let mut bytes = fs::read(&model).expect("a model");
    *bytes.last_mut().expect("a byte") ^= 1;
    fs::write(&model, bytes).expect("written");
    fs::remove_dir_all(folder(&evaluate)).expect("removed");
    let said = lab.done(&["why", &row.run_id]);
    assert_has(
        said.text(),
        &["train none s0: damaged (model.safetensors has changed)", "evaluate: removed; running the spec again"],
    );
    lab.run(&["why", "nobody"]).assert_error(4, &["no such run"]);
}

#[test]
fn gc_asks_first_and_removes_only_what_no_row_names() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    lab.run(&["gc", "--yes"]).assert_error(4, &["no results"]);
    lab.done(&["untrained.yaml"]);
    lab.done(&["untrained.yaml", "seeds=[1]"]);
    let gone = lab.rows("runs").into_iter().find(|row| row.seed_downstream == 1).expect("a row");
    fs::remove_file(lab.path("runs/results/runs").join(format!("{}.parquet", gone.run_id))).expect("removed");
    let aside = format!("runs/quarantine/{}-attempt/weights", "a".repeat(64));
    lab.write(&aside, "0123456789");
    lab.write("runs/quarantine/notes.txt", "mine");
    lab.write("runs/stages/notes.txt", "mine");

    lab.run(&["gc"]).assert_error(2, &["look first with --dry-run, then confirm with --yes"]);
    let young = lab.done(&["gc", "--dry-run"]);
    assert_has(
        young.text(),
        &["damaged or outdated stages, set aside:", "    10 B  aaaaaaaaaaaa", "10 B in 1 thing\n"],
    );
    assert!(!young.text().contains("no result names"), "{}", young.text());
    let before = tree(&lab.path("runs"));
    let all = lab.done(&["gc", "-n", "--older-than", "0"]);
    assert_has(all.text(), &["finished stages that no result names:", "evaluate untrained s1", "in 2 things\n"]);
    assert!(!all.text().contains("evaluate untrained s0"), "{}", all.text());
    assert_eq!(tree(&lab.path("runs")), before, "nothing was touched");

    let said = lab.done(&["gc", "--yes", "--older-than", "0"]);
    assert_has(said.text(), &["freed ", ": 2 things removed\n"]);
    assert_eq!(lab.stages("runs").into_values().collect::<Vec<_>>(), ["evaluate untrained s0"]);
    assert!(!lab.path(&aside).exists());
    assert!(lab.path("runs/quarantine/notes.txt").exists() && lab.path("runs/stages/notes.txt").exists());
    assert_eq!(lab.rows("runs").len(), 1);
    assert_eq!(lab.done(&["untrained.yaml"]).computed(), 0);
    assert_eq!(lab.done(&["gc", "--yes", "--older-than", "0"]).text(), "nothing to remove\n");
}

/// Commits a stage of that kind that starts from another.
fn commit(store: &Store, kind: &str, name: &str, input: Option<&str>) -> String {
    let input = input.map_or(Value::Null, |key| json!({"stage": key, "artefact": "model"}));
    let key = StageKey::of(json!({"stage": kind, "science": {"name": name}, "input": input}));
    let Claim::Mine(lease) = store.claim(&key).expect("a claim") else { panic!("{name} is there") };
    fs::write(lease.dir().join("weights"), name).expect("written");
    let manifest = StageManifest {
        label: name.to_owned(),
        program: program(),
        source: None,
        device: "cpu".to_owned(),
        instruction_set: "baseline".to_owned(),
        host: "here".to_owned(),
        started: "2026-01-01T00:00:00.000000Z".to_owned(),
        seconds: 1.0,
        notes: BTreeMap::new(),
    };
    lease.commit(&manifest, &["weights"]).expect("a commit");
    key.hex().to_owned()
}

#[test]
fn gc_keeps_what_named_stages_started_from_and_what_work_may_start_from() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    lab.done(&["untrained.yaml"]);
    let store = Store::open(&lab.path("runs")).expect("a store");
    let commit = |kind: &str, name: &str, input: Option<&str>| commit(&store, kind, name, input);
    let pretrained = commit("pretrain", "pretrained", None);
    let source = commit("train", "source", Some(&pretrained));
    commit("evaluate", "transfer", Some(&source));
    let adapted = commit("train", "adapted", Some(&source));
    let evaluated = commit("evaluate", "evaluated", Some(&adapted));
    let unused = commit("pretrain", "unused", None);
    commit("evaluate", "of unused", Some(&unused));
    let row = RunRow {
        run_id: "adapted-s0".to_owned(),
        stage_pretrain: Some(pretrained),
        stage_train: Some(adapted.clone()),
        stage_evaluate: Some(evaluated),
        config_json: json!({"protocol": {"uda": {}}}).to_string(),
        ..lab.rows("runs").remove(0)
    };
    write_run(&store.results(), &row, &[], &[]).expect("a row");

    // Somebody works on a stage whose start its key does not tell.
    let busy = StageKey::of(json!({"stage": "train", "science": {"name": "busy"}}));
    let Claim::Mine(lease) = store.claim(&busy).expect("a claim") else { panic!("it is free") };
    let listed = lab.done(&["gc", "-n", "--older-than", "0"]);
    assert_has(listed.text(), &["of unused\n", "1 more stage kept, since there is unfinished work", "in 1 thing\n"]);
    drop(lease);
    let listed = lab.done(&["gc", "-n", "--older-than", "0"]);
    assert_has(listed.text(), &["  unused\n", "of unused\n", "unfinished work that nobody is at:", "in 3 things\n"]);

    // Where the adapted training cannot be read, what its source was is not known.
    let description = lab.path("runs/stages").join(&adapted[..2]).join(&adapted).join("key.json");
    let kept = fs::read(&description).expect("a description");
    fs::write(&description, "{").expect("written");
    let doubtful = lab.done(&["gc", "-n", "--older-than", "0"]);
    assert!(!doubtful.text().contains("that no result names"), "{}", doubtful.text());
    fs::write(&description, kept).expect("written");

    assert_has(lab.done(&["gc", "--yes", "--older-than", "0"]).text(), &[": 3 things removed\n"]);
    let left: Vec<String> = lab.stages("runs").into_values().filter(|label| !label.starts_with("evaluate ")).collect();
    let mut left: Vec<&str> = left.iter().map(String::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["adapted", "evaluated", "pretrained", "source", "transfer"]);
}
