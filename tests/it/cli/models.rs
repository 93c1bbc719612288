//! Models at work: features of pictures, and what is found for a picture.

use std::fs::File;
use std::path::Path;

use polars::prelude::{DataFrame, ParquetReader, SerReader};
use reid_objectives::math::ranking::{Labels, RankSpec, SquaredEuclidean, rank};
use serde_json::Value;

use super::program::Lab;
use super::{TINY, UNTRAINED};

/// Features of one split of a file.
pub(super) struct Part {
    paths: Vec<String>,
    pids: Vec<i64>,
    cameras: Vec<u32>,
    values: Vec<f32>,
    width: usize,
}

impl Part {
    pub(super) fn of(frame: &DataFrame, wanted: &str) -> Self {
        let text = |name: &str| frame.column(name).unwrap().str().unwrap().clone();
        let (splits, paths) = (text("split"), text("path"));
        let rows: Vec<usize> = (0..frame.height()).filter(|&row| splits.get(row) == Some(wanted)).collect();
        let (pids, cameras) = (frame.column("pid").unwrap(), frame.column("camera").unwrap());
        let lists = frame.column("feature").unwrap().list().unwrap().clone();
        let feature = |&row: &usize| -> Vec<f32> {
            lists.get_as_series(row).unwrap().f32().unwrap().into_no_null_iter().collect()
        };
        let features: Vec<Vec<f32>> = rows.iter().map(feature).collect();
        Self {
            paths: rows.iter().map(|&row| paths.get(row).unwrap().to_owned()).collect(),
            pids: rows.iter().map(|&row| pids.i64().unwrap().get(row).unwrap_or(-1)).collect(),
            cameras: rows.iter().map(|&row| cameras.u32().unwrap().get(row).unwrap_or(0)).collect(),
            width: features.first().map_or(0, Vec::len),
            values: features.concat(),
        }
    }

    fn labels(&self) -> Labels<'_> {
        Labels { pids: &self.pids, cameras: &self.cameras }
    }
}

pub(super) fn read(path: &Path) -> DataFrame {
    ParquetReader::new(File::open(path).expect("a file")).finish().expect("Parquet")
}

/// mAP of features as they stand in a file.
pub(super) fn map(query: &Part, gallery: &Part) -> f64 {
    let distances = SquaredEuclidean::new(&query.values, &gallery.values, gallery.width);
    rank(&distances, query.labels(), gallery.labels(), RankSpec::default(), 50).map
}

#[test]
fn embedded_features_rank_as_the_run_did() {
    let lab = Lab::with("tiny.yaml", TINY);
    let jigsaw = "protocol.supervised.local=jigsaw";
    for overrides in [&[][..], &[jigsaw, "protocol.supervised.side=cameras"], &["protocol=frozen"]] {
        let ran = lab.done(&[&["tiny.yaml"], overrides].concat());
        assert!(ran.computed() > 0, "{}", ran.err);
        let tail = ["--data", "tiny.yaml", "--to", "features.parquet"];
        let said = lab.done(&[&["embed", "tiny.yaml"], overrides, &tail].concat());
        assert!(!said.err.contains("of these pictures"), "its own cameras: {}", said.err);
        let frame = read(&lab.path("features.parquet"));
        let (query, gallery) = (Part::of(&frame, "query"), Part::of(&frame, "gallery"));
        assert!(
            query.values.chunks(query.width).all(|row| (row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5)
        );
        let metrics = lab.rows("runs").into_iter().map(|row| row.metrics["test.map"]);
        let found = map(&query, &gallery);
        assert!(metrics.into_iter().any(|of_run| (of_run - found).abs() < 1e-9), "{overrides:?}: {found}");
    }
}

#[test]
fn a_picture_is_found_among_others() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml"]);
    lab.done(&["data", "synth", "--spec", "tiny.yaml", "--out", "market"]);
    let picture = super::program::children(&lab.path("market/bounding_box_test")).remove(3);
    let (name, shown) = (picture.file_name().unwrap().to_str().unwrap(), picture.display().to_string());
    lab.done(&["embed", "tiny.yaml", "--data", "market", "--split", "gallery", "--to", "gallery.parquet"]);
    let gallery = Part::of(&read(&lab.path("gallery.parquet")), "gallery");
    let said = lab.done(&["rank", "tiny.yaml", "--query", &shown, "--gallery", "market", "--top", "3"]);
    let out = String::from_utf8(said.out).expect("UTF-8");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    assert!(lines[0].ends_with(name), "{out}");
    assert!(lines[1].contains(&format!("0.000000  bounding_box_test/{name}  person ")), "itself first: {out}");

    // The rest by hand.
    let itself = gallery.paths.iter().position(|path| path.ends_with(name)).expect("it is there");
    let row = |at: usize| &gallery.values[at * gallery.width..(at + 1) * gallery.width];
    let distance = |at: usize| row(at).iter().zip(row(itself)).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    let mut order: Vec<usize> = (0..gallery.paths.len()).collect();
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    for (line, at) in lines[2..].iter().zip(&order[1..]) {
        assert!(line.contains(&gallery.paths[*at]), "{line}: {}", gallery.paths[*at]);
    }

    let format = ["--query", &shown, "--query", "market", "--gallery", "market", "--format", "json"];
    let said = lab.done(&[&["rank", "tiny.yaml"][..], &format].concat());
    let json: Value = serde_json::from_slice(&said.out).expect("JSON");
    let queries = json["queries"].as_array().expect("a list");
    let asked = super::program::children(&lab.path("market/query")).len();
    assert_eq!(queries.len(), 1 + asked, "the picture, and the folder's queries");
    assert_eq!(queries[0]["found"][0]["distance"].as_f64().map(|d| d < 1e-6), Some(true));
    assert_eq!(queries[0]["found"].as_array().map(Vec::len), Some(10.min(gallery.paths.len())));
}

