//! What stands in a table: rows, columns, numbers, notes and refusals.

use std::fmt::Write;

use reid_results::aggregate::Summary;
use reid_results::format::{Signs, cell};
use reid_results::schema::Unit;
use reid_results::{ChooseOn, ResultsError, Table};

use super::*;

pub(super) fn table(runs: &[RunRow], options: &TableOptions) -> Table {
    tabulate(&frames(runs), options).expect("the options fit the runs")
}

pub(super) fn refusal(runs: &[RunRow], options: &TableOptions) -> ResultsError {
    tabulate(&frames(runs), options).expect_err("refused")
}

pub(super) fn has_note(table: &Table, part: &str) -> bool {
    table.notes.iter().any(|note| note.contains(part))
}

#[test]
fn numbers_follow_the_documented_rule() {
    let some = |mean: f64, std: Option<f64>, n: usize, runs: usize| Summary {
        mean: Some(mean),
        std,
        n,
        runs,
        even: n > 0 && runs.is_multiple_of(n),
        seeds: BTreeMap::new(),
    };
    let cases = [
        (some(0.712_34, Some(0.008_34), 3, 3), Unit::Fraction),
        (some(0.712_34, Some(0.012_34), 3, 3), Unit::Fraction),
        (some(0.712_34, Some(0.123_4), 3, 3), Unit::Fraction),
        (some(0.712_34, Some(0.000_012), 3, 3), Unit::Fraction),
        (some(0.712_34, Some(0.009_96), 3, 3), Unit::Fraction),
        (some(0.712_34, Some(0.0), 3, 3), Unit::Fraction),
        (some(0.712_34, None, 1, 1), Unit::Fraction),
        (some(0.712_34, Some(0.008_34), 3, 6), Unit::Fraction),
        (some(0.712_34, Some(0.008_34), 3, 5), Unit::Fraction),
        (some(0.712_34, None, 1, 4), Unit::Fraction),
        (some(1.234_567, Some(0.045_67), 3, 3), Unit::Plain),
        (some(1234.567, Some(45.67), 3, 3), Unit::Plain),
        (some(-0.000_001, Some(0.001), 3, 3), Unit::Plain),
        (some(12.345, Some(0.012), 3, 3), Unit::Seconds),
        (some(312.0, Some(0.0), 3, 3), Unit::Count),
        (some(1_572_864.0, None, 1, 1), Unit::Bytes),
        (some(f64::NAN, Some(f64::NAN), 3, 3), Unit::Fraction),
        (Summary::default(), Unit::Fraction),
    ];
    let mut lines = String::new();
    for (summary, unit) in &cases {
        let (unicode, ascii) = (cell(summary, *unit, Signs::UNICODE), cell(summary, *unit, Signs::ASCII));
        writeln!(lines, "{:<8} {unicode:<22} {ascii}", unit.name()).expect("a string takes all");
    }
    let expected = "\
fraction 71.23 ± 0.83 (3)       71.23 +- 0.83 (3)
fraction 71.2 ± 1.2 (3)         71.2 +- 1.2 (3)
fraction 71 ± 12 (3)            71 +- 12 (3)
fraction 71.23 ± 0.00 (3)       71.23 +- 0.00 (3)
fraction 71.2 ± 1.0 (3)         71.2 +- 1.0 (3)
fraction 71.23 ± 0.00 (3)       71.23 +- 0.00 (3)
fraction 71.2 (1)               71.2 (1)
fraction 71.23 ± 0.83 (3×2)     71.23 +- 0.83 (3x2)
fraction 71.23 ± 0.83 (3; 5)    71.23 +- 0.83 (3; 5)
fraction 71.2 (1×4)             71.2 (1x4)
plain    1.235 ± 0.046 (3)      1.235 +- 0.046 (3)
plain    1235 ± 46 (3)          1235 +- 46 (3)
plain    0.0000 ± 0.0010 (3)    0.0000 +- 0.0010 (3)
seconds  12.3 ± 0.0 (3)         12.3 +- 0.0 (3)
count    312 ± 0 (3)            312 +- 0 (3)
bytes    2 (1)                  2 (1)
fraction NaN                    NaN
fraction —                      -
";
    assert_eq!(lines, expected);
}

