//! Lists of any pictures.

use polars::prelude::{NamedFrom, ParquetWriter, Series};
use reid_data::dataset::Split;
use reid_data::spec::{DataSpec, ManifestSpec};

use super::fixture::{Lab, assert_note, people};

const LINES: &str = "camid,path,who,pid,split
9,a b/ä 1.jpg,x,12,train
10,\"a b/with, comma.JPG\",x,12,train
9,./b//2.png.jpg,y,7,train
10,b/3.jpg,y,7,train
9,q/1.jpg,z,3,query
10,q/2.jpg,z,3,gallery
10,pool.jpg,,,pool
";

const PICTURES: [&str; 7] =
    ["a b/ä 1.jpg", "a b/with, comma.JPG", "b/2.png.jpg", "b/3.jpg", "q/1.jpg", "q/2.jpg", "pool.jpg"];

fn manifest(file: &str) -> DataSpec {
    DataSpec::Manifest(ManifestSpec { file: file.to_owned() })
}

/// The pictures of [`LINES`], and a list.
fn lab(list: &str) -> Lab {
    let lab = Lab::new();
    for name in PICTURES {
        lab.picture(&format!("set/{name}"));
    }
    lab.write("set/list.csv", list.as_bytes());
    lab
}

#[test]
fn csv_and_parquet_say_the_same() {
    let lab = lab(LINES);
    let csv = lab.open(&manifest("set/list.csv")).expect("a set");
    assert_eq!(csv.name, "list");
    // People and cameras are numbered in the order of their values, people from 1.
    let train = [("a b/with, comma.JPG", 3, 1), ("a b/ä 1.jpg", 3, 0), ("b/2.png.jpg", 2, 0), ("b/3.jpg", 2, 1)];
    assert_eq!(people(&csv, Split::Train), train);
    assert_eq!(people(&csv, Split::Query), [("q/1.jpg", 1, 0)]);
    assert_eq!(people(&csv, Split::Pool), [("pool.jpg", -1, 1)]);
    assert_note(&csv, "3 people");

    let numbers = |values: [Option<i64>; 7], name: &str| Series::new(name.into(), values).into();
    let texts = |values: [&str; 7], name: &str| Series::new(name.into(), values).into();
    let columns = vec![
        texts(PICTURES, "path"),
        texts(["train", "train", "train", "train", "query", "gallery", "pool"], "split"),
        numbers([Some(12), Some(12), Some(7), Some(7), Some(3), Some(3), None], "pid"),
        numbers([9, 10, 9, 10, 9, 10, 10].map(Some), "camid"),
    ];
    let mut frame = polars::prelude::DataFrame::new(7, columns).expect("a frame");
    let file = std::fs::File::create(lab.path().join("set/list.parquet")).expect("a file");
    ParquetWriter::new(file).finish(&mut frame).expect("written");
    let parquet = lab.open(&manifest("set/list.parquet")).expect("a set");
    assert_eq!(parquet.splits, csv.splits);
    assert_eq!(parquet.fingerprint, csv.fingerprint);
}

#[test]
fn names_may_be_text_and_cameras_unknown() {
    let lab = lab("path,split,pid\nq/1.jpg,query,berta\nq/2.jpg,gallery,berta\nb/3.jpg,gallery,anna 10\n");
    let dataset = lab.open(&manifest("set/list.csv")).expect("a set");
    assert_eq!(people(&dataset, Split::Query), [("q/1.jpg", 2, 0)]);
    assert_eq!(people(&dataset, Split::Gallery), [("b/3.jpg", 1, 1), ("q/2.jpg", 2, 1)]);
    assert_note(&dataset, "names no cameras");
}

#[test]
fn what_is_wrong_with_a_list_has_a_place() {
    let cases = [
        ("path,pid\nq/1.jpg,1\n", "the list has no column split"),
        ("path,split,pid\n", "the list is empty"),
        ("path,split,pid\nq/1.jpg,query,1\n../list.csv,query,1\n", "record 2: ../list.csv leads out"),
        ("path,split,pid\nq/../q/1.jpg,query,1\n", "record 1: q/../q/1.jpg leads out"),
        ("path,split,pid\n/etc/hosts,query,1\n", "record 1: /etc/hosts leads out"),
        ("path,split,pid\nq/1.jpg,tests,1\n", "record 1: \"tests\" is no split"),
        ("path,split,pid\nq/1.jpg,query,\n", "record 1: no pid"),
        ("path,split,pid,camid\nq/1.jpg,query,1,\n", "record 1: no camid"),
        ("path,split,pid\n,query,1\n", "record 1: no path"),
        ("path,split,pid\nq/1.jpg,query,1\n./q/1.jpg,query,2\n", "record 1 and 2 list q/1.jpg twice"),
        ("path,split,pid\nq/1.jpg,query\n", "no CSV"),
    ];
    for (list, problem) in cases {
        let error = lab(list).error(&manifest("set/list.csv"));
        assert!(error.contains(problem) && error.contains("validation_gallery"), "{error}");
        assert!(error.ends_with("set/list.csv"), "{error}");
    }
    let lab = lab(LINES);
    assert!(lab.error(&manifest("set/none.csv")).starts_with("list of pictures not found"));
    lab.write("set/torn.parquet", b"PAR1 and no more");
    assert!(lab.error(&manifest("set/torn.parquet")).contains("no Parquet"));
    std::fs::remove_file(lab.path().join("set/q/1.jpg")).expect("a picture");
    assert!(lab.error(&manifest("set/list.csv")).contains("q/1.jpg: cannot be read"));
}
