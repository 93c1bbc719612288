//! The README's tables are what the committed results give.

use reid_data::rng::{Key, Rng, Stream};
use reid_results::compare::{CompareOptions, compare, text};
use reid_results::{Format, TableOptions, export, read, tabulate};
use reid_tests::golden::workspace_root;

/// Text between two markers.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("the README has no `{begin}`"));
    let (inside, _) = rest.split_once(end).unwrap_or_else(|| panic!("the README has no `{end}`"));
    inside.trim()
}

/// The README's tables, by their names.
fn tables() -> [(&'static str, TableOptions); 4] {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of = |experiment: &str| TableOptions {
        experiment: Some(experiment.to_owned()),
        format: Format::Markdown,
        ..TableOptions::default()
    };
    let against_none = |experiment: &str| TableOptions {
        metrics: names(&["map"]),
        rows: Some(names(&["label"])),
        cols: Some("cfg.protocol".to_owned()),
        against: Some("none".to_owned()),
        ..of(experiment)
    };
    let ablation = TableOptions { metrics: names(&["map", "rank1", "occluded.map"]), ..of("ablation") };
    let occluded = TableOptions {
        metrics: names(&["occluded.map"]),
        cols: None,
        conditions: vec!["cfg.protocol=supervised".parse().expect("a condition")],
        ..against_none("protocols")
    };
    [
        ("ablation", ablation),
        ("objectives", against_none("objectives")),
        ("protocols", against_none("protocols")),
        ("occluded", occluded),
    ]
}

/// Puts a text between the markers of a name, or holds what is there to it.
fn hold(kind: &str, name: &str, text: &str) {
    let path = workspace_root().join("README.md");
    let readme = std::fs::read_to_string(&path).expect("a README");
    let (begin, end) = (format!("<!-- {kind}:{name} -->"), format!("<!-- /{kind} -->"));
    if std::env::var_os("REID_BLESS").is_some() {
        let (before, rest) = readme.split_once(&begin).expect("a beginning");
        let (_, after) = rest.split_once(&end).expect("an end");
        let text = text.trim();
        std::fs::write(&path, format!("{before}{begin}\n{text}\n{end}{after}")).expect("a writable README");
    } else {
        assert_eq!(between(&readme, &begin, &end), text.trim());
    }
}

#[test]
fn its_tables_and_comparisons_are_made_of_the_committed_results() {
    let frames = read(&workspace_root().join("experiments/results")).expect("committed results are readable");
    for (name, options) in tables() {
        let table = export(&tabulate(&frames, &options).expect("a table"), &options).expect("an export");
        hold("table", name, &String::from_utf8(table).expect("Markdown is text"));
    }
    let options = CompareOptions {
        table: TableOptions { experiment: Some("protocols".to_owned()), ..TableOptions::default() },
        first: "person_mae,protocol=supervised".to_owned(),
        others: vec!["none,protocol=supervised".to_owned()],
        replicates: 2000,
        queries: 2,
    };
    let draws = |replicate| {
        let mut rng = Rng::new(Key { seed: 0, stream: Stream::Statistics, epoch: 0, draw: replicate, view: 0 });
        move |bound| rng.below(bound)
    };
    let compared = compare(&frames, &options, draws).expect("they can be compared");
    hold("compare", "protocols", &format!("```text\n{}\n```", text(&compared, &options).trim_end()));
}
