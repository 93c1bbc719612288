//! Published data sets in their own layouts.

use reid_data::dataset::Split;
use reid_data::spec::{
    CopySpec, Counts, Cuhk03Boxes, Cuhk03Protocol, Cuhk03Spec, DataSpec, Market1501Spec, Msmt17Spec, Msmt17Val,
    OccludedDukeLists, OccludedDukeSpec,
};

use super::fixture::{Lab, assert_note, people};

/// Two people seen by two cameras in each of Market's three folders.
fn write_market(lab: &Lab, root: &str, cameras: [&str; 2]) {
    for (folder, people) in [("bounding_box_train", ["0002", "0007"]), ("query", ["0001", "0003"])] {
        for (person, camera) in people.iter().flat_map(|person| cameras.map(|camera| (person, camera))) {
            lab.picture(&format!("{root}/{folder}/{person}_c{camera}_f0046182.jpg"));
            if folder == "query" {
                lab.picture(&format!("{root}/bounding_box_test/{person}_c{camera}_f0046999.jpg"));
            }
        }
    }
}

fn copy(root: &str, counts: Counts) -> CopySpec {
    CopySpec { root: root.to_owned(), counts }
}

#[test]
fn copies_of_markets_layout_are_found_in_their_archives_folders() {
    type Choice = fn(CopySpec) -> DataSpec;
    let occluded_duke = |CopySpec { root, counts }: CopySpec| {
        DataSpec::OccludedDuke(OccludedDukeSpec { root, lists: OccludedDukeLists::Folders, counts })
    };
    let sets: [(Choice, &str, &str, &str); 3] = [
        (
            DataSpec::DukeMtmc,
            "DukeMTMC-reID",
            "duke_mtmc",
            "train has 4 pictures of 2 identities instead of 16522 of 702",
        ),
        (occluded_duke, "Occluded_Duke", "occluded_duke", "query has 4 pictures of 2 identities instead of 2210"),
        (DataSpec::PersonX, "PersonX", "person_x", "gallery has 4 pictures of 2 identities instead of 30816"),
    ];
    for (choice, inner, name, difference) in sets {
        let lab = Lab::new();
        write_market(&lab, &format!("sets/{inner}"), ["3", "12"]);
        for root in ["sets".to_owned(), format!("sets/{inner}")] {
            let dataset = lab.open(&choice(copy(&root, Counts::Any))).expect("any counts");
            assert_eq!(dataset.name, name);
            let cameras: Vec<u32> = people(&dataset, Split::Train).iter().map(|&(_, _, camera)| camera).collect();
            assert_eq!(cameras, [11, 2, 11, 2], "cameras may have two digits");
            for counts in [Counts::Auto, Counts::Published] {
                let error = lab.error(&choice(copy(&root, counts)));
                assert!(error.contains(difference) && error.contains("2 cameras instead of"), "{error}");
            }
        }
        let error = lab.error(&choice(copy("nowhere", Counts::Any)));
        assert!(error.contains(&format!("sub-folder {inner}")) && error.contains("never downloaded"), "{error}");
    }
}

#[test]
fn cuhk03_has_two_kinds_of_boxes() {
    let lab = Lab::new();
    write_market(&lab, "cuhk03-np/labeled", ["1", "2"]);
    write_market(&lab, "cuhk03-np/detected", ["1", "2"]);
    std::fs::remove_file(lab.path().join("cuhk03-np/detected/bounding_box_test/0003_c1_f0046999.jpg")).expect("a file");
    let open = |root: &str, boxes| {
        lab.open(&DataSpec::Cuhk03(Cuhk03Spec {
            root: root.to_owned(),
            boxes,
            protocol: Cuhk03Protocol::New,
            counts: Counts::Any,
        }))
        .expect("a set")
    };
    for root in ["cuhk03-np", "."] {
        let (labeled, detected) = (open(root, Cuhk03Boxes::Labeled), open(root, Cuhk03Boxes::Detected));
        assert_eq!((labeled.name.as_str(), detected.name.as_str()), ("cuhk03_labeled", "cuhk03_detected"));
        assert_eq!((labeled.split(Split::Gallery).len(), detected.split(Split::Gallery).len()), (4, 3));
    }
}