#[test]
fn rows_follow_the_sweep_and_names_are_shortened() {
    let mut runs = sweep();
    for row in &mut runs {
        row.varied.insert("train.schedule.warmup".to_owned(), Scalar::Int(5 + row.point));
        row.varied.insert("pretrain.schedule.warmup".to_owned(), Scalar::Int(row.point));
        row.varied.insert("constant".to_owned(), Scalar::Int(1));
    }
    let table = table(&runs, &TableOptions::default());
    let shorts: Vec<&str> = table.fields.iter().map(|field| field.short.as_str()).collect();
    assert_eq!(shorts, ["label", "mask_ratio", "pretrain.schedule.warmup", "train.schedule.warmup"]);
    let labels: Vec<_> = table.rows.iter().map(|row| row.key[..2].to_vec()).collect();
    let label = |name: &str| Some(Scalar::Text(name.to_owned()));
    let expected = [
        [label("none"), None],
        [label("person_mae"), Some(Scalar::Float(0.5))],
        [label("person_mae"), Some(Scalar::Float(0.75))],
    ];
    assert_eq!(labels, expected);
    let text = text(&runs, &TableOptions::default());
    assert!(text.contains("mask_ratio = objective.person_mae.mask_ratio"), "{text}");
}

#[test]
fn names_of_choices_that_the_label_tells_have_no_column() {
    let mut runs = sweep();
    for run in &mut runs {
        run.varied.insert("pretrain.objective".to_owned(), Scalar::Text(run.label.clone()));
    }
    let fields = |runs: &[RunRow], options: &TableOptions| -> Vec<String> {
        table(runs, options).fields.into_iter().map(|field| field.short).collect()
    };
    assert_eq!(fields(&runs, &TableOptions::default()), ["label", "mask_ratio"]);
    let rows = Some(["label", "objective", "mask_ratio"].map(str::to_owned).to_vec());
    let asked = TableOptions { rows, ..TableOptions::default() };
    assert_eq!(fields(&runs, &asked), ["label", "objective", "mask_ratio"]);
    // Numbers stay, and so does a name that differs within a label.
    for run in &mut runs {
        let name = if run.point == 2 { "other" } else { "same" };
        run.varied.insert("pretrain.objective".to_owned(), Scalar::Text(name.to_owned()));
    }
    assert_eq!(fields(&runs, &TableOptions::default()), ["label", "mask_ratio", "objective"]);
}

#[test]
fn fields_are_found_by_path_or_unique_end() {
    let runs = sweep();
    for name in ["mask_ratio", "person_mae.mask_ratio", RATIO, "cfg.objective.person_mae.mask_ratio"] {
        let options = TableOptions { rows: Some(vec![name.to_owned()]), ..TableOptions::default() };
        assert_eq!(table(&runs, &options).rows.len(), 3, "{name}");
    }
    let options = TableOptions { rows: Some(vec!["mask".to_owned()]), ..TableOptions::default() };
    let error = refusal(&runs, &options);
    assert!(error.to_string().contains("unknown field `mask`") && error.to_string().contains(RATIO), "{error}");
    let mut twice = runs.clone();
    for row in &mut twice {
        row.varied.insert("other.mask_ratio".to_owned(), Scalar::Int(row.point));
    }
    let options = TableOptions { cols: Some("mask_ratio".to_owned()), ..TableOptions::default() };
    let error = refusal(&twice, &options);
    assert!(error.to_string().contains("ambiguous field"), "{error}");
    let options = TableOptions { metrics: vec!["mapp".to_owned()], ..TableOptions::default() };
    let error = refusal(&runs, &options);
    assert!(error.to_string().contains("test.map, test.minp"), "{error}");
    let options = TableOptions { split: "train".to_owned(), ..TableOptions::default() };
    assert!(matches!(refusal(&runs, &options), ResultsError::UnknownMetric { .. }));
}

