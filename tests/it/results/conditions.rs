//! Which runs a table shows.

use reid_results::{Condition, ResultsError, TableRow};

use super::*;

fn shown(conditions: &[&str]) -> Result<Vec<TableRow>, ResultsError> {
    let mut runs = sweep();
    runs[4].seed_downstream = 77;
    let conditions = conditions.iter().map(|text| text.parse::<Condition>()).collect::<Result<_, _>>()?;
    tabulate(&frames(&runs), &TableOptions { conditions, ..TableOptions::default() }).map(|table| table.rows)
}

fn counts(conditions: &[&str]) -> Vec<usize> {
    shown(conditions).expect("some runs meet them").iter().map(|row| row.runs).collect()
}

#[test]
fn fields_and_metrics_choose_runs() {
    assert_eq!(counts(&[]), [3, 3, 3]);
    assert_eq!(counts(&["label=none"]), [3]);
    assert_eq!(counts(&["label != none"]), [3, 3]);
    assert_eq!(counts(&["mask_ratio=0.5"]), [3]);
    assert_eq!(counts(&["mask_ratio=0.50"]), [3], "numbers are compared as numbers");
    assert_eq!(counts(&["mask_ratio!=0.5"]), [3, 3], "what has no mask ratio has none of 0.5");
    assert_eq!(counts(&["mask_ratio>0.5"]), [3]);
    assert_eq!(counts(&["mask_ratio<=0.75"]), [3, 3]);
    assert_eq!(counts(&["map<0.45"]), [3], "a metric of the split, as it is stored");
    assert_eq!(counts(&["test.map>=0.4", "seed_pretrain=0"]), [1, 1, 1]);
    assert_eq!(counts(&["validation.map>0.6"]), [3]);
}

#[test]
fn conditions_that_mean_nothing_are_errors() {
    let error = |text: &str| shown(&[text]).expect_err("nothing is chosen by it").to_string();
    for text in ["mask_ratio", "=0.5", "mask_ratio=", "map>good", "!label", "label~none"] {
        assert!(error(text).starts_with(&format!("`{text}` is no condition; write `field=value`")), "{}", error(text));
    }
    assert!(
        error("mask_ration=0.5").starts_with("unknown field `mask_ration`; fields:"),
        "{}",
        error("mask_ration=0.5")
    );
    assert_eq!(error("label=mea"), "no runs to tabulate: none of 9 meets label=mea");
}

/// Runs of another device or instruction set than the newest are marked: their numbers are promised to be near, not equal.
#[test]
fn other_machines_are_marked() {
    let mut runs = sweep();
    for row in &mut runs {
        row.started_at += row.point * 10 + row.seed_pretrain;
    }
    runs[0].device = "cuda".to_owned();
    runs[4].instruction_set = "neon".to_owned();
    let table = tabulate(&frames(&runs), &TableOptions::default()).expect("a table");
    let daggers: Vec<bool> = table.rows.iter().map(|row| row.dagger).collect();
    assert_eq!(daggers, [true, true, false]);
    let notes = table.notes.join("\n");
    assert!(notes.contains("† computed on cuda, avx2, newest run on cpu, avx2 (1 run(s))"), "{notes}");
    assert!(notes.contains("† computed on cpu, neon, newest run on cpu, avx2 (1 run(s))"), "{notes}");
}