/// MSMT17 with two training and two test people; the validation list has the training people.
fn write_msmt17(lab: &Lab, root: &str, (train, test): (&str, &str)) {
    let lists: [(&str, &str, &[&str]); 4] = [
        ("list_train.txt", train, &["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_15_a_0_0.jpg 1"]),
        ("list_val.txt", train, &["0000/0000_001_05_0303noon_0009_0.jpg 0"]),
        ("list_query.txt", test, &["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_02_b_0_0.jpg 1"]),
        ("list_gallery.txt", test, &["0000/0000_003_02_0303morning_0010_0.jpg 0", "0001/0001_003_01_c_0_0.jpg 1"]),
    ];
    for (list, folder, lines) in lists {
        lab.write(&format!("{root}/{list}"), (lines.join("\n") + "\n").as_bytes());
        for line in lines {
            lab.picture(&format!("{root}/{folder}/{}", line.split_once(' ').expect("a line").0));
        }
    }
}

fn msmt17(root: &str, val: Msmt17Val, counts: Counts) -> DataSpec {
    DataSpec::Msmt17(Msmt17Spec { root: root.to_owned(), val, counts })
}

#[test]
fn msmt17_says_which_lists_it_trains_on() {
    for (inner, folders, version) in
        [("MSMT17_V1", ("train", "test"), "V1"), ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"), "V2")]
    {
        let lab = Lab::new();
        write_msmt17(&lab, &format!("sets/{inner}"), folders);
        let dataset = lab.open(&msmt17("sets", Msmt17Val::Train, Counts::Any)).expect("a set");
        assert_eq!(dataset.name, "msmt17");
        assert_note(&dataset, &format!("version {version}"));
        assert_note(&dataset, "training on list_train and list_val: 2 + 1 pictures");
        // Nobody is called 0, and the people of the test are others than those of the training.
        let (train, test) = folders;
        let place = |folder: &str, path: &str| format!("{folder}/{path}");
        let paths = ["0000/0000_000_01_0303morning_0008_0.jpg", "0000/0000_001_05_0303noon_0009_0.jpg"];
        let first: Vec<String> = paths.iter().map(|path| place(train, path)).collect();
        let last = place(train, "0001/0001_000_15_a_0_0.jpg");
        let expected = [(first[0].as_str(), 1, 0), (first[1].as_str(), 1, 4), (last.as_str(), 2, 14)];
        assert_eq!(people(&dataset, Split::Train), expected);
        let query = (place(test, paths[0]), place(test, "0001/0001_000_02_b_0_0.jpg"));
        assert_eq!(people(&dataset, Split::Query), [(query.0.as_str(), 3, 0), (query.1.as_str(), 4, 1)]);

        let without = lab.open(&msmt17(&format!("sets/{inner}"), Msmt17Val::Unused, Counts::Any)).expect("a set");
        assert_eq!(people(&without, Split::Train), [expected[0], expected[2]]);
        assert_note(&without, "the 1 of list_val are unused");
        assert_eq!(people(&without, Split::Query), people(&dataset, Split::Query));

        let error = lab.error(&msmt17("sets", Msmt17Val::Unused, Counts::Auto));
        assert!(error.contains("train has 3 pictures of 2 identities instead of 32621 of 1041"), "{error}");
    }
}

#[test]
fn msmt17s_lists_are_read_strictly() {
    let lab = Lab::new();
    let spec = msmt17("set", Msmt17Val::Train, Counts::Any);
    let error = lab.error(&spec);
    assert!(error.contains("list_train.txt") && error.contains("never downloaded"), "{error}");
    for bad in ["0000_000_01.jpg", "0000_000_01.jpg -1", "0000_000_00.jpg 0", "0000.jpg 0", "../0000_000_01.jpg 0"] {
        write_msmt17(&lab, "set", ("train", "test"));
        lab.write("set/list_val.txt", format!("0000/0000_001_05_0303noon_0009_0.jpg 0\n\n{bad}\n").as_bytes());
        let error = lab.error(&spec);
        assert!(error.contains("line 3 ") && error.contains(bad) && error.ends_with("set/list_val.txt"), "{error}");
    }
    write_msmt17(&lab, "set", ("train", "test"));
    std::fs::remove_file(lab.path().join("set/train/0001/0001_000_15_a_0_0.jpg")).expect("a picture");
    let error = lab.error(&spec);
    assert!(error.contains("train/0001/0001_000_15_a_0_0.jpg: cannot be read"), "{error}");
}

/// The TIFF file of a small picture.
fn tiff() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new(&mut bytes).expect("an encoder");
    encoder.write_image::<tiff::encoder::colortype::RGB8>(16, 32, &[7; 16 * 32 * 3]).expect("a TIFF");
    bytes.into_inner()
}

