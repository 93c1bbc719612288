//! Protocols that start from earlier epochs of one pre-training.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use polars::prelude::*;
use reid_results::read;

use super::TINY;
use super::program::{Lab, checkpoints, children};

/// Four epochs, evaluated frozen.
fn spec(extra: &str) -> String {
    let (head, _) = TINY.split_once("protocol:").expect("a protocol");
    let train = "epochs: 4, batch: 8, checkpoint_every: {steps: 5}";
    format!("{}protocol: frozen\n{extra}", head.replace("epochs: 1, batch: 16", train))
}

/// Steps of an epoch: 240 pictures of the pool in batches of 8.
const PER_EPOCH: usize = 30;

const SWEEP: &str = "sweep: {grid: {pretrain.take: [{epoch: 1}, {epoch: 3}, last]}}\n";

/// Validation mAP by the epoch taken, of the runs of a sweep.
fn map_by_epoch(lab: &Lab) -> BTreeMap<String, u64> {
    let rows = lab.rows("runs");
    let taken = rows.iter().filter_map(|row| Some((row.varied.get("pretrain.take")?.to_string(), row)));
    taken.map(|(take, row)| (take, row.metrics["validation.map"].to_bits())).collect()
}

#[test]
fn epochs_of_one_pretraining_are_rows_of_one_table() {
    let lab = Lab::with("tiny.yaml", &spec(SWEEP));
    let plan = lab.done(&["plan", "tiny.yaml"]);
    assert!(plan.text().contains("pretrain     1 for 3 runs: 1 to do"), "{}", plan.text());
    let said = lab.done(&["tiny.yaml"]);
    assert!(said.err.contains("3 runs: 4 stages computed"), "{}", said.err);
    for part in ["take", "epoch 1", "epoch 3", "last"] {
        assert!(said.text().contains(part), "no {part:?} in:\n{}", said.text());
    }
    let found = map_by_epoch(&lab);

    // A learning curve of the same training, which looks at the encoder and never saves it.
    let curve = Lab::with("tiny.yaml", &spec(""));
    curve.done(&["tiny.yaml", "pretrain.train.evaluate_every={epochs: 1}"]);
    let steps = read(&curve.path("runs/results")).expect("results").metrics().expect("step metrics");
    let rows = steps.filter(col("metric").eq(lit("validation.map"))).collect().expect("rows");
    let values: Vec<u64> =
        rows.column("value").expect("values").f64().expect("numbers").into_no_null_iter().map(f64::to_bits).collect();
    assert_eq!(values.len(), 4);
    assert_eq!((found["epoch 1"], found["epoch 3"], found["last"]), (values[0], values[2], values[3]));

    // What a row says was spent is what its encoder had cost.
    let rows = lab.rows("runs");
    let images = |take: &str| {
        let row = rows.iter().find(|row| row.varied["pretrain.take"].to_string() == take).expect("a row");
        row.images_seen.expect("a count")
    };
    assert_eq!((images("epoch 1") * 4, images("epoch 3") * 4), (images("last"), images("last") * 3));
}

/// The one file of that name among finished stages, or in the folders of unfinished ones.
fn file(lab: &Lab, name: &str) -> Option<PathBuf> {
    let shelves = children(&lab.path("runs/stages")).into_iter().chain(children(&lab.path("runs/partial")));
    shelves.flat_map(|shelf| children(&shelf)).map(|folder| folder.join(name)).find(|path| path.exists())
}