#[test]
fn a_field_can_be_spread_over_columns() {
    let mut runs = Vec::new();
    for dataset in ["market1501", "msmt17"] {
        for mut row in sweep() {
            row.run_id = format!("{}-{dataset}", row.run_id);
            row.dataset = dataset.to_owned();
            row.varied.insert("data".to_owned(), Scalar::Text(dataset.to_owned()));
            runs.push(row);
        }
    }
    // `data` and `dataset` say the same; rows by default contain `data` and would stay apart.
    let rows = Some(["label", "mask_ratio"].map(str::to_owned).to_vec());
    let options = TableOptions { rows, cols: Some("dataset".to_owned()), ..TableOptions::default() };
    let table = table(&runs, &options);
    assert_eq!((table.rows.len(), table.columns.len()), (3, 4));
    assert!(table.rows.iter().all(|row| row.runs == 6 && row.cells.iter().all(|cell| cell.n == 3)));
    assert_eq!(table.notes.iter().filter(|note| note.starts_with("validation map picks")).count(), 2);
    // Without `data` a cell would pool two data sets.
    let options = TableOptions { rows: options.rows, ..TableOptions::default() };
    let error = refusal(&runs, &options);
    assert_eq!(error.to_string(), "cell `none` would pool settings that differ; add to the rows or columns: data");
}

#[test]
fn synthetic_data_and_failures_are_said() {
    let mut runs = sweep();
    for row in &mut runs {
        row.synthetic = true;
    }
    runs[4].status = Status::Failed;
    runs[4].error = Some("loss is NaN\nat step 3".to_owned());
    runs[4].failed_stage = Some("pretrain".to_owned());
    runs[4].metrics.clear();
    let table = table(&runs, &TableOptions::default());
    assert_eq!(table.notes[0], "built-in synthetic data; does not rank methods on real images");
    assert_eq!(table.notes[1], "1 of 9 runs failed and enter no mean; a row of them is never called the best");
    assert!(has_note(&table, "failed: 1 of 3 runs of person_mae, mask_ratio=0.5 (pretrain: loss is NaN"));
    assert_eq!((table.rows[1].failed, table.rows[1].cells[0].n), (1, 2));
    let text = text(&runs, &TableOptions::default());
    assert!(!text.contains("NaN\nat"), "control characters do not reach the terminal: {text}");
    // Nothing but failures is still a table.
    for row in &mut runs {
        row.status = Status::Failed;
        row.metrics.clear();
    }
    let table = tabulate(&frames(&runs), &TableOptions::default()).expect("failures are results");
    assert!(table.rows.iter().all(|row| row.failed == 3 && row.cells.iter().all(|cell| cell.mean.is_none())));
}

#[test]
fn commits_that_differ_are_daggered_with_both() {
    let clean = table(&sweep(), &TableOptions::default());
    assert!(clean.rows.iter().all(|row| !row.dagger));
    assert_eq!(clean.commits, ["a".repeat(40)]);
    let mut runs = sweep();
    runs[0].computed_commit = Some("b".repeat(40));
    for row in &mut runs[3..6] {
        row.program_commit = Some("c".repeat(40));
        row.computed_commit = Some("c".repeat(40));
    }
    runs[8].spec_dirty = Some(true);
    let mixed = table(&runs, &TableOptions::default());
    assert!(mixed.rows.iter().all(|row| row.dagger));
    assert!(has_note(&mixed, "† computed at commit bbbbbbb, asked for at aaaaaaa (1 run(s))"), "{:?}", mixed.notes);
    assert!(has_note(&mixed, "† computed at commit ccccccc, newest run at aaaaaaa (3 run(s))"), "{:?}", mixed.notes);
    assert!(has_note(&mixed, "† uncommitted changes to the spec (1 run(s))"), "{:?}", mixed.notes);
    assert_eq!(mixed.commits.len(), 3);
    // Outside a repository there is nothing to compare.
    for row in &mut runs {
        (row.program_commit, row.computed_commit, row.spec_commit, row.spec_dirty) = (None, None, None, None);
    }
    assert!(table(&runs, &TableOptions::default()).rows.iter().all(|row| !row.dagger));
}

#[test]
fn protocols_are_not_mixed() {
    let mut runs = sweep();
    for row in &mut runs[3..] {
        row.protocol = "euclidean".to_owned();
    }
    let error = refusal(&runs, &TableOptions::default());
    assert!(matches!(error, ResultsError::MixedProtocols { .. }));
    assert!(error.to_string().contains("`cosine, bnneck") && error.to_string().contains("`euclidean`"), "{error}");
    // Side by side they may stand, but not be ranked.
    let rows = Some(["label", "protocol", "mask_ratio"].map(str::to_owned).to_vec());
    let side = table(&runs, &TableOptions { rows, ..TableOptions::default() });
    assert!(side.columns.iter().all(|column| column.verdict.is_none()));
    for row in &mut runs[3..] {
        row.experiment = "other".to_owned();
    }
    let options = TableOptions { experiment: Some("other".to_owned()), ..TableOptions::default() };
    assert_eq!(table(&runs, &options).rows.len(), 2);
}