#[test]
fn sets_of_bodies_have_no_cameras_and_nothing_to_train_on() {
    type Choice = fn(CopySpec) -> DataSpec;
    let sets: [(Choice, &str, &str); 3] = [
        (DataSpec::OccludedReid, "Occluded_REID", "occluded_body_images"),
        (DataSpec::PartialReid, "Partial_REID", "partial_body_images"),
        (DataSpec::PartialReid, "Partial-REID", "occluded_body_images"),
    ];
    for (choice, inner, queries) in sets {
        let lab = Lab::new();
        for person in ["000", "001"] {
            lab.write(&format!("set/{inner}/{queries}/{person}/{person}_01.tif"), &tiff());
            lab.picture(&format!("set/{inner}/whole_body_images/{person}/{person}_01.JPG"));
        }
        let dataset = lab.open(&choice(copy("set", Counts::Any))).expect("a set");
        let query = [format!("{queries}/000/000_01.tif"), format!("{queries}/001/001_01.tif")];
        assert_eq!(people(&dataset, Split::Query), [(query[0].as_str(), 1, 0), (query[1].as_str(), 2, 0)]);
        let gallery = [("whole_body_images/000/000_01.JPG", 1, 1), ("whole_body_images/001/001_01.JPG", 2, 1)];
        assert_eq!(people(&dataset, Split::Gallery), gallery);
        assert!(dataset.split(Split::Train).is_empty());
        assert_note(&dataset, "no match is left out");

        let error = lab.error(&choice(copy("set", Counts::Auto)));
        assert!(error.contains("not the published"), "{error}");
        lab.picture(&format!("set/{inner}/whole_body_images/001/portrait.jpg"));
        let error = lab.error(&choice(copy("set", Counts::Any)));
        assert!(error.contains("portrait.jpg does not begin with a person's number"), "{error}");
    }
}

#[test]
fn occluded_duke_can_be_told_by_its_lists_over_duke() {
    let lab = Lab::new();
    write_market(&lab, "duke/DukeMTMC-reID", ["3", "4"]);
    let lists = [
        ("train.list", "0002_c3_f0046182.jpg\n"),
        // Of the query folder, and of the gallery's, where the authors look next.
        ("query.list", "0001_c3_f0046182.jpg\n0003_c4_f0046999.jpg\n"),
        ("gallery.list", "0003_c3_f0046999.jpg\n0001_c4_f0046999.jpg\n"),
    ];
    for (name, text) in lists {
        lab.write(&format!("lists/{name}"), text.as_bytes());
    }
    let spec = |counts| {
        let lists = OccludedDukeLists::Lists("lists".to_owned());
        DataSpec::OccludedDuke(OccludedDukeSpec { root: "duke".to_owned(), lists, counts })
    };
    let dataset = lab.open(&spec(Counts::Any)).expect("a set");
    assert_eq!(dataset.name, "occluded_duke");
    assert_eq!(people(&dataset, Split::Train), [("bounding_box_train/0002_c3_f0046182.jpg", 2, 2)]);
    let queries = [("bounding_box_test/0003_c4_f0046999.jpg", 3, 3), ("query/0001_c3_f0046182.jpg", 1, 2)];
    assert_eq!(people(&dataset, Split::Query), queries);
    assert!(lab.error(&spec(Counts::Auto)).contains("train has 1 pictures of 1 identities instead of 15618 of 702"));
    lab.write("lists/query.list", b"0009_c1_f0000001.jpg\n");
    assert!(lab.error(&spec(Counts::Any)).contains("picture 0009_c1_f0000001.jpg (line 1)"));
    lab.write("lists/query.list", b"../secret.jpg\n");
    assert!(lab.error(&spec(Counts::Any)).contains("line 1 is no picture's name"));
    std::fs::remove_file(lab.path().join("lists/query.list")).expect("a file");
    assert!(lab.error(&spec(Counts::Any)).contains("lightas/Occluded-DukeMTMC-Dataset"));
}

