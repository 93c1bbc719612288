//! Folders in Market-1501 layout, good and bad.

use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use reid_data::DataError;
use reid_data::dataset::{Dataset, Split};
use reid_data::spec::{Counts, OnCorrupt, Size};

use super::fixture::{Market, assert_note, jpeg, picture};

fn paths(dataset: &Dataset, split: Split) -> Vec<&str> {
    dataset.split(split).iter().map(|record| record.path.as_str()).collect()
}

#[test]
fn names_give_identity_and_camera() {
    let market = Market::with_identities(3);
    market.write_picture("bounding_box_train/0100_c12s3_1.JPG", 50);
    market.write_picture("bounding_box_train/0100_c2 a copy (2).Jpeg", 51);
    market.write_picture("bounding_box_test/-1_c1s1_000001_00.jpg", 52);
    market.write_picture("bounding_box_test/0000_c6s1_000001_00.jpg", 53);
    market.write("bounding_box_test/Thumbs.db", b"thumbnails");
    market.write("query/._0001_c1s1_000000_00.jpg", b"another program's notes");
    let dataset = market.open().expect("a sound set");

    assert_eq!(dataset.name, "set");
    assert_eq!(dataset.size, Size(32, 16));
    assert!(!dataset.synthetic);
    assert_eq!(dataset.corrupt(), 0);
    let of = |path: &str| {
        let record = dataset.splits.values().flat_map(|records| records.iter()).find(|record| record.path == path);
        record.map_or_else(|| panic!("no {path}"), |record| (record.pid, record.camera))
    };
    assert_eq!(of("bounding_box_train/0100_c12s3_1.JPG"), (100, 11));
    assert_eq!(of("bounding_box_train/0100_c2 a copy (2).Jpeg"), (100, 1));
    assert_eq!(of("bounding_box_test/0000_c6s1_000001_00.jpg"), (0, 5));
    assert!(dataset.identities(Split::Gallery) == [0, 1, 3], "junk is dropped, distractors are kept");
    for records in dataset.splits.values() {
        assert!(records.is_sorted_by(|a, b| a.path < b.path));
    }
    assert!(dataset.split(Split::Pool).is_empty());
    assert_note(&dataset, "dropped 1 junk");
    assert_note(&dataset, "ignored 2 files");
    assert_note(&dataset, "train: 14 pictures of 4 identities from 3 cameras");
    assert_note(&dataset, "gallery: 7 pictures of 3 identities from 4 cameras, 1 of them distractors");
}

#[test]
fn the_inner_folder_and_links_are_followed() {
    let mut market = Market::with_identities(2);
    let expected = market.open().expect("a sound set");
    let outer = market.root().with_file_name("outer");
    std::fs::create_dir(&outer).expect("a folder");
    std::os::unix::fs::symlink(market.root(), outer.join("Market-1501-v15.09.15")).expect("a link");
    market.counts = Counts::Any;
    let dataset = market.open_at("outer", &market.cache(), &|_, _, _| {}).expect("a sound set");
    assert_eq!(dataset.splits, expected.splits);
    assert_eq!(dataset.fingerprint, expected.fingerprint);
    assert_eq!(dataset.root, outer.join("Market-1501-v15.09.15"));
}

#[test]
fn the_published_counts_are_checked_where_the_folder_claims_them() {
    let mut market = Market::with_identities(2);
    market.counts = Counts::Published;
    assert!(
        market.error().contains("train has 8 pictures of 2 identities instead of 12936 of 751"),
        "{}",
        market.error()
    );
    std::fs::rename(market.root(), market.root().with_file_name("market1501")).expect("renamed");
    let open = |market: &Market| market.open_at("market1501", &market.cache(), &|_, _, _| {});
    market.counts = Counts::Auto;
    let error = open(&market).expect_err("wrong counts").to_string();
    assert!(error.contains("`counts: any`"), "{error}");
    market.counts = Counts::Any;
    open(&market).expect("any counts");
}

#[test]
fn names_that_do_not_parse_are_all_counted() {
    let market = Market::with_identities(2);
    for name in ["a.jpg", "0001.jpg", "0001_c0s1.jpg", "0001_c100.jpg", "-2_c1.jpg", "1-2_c1.png", "_c1.jpeg"] {
        market.write(&format!("query/{name}"), b"");
    }
    let error = market.error();
    assert!(error.contains("7 file name(s) do not parse"), "{error}");
    assert!(error.contains("query/-2_c1.jpg, query/0001.jpg"), "{error}");
}

