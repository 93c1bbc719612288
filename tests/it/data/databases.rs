//! Databases and archives that other programs have written (`tests/peers/datasets.py`).

use std::path::{Path, PathBuf};

use reid_data::dataset::{Dataset, Split};
use reid_data::decode::decode;
use reid_data::lmdb::Lmdb;
use reid_data::pictures::Pictures;
use reid_data::spec::{
    Counts, Cuhk03Boxes, Cuhk03Protocol, Cuhk03Spec, DataSpec, ImagesSpec, LupersonList, LupersonSpec, Size,
};
use reid_tests::golden::workspace_root;

use super::fixture::{Lab, assert_note, people};

fn fixture(name: &str) -> PathBuf {
    workspace_root().join("tests/fixtures/datasets").join(name)
}

/// The colour that the script gives to numbers.
fn colour(numbers: &[u32]) -> [u8; 3] {
    let seed = numbers.iter().fold(0_u64, |seed, &number| seed * 31 + u64::from(number) + 1);
    [37, 91, 157].map(|factor| (seed * factor % 256) as u8)
}

/// Keys of the database in the order in which they were written, and the numbers in them.
fn keys() -> Vec<(String, [u32; 3])> {
    let numbers = (0..2).flat_map(|country| (0..4).flat_map(move |v| (0..30).map(move |image| [country, v, image])));
    let key = |n: [u32; 3]| (format!("{:02}_{:02}_{:04}_{:08}", n[0], n[1] % 2, n[1], n[2]), n);
    numbers.map(key).collect()
}

/// A copy of the database that a test may damage.
fn copied(lab: &Lab) -> PathBuf {
    for name in ["data.mdb", "keys.pkl"] {
        lab.write(&format!("lup/lmdb/{name}"), &std::fs::read(fixture("lmdb").join(name)).unwrap());
    }
    lab.path().join("lup/lmdb/data.mdb")
}

fn luperson(root: &str, list: LupersonList, share: f64, counts: Counts) -> DataSpec {
    DataSpec::Luperson(LupersonSpec { root: root.to_owned(), list, share, counts })
}

#[test]
fn an_lmdb_of_python_is_read_key_by_key() {
    let database = Lmdb::open(&fixture("lmdb/data.mdb")).unwrap();
    let mut found = Vec::new();
    database.keys(|key| found.push(String::from_utf8(key.to_vec()).unwrap())).unwrap();
    let mut expected: Vec<String> = keys().into_iter().map(|(key, _)| key).chain(["__len__".to_owned()]).collect();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(database.entries(), 241);
    for (key, numbers) in keys() {
        let image = decode(&database.get(key.as_bytes()).unwrap().expect("the key is there")).unwrap();
        // One was written a second time.
        let expected = if key == "00_00_0000_00000001" { [1, 2, 3] } else { colour(&numbers) };
        assert_eq!(image.data[..3], expected, "{key}");
        let is_large = numbers[2].is_multiple_of(10);
        assert_eq!((image.height, image.width), if is_large { (48, 24) } else { (16, 8) });
    }
    assert_eq!(database.get(b"__len__").unwrap().as_deref(), Some(&b"240"[..]));
    for absent in [&b""[..], b"00", b"00_00_0000_00000001x", b"zz"] {
        assert_eq!(database.get(absent).unwrap(), None);
    }
}

#[test]
fn a_damaged_database_is_an_error_with_a_name() {
    let lab = Lab::new();
    let path = copied(&lab);
    let whole = std::fs::read(&path).unwrap();
    let error_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        lab.error(&luperson("lup", LupersonList::All, 1.0, Counts::Any))
    };
    assert!(error_of(&whole[..100]).contains("shorter than a database's head"));
    assert!(error_of(&[7; 9_000]).contains("the file is no LMDB database"));
    // A copy that was cut off: some pictures, or the tree itself, are gone.
    for part in [whole.len() / 8, whole.len() / 3, whole.len() / 2] {
        let error = error_of(&whole[..part]);
        assert!(error.contains("cut off") || error.contains("instead of"), "{part} of {}: {error}", whole.len());
    }
    // Any byte of the tree may be wrong: never a panic, never a picture of another key without a word.
    let mut bytes = whole.clone();
    for at in (0..bytes.len()).step_by(37) {
        bytes[at] ^= 0xFF;
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(database) = Lmdb::open(&path) {
            let _ = database.keys(|_| ());
            for (key, _) in keys().iter().step_by(17) {
                let _ = database.get(key.as_bytes());
            }
        }
        bytes[at] ^= 0xFF;
    }
}

