//! The README's table is what the committed results give.

use reid_results::{Format, TableOptions, export, read, tabulate};
use reid_tests::golden::workspace_root;

/// Text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("the README has no `{begin}`"));
    let (inside, _) = rest.split_once(end).unwrap_or_else(|| panic!("the README has no `{end}`"));
    inside.trim()
}

#[test]
fn the_ablation_table_is_made_of_the_committed_results() {
    let root = workspace_root();
    let frames = read(&root.join("experiments/results")).expect("committed results are readable");
    let options = TableOptions {
        experiment: Some("ablation".to_owned()),
        metrics: ["map", "rank1", "occluded.map"].map(str::to_owned).to_vec(),
        format: Format::Markdown,
        ..TableOptions::default()
    };
    let table = export(&tabulate(&frames, &options).expect("a table"), &options).expect("an export");
    let table = String::from_utf8(table).expect("Markdown is text");
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path).expect("a README");
    if std::env::var_os("REID_BLESS").is_some() {
        let old = between(&readme, "<!-- table:ablation -->", "<!-- /table -->");
        std::fs::write(&path, readme.replace(old, table.trim())).expect("a writable README");
        return;
    }
    assert_eq!(between(&readme, "<!-- table:ablation -->", "<!-- /table -->"), table.trim());
}
