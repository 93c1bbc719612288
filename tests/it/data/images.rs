//! Folders of pictures that nobody has named.

use std::path::Path;

use reid_data::dataset::{Dataset, Split};
use reid_data::datasets::{LARGE, OpenSettings, open};
use reid_data::spec::{DataSpec, ImagesSpec, Reading, Size, ValidationSpec};
use reid_data::{DataError, Result};

use super::fixture::{jpeg, picture};

fn write(root: &Path, name: &str, seed: u64) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, jpeg(&picture(seed, 32, 16))).expect("a picture");
}

fn opened(folder: &Path) -> Result<Dataset> {
    let settings = OpenSettings {
        base: folder.to_path_buf(),
        cache: folder.join("cache"),
        threads: 2,
        reading: Reading::default(),
        validation: ValidationSpec::default(),
        large: LARGE,
        progress: &|_, _, _| {},
    };
    open(&DataSpec::Images(ImagesSpec { root: "set".to_owned() }), &settings)
}

#[test]
fn every_picture_of_every_folder_is_found_once_and_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("set");
    for (name, seed) in [("b.jpg", 1), ("a/deep er/ü.JPEG", 2), ("a/1.png.jpg", 3), (".hidden/x.jpg", 4)] {
        write(&root, name, seed);
    }
    write(folder.path(), "elsewhere/linked.jpg", 5);
    std::fs::write(root.join("notes.txt"), b"no picture").expect("a file");
    std::os::unix::fs::symlink(folder.path().join("elsewhere/linked.jpg"), root.join("link.jpg")).expect("a link");
    // A link to a folder may lead round in a circle.
    std::os::unix::fs::symlink(&root, root.join("a/circle")).expect("a link");
    let dataset = opened(folder.path()).expect("a sound set");
    let paths: Vec<&str> = dataset.split(Split::Pool).iter().map(|record| record.path.as_str()).collect();
    assert_eq!(paths, ["a/1.png.jpg", "a/deep er/ü.JPEG", "b.jpg", "link.jpg"]);
    assert_eq!((dataset.name.as_str(), dataset.size, dataset.splits.len()), ("set", Size(32, 16), 1));
    assert_eq!(dataset.counts, ["pool: 4 pictures"]);
    assert!(dataset.notes.iter().any(|note| note.contains("ignored 2 files")), "{:?}", dataset.notes);
}

#[test]
fn what_is_missing_is_named_with_where_it_is_to_be_had() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = opened(folder.path()).expect_err("no folder");
    assert!(matches!(error, DataError::Missing { .. }));
    assert!(error.to_string().contains("or a database"), "{error}");
    std::fs::create_dir(folder.path().join("set")).expect("a folder");
    let error = opened(folder.path()).expect_err("an empty folder").to_string();
    assert!(error.contains("picture in the folder"), "{error}");
    std::fs::write(folder.path().join("set/broken.jpg"), b"").expect("a file");
    let error = opened(folder.path()).expect_err("a broken picture").to_string();
    assert!(error.contains("broken.jpg"), "{error}");
}