#[test]
fn luperson_is_found_in_its_database() {
    let lab = Lab::new();
    let path = copied(&lab);
    let mut sorted: Vec<String> = keys().into_iter().map(|(key, _)| key).collect();
    sorted.sort();
    let paths = |dataset: &Dataset| -> Vec<String> {
        dataset.split(Split::Pool).iter().map(|record| record.path.clone()).collect()
    };
    for root in ["lup", "lup/lmdb", "lup/lmdb/data.mdb"] {
        let dataset = lab.open(&luperson(root, LupersonList::All, 1.0, Counts::Auto)).unwrap();
        assert_eq!((paths(&dataset), dataset.name.as_str()), (sorted.clone(), "luperson"));
        assert_note(&dataset, "240 pictures instead of LUPerson's published 4180243");
        let pictures = Pictures::new(&dataset, Split::Pool, 0);
        assert_eq!(pictures.get(2).unwrap().data[..3], colour(&[0, 0, 2]));
    }
    let error = lab.error(&luperson("lup", LupersonList::All, 1.0, Counts::Published));
    assert!(error.contains("instead of LUPerson's published"), "{error}");

    // Half of what the list names first.
    let half = lab.open(&luperson("lup", LupersonList::All, 0.5, Counts::Any)).unwrap();
    let mut first: Vec<String> = keys().into_iter().take(120).map(|(key, _)| key).collect();
    first.sort();
    assert_eq!(paths(&half), first);
    assert_note(&half, "the first 120 of 240 pictures");

    // Without a list, every key but other programs' notes.
    std::fs::remove_file(path.with_file_name("keys.pkl")).unwrap();
    let all = lab.open(&luperson("lup", LupersonList::All, 1.0, Counts::Any)).unwrap();
    assert_eq!(paths(&all), sorted);
    let images = lab.open(&DataSpec::Images(ImagesSpec { root: "lup".to_owned() })).unwrap();
    assert_eq!((paths(&images), images.size), (sorted, Size(48, 24)));
    assert_eq!(images.fingerprint, all.fingerprint, "the same pictures by another name");

    // A key that the database does not have is found before training.
    lab.write("keys.txt", b"00_00_0000_00000000\nno_such_key\n");
    let error = lab.error(&luperson("lup", LupersonList::File("keys.txt".to_owned()), 1.0, Counts::Any));
    assert!(error.contains("1 corrupt picture(s)") && error.contains("no such key"), "{error}");
}

#[test]
fn luperson_is_found_in_its_folder_by_a_pickled_list() {
    let lab = Lab::new();
    for (key, _) in keys() {
        lab.picture(&format!("lup/images/{key}.jpg"));
    }
    let list = LupersonList::File(fixture("cfs.pkl").to_string_lossy().into_owned());
    let dataset = lab.open(&luperson("lup", list.clone(), 0.25, Counts::Any)).unwrap();
    // The list is that of every third picture, the last ones first.
    let mut expected: Vec<String> =
        keys().iter().step_by(3).rev().take(20).map(|(key, _)| format!("{key}.jpg")).collect();
    expected.sort();
    let found: Vec<&str> = dataset.split(Split::Pool).iter().map(|record| record.path.as_str()).collect();
    assert_eq!(found, expected);
    assert_eq!(lab.open(&luperson("lup", LupersonList::All, 1.0, Counts::Any)).unwrap().split(Split::Pool).len(), 240);
    for (key, _) in keys() {
        std::fs::remove_file(lab.path().join(format!("lup/images/{key}.jpg"))).unwrap();
    }
    let error = lab.error(&luperson("lup", list, 1.0, Counts::Any));
    assert!(error.contains("the first listed picture"), "{error}");
}

#[test]
fn a_hostile_or_strange_list_is_refused() {
    let lab = Lab::new();
    lab.picture("lup/images/a.jpg");
    let mark = lab.path().join("executed");
    let call = format!("cos\nsystem\n(S'touch {}'\ntR.", mark.display());
    let cases: [(&[u8], &str); 7] = [
        (call.as_bytes(), "no list that can be read"),
        (b"\x80\x04}\x94.", "a dictionary instead of a list"),
        (b"\x80\x04]\x94(K\x01K\x02e.", "entry 0 is a number"),
        (b"\x80\x04]\x94(C\x02\xFF\xFE\x94e.", "entry 0 is not UTF-8"),
        (b"\x80\x04]\x94(\x8C\x05a.j", "no list that can be read"),
        // A text of 2^62 bytes.
        (b"\x80\x04\x8D\x00\x00\x00\x00\x00\x00\x00\x40", "no list that can be read"),
        (b"\x80\x04]\x94(\x8C\x05a.jpg\x94\x8C\x05a.jpg\x94e.", "names \"a.jpg\" twice"),
    ];
    for (bytes, message) in cases {
        lab.write("list.pkl", bytes);
        let error = lab.error(&luperson("lup", LupersonList::File("list.pkl".to_owned()), 1.0, Counts::Any));
        assert!(error.contains(message), "{message}: {error}");
    }
    assert!(!mark.exists(), "nothing in a list is executed");
    lab.write("list.txt", b"/sets/LUP/images/a.jpg\n/sets/LUP/images/../../b.jpg\n");
    let error = lab.error(&luperson("lup", LupersonList::File("list.txt".to_owned()), 1.0, Counts::Any));
    assert!(error.contains("the first listed picture") || error.contains("entry 1"), "{error}");
}

fn cuhk03(root: &Path, boxes: Cuhk03Boxes, protocol: Cuhk03Protocol, counts: Counts) -> DataSpec {
    DataSpec::Cuhk03(Cuhk03Spec { root: root.to_string_lossy().into_owned(), boxes, protocol, counts })
}