#[test]
fn an_epoch_is_the_encoder_of_the_training_interrupted_there() {
    // Interrupted for good once the encoder is there, and read from the folder of unfinished work.
    let broken = Lab::with("tiny.yaml", &spec(SWEEP));
    let mut running = broken.start(&["tiny.yaml"]);
    running.wait_until(|| file(&broken, "encoder@epoch=1.safetensors").is_some());
    running.kill();
    let early = fs::read(file(&broken, "encoder@epoch=1.safetensors").expect("an encoder")).expect("bytes");

    let unbroken = Lab::with("tiny.yaml", &spec(""));
    unbroken.done(&["tiny.yaml", "pretrain.keep_every={epochs: 1}"]);
    let kept = |name: &str| fs::read(file(&unbroken, name).expect("an encoder")).expect("bytes");
    assert!(early == kept("encoder@epoch=1.safetensors"));
    assert!(early != kept("encoder@epoch=2.safetensors"));
    let folder = file(&unbroken, "encoder@epoch=2.safetensors").expect("an encoder");
    let names: Vec<String> = children(folder.parent().expect("a stage"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name.starts_with("encoder"))
        .collect();
    let expected = ["", "@epoch=1", "@epoch=2", "@epoch=3"].map(|epoch| format!("encoder{epoch}.safetensors"));
    assert_eq!(names, expected, "the last has its own name");

    // They serve runs that ask later, and a run that takes the last epoch by its number is the run itself.
    assert_eq!(unbroken.done(&["tiny.yaml", "pretrain.take={epoch: 2}"]).computed(), 1);
    assert_eq!(unbroken.done(&["tiny.yaml", "pretrain.take={epoch: 4}"]).computed(), 0);
}

#[test]
fn kill_9_at_any_moment_keeps_the_epochs() {
    const KILLS: u64 = 6;
    let unbroken = Lab::with("tiny.yaml", &spec(SWEEP));
    unbroken.done(&["tiny.yaml"]);
    let expected = unbroken.artefacts("runs");
    assert_eq!(expected.keys().filter(|name| name.contains("encoder@epoch=")).count(), 2);

    let broken = Lab::with("tiny.yaml", &spec(SWEEP));
    let chance = RandomState::new();
    for kill in 0..KILLS {
        let mut running = broken.start(&["tiny.yaml"]);
        let before = checkpoints(&broken.path("runs"));
        running.wait_until(|| checkpoints(&broken.path("runs")).difference(&before).next().is_some());
        thread::sleep(Duration::from_millis(chance.hash_one(kill) % 40));
        running.kill();
    }
    broken.done(&["tiny.yaml"]);
    assert!(broken.artefacts("runs") == expected);
    assert_eq!(map_by_epoch(&broken), map_by_epoch(&unbroken));
}

#[test]
fn an_epoch_that_was_not_kept_is_computed_again() {
    let whole = Lab::with("tiny.yaml", &spec(SWEEP));
    whole.done(&["tiny.yaml"]);

    let lab = Lab::with("tiny.yaml", &spec(""));
    lab.done(&["tiny.yaml"]);
    let before = lab.artefacts("runs");
    lab.write("tiny.yaml", &spec(SWEEP));
    let why = "to do again, since its encoder of epochs 1, 3 was not kept";
    let plan = lab.done(&["plan", "tiny.yaml"]);
    assert!(plan.err.contains(why), "{}", plan.err);
    assert!(plan.text().contains("pretrain     1 for 3 runs: 1 to do"), "{}", plan.text());

    // Killed on the way, nothing that was there is gone.
    let mut running = lab.start(&["tiny.yaml"]);
    running.wait_for("computed again, since its encoder of epochs 1, 3 was not kept; what is there stays");
    running.wait_until(|| !checkpoints(&lab.path("runs")).is_empty());
    running.kill();
    assert!(lab.artefacts("runs") == before);
    assert_eq!(lab.done(&["tiny.yaml", "~sweep"]).computed(), 0);

    let said = lab.done(&["tiny.yaml"]);
    assert_eq!(said.computed(), 3, "{}", said.err);
    assert!(lab.artefacts("runs") == whole.artefacts("runs"), "the same bits as if they had been kept");
    assert_eq!(map_by_epoch(&lab), map_by_epoch(&whole));
    assert!(lab.rows("runs").iter().all(|row| row.marks.is_empty()));
    assert_eq!(lab.done(&["tiny.yaml"]).computed(), 0);
}

#[test]
fn a_training_that_passed_a_wanted_epoch_begins_anew() {
    let lab = Lab::with("tiny.yaml", &spec(""));
    let mut running = lab.start(&["tiny.yaml"]);
    let beyond = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix("ckpt-").and_then(|rest| rest[..9].parse::<usize>().ok()).is_some_and(|step| step > PER_EPOCH)
    };
    running.wait_until(|| checkpoints(&lab.path("runs")).iter().any(beyond));
    running.kill();
    let said = lab.done(&["tiny.yaml", "pretrain.take={epoch: 1}"]);
    let text = "begun anew: its encoder of epoch 1 is wanted, and was not kept on the way";
    assert!(said.err.contains(text) && !said.err.contains("resumed at step"), "{}", said.err);
}

#[test]
fn an_epoch_beyond_the_run_is_a_mistake_and_none_is_needed_without_a_pretraining() {
    let lab = Lab::with("tiny.yaml", &spec(SWEEP));
    let said = lab.run(&["check", "tiny.yaml", "pretrain.train.epochs=2"]);
    said.assert_error(
        3,
        &["error[spec::no-such-epoch]", "the encoder of epoch 3 is asked for, but the pre-training has 2"],
    );
    said.assert_error(3, &["tiny.yaml:10:", "take an epoch up to 2, or `last`"]);
    assert_eq!(said.err.matches("error[").count(), 1, "{}", said.err);
    let checked = lab.done(&["check", "tiny.yaml", "pretrain.objective=none"]);
    assert_eq!(checked.text(), "tiny: ok, 1 sweep point, 1 run\n");
}
