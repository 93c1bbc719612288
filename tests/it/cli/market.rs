//! Folders of real JPEGs in Market-1501 layout, sound and otherwise.

use std::fs;

use super::models::{self, Part};
use super::program::{Lab, checkpoints};
use crate::data::fixture::{jpeg, picture};

/// Supervised training on the folder `set` beside the spec.
const MARKET: &str = "\
name: market
data: {market1501: {root: set}}
backbone: {vit: {size: micro, image: [32, 16], patch: 8}}
pretrain: {objective: none}
protocol:
  supervised:
    train: {epochs: 2, batch: 8, lr: 0.01, schedule: {warmup_cosine: {}}}
    identities_per_batch: 4
    augment: {pad: 2}
";

/// Identities of the training split.
const TRAIN: usize = 6;

/// A JPEG whose size depends on its seed.
fn write_picture(lab: &Lab, name: &str, seed: u64) {
    let path = lab.path("set").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let (height, width) = (40 + (seed % 7) as usize * 5, 20 + (seed % 5) as usize * 3);
    fs::write(path, jpeg(&picture(seed, height, width))).expect("written");
}

/// A lab with the folder, junk and distractors included.
fn lab(images_per_identity: usize) -> Lab {
    let lab = Lab::with("market.yaml", MARKET);
    for identity in 0..TRAIN {
        for shot in 0..images_per_identity {
            let name = format!("bounding_box_train/{:04}_c{}s1_{shot:06}_01.jpg", 2 + 3 * identity, shot % 3 + 1);
            write_picture(&lab, &name, (identity * images_per_identity + shot) as u64);
        }
    }
    for pid in [1, 4, 7] {
        write_picture(&lab, &format!("query/{pid:04}_c1s1_000001_00.jpg"), 1000 + pid);
        for shot in 2..5 {
            write_picture(&lab, &format!("bounding_box_test/{pid:04}_c{shot}s1_000001_00.jpg"), 2000 + 10 * pid + shot);
        }
    }
    write_picture(&lab, "bounding_box_test/0000_c2s1_000009_00.jpg", 3009);
    write_picture(&lab, "bounding_box_test/-1_c2s1_000010_00.jpg", 3010);
    lab
}

#[test]
fn real_jpegs_are_trained_on_and_tabulated() {
    let lab = lab(4);
    let said = lab.done(&["market.yaml"]);
    for part in [
        "set: train: 24 pictures of 6 identities from 3 cameras",
        "set: query: 3 pictures of 3 identities from 1 cameras",
        "set: gallery: 10 pictures of 4 identities from 3 cameras, 1 of them distractors",
        "set: dropped 1 junk pictures",
        "test mAP",
    ] {
        assert!(said.err.contains(part), "no {part:?} in:\n{}", said.err);
    }
    assert!(!said.text().contains("synthetic"), "{}", said.text());
    let rows = lab.rows("runs");
    assert_eq!((rows.len(), rows[0].dataset.as_str(), rows[0].synthetic, rows[0].corrupt_images), (1, "set", false, 0));
    assert!((0.0..=1.0).contains(&rows[0].metrics["test.map"]));

    // What has been checked is remembered, and then said in one line.
    let again = lab.done(&["market.yaml"]);
    assert_eq!(again.computed(), 0);
    let about: Vec<&str> = again.err.lines().filter(|line| line.starts_with("set: ")).collect();
    assert_eq!(about, ["set: 24 train + 13 test pictures"]);

    // The content counts, not the place.
    fs::rename(lab.path("set"), lab.path("moved")).expect("moved");
    let moved = lab.done(&["market.yaml", "data.market1501.root=moved", "--out", "runs"]);
    assert_eq!(moved.computed(), 0, "{}", moved.err);
}

