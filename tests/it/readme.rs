//! The README's table is what the committed results give.

use reid_results::{Format, TableOptions, export, read, tabulate};
use reid_tests::golden::workspace_root;

/// Text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("the README has no `{begin}`"));
    let (inside, _) = rest.split_once(end).unwrap_or_else(|| panic!("the README has no `{end}`"));
    inside.trim()
}

/// The README's tables, by the experiment.
fn tables() -> [(&'static str, TableOptions); 2] {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of = |experiment: &str| TableOptions {
        experiment: Some(experiment.to_owned()),
        format: Format::Markdown,
        ..TableOptions::default()
    };
    let objectives = TableOptions {
        metrics: names(&["map"]),
        rows: Some(names(&["label"])),
        cols: Some("cfg.protocol".to_owned()),
        against: Some("none".to_owned()),
        ..of("objectives")
    };
    let ablation = TableOptions { metrics: names(&["map", "rank1", "occluded.map"]), ..of("ablation") };
    [("ablation", ablation), ("objectives", objectives)]
}

#[test]
fn its_tables_are_made_of_the_committed_results() {
    let root = workspace_root();
    let frames = read(&root.join("experiments/results")).expect("committed results are readable");
    let path = root.join("README.md");
    for (name, options) in tables() {
        let table = export(&tabulate(&frames, &options).expect("a table"), &options).expect("an export");
        let table = String::from_utf8(table).expect("Markdown is text");
        let readme = std::fs::read_to_string(&path).expect("a README");
        let begin = format!("<!-- table:{name} -->");
        let old = between(&readme, &begin, "<!-- /table -->");
        if std::env::var_os("REID_BLESS").is_some() {
            let place = |text: &str| format!("{begin}\n{text}\n<!-- /table -->");
            let (before, rest) = readme.split_once(&begin).expect("a beginning");
            let (_, after) = rest.split_once("<!-- /table -->").expect("an end");
            std::fs::write(&path, format!("{before}{}{after}", place(table.trim()))).expect("a writable README");
        } else {
            assert_eq!(old, table.trim());
        }
    }
}
