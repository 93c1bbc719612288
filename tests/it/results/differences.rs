//! Rows against a baseline.

use reid_results::format::Signs;
use reid_results::schema::Unit;
use reid_results::significance::{interval, student_t_quantile, student_t_two_sided};
use reid_results::{Format, ResultsError, Table, format};

use super::*;

fn against(label: &str) -> TableOptions {
    TableOptions { against: Some(label.to_owned()), ..TableOptions::default() }
}

/// Five seeds of `none` and of `mae` under two protocols; the difference of seed s is `differences[s]` and half of it.
fn pairs(differences: [f64; 5]) -> Vec<RunRow> {
    let mut runs = Vec::new();
    for (protocol, share) in [("frozen", 0.5), ("supervised", 1.0)] {
        for (label, factor) in [("none", 0.0), ("mae", share)] {
            for (seed, difference) in (0..).zip(differences) {
                let mut row = run(&format!("{label}-{protocol}-s{seed}"));
                label.clone_into(&mut row.label);
                row.point = i64::from(protocol == "supervised") * 2 + i64::from(label == "mae");
                (row.seed_pretrain, row.seed_downstream) = (seed, seed);
                protocol.clone_into(&mut row.protocol);
                row.varied.insert("protocol".to_owned(), Scalar::Text(protocol.to_owned()));
                let base = 0.3 + 0.05 * (seed % 3) as f64;
                row.metrics.insert("test.map".to_owned(), base + factor * difference);
                runs.push(row);
            }
        }
    }
    runs
}

fn at(table: &Table, label: &str, protocol: &str) -> usize {
    let text = |text: &str| Some(Scalar::Text(text.to_owned()));
    table.rows.iter().position(|row| row.key == [text(label), text(protocol)]).expect("a row")
}

/// Values of Student's t that statistical tables have for 95 %, both sides.
#[test]
fn quantiles_are_those_of_the_tables() {
    for (df, t) in [(1.0, 12.706_204_736), (2.0, 4.302_652_730), (4.0, 2.776_445_105), (9.0, 2.262_157_163)] {
        assert!((student_t_quantile(0.05, df) - t).abs() < 1e-8, "{df}: {}", student_t_quantile(0.05, df));
    }
    for (p, df) in [(1e-9, 1.0), (0.3, 2.5), (0.999, 40.0), (0.05, 1e6)] {
        let back = student_t_two_sided(student_t_quantile(p, df), df);
        assert!((back / p - 1.0).abs() < 1e-9, "{p} of {df}: {back}");
    }
    assert!(student_t_quantile(0.0, 3.0).is_nan() && student_t_quantile(0.5, 0.0).is_nan());
}

#[test]
fn differences_are_taken_seed_by_seed_within_the_same_other_fields() {
    let runs = pairs([0.10, 0.12, 0.09, 0.11, 0.08]);
    let table = tabulate(&frames(&runs), &against("none")).expect("a table");
    assert_eq!(table.columns[1].title, "mAP vs none");
    for (protocol, share) in [("frozen", 0.5), ("supervised", 1.0)] {
        let row = at(&table, "mae", protocol);
        let cell = &table.rows[row].cells[1];
        assert_eq!(cell.n, 5);
        assert!((cell.mean.expect("a mean") - share * 0.1).abs() < 1e-12);
        // Differences 0.08 to 0.12: their deviation is sqrt(0.001 / 4), the interval 2.776 deviations / sqrt(5).
        let reach = share * (0.001_f64 / 4.0 / 5.0).sqrt() * 2.776_445_105;
        let (low, high) = table.interval(row, 1).expect("an interval");
        assert!((low - (share * 0.1 - reach)).abs() < 1e-9 && (high - (share * 0.1 + reach)).abs() < 1e-9);
        let baseline = at(&table, "none", protocol);
        assert_eq!((table.rows[baseline].cells[1].mean, table.interval(baseline, 1)), (None, None));
        assert_eq!(table.interval(row, 0), None, "a mean is no difference");
    }
    let shown = text(&runs, &TableOptions { width: Some(100), ..against("none") });
    assert!(shown.contains("+10.0 [8.0, 12.0] (5)") && shown.contains("+5.00 [4.02, 5.98] (5)"), "{shown}");
    assert!(shown.contains("vs none: mean difference over the seeds that both rows have"), "{shown}");
}