#[test]
fn pre_training_on_the_training_split_and_held_out_identities() {
    let lab = lab(4);
    let objective = "pretrain.objective={person_mae: {target: pixel, pixel_decoder: {depth: 1, width: 32, heads: 1}}}";
    let arguments = ["market.yaml", objective, "pretrain.train={epochs: 1, batch: 8}", "validation={identities: 0.34}"];
    let said = lab.done(&arguments);
    assert!(said.err.contains("set: validation query: "), "{}", said.err);
    assert!(lab.rows("runs")[0].metrics.contains_key("validation.map"));
}

#[test]
fn corrupt_pictures_are_named_before_training_or_skipped_and_counted() {
    let lab = lab(5);
    let names = ["0002_c1s1_000000_01.jpg", "0005_c2s1_000001_01.jpg"];
    let truncated = lab.path("set/bounding_box_train").join(names[0]);
    let bytes = fs::read(&truncated).expect("a picture");
    fs::write(&truncated, &bytes[..bytes.len() / 2]).expect("written");
    fs::write(lab.path("set/bounding_box_train").join(names[1]), "").expect("written");

    let said = lab.run(&["market.yaml"]);
    said.assert_error(5, &["2 corrupt picture(s); mend or remove them, or set `on_corrupt: skip` (`--skip-corrupt`"]);
    said.assert_error(5, &[names[0], "truncated JPEG", names[1], "the file is empty"]);
    assert!(!said.err.contains("started, 4"), "training began:\n{}", said.err);
    assert!(lab.rows("runs").is_empty());

    let said = lab.done(&["market.yaml", "on_corrupt=skip"]);
    assert_eq!(lab.rows("runs")[0].corrupt_images, 2);
    assert!(said.text().contains("up to 2 corrupt picture(s) skipped per run"), "{}", said.text());
    let again = lab.done(&["market.yaml", "on_corrupt=skip"]);
    assert!(again.err.contains("set: 30 train + 13 test pictures, 2 corrupt and left out"), "{}", again.err);
}

#[test]
fn pictures_decoded_at_a_part_of_their_size_are_other_pictures() {
    let lab = lab(4);
    let full = lab.done(&["market.yaml"]);
    let reduced = lab.done(&["market.yaml", "decode={at_least: [16, 8]}"]);
    assert_eq!(reduced.computed(), full.computed(), "{}", reduced.err);
    let rows = lab.rows("runs");
    assert!((rows[0].metrics["test.map"] - rows[1].metrics["test.map"]).abs() > 1e-9);
    // Whoever shows its model the folder shows it as the run did.
    let embed = ["embed", "market.yaml", "decode={at_least: [16, 8]}", "--data", "set", "--to", "features.parquet"];
    lab.done(&embed);
    let frame = models::read(&lab.path("features.parquet"));
    let found = models::map(&Part::of(&frame, "query"), &Part::of(&frame, "gallery"));
    assert_eq!(rows.iter().filter(|row| (row.metrics["test.map"] - found).abs() < 1e-9).count(), 1, "{found}");
    // Nothing is half as large, and said otherwise it is the same.
    assert_eq!(lab.done(&["market.yaml", "decode=full"]).computed(), 0);
    lab.run(&["market.yaml", "decode={at_least: [4, 8]}"]).assert_error(3, &["decode.at_least"]);
}

