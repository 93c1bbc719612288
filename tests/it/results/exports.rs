//! Tables as text and bytes: every format, widths, escapes.

use std::io::Cursor;

use polars::prelude::{ParquetReader, SerReader};
use reid_results::{Format, ResultsError};

use super::*;

/// Compares with `tests/fixtures/results/<name>.snap`.
macro_rules! assert_fixture {
    ($name:literal, $text:expr) => {
        insta::with_settings!({
            snapshot_path => "../../fixtures/results",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!($name, $text) })
    };
}

fn in_format(format: Format) -> TableOptions {
    let command = Some("reid-run table --rows label,mask_ratio".to_owned());
    TableOptions { format, command, ..TableOptions::default() }
}

/// The line with its numbers rounded: the last digits depend on the machine's mathematical library.
fn rounded(line: &str) -> String {
    let cell = |cell: &str| match cell.parse::<f64>() {
        Ok(value) if cell.contains('.') => format!("{value:.9}"),
        _ => cell.to_owned(),
    };
    line.split(',').map(cell).collect::<Vec<_>>().join(",")
}

/// The sweep with one of everything that a table must say.
fn eventful() -> Vec<RunRow> {
    let mut runs = sweep_of(6);
    for row in &mut runs {
        row.synthetic = true;
    }
    runs[1].computed_commit = Some("b".repeat(40));
    runs[8].status = Status::Failed;
    runs[8].error = Some("loss is NaN".to_owned());
    runs[8].failed_stage = Some("pretrain".to_owned());
    runs[8].metrics.clear();
    runs[6].metrics.insert("test.rank1".to_owned(), f64::NAN);
    runs
}

#[test]
fn terminal() {
    assert_fixture!("terminal", text(&eventful(), &in_format(Format::Terminal)));
}

#[test]
fn terminal_in_ascii() {
    let options = TableOptions { ascii: true, ..in_format(Format::Terminal) };
    let text = text(&eventful(), &options);
    assert!(text.is_ascii(), "{text}");
    assert_fixture!("terminal_ascii", text);
}

#[test]
fn markdown() {
    assert_fixture!("markdown", text(&eventful(), &in_format(Format::Markdown)));
}

#[test]
fn csv() {
    let text = text(&eventful(), &in_format(Format::Csv));
    let lines = text.lines().map(|line| if line.starts_with('#') { line.to_owned() } else { rounded(line) });
    assert_fixture!("csv", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn latex() {
    assert_fixture!("latex", text(&eventful(), &in_format(Format::Latex)));
}

#[test]
fn json() {
    let text = text(&eventful(), &in_format(Format::Json));
    let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(value["rows"][1]["cells"][1]["mean"], "NaN", "undefined is not null");
    assert_eq!(value["rows"][0]["key"]["objective.person_mae.mask_ratio"], serde_json::Value::Null);
    let lines = text.lines().map(|line| match line.split_once(": ") {
        Some((key, value)) if !value.starts_with('"') => {
            let comma = if value.ends_with(',') { "," } else { "" };
            format!("{key}: {}{comma}", rounded(value.trim_end_matches(',')))
        }
        _ => line.to_owned(),
    });
    assert_fixture!("json", lines.collect::<Vec<_>>().join("\n"));
}

#[test]
fn parquet() {
    let options = in_format(Format::Parquet);
    let table = tabulate(&frames(&eventful()), &options).expect("the options fit the runs");
    let mut reader = ParquetReader::new(Cursor::new(export(&table, &options).expect("encodes")));
    let pairs = reader.get_metadata().expect("metadata").key_value_metadata().clone().expect("pairs");
    assert!(pairs.iter().any(|pair| pair.key == "reid_run.commit"));
    let frame = reader.finish().expect("readable");
    assert_eq!(frame.height(), 3);
    let ratio: Vec<_> = frame.column(RATIO).expect("field").f64().expect("floats").iter().collect();
    assert_eq!(ratio, [None, Some(0.5), Some(0.75)]);
    let mean = frame.column("metric.test.map.mean").expect("column").f64().expect("floats").get(0);
    assert_eq!(mean, table.rows[0].cells[0].mean, "stored values, not per cent");
    assert_eq!(frame.column("failed").expect("column").i64().expect("integers").get(1), Some(1));
}

#[test]
fn format_names_are_read_back() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().expect("its own name"), format);
    }
    let error = "html".parse::<Format>().expect_err("not a format");
    assert!(matches!(error, ResultsError::UnknownFormat { .. }));
    assert_eq!(error.to_string(), "unknown format `html`; formats: table, md, csv, latex, json, parquet");
}