#[test]
fn a_name_that_is_not_utf8_is_an_error() {
    let market = Market::with_identities(2);
    let name = std::ffi::OsStr::from_bytes(b"0001_c1s\xFF.jpg");
    std::fs::write(market.root().join("query").join(name), b"").expect("a written file");
    assert!(market.error().contains("(not UTF-8)"), "{}", market.error());
}

#[test]
fn missing_and_empty_folders_say_how_the_data_must_lie() {
    let market = Market::with_identities(2);
    let elsewhere = market.open_at("nowhere", &market.cache(), &|_, _, _| {}).expect_err("no folder").to_string();
    assert!(elsewhere.contains("bounding_box_train") && elsewhere.ends_with("nowhere"), "{elsewhere}");

    std::fs::remove_dir_all(market.root().join("query")).expect("removed");
    assert!(market.error().starts_with("sub-folder query not found"), "{}", market.error());

    std::fs::create_dir(market.root().join("query")).expect("a folder");
    assert!(market.error().starts_with("the query split has no pictures"), "{}", market.error());
}

#[test]
fn queries_need_a_match_from_another_camera() {
    let market = Market::with_identities(2);
    market.write_picture("query/0009_c1s1_000000_00.jpg", 70);
    market.write_picture("bounding_box_test/0009_c1s1_000001_00.jpg", 71);
    assert_note(&market.open().expect("two queries have a match"), "1 of 3 query pictures have no match");
    for pid in [1, 3] {
        std::fs::remove_file(market.root().join(format!("query/{pid:04}_c1s1_000000_00.jpg"))).expect("removed");
    }
    // All that is left is of one camera: for whoever says that this is meant.
    let dataset = market.open().expect("identities have matches");
    assert_note(&dataset, "1 of 1 query pictures have no match by another camera");
    let error = dataset.require_cameras().expect_err("no match by another camera").to_string();
    assert!(error.contains("no query picture has a match") && error.contains("`kept`"), "{error}");
    std::fs::remove_file(market.root().join("query/0009_c1s1_000000_00.jpg")).expect("removed");
    market.write_picture("query/0010_c1s1_000000_00.jpg", 70);
    assert!(market.error().contains("no query picture has a match (the same identity)"), "{}", market.error());
}

