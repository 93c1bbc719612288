//! Event files for TensorBoard: of finished runs, and of trainings under way. Read by a reader of our own, which shares
//! nothing with the writer; `tests/peers/tensorboard.sh` has TensorBoard read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reid_results::read;

use super::program::{Lab, checkpoints, children};
use super::{TINY, UNTRAINED};

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Takes bytes and the masked checksum behind them.
fn checked<'a>(file: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (bytes, rest) = file.split_at(length);
    let (sum, rest) = rest.split_at(4);
    let crc = crc32c(bytes);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    assert_eq!(sum, masked.to_le_bytes(), "a checksum");
    *file = rest;
    bytes
}

/// The data of every record.
fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let length = u64::from_le_bytes(checked(&mut file, 8).try_into().expect("8 bytes"));
        records.push(checked(&mut file, length as usize));
    }
    records
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a byte");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Numbers and contents of a message's fields; numbers of variable length as eight bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, rest) = message.split_at(length);
        fields.push((key >> 3, content.to_vec()));
        message = rest;
    }
    fields
}

fn field(fields: &[(u64, Vec<u8>)], number: u64) -> Option<&[u8]> {
    fields.iter().find(|(found, _)| *found == number).map(|(_, content)| content.as_slice())
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    tag: String,
    step: i64,
    value: f32,
    wall_time: f64,
}

/// All points in an event file.
fn points(file: &Path) -> Vec<Point> {
    let bytes = fs::read(file).expect("an event file");
    let events: Vec<_> = records(&bytes).into_iter().map(fields).collect();
    assert_eq!(field(&events[0], 3), Some(&b"brain.Event:2"[..]));
    let mut points = Vec::new();
    for event in &events {
        let wall_time = f64::from_le_bytes(field(event, 1).expect("a time").try_into().expect("8 bytes"));
        let step = field(event, 2).map_or(0, |step| i64::from_le_bytes(step.try_into().expect("8 bytes")));
        for (_, value) in field(event, 5).map(fields).unwrap_or_default() {
            let value = fields(&value);
            let tag = String::from_utf8(field(&value, 1).expect("a tag").to_vec()).expect("UTF-8");
            let number = field(&value, 2).expect("a number").try_into().expect("4 bytes");
            points.push(Point { tag, step, value: f32::from_le_bytes(number), wall_time });
        }
    }
    points
}

/// The only event file in a folder.
fn only(folder: &Path) -> PathBuf {
    let files = children(folder);
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// Step metrics in the results whose stage is `stage`, or all.
fn recorded(lab: &Lab, stage: Option<&str>) -> Vec<Point> {
    let frames = read(&lab.path("runs/results")).expect("results");
    let ids = frames.rows().expect("rows").into_iter().map(|row| row.run_id).collect();
    let rows = frames.steps(&ids).expect("step metrics").into_iter().map(|(_, row)| row);
    let point = |row: reid_results::StepRow| Point {
        tag: format!("{}/{}", row.stage, row.metric),
        step: row.step,
        value: row.value as f32,
        wall_time: row.at as f64 / 1e6,
    };
    rows.filter(|row| stage.is_none_or(|stage| row.stage == stage)).map(point).collect()
}

#[test]
fn event_files_hold_what_the_results_do() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml", "--tensorboard", "live"]);
    assert_eq!(children(&lab.path("live")).len(), 2);
    for stage in ["pretrain", "train"] {
        let expected = recorded(&lab, Some(stage));
        assert!(expected.iter().any(|point| point.tag == format!("{stage}/loss")), "{expected:?}");
        assert_eq!(points(&only(&lab.path(&format!("live/{stage}-person_mae-s0")))), expected);
    }
    assert!(lab.artefacts("runs").keys().all(|name| !name.ends_with("progress.json")));

    let row = lab.rows("runs").remove(0);
    let said = lab.done(&["tensorboard", "tiny.yaml", "--to", "board"]);
    assert!(said.out.is_empty() && said.err.contains("1 run, "), "{}", said.err);
    let folder = lab.path("board/person_mae-s0");
    let file = only(&folder);
    let found = points(&file);
    let (curves, last) = found.split_at(found.len() - row.metrics.len());
    assert_eq!(curves, recorded(&lab, None));
    for (point, (name, value)) in last.iter().zip(&row.metrics) {
        let end = &curves[curves.len() - 1];
        let (tag, value) = (name.replacen('.', "/", 1), *value as f32);
        assert_eq!(*point, Point { tag, step: end.step, value, wall_time: end.wall_time });
    }
    let name = file.file_name().and_then(|name| name.to_str()).expect("a name");
    let seconds = found[0].wall_time.floor();
    assert!(name.starts_with(&format!("events.out.tfevents.{seconds}.")), "{name}");
    assert!(name.ends_with(&format!(".{}", row.run_id)), "{name}");

    // The same again; earlier files of the run make way, all others stay.
    let bytes = fs::read(&file).expect("an event file");
    let earlier = format!("board/person_mae-s0/events.out.tfevents.0000000001.elsewhere.{}", row.run_id);
    let other = format!("board/person_mae-s0/events.out.tfevents.0000000001.elsewhere.another-{}", row.run_id);
    lab.write(&earlier, "");
    lab.write(&other, "");
    lab.write("board/person_mae-s0/notes.txt", "mine");
    lab.done(&["tensorboard", &row.run_id, "--to", "board"]);
    let left = children(&folder);
    assert_eq!(left, [lab.path(&other), file.clone(), folder.join("notes.txt")]);
    assert_eq!(fs::read(&file).expect("an event file"), bytes);
}