#[test]
fn what_is_wrong_with_a_folder_is_said_with_the_remedy() {
    let lab = lab(4);
    let refuse = |root: &str, parts: &[&str]| {
        let said = lab.run(&["market.yaml", &format!("data.market1501.root={root}")]);
        said.assert_error(5, parts);
        lab.run(&["plan", "market.yaml", &format!("data.market1501.root={root}")]).assert_error(5, parts);
    };
    refuse("nowhere", &["folder in Market-1501 layout not found", "must hold bounding_box_train", "nowhere"]);
    fs::create_dir_all(lab.path("empty/bounding_box_train")).expect("a folder");
    refuse("empty", &["sub-folder bounding_box_test, query not found", "empty"]);
    fs::create_dir_all(lab.path("empty/bounding_box_test")).expect("a folder");
    fs::create_dir_all(lab.path("empty/query")).expect("a folder");
    refuse("empty", &["the train split has no pictures", "copy its JPEG, PNG or TIFF files into the folder"]);

    for query in super::program::children(&lab.path("set/query")) {
        let name = query.file_name().expect("a name").to_string_lossy().replace("0001_c1", "0900_c1");
        fs::rename(&query, query.with_file_name(name.replace("0004_c1", "0901_c1").replace("0007_c1", "0902_c1")))
            .expect("renamed");
    }
    refuse("set", &["no query picture has a match", "check that query and gallery belong together"]);
    fs::write(lab.path("set/query/who.jpg"), "").expect("written");
    refuse("set", &["1 file name(s) do not parse (query/who.jpg)", "0002_c1s1_000451_03.jpg"]);
    assert!(lab.rows("runs").is_empty());
}

#[test]
fn pictures_that_vanish_fail_their_run_alone_and_the_mended_training_goes_on() {
    // Long enough that pictures are still to be read when the first ones have been trained on.
    let lab = lab(40);
    let good = "{data.market1501.root: other, label: good}";
    let slow = MARKET.replace("epochs: 2", "epochs: 2, checkpoint_every: {steps: 3}");
    lab.write("market.yaml", &format!("{slow}sweep: {{list: [{{label: bad}}, {good}]}}\n"));
    copy(&lab, "set", "other");
    // One more picture makes it another set, which shares no stage with the first.
    write_picture(&lab, "../other/bounding_box_test/0000_c3s1_000011_00.jpg", 11);

    let mut running = lab.start(&["market.yaml"]);
    assert!(running.wait_until(|| !checkpoints(&lab.path("runs")).is_empty()), "it is done already");
    let train = lab.path("set/bounding_box_train");
    fs::rename(&train, lab.path("set/away")).expect("moved");
    let first = running.end();
    first.assert_error(100, &["train bad s0 failed: picture changed or vanished during the run", "1 of 2 runs failed"]);
    first.assert_error(100, &["restore it and run again", "bounding_box_train/", "run the same command again"]);
    let rows = lab.rows("runs");
    let status: Vec<_> = rows.iter().map(|row| (row.label.as_str(), row.status.name(), row.attempts)).collect();
    assert_eq!(status, [("bad", "failed", 1), ("good", "ok", 1)]);
    assert_eq!(rows[0].failed_stage.as_deref(), Some("train bad s0"));
    assert!(rows[0].error.as_ref().is_some_and(|error| error.contains("bounding_box_train/")));

    // Mended: the content is the same, and so is the stage, which goes on from its checkpoint.
    fs::rename(lab.path("set/away"), &train).expect("moved");
    let second = lab.done(&["market.yaml"]);
    assert!(second.err.contains("train bad s0: resumed at step "), "{}\n{}", first.err, second.err);
    let rows = lab.rows("runs");
    let status: Vec<_> = rows.iter().map(|row| (row.label.as_str(), row.status.name(), row.attempts)).collect();
    assert_eq!(status, [("bad", "ok", 2), ("good", "ok", 1)]);
}

/// Copies the three folders of a set.
fn copy(lab: &Lab, from: &str, to: &str) {
    for folder in super::program::children(&lab.path(from)) {
        let target = lab.path(to).join(folder.file_name().expect("a name"));
        fs::create_dir_all(&target).expect("a folder");
        for file in super::program::children(&folder) {
            fs::copy(&file, target.join(file.file_name().expect("a name"))).expect("copied");
        }
    }
}