#[test]
fn an_experiment_may_sweep_what_is_ranked() {
    let mut runs = sweep();
    for (at, row) in runs.iter_mut().enumerate() {
        let pooling = ["cls", "avg", "max"][at / 3];
        row.protocol = format!("{pooling}, squared Euclidean");
        row.varied.insert("protocol.frozen.pooling".to_owned(), Scalar::Text(pooling.to_owned()));
    }
    let shown = table(&runs, &TableOptions::default());
    assert!(shown.fields.iter().any(|field| field.short == "pooling"));
    assert!(shown.columns.iter().any(|column| column.verdict.is_some()), "its rows are ranked");
    // What the sweep does not explain is refused as ever.
    runs[4].protocol = "euclidean".to_owned();
    assert!(matches!(refusal(&runs, &TableOptions::default()), ResultsError::MixedProtocols { .. }));
}

#[test]
fn the_choice_is_made_on_validation_or_confessed() {
    let mut runs = sweep();
    // Validation prefers the second point, test the third.
    for row in &mut runs[3..6] {
        row.metrics.insert("validation.map".to_owned(), 0.9 + 0.001 * row.seed_pretrain as f64);
    }
    let chosen = table(&runs, &TableOptions::default());
    assert_eq!(chosen.rows.iter().map(|row| row.chosen).collect::<Vec<_>>(), [false, true, false]);
    assert!(has_note(
        &chosen,
        "validation map picks person_mae, mask_ratio=0.5: validation 90.10 ± 0.10 (3), test 45.67"
    ));
    let options = TableOptions { choose_on: ChooseOn::Test, ..TableOptions::default() };
    assert!(has_note(&table(&runs, &options), "the best row was picked on test"));
    assert!(!has_note(&table(&runs[..3], &options), "picked on test"), "one row is no choice");
    for row in &mut runs {
        row.metrics.remove("validation.map");
    }
    let confessed = table(&runs, &TableOptions::default());
    assert!(has_note(&confessed, "no validation metrics in these runs: the best row was picked on test"));
}

#[test]
fn only_a_significant_best_is_marked() {
    let clear = table(&sweep_of(5), &TableOptions::default());
    let verdict = clear.columns[0].verdict.as_ref().expect("ranked");
    assert_eq!((verdict.best, verdict.significant), (2, true));
    assert!(has_note(&clear, "* best of its column"));
    // The same means with seeds that scatter more than the points differ.
    let mut runs = sweep_of(5);
    for (at, row) in runs.iter_mut().enumerate() {
        let scatter = [0.2, -0.25, 0.05, -0.2, 0.2, -0.22, 0.24, -0.02, 0.2, -0.2, 0.01, 0.2, -0.21, 0.1, -0.1][at];
        *row.metrics.get_mut("test.map").expect("set") += scatter;
    }
    let noisy = table(&runs, &TableOptions::default());
    let verdict = noisy.columns[0].verdict.as_ref().expect("ranked");
    assert!(!verdict.significant && verdict.comparisons.iter().all(|comparison| comparison.p_holm.is_some()));
    // As clear, but of too few seeds.
    let few = table(&sweep_of(4), &TableOptions::default());
    let verdict = few.columns[0].verdict.as_ref().expect("ranked");
    assert_eq!((verdict.best, verdict.testable, verdict.significant), (2, false, false));
    assert!(has_note(&few, "not called better, which takes 5 paired seeds") && !has_note(&few, "* best"));
    // Over the seeds that both have, where these are enough.
    let mut uneven = sweep_of(7);
    uneven.retain(|row| row.point == 2 || row.seed_pretrain < 5);
    let verdict = table(&uneven, &TableOptions::default()).columns[0].verdict.clone().expect("ranked");
    assert!(verdict.testable && verdict.significant);
    // One seed: no deviation and no claim.
    let single: Vec<RunRow> = sweep().into_iter().filter(|row| row.seed_pretrain == 0).collect();
    let single = table(&single, &TableOptions::default());
    assert!(single.columns.iter().all(|column| column.verdict.as_ref().is_some_and(|verdict| !verdict.significant)));
    assert!(single.rows.iter().all(|row| row.cells[0].std.is_none()));
    assert!(has_note(&single, "not tested"));
}

