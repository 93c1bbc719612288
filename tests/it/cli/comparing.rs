//! `compare` and `report` on runs that were just made.

use super::TINY;
use super::program::Lab;

/// Two settings, five seeds each, of the tiny spec without its pre-training.
const SWEPT: &str = "\
extends: tiny.yaml
name: swept
seeds: [0, 1, 2, 3, 4]
pretrain: {objective: none}
sweep:
  list:
    - {label: short}
    - {label: long, protocol.supervised.train.epochs: 4}
";

#[test]
fn settings_are_compared_by_their_queries() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.write("swept.yaml", SWEPT);
    lab.done(&["swept.yaml"]);
    let shown = lab.done(&["compare", "long", "short", "--queries", "2"]);
    assert!(shown.text().contains("long, epochs=4 against short, epochs=2, mAP on test"), "{}", shown.text());
    assert!(shown.text().contains("5 paired seeds, 6 identities, 12 queries"), "{}", shown.text());
    assert!(shown.text().lines().all(|line| line.chars().count() <= 80), "{}", shown.text());
    assert_eq!(shown.out, lab.done(&["compare", "long", "short", "--queries", "2"]).out, "the same numbers again");
    let json = lab.done(&["compare", "long", "short", "--spec", "swept.yaml", "--format", "json"]);
    let json = json.text();
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let of = &value["comparisons"][0];
    assert_eq!((of["first"].as_str(), of["other"].as_str()), (Some("long, epochs=4"), Some("short, epochs=2")));
    // The mean of the runs' own mAP.
    let rows = lab.rows("runs");
    let map = |label: &str| {
        let own = rows.iter().filter(|row| row.label == label).map(|row| row.metrics["test.map"]);
        own.sum::<f64>() / 5.0
    };
    assert!((of["difference"].as_f64().expect("a number") - (map("long") - map("short"))).abs() < 1e-9, "{json}");

    for (arguments, code, text) in [
        (&["compare", "long", "shrot"][..], 2, "no setting is called `shrot`"),
        (&["compare", "long", "long"], 2, "they are one setting"),
        (&["compare", "long", "short", "--experiment", "none"], 4, "none fits the selection; experiments: swept"),
        (&["compare", "long", "short", "--split", "train"], 2, "invalid value 'train'"),
        (&["compare", "long"], 2, "required"),
    ] {
        lab.run(arguments).assert_error(code, &[text]);
    }
}

#[test]
fn a_report_has_charts_and_pictures_and_is_the_same_again() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml"]);
    let said = lab.done(&["report", "tiny.yaml", "--to", "page.html"]);
    assert!(said.err.contains("report: page.html; "), "{}", said.err);
    let html = std::fs::read_to_string(lab.path("page.html")).expect("a page");
    for part in ["galleries", "attention", "patches", "reconstructions"] {
        assert!(html.contains(&format!("id=\"section-{part}\"")), "no {part}");
    }
    let names: Vec<String> = std::fs::read_dir(lab.path("page_files"))
        .expect("a folder of files")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    for (begin, end) in [
        ("gallery-", ".jpg"),
        ("attention-", ".png"),
        ("reconstruction-", ".jpg"),
        ("plane-", ".svg"),
        ("cameras-", ".csv"),
    ] {
        assert!(names.iter().any(|name| name.starts_with(begin) && name.ends_with(end)), "{begin}..{end}: {names:?}");
    }
    lab.done(&["report", "tiny.yaml", "--to", "again.html", "--no-files"]);
    assert_eq!(html, std::fs::read_to_string(lab.path("again.html")).expect("a page"));
    assert!(!lab.path("again_files").exists());
    let plain = lab.done(&["report", "tiny.yaml", "--no-pictures", "--no-files"]);
    assert!(plain.err.contains("report: tiny.html"), "{}", plain.err);
    assert!(!std::fs::read_to_string(lab.path("tiny.html")).expect("a page").contains("id=\"section-galleries\""));

    lab.run(&["report", "tiny.yaml", "--to", "nowhere/page.html"]).assert_error(6, &["nowhere"]);
    lab.run(&["report", "tiny.yaml", "pretrain.train.epochs=3"]).assert_error(4, &["no runs to tabulate"]);
}
