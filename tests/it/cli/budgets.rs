//! Budgets of a pre-training, and what its results say that it has cost.

use polars::prelude::{col, lit};
use reid_backbones::spec::BackboneSpec;
use reid_experiments::spec::RunSpec;
use reid_objectives::cost::cost;
use reid_results::{RunRow, read};

use super::TINY;
use super::program::{Lab, checkpoints};

/// Pictures of the pool of [`TINY`], and of one step.
const POOL: i64 = 6 * 4 * 10;
const BATCH: i64 = 16;

/// The only row of a store.
fn row(lab: &Lab) -> RunRow {
    let rows = lab.rows("runs");
    assert_eq!(rows.len(), 1);
    rows.into_iter().next().expect("one row")
}

/// The encoder's weights and the step metrics of the pre-trainings of a store.
fn encoders(lab: &Lab) -> Vec<Vec<u8>> {
    lab.artefacts("runs")
        .into_iter()
        .filter(|(name, _)| name.ends_with("encoder.safetensors"))
        .map(|(_, b)| b)
        .collect()
}

#[test]
fn a_budget_may_end_inside_an_epoch_and_rows_say_what_was_spent() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml", "pretrain.budget={images: 300}"]);
    let spent = row(&lab);
    let images = 19 * BATCH;
    assert!(images > POOL && images % POOL != 0);
    let spec: RunSpec = serde_json::from_str(&spent.config_json).expect("a spec");
    let BackboneSpec::Vit(vit) = &spec.backbone;
    let one = cost(&spec.pretrain.objective, vit).expect("a cost");
    assert_eq!(spent.images_pretrain, Some(images));
    assert_eq!(spent.tokens_pretrain, Some(images * one.encoder_tokens as i64));
    assert_eq!(spent.flops_pretrain, Some(images as f64 * one.flops));
    assert!(spent.seconds_pretrain.is_some_and(|seconds| seconds > 0.0));
    assert!(spent.seconds_train.is_some_and(|seconds| seconds > 0.0));
    // The last step metrics are of the second epoch.
    let steps = read(&lab.path("runs/results")).and_then(|frames| frames.metrics()).expect("metrics");
    let steps = steps.filter(col("stage").eq(lit("pretrain"))).collect().expect("rows");
    let epochs = steps.column("epoch").expect("epochs").i64().expect("numbers").iter().flatten().max();
    assert_eq!(epochs, Some(1));

    // The same number of steps is the same training, whatever has been counted.
    for budget in [
        format!("encoder_tokens: {}", images * one.encoder_tokens as i64),
        format!("flops: {}", images as f64 * one.flops - 1.0),
        format!("images: {}", images - BATCH + 1),
    ] {
        let said = lab.done(&["tiny.yaml", &format!("pretrain.budget={{{budget}}}")]);
        assert_eq!(said.computed(), 0, "{budget}");
    }
}

#[test]
fn whole_epochs_are_the_same_however_they_are_given() {
    let lab = Lab::with("tiny.yaml", &TINY.replace("epochs: 1, batch: 16", "epochs: 2, batch: 16"));
    lab.done(&["tiny.yaml", "protocol=frozen"]);
    assert_eq!(
        lab.done(&["tiny.yaml", "protocol=frozen", "pretrain.train.epochs=9", "pretrain.budget={epochs: 2}"])
            .computed(),
        0
    );
    // As steps it is another key, and the same bits: schedules and order do not know what they are counted in.
    let steps = lab.done(&["tiny.yaml", "protocol=frozen", &format!("pretrain.budget={{images: {}}}", 2 * POOL)]);
    assert_eq!(steps.computed(), 2);
    let encoders = encoders(&lab);
    assert_eq!(encoders.len(), 2);
    assert!(encoders[0] == encoders[1], "the same number of steps gives other weights");
}