#[test]
fn cuhk03_is_unpacked_from_its_archive() {
    let lab = Lab::new();
    let root = fixture("cuhk03");
    // Six people of the first pair, three of the second, three pictures by each camera.
    for (boxes, pictures) in [(Cuhk03Boxes::Labeled, 54), (Cuhk03Boxes::Detected, 52)] {
        let set = lab.open(&cuhk03(&root, boxes, Cuhk03Protocol::New, Counts::Any)).unwrap();
        let splits = [Split::Train, Split::Query, Split::Gallery];
        let all: usize = splits.iter().map(|&split| set.split(split).len()).sum();
        assert_eq!(all, pictures);
        // People with an even number within their pair are trained on; labels run over both pairs.
        assert_eq!(set.identities(Split::Train), [1, 3, 5, 7, 9]);
        assert_eq!(set.identities(Split::Query), [2, 4, 6, 8]);
        assert_eq!(set.split(Split::Query).len(), 8);
        let images = Pictures::new(&set, Split::Gallery, 0);
        for (at, record) in set.split(Split::Gallery).iter().enumerate() {
            let numbers: Vec<u32> =
                record.path.trim_end_matches(".png").split('_').map(|part| part.parse().unwrap()).collect();
            let &[pair, person, view, image] = numbers.as_slice() else { panic!("{}", record.path) };
            assert_eq!(record.camera, view - 1);
            assert_eq!(view, if image <= 5 { 1 } else { 2 });
            let picture = images.get(at).unwrap();
            assert_eq!((picture.height as u32, picture.width as u32), (19 + person, 9 + image));
            // The second pixel of the first row has a colour of its own: rows are rows.
            assert_eq!(picture.data[..3], colour(&[pair - 1, person - 1, image - 1]));
            assert_eq!(picture.data[3..6], [255, 0, 7]);
            assert_eq!(picture.data[6..9], picture.data[..3]);
        }
    }
    let error = lab.error(&cuhk03(&root, Cuhk03Boxes::Labeled, Cuhk03Protocol::New, Counts::Auto));
    assert!(error.contains("instead of 7368 of 767"), "{error}");
}

#[test]
fn cuhk03s_classic_splits_come_from_the_archive() {
    let lab = Lab::new();
    let root = fixture("cuhk03");
    let open = |split| {
        let spec = cuhk03(&root, Cuhk03Boxes::Labeled, Cuhk03Protocol::Classic(split), Counts::Any);
        lab.open(&spec).unwrap()
    };
    // Split 2 tests people 3 and 4 of the first pair and 3 of the second; identities are places among all nine.
    let set = open(2);
    assert_eq!(set.identities(Split::Query), [3, 4, 9]);
    assert_eq!(set.identities(Split::Train), [1, 2, 5, 6, 7, 8]);
    assert_eq!(people(&set, Split::Query), people(&set, Split::Gallery));
    assert_eq!((set.split(Split::Train).len(), set.split(Split::Query).len()), (36, 18));
    assert_note(&set, "classic protocol, split 2");
    assert_ne!(open(3).fingerprint, set.fingerprint);
    // The exported folder does not have them.
    lab.picture("np/labeled/bounding_box_train/0001_c1_1.png");
    let spec = cuhk03(&lab.path().join("np"), Cuhk03Boxes::Labeled, Cuhk03Protocol::Classic(0), Counts::Any);
    assert!(lab.error(&spec).contains("cuhk-03.mat, which alone has the classic splits"));
}

#[test]
fn a_damaged_archive_is_an_error_with_a_name() {
    let lab = Lab::new();
    let archive = std::fs::read(fixture("cuhk03/cuhk03_release/cuhk-03.mat")).unwrap();
    let config = std::fs::read(fixture("cuhk03/cuhk03_new_protocol_config_labeled.mat")).unwrap();
    let error = |archive: &[u8], config: Option<&[u8]>| {
        lab.write("set/cuhk-03.mat", archive);
        let file = lab.path().join("set/cuhk03_new_protocol_config_labeled.mat");
        match config {
            Some(bytes) => std::fs::write(file, bytes).unwrap(),
            None => drop(std::fs::remove_file(file)),
        }
        lab.error(&cuhk03(&lab.path().join("set"), Cuhk03Boxes::Labeled, Cuhk03Protocol::New, Counts::Any))
    };
    assert!(error(b"no archive", Some(&config)).contains("not the published cuhk-03.mat"));
    assert!(error(&archive[..archive.len() / 2], Some(&config)).contains("not the published cuhk-03.mat"));
    assert!(error(&archive, None).contains("zhunzhong07/person-re-ranking"));
    assert!(error(&archive, Some(b"short")).contains("shorter than its header"));
    let mut broken = config.clone();
    broken.truncate(config.len() / 2);
    assert!(error(&archive, Some(&broken)).contains("ends in the middle"));
    let middle = config.len() / 2;
    let mut broken = config;
    broken[middle] ^= 0xFF;
    let error = error(&archive, Some(&broken));
    assert!(error.contains("unfolded") || error.contains("no numbers") || error.contains("no list"), "{error}");
}