/// A field in which the baseline has one value only tells none of its rows from another.
#[test]
fn a_row_is_compared_with_the_baseline_that_comes_nearest() {
    let mut runs = pairs([0.10, 0.12, 0.09, 0.11, 0.08]);
    for row in runs.iter_mut().filter(|row| row.protocol == "supervised") {
        let epochs = if row.label == "none" { 60 } else { 120 };
        row.varied.insert("epochs".to_owned(), Scalar::Int(epochs));
    }
    let table = tabulate(&frames(&runs), &against("none")).expect("a table");
    let means: Vec<Option<f64>> = table.rows.iter().map(|row| row.cells[1].mean).collect();
    let expected = [None, Some(0.05), None, Some(0.1)];
    let near = |(found, expected): (&Option<f64>, &Option<f64>)| match (found, expected) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-12,
        (found, expected) => found.is_none() && expected.is_none(),
    };
    assert!(means.iter().zip(&expected).all(near), "{means:?}");
}

#[test]
fn only_seeds_of_both_rows_count_and_one_has_no_interval() {
    let mut runs = pairs([0.1, 0.2, 0.3, 0.4, 0.5]);
    runs.retain(|row| row.label == "none" || row.seed_pretrain > 2);
    let table = tabulate(&frames(&runs), &against("none")).expect("a table");
    let row = at(&table, "mae", "supervised");
    assert_eq!(table.rows[row].cells[1].n, 2);
    assert!((table.rows[row].cells[1].mean.expect("a mean") - 0.45).abs() < 1e-12);
    runs.retain(|row| row.label == "none" || row.seed_pretrain > 3);
    let table = tabulate(&frames(&runs), &against("none")).expect("a table");
    assert_eq!(table.interval(row, 1), None);
    assert!(text(&runs, &against("none")).contains("+50.0 (1)"));
    // Differences that do not vary say nothing of the noise.
    let same = pairs([0.25; 5]);
    let table = tabulate(&frames(&same), &against("none")).expect("a table");
    assert_eq!(interval(&table.rows[row].cells[1]), None);
}

#[test]
fn a_column_for_each_value_of_a_spread_field() {
    let runs = pairs([0.10, 0.12, 0.09, 0.11, 0.08]);
    let options = TableOptions { cols: Some("cfg.protocol".to_owned()), ..against("none") };
    let table = tabulate(&frames(&runs), &options).expect("a table");
    let titles: Vec<&str> = table.columns.iter().map(|column| column.title.as_str()).collect();
    assert_eq!(titles, ["mAP", "mAP vs none", "rank-1", "mAP", "mAP vs none", "rank-1"]);
    let mean = |column: usize| table.rows[1].cells[column].mean.expect("a mean");
    assert!((mean(1) - 0.05).abs() < 1e-12 && (mean(4) - 0.1).abs() < 1e-12);
}

#[test]
fn a_baseline_that_is_not_there_is_refused_with_the_labels() {
    let runs = pairs([0.1; 5]);
    let refused = tabulate(&frames(&runs), &against("nobody")).expect_err("refused");
    assert!(matches!(&refused, ResultsError::Baseline { choices, .. } if choices.contains("none, mae")), "{refused}");
}

#[test]
fn exports_hold_the_interval() {
    let runs = pairs([0.10, 0.12, 0.09, 0.11, 0.08]);
    let of = |format| text(&runs, &TableOptions { format, ..against("none") });
    let csv = of(Format::Csv);
    assert!(csv.contains("metric.test.map.vs.none.low,metric.test.map.vs.none.high"), "{csv}");
    let json: serde_json::Value = serde_json::from_str(&of(Format::Json)).expect("JSON");
    let low = json["rows"][3]["cells"][1]["interval"][0].as_f64().expect("a number");
    assert!((low - 0.080_367_568).abs() < 1e-8, "{low}");
    assert!(json["rows"][3]["cells"][0]["interval"].is_null());
    assert!(of(Format::Latex).contains("+10.0 {[}8.0, 12.0{]} (5)"));
}

#[test]
fn losses_have_their_sign() {
    let summary = |mean: f64| reid_results::aggregate::Summary { mean: Some(mean), n: 3, ..Default::default() };
    let shown = |mean, interval| format::difference(&summary(mean), interval, Unit::Fraction, Signs::UNICODE);
    assert_eq!(shown(-0.031, Some((-0.05, -0.012))), "-3.1 [-5.0, -1.2] (3)");
    assert_eq!(shown(0.0004, Some((-0.0302, 0.031))), "+0.0 [-3.0, 3.1] (3)");
    assert_eq!(shown(0.5, None), "+50.0 (3)");
}