#[test]
fn nested_seeds_show_both_counts() {
    let mut runs = Vec::new();
    for mut row in sweep() {
        for downstream in 0..2 {
            row.run_id = format!("{}-d{downstream}", row.run_id);
            row.seed_downstream = downstream;
            runs.push(row.clone());
        }
    }
    assert!(has_note(&table(&runs, &TableOptions::default()), "std is over pre-training seeds"));
    let text = text(&runs, &TableOptions::default());
    assert!(text.contains("40.57 ± 0.47 (3×2)"), "{text}");
}

#[test]
fn the_newest_of_equal_settings_and_seeds_counts() {
    let mut runs = sweep();
    let mut older = runs[0].clone();
    older.run_id = "older".to_owned();
    older.started_at -= 1;
    older.point = 7;
    older.metrics.insert("test.map".to_owned(), 0.0);
    runs.push(older);
    let table = table(&runs, &TableOptions::default());
    assert_eq!((table.rows.len(), table.rows[0].cells[0].n, table.rows[0].runs), (3, 3, 3));
    assert!(has_note(&table, "1 older run(s) with the same setting and seeds left out"));
}

#[test]
fn runs_can_be_selected_and_an_empty_selection_is_refused() {
    let runs = sweep();
    let ids = runs[..3].iter().map(|row| row.run_id.clone()).collect();
    let options = TableOptions { runs: Some(ids), ..TableOptions::default() };
    assert_eq!(table(&runs, &options).rows.len(), 1);
    let options = TableOptions { experiment: Some("ablatoin".to_owned()), ..TableOptions::default() };
    let error = refusal(&runs, &options);
    assert_eq!(error.to_string(), "no runs to tabulate: none fits the selection; experiments: ablation");
    assert!(matches!(refusal(&[], &TableOptions::default()), ResultsError::NoRuns { .. }));
}

#[test]
fn remarks_of_runs_are_shown() {
    let mut runs = sweep();
    runs[1].marks = vec!["resumed on another instruction set".to_owned()];
    runs[2].corrupt_images = 4;
    runs[3].dataset_fingerprint = "beef".to_owned();
    let table = table(&runs, &TableOptions::default());
    assert!(has_note(&table, "1 run(s): resumed on another instruction set"));
    assert!(has_note(&table, "up to 4 corrupt picture(s) skipped per run"));
    assert!(has_note(&table, "`market1501` had 2 different contents"));
}

#[test]
fn quantities_of_runs_can_be_columns() {
    let metrics = ["seconds", "peak_rss_bytes", "validation.map"].map(str::to_owned).to_vec();
    let table = table(&sweep(), &TableOptions { metrics, ..TableOptions::default() });
    assert_eq!(table.rows[0].cells[0].mean, Some(12.5));
    assert_eq!(table.rows[0].cells[1].mean, Some(f64::from(512 << 20)));
    assert_eq!(table.columns[2].title, "mAP (validation)");
}

#[test]
fn a_thousand_runs_are_tabulated() {
    let dir = folder();
    for point in 0..250_i64 {
        for mut row in sweep().into_iter().take(3).chain([run("extra")]) {
            row.seed_pretrain += i64::from(row.run_id == "extra") * 3;
            row.run_id = format!("{}-{point}", row.run_id);
            row.point = point;
            row.varied.insert("train.lr".to_owned(), Scalar::Float(1e-4 * point as f64));
            write_run(dir.path(), &with_metric(row, "test.map", 0.3), &[], &[]).expect("writable");
        }
    }
    let table = tabulate(&read(dir.path()).expect("readable"), &TableOptions::default());
    assert_eq!(table.expect("tabulates").rows.iter().map(|row| row.runs).sum::<usize>(), 1000);
}

/// A mean over the seeds that did not fail is no win.
#[test]
fn rows_with_failures_are_never_the_best() {
    let mut runs = sweep();
    let best =
        |runs: &[RunRow]| table(runs, &TableOptions::default()).columns[0].verdict.as_ref().map(|verdict| verdict.best);
    let winner = best(&runs).expect("a winner");
    let first = runs.iter_mut().find(|run| run.point == winner as i64).expect("a run of it");
    first.status = Status::Failed;
    first.metrics.clear();
    assert_eq!(best(&runs), None);
}
