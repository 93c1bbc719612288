//! The index of many runs: always what reading every file would give.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use reid_results::read_and_index;

use super::*;

/// Enough runs for an index.
const MANY: usize = 70;

fn index(dir: &Path) -> std::path::PathBuf {
    dir.join(".index.parquet")
}

fn numbered(number: usize) -> RunRow {
    let mut row = run(&format!("run-{number:03}"));
    row.point = number as i64;
    row.marks = vec![format!("mark {number}")];
    row.varied.insert("ratio".to_owned(), Scalar::Int(number as i64));
    with_metric(row, "test.map", 0.001 * number as f64)
}

fn filled() -> TempDir {
    let dir = folder();
    write_all(dir.path(), &(0..MANY).map(numbered).collect::<Vec<_>>());
    dir
}

fn rows(dir: &Path) -> Vec<RunRow> {
    let indexed = read_and_index(dir).expect("sound files").rows().expect("whole rows");
    let only_read = read(dir).expect("sound files").rows().expect("whole rows");
    assert_eq!(indexed, only_read);
    indexed
}

/// What the files say without an index; the index is put back.
fn truth(dir: &Path) -> Vec<RunRow> {
    let kept = fs::read(index(dir)).ok();
    let _ = fs::remove_file(index(dir));
    let rows = read(dir).expect("sound files").rows().expect("whole rows");
    assert!(!index(dir).exists(), "who only reads writes nothing");
    if let Some(kept) = kept {
        fs::write(index(dir), kept).expect("a temporary folder is writable");
    }
    rows
}

#[test]
fn few_runs_have_no_index_and_many_have_one_that_is_read() {
    let dir = folder();
    write_all(dir.path(), &(0..3).map(numbered).collect::<Vec<_>>());
    assert_eq!(rows(dir.path()).len(), 3);
    assert!(!index(dir.path()).exists());

    let dir = filled();
    let first = rows(dir.path());
    assert!(index(dir.path()).exists());
    assert_eq!(first, truth(dir.path()));
    // A file that was tampered with, but whose size, time and inode number are as before, is not opened again.
    let path = dir.path().join("runs/run-007.parquet");
    let time = fs::metadata(&path).and_then(|data| data.modified()).expect("times are known");
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, vec![0; bytes.len()]).expect("writable");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(time)).expect("times can be set");
    assert_eq!(rows(dir.path()), first);
    fs::remove_file(index(dir.path())).expect("the index is there");
    assert!(read(dir.path()).is_err(), "without the index the file is opened");
}

#[test]
fn what_is_new_changed_or_gone_is_seen() {
    let dir = filled();
    let before = rows(dir.path());
    write_all(dir.path(), &[numbered(MANY), numbered(MANY + 1)]);
    let added = rows(dir.path());
    assert_eq!((added.len(), &added), (before.len() + 2, &truth(dir.path())));
    // Replaced by a row of the same size.
    let mut changed = numbered(5);
    changed.metrics.insert("test.map".to_owned(), 0.999);
    write_all(dir.path(), &[changed]);
    let after = rows(dir.path());
    assert!(after.iter().any(|row| row.metrics["test.map"] > 0.99) && after == truth(dir.path()));
    fs::remove_file(dir.path().join("runs/run-003.parquet")).expect("the file is there");
    let after = rows(dir.path());
    assert_eq!((after.len(), &after), (MANY + 1, &truth(dir.path())));
}

/// A field whose values are of several types is text for all of them, as when the files are read together.
#[test]
fn types_of_fields_are_those_of_all_files() {
    for value in [Scalar::Float(0.5), Scalar::Text("half".to_owned()), Scalar::Bool(true)] {
        let dir = filled();
        rows(dir.path());
        let mut other = numbered(MANY);
        other.varied.insert("ratio".to_owned(), value.clone());
        write_all(dir.path(), &[other]);
        let after = rows(dir.path());
        assert_eq!(after, truth(dir.path()), "{value:?}");
        // And back.
        fs::remove_file(dir.path().join(format!("runs/run-{MANY:03}.parquet"))).expect("the file is there");
        assert_eq!(rows(dir.path()), (0..MANY).map(numbered).collect::<Vec<_>>(), "{value:?}");
    }
}

#[test]
fn a_damaged_or_foreign_index_is_made_anew() {
    let dir = filled();
    let first = rows(dir.path());
    let good = fs::read(index(dir.path())).expect("readable");
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let foreign = fs::read(dir.path().join("runs/run-000.parquet")).expect("readable");
    for bytes in [good[..good.len() / 2].to_vec(), Vec::new(), b"PAR1".to_vec(), flipped, foreign] {
        fs::write(index(dir.path()), bytes).expect("writable");
        assert_eq!(rows(dir.path()), first);
        assert_eq!(fs::read(index(dir.path())).expect("readable").len(), good.len());
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_read_all_the_same() {
    let dir = filled();
    let set = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).expect("our own folder");
    set(0o555);
    let rows = read_and_index(dir.path()).map(|frames| frames.rows());
    set(0o755);
    assert_eq!(rows.expect("readable").expect("whole rows").len(), MANY);
}

/// Readers never see half of anything while runs are written.
#[test]
fn two_writers_and_a_reader() {
    let dir = filled();
    let path = dir.path();
    std::thread::scope(|scope| {
        let writers: Vec<_> = [100, 200]
            .map(|start| scope.spawn(move || write_all(path, &(start..start + 20).map(numbered).collect::<Vec<_>>())))
            .into();
        let mut seen = 0;
        while writers.iter().any(|writer| !writer.is_finished()) {
            let now = read_and_index(path).expect("sound files").runs.height();
            assert!(now >= seen && (MANY..=MANY + 40).contains(&now), "{seen}, then {now}");
            seen = now;
        }
    });
    assert_eq!(rows(path).len(), MANY + 40);
    assert_eq!(rows(path), truth(path));
}
