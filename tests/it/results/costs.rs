//! What a pre-training has cost, and what trials have chosen, in tables.

use reid_results::aggregate::Summary;
use reid_results::format::{Signs, amount};
use reid_results::{Costs, ResultsError};

use super::tables::{has_note, refusal, table};
use super::*;

/// [`sweep`] with pre-trainings of the given pictures, tokens and operations per point.
fn with_costs(costs: [(i64, i64, f64); 3]) -> Vec<RunRow> {
    let mut runs = sweep();
    for row in &mut runs {
        let (images, tokens, flops) = costs[row.point as usize];
        (row.images_pretrain, row.tokens_pretrain, row.flops_pretrain) = (Some(images), Some(tokens), Some(flops));
        row.seconds_pretrain = Some(if images == 0 { 0.0 } else { 88.7 + row.seed_pretrain as f64 });
    }
    runs
}

#[test]
fn costs_stand_beside_the_metrics_where_they_differ() {
    let runs = with_costs([(0, 0, 0.0), (61_440, 1_044_480, 1.23e12), (61_440, 552_960, 0.85e12)]);
    let options = TableOptions { costs: Costs::WhereTheyDiffer, width: Some(100), ..TableOptions::default() };
    let shown = text(&runs, &options);
    let lines: Vec<&str> = shown.lines().collect();
    for (line, expected) in [
        (1, "label mask_ratio mAP % rank-1 % images tokens FLOPs seconds"),
        (3, "none — 40.57 ± 0.47 (3) 50.57 ± 0.47 (3) 0 0 0 0"),
        (4, "person_mae 0.5 45.67 ± 0.44 (3) 55.67 ± 0.44 (3) 61k 1.0M 1.2T 90"),
        (5, "person_mae 0.75 58.70 ± 0.40 (3) 68.70 ± 0.40 (3) 61k 553k 850G 90"),
    ] {
        assert_eq!(lines[line].split_whitespace().collect::<Vec<_>>().join(" "), expected, "{shown}");
    }
    assert!(shown.contains("images, tokens, FLOPs and seconds are those of one pre-training"), "{shown}");
    // What was spent ranks no row.
    let table = table(&runs, &options);
    assert!(table.columns[2..].iter().all(|column| column.verdict.is_none()));

    // Equal costs need no columns, unless they are asked for; a table says what is asked by name once.
    let equal = with_costs([(0, 0, 0.0), (61_440, 1_044_480, 1.23e12), (61_440, 1_044_480, 1.23e12)]);
    let columns = |runs: &[RunRow], costs, metrics: &[&str]| {
        let metrics = metrics.iter().map(|name| (*name).to_owned()).collect();
        let options = TableOptions { costs, metrics, ..TableOptions::default() };
        tabulate(&frames(runs), &options).expect("the options fit the runs").columns.len()
    };
    assert_eq!(columns(&equal, Costs::WhereTheyDiffer, &["map"]), 1);
    assert_eq!(columns(&equal, Costs::Always, &["map", "seconds_pretrain"]), 5);
    assert_eq!(columns(&runs, Costs::Never, &["map"]), 1);
    // What is unknown does not differ.
    let mut unknown = runs.clone();
    for row in &mut unknown {
        row.images_pretrain = row.images_pretrain.filter(|_| row.point == 1);
    }
    assert_eq!(columns(&unknown, Costs::WhereTheyDiffer, &["map"]), 1);
}

#[test]
fn amounts_have_two_digits_and_a_sign() {
    let cases = [
        (0.0, "0"),
        (7.0, "7"),
        (7.36, "7.4"),
        (9.96, "10"),
        (89.4, "89"),
        (960.0, "960"),
        (999.4, "999"),
        (999.6, "1.0k"),
        (1000.0, "1.0k"),
        (6_144.0, "6.1k"),
        (61_440.0, "61k"),
        (614_400.0, "614k"),
        (999_600.0, "1.0M"),
        (3.94e6, "3.9M"),
        (1.2e12, "1.2T"),
        (3.1e21, "3.1Z"),
        (4.2e27, "4200Y"),
    ];
    for (value, expected) in cases {
        let summary = Summary { mean: Some(value), ..Summary::default() };
        assert_eq!(amount(&summary, Signs::UNICODE), expected, "{value}");
    }
    assert_eq!(amount(&Summary::default(), Signs::UNICODE), "—");
}

/// Trials of two rates for each point of [`sweep`], whose runs then have the first of them.
fn with_trials() -> Vec<RunRow> {
    let mut runs = sweep();
    for row in &mut runs {
        row.tuned.insert("train.lr".to_owned(), Scalar::Float(0.01));
    }
    for (candidate, rate) in [(0, 0.03), (1, 0.01)] {
        for mut row in sweep().into_iter().filter(|row| row.seed_pretrain == 0) {
            row.run_id = format!("{}-trial-{rate}", row.run_id);
            row.trial = Some(candidate);
            row.tuned.insert("train.lr".to_owned(), Scalar::Float(rate));
            row.metrics.insert("test.map".to_owned(), 0.99);
            runs.push(row);
        }
    }
    runs
}

#[test]
fn trials_have_a_table_of_their_own() {
    let runs = with_trials();
    let main = table(&runs, &TableOptions::default());
    let shorts: Vec<&str> = main.fields.iter().map(|field| field.short.as_str()).collect();
    assert_eq!(shorts, ["label", "mask_ratio"], "what was chosen is a note, not a field");
    assert!(main.rows.iter().all(|row| row.runs == 3 && row.cells[0].mean.is_some_and(|mean| mean < 0.6)));
    assert!(has_note(&main, "tuned on validation: person_mae, mask_ratio=0.5: train.lr=0.01"));
    let options = TableOptions { trials: true, split: "validation".to_owned(), ..TableOptions::default() };
    let trials = table(&runs, &options);
    let shorts: Vec<&str> = trials.fields.iter().map(|field| field.short.as_str()).collect();
    assert_eq!((shorts, trials.rows.len()), (vec!["label", "mask_ratio", "lr"], 6));
    // In the order of the grid, which is not that of the numbers.
    let rates: Vec<_> = trials.rows.iter().map(|row| row.key[2].clone()).collect();
    assert_eq!(rates, [0.03, 0.01].repeat(3).into_iter().map(|rate| Some(Scalar::Float(rate))).collect::<Vec<_>>());
    assert!(has_note(&trials, "choose nothing") && !has_note(&trials, "picks"));
    // A search that was repeated with another outcome leaves older rows behind, which do not count.
    let mut repeated = runs;
    for mut row in sweep() {
        row.run_id = format!("{}-again", row.run_id);
        row.started_at += 1;
        row.tuned.insert("train.lr".to_owned(), Scalar::Float(0.03));
        repeated.push(row);
    }
    let main = table(&repeated, &TableOptions::default());
    assert!(main.rows.iter().all(|row| row.runs == 3));
    assert!(has_note(&main, "tuned on validation: none: train.lr=0.03"));
    assert!(matches!(refusal(&sweep(), &options), ResultsError::NoRuns { .. }));
}