#[test]
fn markets_distractors_are_a_choice() {
    let lab = Lab::new();
    write_market(&lab, "market", ["1", "2"]);
    let open = |distractors| {
        let spec = Market1501Spec { root: "market".to_owned(), counts: Counts::Any, distractors };
        DataSpec::Market1501(spec)
    };
    assert!(lab.error(&open(true)).contains("distractors_500k.zip"));
    lab.picture("market/images/0000_c1s1_000401_01.jpg");
    lab.picture("market/images/0000_c4s1_000402_01.jpg");
    let without = lab.open(&open(false)).expect("a set");
    let with = lab.open(&open(true)).expect("a set");
    assert_eq!((without.split(Split::Gallery).len(), with.split(Split::Gallery).len()), (4, 6));
    assert_eq!(with.name, "market_500k");
    assert_eq!(with.split(Split::Gallery).iter().filter(|record| record.pid == 0).count(), 2);
    assert_ne!(without.fingerprint, with.fingerprint);
}

#[test]
fn rand_person_numbers_cameras_by_scene() {
    let lab = Lab::new();
    for name in ["000000_s00_c00_f000264.jpg", "000000_s01_c00_f000265.jpg", "sub/000007_c01_s00_f000266.jpg"] {
        lab.picture(&format!("rp/images/{name}"));
    }
    let spec = |counts| DataSpec::RandPerson(copy("rp", counts));
    let dataset = lab.open(&spec(Counts::Any)).expect("a set");
    let expected = [
        ("000000_s00_c00_f000264.jpg", 1, 0),
        ("000000_s01_c00_f000265.jpg", 1, 2),
        ("sub/000007_c01_s00_f000266.jpg", 8, 1),
    ];
    assert_eq!(people(&dataset, Split::Train), expected);
    assert_note(&dataset, "nothing to test on");
    assert!(lab.error(&spec(Counts::Auto)).contains("3 pictures of 2 people instead of 132145"));
    lab.picture("rp/images/photo.jpg");
    assert!(lab.error(&spec(Counts::Any)).contains("photo.jpg does not say person, scene and camera"));
}

#[test]
fn unreal_person_is_told_by_its_list() {
    let lab = Lab::new();
    let paths = ["unreal_v1.1/images/b 1.jpg", "unreal_v2.1/images/a.jpg"];
    for path in paths {
        lab.picture(&format!("unreal/{}", path.replace(' ', "_")));
    }
    lab.write("unreal/list_unreal_train.txt", b"unreal_v1.1/images/b_1.jpg 0 5\nunreal_v2.1/images/a.jpg 2999 40\n");
    for root in ["unreal", "."] {
        let dataset = lab.open(&DataSpec::UnrealPerson(copy(root, Counts::Any))).expect("a set");
        let expected = [("unreal_v1.1/images/b_1.jpg", 1, 0), ("unreal_v2.1/images/a.jpg", 3000, 1)];
        assert_eq!(people(&dataset, Split::Train), expected);
    }
    let error = lab.error(&DataSpec::UnrealPerson(copy("unreal", Counts::Auto)));
    assert!(error.contains("train has 2 pictures of 2 identities instead of 120000 of 3000"), "{error}");
    for line in ["../x.jpg 0 1", "a.jpg 0", "a.jpg zero 1"] {
        lab.write("unreal/list_unreal_train.txt", format!("\n{line}\n").as_bytes());
        let error = lab.error(&DataSpec::UnrealPerson(copy("unreal", Counts::Any)));
        assert!(error.contains("line 2 is not a picture, its person and its camera"), "{error}");
    }
}
