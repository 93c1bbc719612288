//! What a thorough look at a data set finds.

use jpeg_encoder::{ColorType, Encoder};
use reid_data::dataset::Dataset;
use reid_data::decode::facts;
use reid_data::spec::{OnCorrupt, Size};
use reid_data::verify::{Finding, Severity, verify};

use super::fixture::{Market, jpeg, picture};

fn verified(dataset: &Dataset) -> Vec<Finding> {
    let one = verify(dataset, 1, &|_, _, _| {}).expect("verified");
    assert_eq!(verify(dataset, 3, &|_, _, _| {}).expect("verified"), one, "whatever the threads");
    one
}

/// Severity and places of a finding.
fn find<'a>(findings: &'a [Finding], what: &str) -> (Severity, Vec<&'a str>) {
    let finding = findings.iter().find(|finding| finding.what.contains(what));
    let finding = finding.unwrap_or_else(|| panic!("no {what} in {findings:#?}"));
    (finding.severity, finding.places.iter().map(String::as_str).collect())
}

/// A picture of 32 x 16 pixels with soft shapes.
fn scene() -> Vec<u8> {
    let level = |row: f64, column: f64| 128.0 + 60.0 * (row / 5.0).sin() + 60.0 * (column / 3.0 + row / 9.0).cos();
    (0..32 * 16).flat_map(|at| [level(f64::from(at / 16), f64::from(at % 16)) as u8; 3]).collect()
}

#[test]
fn a_sound_set_has_no_errors() {
    let findings = verified(&Market::with_identities(4).open().expect("a sound set"));
    assert_eq!(findings, []);
}

#[test]
fn pictures_in_two_places_are_told_apart_by_what_they_spoil() {
    let market = Market::with_identities(4);
    let copy = |from: &str, to: &str| {
        std::fs::copy(market.root().join(from), market.root().join(to)).expect("a copy");
    };
    copy("bounding_box_train/0002_c1s1_000000_00.jpg", "bounding_box_test/0001_c5s1_000009_00.jpg");
    copy("bounding_box_train/0004_c1s1_000000_00.jpg", "bounding_box_train/0006_c1s1_000009_00.jpg");
    copy("bounding_box_train/0008_c1s1_000000_00.jpg", "bounding_box_train/0008_c2s1_000009_00.jpg");
    // The same picture, compressed anew.
    for (name, quality) in [("query/0001_c1s1_000000_00.jpg", 90), ("bounding_box_train/0002_c1s1_000009_00.jpg", 70)] {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, quality).encode(&scene(), 16, 32, ColorType::Rgb).expect("a JPEG");
        market.write(name, &bytes);
    }
    let findings = verified(&market.open().expect("a set"));
    let (severity, places) = find(&findings, "trained on and tested on");
    let leaked = "train bounding_box_train/0002_c1s1_000000_00.jpg = gallery bounding_box_test/0001_c5s1_000009_00.jpg";
    assert_eq!((severity, places), (Severity::Error, vec![leaked]));
    let (severity, places) = find(&findings, "two identities");
    let named = "train bounding_box_train/0004_c1s1_000000_00.jpg = train bounding_box_train/0006_c1s1_000009_00.jpg";
    assert_eq!((severity, places), (Severity::Error, vec![named]));
    assert_eq!(find(&findings, "there twice").0, Severity::Note);
    let (severity, places) = find(&findings, "look like test pictures");
    let alike = "train bounding_box_train/0002_c1s1_000009_00.jpg ~ query query/0001_c1s1_000000_00.jpg";
    assert_eq!((severity, places), (Severity::Warning, vec![alike]));
    assert!(findings.is_sorted_by_key(|finding| finding.severity), "worst first");
}

#[test]
fn people_on_both_sides_and_queries_alone_are_named() {
    let market = Market::with_identities(2);
    market.write_picture("bounding_box_train/0003_c1s1_000000_00.jpg", 80);
    market.write_picture("query/0009_c1s1_000000_00.jpg", 81);
    market.write_picture("bounding_box_test/0009_c1s1_000001_00.jpg", 82);
    let findings = verified(&market.open().expect("a set"));
    assert_eq!(find(&findings, "identities that are trained on").1, ["identity 3"]);
    assert_eq!(find(&findings, "without a match").1, ["query query/0009_c1s1_000000_00.jpg"]);
    assert_eq!(find(&findings, "one camera alone").1, ["identity 3"]);
}

/// A JPEG that EXIF says to turn.
fn turned(orientation: u8) -> Vec<u8> {
    let tag = [0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0];
    let exif = [b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".as_slice(), &tag, &[0; 4]].concat();
    let segment = [&[0xFF, 0xE1][..], &(exif.len() as u16 + 2).to_be_bytes(), &exif].concat();
    let whole = jpeg(&picture(1, 32, 16));
    [&whole[..2], &segment, &whole[2..]].concat()
}

#[test]
fn odd_files_are_named_with_what_is_odd() {
    let mut market = Market::with_identities(4);
    market.reading.on_corrupt = OnCorrupt::Skip;
    market.write("bounding_box_train/0002_c1s1_000001_00.jpg", &turned(6));
    market.write("bounding_box_train/0002_c1s1_000002_00.jpg", &turned(1));
    let mut cmyk = Vec::new();
    Encoder::new(&mut cmyk, 90).encode(&[90; 32 * 16 * 4], 16, 32, ColorType::Cmyk).expect("a JPEG");
    market.write("bounding_box_train/0004_c1s1_000001_00.jpg", &cmyk);
    let mut deep = Vec::new();
    let mut encoder = png::Encoder::new(&mut deep, 16, 32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.write_header().expect("a header").write_image_data(&[9; 16 * 32 * 6]).expect("a PNG");
    market.write("bounding_box_train/0004_c1s1_000002_00.png", &deep);
    market.write("bounding_box_train/0006_c1s1_000001_00.jpg", &jpeg(&picture(3, 12, 6)));
    market.write("bounding_box_train/0006_c1s1_000002_00.jpg", b"");
    let findings = verified(&market.open().expect("a set with a gap"));
    let train = |name: &str| format!("train bounding_box_train/{name}");
    let expected = [
        ("cannot be decoded", train("0006_c1s1_000002_00.jpg: the file is empty")),
        ("EXIF", train("0002_c1s1_000001_00.jpg: orientation 6")),
        ("smaller", train("0006_c1s1_000001_00.jpg: 12x6")),
        ("CMYK", train("0004_c1s1_000001_00.jpg")),
        ("16 bits", train("0004_c1s1_000002_00.png")),
    ];
    for (what, place) in expected {
        assert_eq!(find(&findings, what).1, [place]);
    }
    assert_eq!(facts(&turned(8)).orientation, 8);
    assert_eq!(facts(&deep).size, Size(32, 16));
    assert_eq!(facts(b"no picture").orientation, 1);
}
