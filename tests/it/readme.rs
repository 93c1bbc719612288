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
fn tables() -> [(&'static str, TableOptions); 1] {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of = |experiment: &str| TableOptions {
        experiment: Some(experiment.to_owned()),
        format: Format::Markdown,
        ..TableOptions::default()
    };
    let ablation = TableOptions { metrics: names(&["map", "rank1", "occluded.map"]), ..of("ablation") };
    [("ablation", ablation)]
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
        let old = between(&readme, &format!("<!-- table:{name} -->"), "<!-- /table -->");
        if std::env::var_os("REID_BLESS").is_some() {
            std::fs::write(&path, readme.replace(old, table.trim())).expect("a writable README");
        } else {
            assert_eq!(old, table.trim());
        }
    }
}
