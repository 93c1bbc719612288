//! Several data sets as one, and sets that are remembered.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use reid_data::DataError;
use reid_data::dataset::{Dataset, Split};
use reid_data::datasets::join;
use reid_data::pack::Pack;
use reid_data::pictures::Pictures;
use reid_data::spec::{Counts, DataSpec, DecodeSpec, ImagesSpec, Market1501Spec, Size};

use super::fixture::{Lab, jpeg, picture};

fn write_set(lab: &Lab, root: &str, people: [&str; 2]) {
    for (folder, person) in
        ["bounding_box_train", "query", "bounding_box_test"].iter().flat_map(|f| people.map(|p| (f, p)))
    {
        for camera in 1..=2 {
            lab.picture(&format!("{root}/{folder}/{person}_c{camera}s1_{}.jpg", folder.len()));
        }
    }
}

fn market(root: &str) -> DataSpec {
    DataSpec::Market1501(Market1501Spec { root: root.to_owned(), counts: Counts::Any, distractors: false })
}

fn images(root: &str) -> DataSpec {
    DataSpec::Images(ImagesSpec { root: root.to_owned() })
}

/// Sets the time of the last change of a folder and all in it back, as if it had long been there.
fn age(lab: &Lab, folder: &str) {
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    let mut folders = vec![lab.path().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        std::fs::File::open(&folder).unwrap().set_modified(long_ago).unwrap();
    }
}

#[test]
fn joined_sets_are_trained_on_together_and_tested_on_the_first() {
    let lab = Lab::new();
    write_set(&lab, "a", ["0002", "0005"]);
    write_set(&lab, "b", ["0002", "0003"]);
    let (a, b) = (lab.open(&market("a")).unwrap(), lab.open(&market("b")).unwrap());
    let both = join(&[&a, &b]);
    assert_eq!(both.name, "a+b");
    assert_eq!(both.split(Split::Query), a.split(Split::Query));
    let train = both.split(Split::Train);
    // Identities and cameras of the second set come after those of the first.
    let numbers: BTreeSet<(i64, u32)> = train.iter().map(|record| (record.pid, record.camera)).collect();
    let expected = [(2, 0), (2, 1), (5, 0), (5, 1), (7, 2), (7, 3), (8, 2), (8, 3)];
    assert_eq!(numbers, BTreeSet::from(expected));
    assert_eq!(both.counts[0], "train: 8 pictures of 4 identities from 4 cameras");
    // Each picture is its own set's, though the two have files of the same name.
    let pictures = Pictures::new(&both, Split::Train, 1 << 20);
    for (at, set, place) in [(0, &a, 0), (3, &a, 3), (4, &b, 0), (7, &b, 3)] {
        let own = Pictures::new(set, Split::Train, 0);
        assert_eq!(pictures.get(at).unwrap(), own.get(place).unwrap());
    }
    assert!(both.split(Split::Pool).is_empty(), "no set has a pool");
    let fingerprints: BTreeSet<String> =
        [&a, &b, &both, &join(&[&b, &a])].iter().map(|set| set.fingerprint.clone()).collect();
    assert_eq!(fingerprints.len(), 4, "each order of sets is another set");
    assert_eq!(join(&[&a]).fingerprint, a.fingerprint);
}

#[test]
fn a_joined_pool_has_every_training_picture_without_its_name() {
    let lab = Lab::new();
    write_set(&lab, "a", ["0002", "0005"]);
    for name in ["x.jpg", "y.jpg"] {
        lab.picture(&format!("pool/{name}"));
    }
    let (a, pool) = (lab.open(&market("a")).unwrap(), lab.open(&images("pool")).unwrap());
    let both = join(&[&a, &pool]);
    assert_eq!((both.split(Split::Train).len(), both.split(Split::Pool).len()), (4, 6));
    assert!(both.split(Split::Pool).iter().all(|record| record.pid == -1));
    let pictures = Pictures::new(&both, Split::Pool, 0);
    let own = Pictures::new(&pool, Split::Pool, 0);
    assert_eq!(pictures.get(5).unwrap(), own.get(1).unwrap());
}

/// What two openings must agree in.
fn facts(set: &Dataset) -> (&str, &str, &[reid_data::dataset::Record]) {
    (&set.name, &set.fingerprint, set.split(Split::Pool))
}

