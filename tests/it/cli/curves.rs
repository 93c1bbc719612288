//! Evaluation points: learning curves on the validation part.

use polars::prelude::*;
use reid_results::read;

use super::TINY;
use super::program::Lab;

/// Steps and values of the curve of a stage.
fn curve(lab: &Lab, stage: &str) -> Vec<(i64, f64)> {
    let steps = read(&lab.path("runs/results")).expect("results").metrics().expect("step metrics");
    let rows = steps.filter(col("stage").eq(lit(stage)).and(col("metric").eq(lit("validation.map"))));
    let rows = rows.collect().expect("rows");
    let (step, value) = (rows.column("step").expect("steps"), rows.column("value").expect("values"));
    let values = value.f64().expect("numbers").into_no_null_iter();
    step.i64().expect("numbers").into_no_null_iter().zip(values).collect()
}

#[test]
fn evaluation_points_draw_a_curve_and_change_nothing_else() {
    let plain = Lab::with("tiny.yaml", TINY);
    plain.done(&["tiny.yaml"]);
    assert!(curve(&plain, "pretrain").is_empty() && curve(&plain, "train").is_empty());

    let lab = Lab::with("tiny.yaml", TINY);
    let points =
        ["pretrain.train.evaluate_every={fraction: 0.5}", "protocol.supervised.train.evaluate_every={epochs: 1}"];
    lab.done(&["tiny.yaml", points[0], points[1]]);
    assert_eq!(curve(&lab, "pretrain").len(), 2);
    let training = curve(&lab, "train");
    assert_eq!(training.len(), 2);
    assert!(training[0].0 < training[1].0, "{training:?}");

    let (expected, found) = (&plain.rows("runs")[0].metrics, &lab.rows("runs")[0].metrics);
    assert_eq!(expected, found, "looking changes nothing");
    // The last point sees the model that the evaluation stage sees.
    assert_eq!(training[1].1.to_bits(), found["validation.map"].to_bits());

    // Points are part of what a stage is, since its curve is.
    let again = lab.done(&["tiny.yaml"]);
    assert_eq!(again.computed(), 3);
}

#[test]
fn evaluation_points_need_a_validation_part() {
    let lab = Lab::with("tiny.yaml", &TINY.replace("validation_identities: 2", "validation_identities: 0"));
    lab.done(&["tiny.yaml"]);
    let asked = lab.run(&["tiny.yaml", "pretrain.train.evaluate_every={epochs: 1}"]);
    asked.assert_error(100, &["`evaluate_every`", "no validation part", "`validation: {identities: 0.1}`"]);
}