/// A set with three pictures that cannot be decoded.
fn with_corrupt() -> (Market, [&'static str; 3]) {
    let market = Market::with_identities(3);
    let names = [
        "bounding_box_test/0001_c2s1_000001_00.jpg",
        "bounding_box_train/0002_c1s1_000002_00.jpg",
        "bounding_box_train/0004_c2s1_000001_00.jpg",
    ];
    let whole = jpeg(&picture(1, 32, 16));
    market.write(names[0], &[]);
    market.write(names[1], &whole[..whole.len() * 2 / 3]);
    market.write(names[2], b"no picture at all");
    (market, names)
}

#[test]
fn corrupt_pictures_are_found_and_named_before_training() {
    let (market, names) = with_corrupt();
    // The second time the answer comes from the cache.
    for _ in 0..2 {
        let error = market.open().expect_err("corrupt pictures");
        assert!(matches!(error, DataError::Corrupt { count: 3, .. }), "{error}");
        let error = error.to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
        assert!(error.contains("the file is empty") && error.contains("truncated"), "{error}");
    }
}

#[test]
fn skipping_corrupt_pictures_moves_no_index() {
    let (mut market, names) = with_corrupt();
    let before = Market::with_identities(3).open().expect("a sound set");
    market.reading.on_corrupt = OnCorrupt::Skip;
    for _ in 0..2 {
        let dataset = market.open().expect("a set with gaps");
        assert_eq!(dataset.corrupt(), 3);
        for split in [Split::Train, Split::Query, Split::Gallery] {
            assert_eq!(paths(&dataset, split), paths(&before, split));
        }
        let unusable: Vec<&str> = dataset
            .splits
            .values()
            .flat_map(|records| records.iter())
            .filter(|r| !r.usable)
            .map(|r| r.path.as_str())
            .collect();
        assert_eq!(unusable.len(), 3);
        assert!(unusable.iter().all(|path| names.contains(path)));
        assert_note(&dataset, "3 corrupt pictures are left out");
    }
}

#[test]
fn the_fingerprint_is_of_the_content() {
    let mut market = Market::with_identities(4);
    let first = market.open().expect("a sound set").fingerprint;
    assert_eq!(first.len(), 64);
    market.holdout = 0.5;
    market.reading.on_corrupt = OnCorrupt::Skip;
    assert_eq!(market.open().expect("a sound set").fingerprint, first, "settings are not content");

    std::fs::rename(market.root(), market.root().with_file_name("moved")).expect("renamed");
    let moved = market.open_at("moved", &market.cache(), &|_, _, _| {}).expect("a sound set");
    assert_eq!(moved.fingerprint, first, "the place is not content");
    std::fs::rename(market.root().with_file_name("moved"), market.root()).expect("renamed");

    // One bit of the comment-like density field of the JFIF header: the pixels stay the same.
    let name = "bounding_box_train/0002_c1s1_000000_00.jpg";
    let mut bytes = std::fs::read(market.root().join(name)).expect("a picture");
    bytes[15] ^= 1;
    market.write(name, &bytes);
    let changed = market.open().expect("a sound set");
    assert_ne!(changed.fingerprint, first);
    bytes[15] ^= 1;
    market.write(name, &bytes);
    assert_eq!(market.open().expect("a sound set").fingerprint, first);

    let other = market.root().join("bounding_box_train/0002_c1s2_000000_00.jpg");
    std::fs::rename(market.root().join(name), other).expect("renamed");
    assert_ne!(market.open().expect("a sound set").fingerprint, first, "names are content");
}

#[test]
fn a_second_opening_reads_no_picture() {
    let market = Market::with_identities(3);
    let calls = AtomicUsize::new(0);
    let progress = |what: &str, done: usize, of: usize| {
        assert_eq!((what, done, of), ("checking pictures", 20, 20));
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let open = |cache: &std::path::Path| market.open_at("set", cache, &progress).expect("a sound set");
    let first = open(&market.cache());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let second = open(&market.cache());
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!((&second.splits, &second.fingerprint, second.size), (&first.splits, &first.fingerprint, first.size));

    for entry in std::fs::read_dir(market.cache().join("fingerprints")).expect("the cache") {
        std::fs::write(entry.expect("an entry").path(), b"{").expect("damaged");
    }
    assert_eq!(open(&market.cache()).fingerprint, first.fingerprint);
    assert_eq!(calls.load(Ordering::Relaxed), 2, "a damaged memory is read again");

    // A file where the folder should be: nothing can be remembered, and that is only worth a note.
    let blocked = market.root().join("query/Thumbs.db");
    std::fs::write(&blocked, b"").expect("a file");
    let third = open(&blocked);
    assert_eq!(third.fingerprint, first.fingerprint);
    assert_note(&third, "cannot be remembered");
}

#[test]
fn held_out_identities_leave_training_for_validation() {
    let mut market = Market::with_identities(10);
    let all = market.open().expect("a sound set");
    market.holdout = 0.3;
    let dataset = market.open().expect("a sound set");
    let held = dataset.identities(Split::ValidationQuery);
    assert_eq!(held.len(), 3);
    assert_eq!(dataset.identities(Split::ValidationGallery), held);
    assert!(held.iter().all(|pid| !dataset.identities(Split::Train).contains(pid)));
    assert_eq!(dataset.identities(Split::Train).len(), 7);
    assert_note(&dataset, "3 of 10 training identities are held out");
    // Two cameras: the first picture of each is a query, the other one lies in the gallery.
    for record in dataset.split(Split::ValidationQuery) {
        assert!(record.path.ends_with("_000000_00.jpg") || record.path.ends_with("_000001_00.jpg"), "{}", record.path);
    }
    assert_eq!(dataset.split(Split::ValidationGallery).len(), 6);
    let mut together: Vec<&str> = [Split::Train, Split::ValidationQuery, Split::ValidationGallery]
        .into_iter()
        .flat_map(|split| paths(&dataset, split))
        .collect();
    together.sort_unstable();
    assert_eq!(together, paths(&all, Split::Train));
    for split in [Split::Query, Split::Gallery] {
        assert_eq!(dataset.split(split), all.split(split));
    }

    // More identities are held out as the share grows; none of them comes back.
    market.holdout = 0.6;
    let more = market.open().expect("a sound set").identities(Split::ValidationQuery);
    assert_eq!(more.len(), 6);
    assert!(held.iter().all(|pid| more.contains(pid)));
    market.holdout = 0.01;
    assert_eq!(market.open().expect("a sound set").identities(Split::ValidationQuery).len(), 2);
    market.holdout = 0.9;
    assert!(market.error().contains("leaves too few"), "{}", market.error());
}