/// Seven metrics and long names.
fn broad() -> (Vec<RunRow>, Vec<String>) {
    let metrics = ["map", "rank1", "rank5", "rank10", "minp", "valid_queries", "loss"];
    let mut runs = sweep();
    for row in &mut runs {
        row.label = format!("{} with a rather long preset name that goes on and on", row.label);
        let long = "pretrain.objective.person_mae.decoder.an_extraordinarily_long_field_name";
        row.varied.insert(long.to_owned(), Scalar::Text(format!("value_{}_of_{}", row.point, "x".repeat(60))));
        for name in metrics {
            row.metrics.entry(format!("test.{name}")).or_insert(0.512_34 + 0.01 * row.seed_pretrain as f64);
        }
    }
    (runs, metrics.map(str::to_owned).to_vec())
}

#[test]
fn terminal_tables_fit_the_width() {
    let (runs, metrics) = broad();
    let frames = frames(&runs);
    for ascii in [false, true] {
        for width in [None, Some(40), Some(60), Some(100), Some(200)] {
            let options = TableOptions { metrics: metrics.clone(), width, ascii, ..TableOptions::default() };
            let table = tabulate(&frames, &options).expect("the options fit the runs");
            let text = String::from_utf8(export(&table, &options).expect("exports")).expect("UTF-8");
            let limit = width.unwrap_or(80);
            let too_long: Vec<&str> = text.lines().filter(|line| line.chars().count() > limit).collect();
            assert!(too_long.is_empty(), "{limit}: {too_long:#?}");
            let sign = if ascii { "+-" } else { "±" };
            assert!(text.contains(&format!("40.57 {sign} 0.47 (3)")), "numbers are never broken: {text}");
        }
    }
    assert_fixture!("broad", text(&runs, &TableOptions { metrics, ..TableOptions::default() }));
}

#[test]
fn escape_codes_only_with_color() {
    let plain = text(&sweep_of(5), &TableOptions::default());
    assert!(!plain.contains('\u{1b}'));
    assert!(plain.contains(" (5)*"), "never by color alone");
    let color = text(&sweep_of(5), &TableOptions { color: true, ..TableOptions::default() });
    assert!(color.contains("\u{1b}[1m"), "{color:?}");
}

/// A sweep whose label is hostile.
fn labeled(label: &str) -> Vec<RunRow> {
    let mut runs = sweep();
    for row in &mut runs {
        label.clone_into(&mut row.label);
    }
    runs
}

#[test]
fn csv_cells_are_no_formulas() {
    let guarded = [
        ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\","),
        ("+1", "'+1,"),
        ("-1", "'-1,"),
        ("@SUM(A1)", "'@SUM(A1),"),
        ("\t=1", "' =1,"),
        ("plain, with \"quotes\"", "\"plain, with \"\"quotes\"\"\","),
        ("two\nlines", "two lines,"),
    ];
    for (label, start) in guarded {
        let text = text(&labeled(label), &in_format(Format::Csv));
        let row = text.lines().rfind(|line| !line.starts_with('#')).expect("rows");
        assert!(row.starts_with(start), "{label:?}: {row}");
    }
    // A number that is negative stays a number.
    let mut runs = sweep();
    for row in &mut runs {
        row.varied.insert("shift".to_owned(), Scalar::Int(-row.point));
    }
    let text = text(&runs, &in_format(Format::Csv));
    assert!(text.lines().any(|line| line.starts_with("person_mae,0.75,-2,")), "{text}");
}

#[test]
fn latex_and_markdown_show_hostile_labels_as_they_are() {
    let latex = text(&labeled(r"50% of \x_1 & {a}^2 ~ #$ [b]"), &in_format(Format::Latex));
    let shown = r"50\% of \textbackslash{}x\_1 \& \{a\}\textasciicircum{}2 \textasciitilde{} \#\$ {[}b{]} & ";
    assert!(latex.lines().any(|line| line.starts_with(shown)), "{latex}");
    let markdown = text(&labeled("a|b <script>*x*</script> `y` [z](u)"), &in_format(Format::Markdown));
    let shown = r"| a\|b &lt;script>\*x\*&lt;/script> \`y\` \[z\](u) | ";
    assert!(markdown.lines().any(|line| line.starts_with(shown)), "{markdown}");
    let command = Some("x --> <b>\n% y".to_owned());
    let markdown = text(&sweep(), &TableOptions { command: command.clone(), ..in_format(Format::Markdown) });
    assert!(markdown.contains("<!-- command: x -- > <b> % y -->"), "{markdown}");
    let latex = text(&sweep(), &TableOptions { command, ..in_format(Format::Latex) });
    assert!(latex.contains("% command: x --> <b> % y\n"), "a comment stays on its line: {latex}");
}

#[test]
fn terminals_are_not_commanded() {
    let text = text(&labeled("\u{1b}]0;title\u{7}\u{1b}[2J"), &TableOptions::default());
    assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
}