#[test]
fn a_large_set_is_opened_by_what_is_remembered_of_it() {
    let lab = Lab::new();
    for at in 0..40 {
        lab.picture(&format!("pool/{}/{at}.jpg", at % 3));
    }
    age(&lab, "pool");
    let first = lab.open_large(&images("pool"), 40).unwrap();
    let table = std::fs::read_dir(lab.path().join("cache/indices")).unwrap().count();
    assert_eq!(table, 2, "a head and a table");
    let again = lab.open_large(&images("pool"), 40).unwrap();
    assert_eq!(facts(&first), facts(&again));
    assert_eq!((&first.counts, first.size, &first.notes), (&again.counts, again.size, &again.notes));

    // A new file is seen by its folder.
    lab.picture("pool/1/new.jpg");
    let more = lab.open_large(&images("pool"), 40).unwrap();
    assert_eq!(more.split(Split::Pool).len(), 41);
    // Its folder has changed too shortly before to be believed; once it has settled, it is.
    std::fs::remove_file(lab.path().join("pool/1/new.jpg")).unwrap();
    age(&lab, "pool");
    assert_eq!(facts(&lab.open_large(&images("pool"), 40).unwrap()), facts(&first));
    // A damaged table is no table.
    for entry in std::fs::read_dir(lab.path().join("cache/indices")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"damaged").unwrap();
    }
    assert_eq!(facts(&lab.open_large(&images("pool"), 40).unwrap()), facts(&first));
}

#[test]
fn a_picture_that_was_replaced_in_place_is_named_and_the_set_is_looked_at_again() {
    let lab = Lab::new();
    for at in 0..40 {
        lab.picture(&format!("pool/{at:02}.jpg"));
    }
    age(&lab, "pool");
    let first = lab.open_large(&images("pool"), 40).unwrap();
    // More files than are sampled would hide this one; the index is believed where the sample is of none.
    std::fs::write(lab.path().join("pool/07.jpg"), jpeg(&picture(99, 48, 24))).unwrap();
    let pictures = Pictures::new(&first, Split::Pool, 0);
    let error = pictures.get(7).unwrap_err();
    assert!(matches!(&error, DataError::Changed { path, .. } if path.ends_with("07.jpg")), "{error}");
    assert!(pictures.get(8).is_ok());
    let heads = std::fs::read_dir(lab.path().join("cache/indices")).unwrap();
    let heads = heads.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|suffix| suffix == "json"));
    assert_eq!(heads.count(), 0, "the set is not remembered any more");
    let second = lab.open_large(&images("pool"), 40).unwrap();
    assert_ne!(second.fingerprint, first.fingerprint);
    assert!(Pictures::new(&second, Split::Pool, 0).get(7).is_ok());
}

#[test]
fn a_pack_gives_the_decoded_pictures_bit_for_bit() {
    let lab = Lab::new();
    for (at, (height, width)) in [(32, 16), (9, 40), (64, 64), (8, 8)].into_iter().enumerate() {
        lab.write(&format!("pool/{at}.jpg"), &jpeg(&picture(at as u64, height, width)));
    }
    let set = lab.open(&images("pool")).unwrap();
    let open = || Pack::open(&set, Split::Pool, &lab.path().join("cache"), 2, &|_, _, _| {});
    let path = open().unwrap().path().to_path_buf();
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let plain = Pictures::new(&set, Split::Pool, 0);
    let packed = Pictures::new(&set, Split::Pool, 0).with_pack(open().unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), written, "it is written once");
    for at in 0..4 {
        assert_eq!(packed.get(at).unwrap(), plain.get(at).unwrap());
    }
    // Pictures that are decoded at a part of their size have a pack of their own.
    let mut reduced = set.clone();
    reduced.decode = DecodeSpec::AtLeast(Size(16, 8));
    let small = Pack::open(&reduced, Split::Pool, &lab.path().join("cache"), 2, &|_, _, _| {}).unwrap();
    assert_ne!(small.path(), path);
    let sizes = [0, 1, 2, 3].map(|at| small.get(at).unwrap().map(|image| (image.height, image.width)));
    assert_eq!(sizes, [Some((16, 8)), Some((9, 40)), Some((16, 16)), Some((8, 8))]);
    let decoded = Pictures::new(&reduced, Split::Pool, 0);
    assert_eq!(*decoded.get(2).unwrap(), small.get(2).unwrap().unwrap());
    std::fs::remove_file(small.path()).unwrap();

    // The files themselves are not needed any more.
    std::fs::remove_dir_all(lab.path().join("pool")).unwrap();
    assert_eq!(packed.get(2).unwrap().height, 64);

    // A pack that was cut off or damaged is written anew, which needs the files.
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() - 1], &whole[..40], &[&[0], &whole[1..]].concat()] {
        std::fs::write(&path, damaged).unwrap();
        assert!(matches!(open().map(|_| ()), Err(DataError::Changed { .. })));
    }
    assert!(std::fs::read_dir(path.parent().unwrap()).unwrap().count() == 1, "no draft is left behind");
}