#[test]
fn runs_of_a_sweep_have_folders_by_their_fields() {
    let list = "{grid: {protocol.frozen.pooling: [cls, max]}}, {label: \"a/b é\", protocol.frozen.pooling: avg}";
    let lab = Lab::with("untrained.yaml", &format!("{UNTRAINED}seeds: [0, 1]\nsweep: {{list: [{list}]}}\n"));
    lab.done(&["untrained.yaml"]);
    lab.done(&["tensorboard", "untrained.yaml", "--to", "board"]);
    let folders = children(&lab.path("board"));
    let names: Vec<&str> = folders.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    let of_seeds = |name: &str| [0, 1].map(|seed| format!("{name}-s{seed}"));
    let expected = ["a-b---pooling-avg", "untrained-pooling-cls", "untrained-pooling-max"].map(of_seeds).concat();
    assert_eq!(names, expected);
    // Without a training there are final metrics alone.
    for folder in &folders {
        let points = points(&only(folder));
        assert!(points.iter().any(|point| point.tag == "test/map"), "{points:?}");
        assert!(points.iter().all(|point| point.step == 0), "{points:?}");
    }
}

#[test]
fn a_resumed_training_has_every_step_once() {
    let settings = "epochs: 3, batch: 8, checkpoint_every: {steps: 5}, evaluate_every: {steps: 7}";
    let lab = Lab::with("tiny.yaml", &TINY.replace("epochs: 1, batch: 16", settings));
    let arguments = ["tiny.yaml", "--tensorboard", "live"];
    let folder = lab.path("live/pretrain-person_mae-s0");
    let drawn = || children(&folder).iter().map(|file| fs::metadata(file).map_or(0, |file| file.len())).sum::<u64>();
    let mut running = lab.start(&arguments);
    running.wait_until(|| !checkpoints(&lab.path("runs")).is_empty());
    // A step that the checkpoint does not know of, unless another was written meanwhile.
    let before = drawn();
    running.wait_until(|| drawn() > before);
    running.kill();
    let torn = only(&folder);

    let said = lab.done(&arguments);
    assert!(said.err.contains("pretrain person_mae s0: resumed at step "), "{}", said.err);
    let file = only(&folder);
    assert!(file > torn, "{} does not follow {}", file.display(), torn.display());
    let found = points(&file);
    assert_eq!(found, recorded(&lab, Some("pretrain")));
    let steps: BTreeSet<(&str, i64)> = found.iter().map(|point| (point.tag.as_str(), point.step)).collect();
    assert_eq!(steps.len(), found.len(), "a step is there twice");
    assert!(steps.contains(&("pretrain/loss", 89)) && steps.contains(&("pretrain/validation.map", 84)));
}

#[test]
fn what_cannot_be_written_or_found_is_said_once() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.run(&["tensorboard", "tiny.yaml", "--to", "board"]).assert_error(4, &["no results; run a spec first"]);
    lab.write("file", "a file");
    let said = lab.done(&["tiny.yaml", "--tensorboard", "file"]);
    assert_eq!(said.err.matches("choose another folder with `--tensorboard`: ").count(), 1, "{}", said.err);
    assert_eq!(lab.rows("runs").len(), 1);

    let said = lab.run(&["tensorboard", "tiny.yaml", "--to", "file"]);
    said.assert_error(6, &["error: making a folder of event files: ", "choose another with `--to`: file"]);
    assert_eq!(said.err.matches("error: ").count(), 1, "{}", said.err);
    assert_eq!(fs::read_to_string(lab.path("file")).expect("a file"), "a file");

    lab.run(&["tensorboard", "nobody-s0", "--to", "board"]).assert_error(4, &["no such run; ", ": nobody-s0"]);
    let other = lab.run(&["tensorboard", "tiny.yaml", "seeds=[7]", "--to", "board"]);
    other.assert_error(4, &["none of the spec's runs is finished; run it first: tiny.yaml"]);
    assert!(!lab.path("board").exists());
}