#[test]
fn what_trains_nothing_needs_no_run() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    lab.done(&["embed", "untrained.yaml", "--data", "untrained.yaml", "--to", "before.parquet"]);
    assert!(!lab.path("runs").exists(), "nothing is stored");
    lab.done(&["untrained.yaml"]);
    let frame = read(&lab.path("before.parquet"));
    let found = map(&Part::of(&frame, "query"), &Part::of(&frame, "gallery"));
    assert!((found - lab.rows("runs")[0].metrics["test.map"]).abs() < 1e-9);
}

#[test]
fn models_and_pictures_that_are_not_there_are_named() {
    let lab = Lab::with("tiny.yaml", TINY);
    let embed = |run: &str, tail: &[&str]| lab.run(&[&["embed", run], tail].concat());
    let to = ["--data", "tiny.yaml", "--to", "f.parquet"];
    embed("tiny.yaml", &to).assert_error(4, &["no results", "--out"]);
    lab.done(&["tiny.yaml"]);
    embed("nobody", &to).assert_error(4, &["no such run", "nobody"]);
    embed("tiny.yaml", &["--data", "nowhere", "--to", "f.parquet"]).assert_error(5, &["nowhere"]);
    embed("tiny.yaml", &["--data", "tiny.yaml", "--to", "f.csv"]).assert_error(2, &[".parquet", "f.csv"]);
    embed("tiny.yaml", &["--data", "tiny.yaml", "--split", "best", "--to", "f.parquet"])
        .assert_error(2, &["\"best\"", "gallery"]);
    lab.write("broken.jpg", "no picture");
    lab.done(&["data", "sheet", "tiny.yaml", "--out", "sheet.png"]);
    let rank = |query: &str| lab.run(&["rank", "tiny.yaml", "--query", query, "--gallery", "tiny.yaml"]);
    rank("broken.jpg").assert_error(5, &["broken.jpg"]);
    lab.write("crops/broken.jpg", "no picture");
    std::fs::copy(lab.path("sheet.png"), lab.path("crops/sound.png")).expect("copied");
    rank("crops").assert_error(5, &["1 corrupt", "--skip-corrupt", "broken.jpg"]);
    let said = lab.done(&["rank", "tiny.yaml", "--query", "crops", "--gallery", "tiny.yaml", "--skip-corrupt"]);
    assert!(said.err.contains("1 corrupt picture left out: crops"), "{}", said.err);
    rank("missing.jpg").assert_error(5, &["picture", "missing.jpg"]);
    assert!(!lab.path("f.parquet").exists());
}

/// Of another data set's cameras a model knows nothing, which is said.
#[test]
fn strange_cameras_are_said() {
    let lab = Lab::with("tiny.yaml", TINY);
    let side = "protocol.supervised.side=cameras";
    lab.done(&["tiny.yaml", side]);
    lab.done(&["data", "synth", "--spec", "tiny.yaml", "--out", "market"]);
    let said = lab.done(&["embed", "tiny.yaml", side, "--data", "market", "--to", "f.parquet"]);
    assert!(said.err.contains("has not learnt the cameras of these pictures"), "{}", said.err);
}