#[test]
fn limits_that_take_the_size_of_the_data_are_checked_when_they_are_open() {
    let lab = lab(4);
    let mae = "pretrain.objective={person_mae: {teacher_half_life: {steps: 2}}}";
    let spec = ["market.yaml", mae, "pretrain.train={epochs: 3, batch: 8}"];
    // 24 pictures are 9 steps, of which `check` cannot know.
    let check = lab.done(&[&["check"], &spec[..]].concat());
    assert!(!check.err.contains("warning"), "{}", check.err);
    for verb in ["plan", "run"] {
        let said = lab.done(&[&[verb], &spec[..]].concat());
        for part in ["warning[spec::half-life]: `teacher_half_life` is 22 % of the run", "<command line>", "3 epochs"] {
            assert!(said.err.contains(part), "no {part:?} in:\n{}", said.err);
        }
        assert_eq!(said.err.matches("warning[").count(), 1, "{}", said.err);
    }
    assert!(!lab.done(&["plan", "market.yaml", mae, "pretrain.train={epochs: 9, batch: 8}"]).err.contains("warning"));
}

#[test]
fn data_sets_are_counted_and_verified_without_a_spec() {
    let lab = lab(4);
    for target in [&["set"][..], &["market.yaml", "seeds=[3]"]] {
        let stats = lab.done(&[&["data", "stats"], target].concat());
        for part in
            ["train: 24 pictures of 6 identities", "train: 4 to 4 pictures of a person, median 4", "dropped 1 junk"]
        {
            assert!(stats.text().contains(part), "no {part:?} in:\n{}", stats.text());
        }
        let fingerprint = lab.done(&[&["data", "fingerprint"], target].concat());
        assert!(stats.text().contains(&format!("fingerprint {}", fingerprint.text().trim())), "{}", stats.text());
        lab.done(&[&["data", "verify"], target].concat());
    }
    let sheet = |arguments: &[&str]| {
        lab.done(&[&["data", "sheet", "set", "--out", "sheet.png"], arguments].concat());
        reid_data::decode::decode(&fs::read(lab.path("sheet.png")).expect("a file")).expect("a PNG")
    };
    // Four pictures of six people, and one of three, each 128 x 64 and two apart, on white.
    let (train, query) = (sheet(&[]), sheet(&["--split", "query"]));
    assert_eq!((train.height, query.height, train.width), (6 * 130 + 2, 3 * 130 + 2, 4 * 66 + 2));
    let is_white = |x: usize| train.data[(50 * train.width + x) * 3..][..3] == [255; 3];
    assert!(is_white(0) && !is_white(30) && is_white(66) && !is_white(4 * 66 - 30));
    assert_eq!(query.width, 66 + 2);
    lab.run(&["data", "sheet", "set", "-o", "x.png", "--split", "pool"])
        .assert_error(2, &["no split \"pool\"; it has train"]);
    lab.write("set/query/0004_c1s1_000001_00.jpg", "no picture");
    let said = lab.run(&["data", "verify", "set"]);
    said.assert_error(5, &["the data have 1 kind of error"]);
    let part =
        "error: 1 pictures that cannot be decoded\n  query query/0004_c1s1_000001_00.jpg: the content is neither";
    assert!(said.text().contains(part), "{}", said.text());
    lab.run(&["data", "fingerprint", "set"]).assert_error(5, &["0004_c1s1_000001_00.jpg"]);
    lab.done(&["data", "stats", "set"]);

    lab.write(
        "list.csv",
        "path,split,pid\nset/query/0001_c1s1_000001_00.jpg,query,a\nset/query/0007_c1s1_000001_00.jpg,gallery,a\n",
    );
    let stats = lab.done(&["data", "stats", "list.csv"]);
    assert!(stats.text().contains("query: 1 pictures of 1 identities"), "{}", stats.text());
    lab.run(&["data", "stats", "set", "seeds=[1]"]).assert_error(2, &["seeds=[1] overrides a spec"]);
    lab.run(&["data", "stats", "nowhere"]).assert_error(5, &["folder of pictures not found", "nowhere"]);
}