#[test]
fn a_budget_is_resumed_where_it_stood() {
    let budget = [
        "tiny.yaml",
        "pretrain.budget={images: 300}",
        "protocol=frozen",
        "pretrain.train.batch=4",
        "pretrain.train.checkpoint_every={steps: 3}",
    ];
    let unbroken = Lab::with("tiny.yaml", TINY);
    let table = unbroken.done(&budget).text().to_owned();

    let broken = Lab::with("tiny.yaml", TINY);
    for _ in 0..2 {
        let mut running = broken.start(&budget);
        let before = checkpoints(&broken.path("runs"));
        running.wait_until(|| checkpoints(&broken.path("runs")).difference(&before).next().is_some());
        running.kill();
    }
    assert_eq!(broken.done(&budget).text(), table);
    assert_eq!(broken.artefacts("runs"), unbroken.artefacts("runs"));
}

#[test]
fn no_pretraining_costs_nothing() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.done(&["tiny.yaml", "pretrain.objective=none", "pretrain.budget={flops: 1e9}"]);
    let row = row(&lab);
    assert_eq!((row.images_pretrain, row.tokens_pretrain), (Some(0), Some(0)));
    assert_eq!((row.flops_pretrain, row.seconds_pretrain), (Some(0.0), Some(0.0)));
    assert!(row.seconds_train.is_some() && row.images_seen > Some(0));
}

#[test]
fn tables_show_costs_where_they_differ_or_are_asked_for() {
    let sweep = "sweep: {list: [{pretrain.objective: none}, {}, {label: longer, pretrain.budget: {images: 300}}]}\n";
    let lab = Lab::with("tiny.yaml", &format!("{TINY}{sweep}table: {{metrics: [map, rank1]}}\n"));
    // One pre-training beside `none` leaves nothing to compare.
    let alone = lab.done(&["tiny.yaml", "~sweep", "name=alone"]);
    assert!(!alone.text().contains("FLOPs"), "{}", alone.text());
    let asked = lab.done(&["table", "--experiment", "alone", "--cost"]);
    assert!(asked.text().contains("FLOPs"), "{}", asked.text());

    let said = lab.done(&["tiny.yaml"]);
    let head = said.text().lines().nth(1).expect("a heading").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(head, "label mAP % rank-1 % images tokens FLOPs seconds", "{}", said.text());
    assert!(said.text().lines().all(|line| line.chars().count() <= 80), "{}", said.text());
    let cells = |label: &str| -> Vec<String> {
        let line = said.text().lines().find(|line| line.starts_with(label)).expect("a row");
        line.split_whitespace().rev().skip(1).take(3).map(str::to_owned).collect()
    };
    assert_eq!(cells("none"), ["0", "0", "0"]);
    assert_eq!(cells("person_mae")[2], "240");
    assert_eq!(cells("longer")[2], "304");
    assert!(said.text().contains("images, tokens, FLOPs and seconds are those of one pre-training"), "{}", said.text());
    let never = lab.done(&["table", "tiny.yaml", "--cost=never"]);
    assert!(!never.text().contains("FLOPs"), "{}", never.text());
    let csv = lab.done(&["table", "tiny.yaml", "--format", "csv"]);
    assert!(csv.text().contains("images_pretrain.mean") && csv.text().contains("flops_pretrain.mean"));
}

#[test]
fn a_budget_that_nothing_can_spend_is_a_mistake_of_the_spec() {
    let lab = Lab::with("tiny.yaml", TINY);
    lab.run(&["check", "tiny.yaml", "pretrain.budget={images: 0}"])
        .assert_error(3, &["pretrain.budget.images", "between"]);
    lab.run(&["check", "tiny.yaml", "pretrain.budget=images"]).assert_error(3, &["needs a number", "{images: 1}"]);
    lab.run(&["check", "tiny.yaml", "pretrain.budget={hours: 3}"])
        .assert_error(3, &["cannot be `hours`", "encoder_tokens"]);
}
