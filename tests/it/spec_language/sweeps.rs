//! Points of a sweep, their order, names and values.

use reid_experiments::Experiment;
use serde_json::json;

use super::{BASE, load_text, valid};

fn points(experiment: &Experiment) -> Vec<(String, serde_json::Value)> {
    let mut points: Vec<_> = experiment.runs.iter().map(|run| (run.point, run)).collect();
    points.dedup_by_key(|(point, _)| *point);
    points.into_iter().map(|(_, run)| (run.label.clone(), json!(run.varied))).collect()
}

#[test]
fn a_list_mixes_baselines_and_a_grid() {
    let experiment = valid("ablation.yaml");
    let ratio = "pretrain.objective.person_mae.mask_ratio";
    let mae = "pretrain.objective.mae.mask_ratio";
    let expected = [
        ("untrained", json!({"pretrain.objective": "none", "protocol": "frozen"})),
        ("none", json!({"pretrain.objective": "none", "protocol": "supervised"})),
        ("person_mae", json!({"pretrain.objective": "person_mae", "protocol": "supervised", ratio: 0.25})),
        ("person_mae", json!({"pretrain.objective": "person_mae", "protocol": "supervised", ratio: 0.5})),
        ("person_mae", json!({"pretrain.objective": "person_mae", "protocol": "supervised", ratio: 0.75})),
        ("mae", json!({"pretrain.objective": "mae", "protocol": "supervised", mae: 0.6, ratio: 0.6})),
    ];
    let found = points(&experiment);
    let found: Vec<(&str, serde_json::Value)> =
        found.iter().map(|(label, varied)| (label.as_str(), varied.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!(experiment.swept, ["pretrain.objective", "protocol", ratio, mae]);
    let seeds: Vec<u64> = experiment.runs.iter().map(|run| run.seeds.pretrain).collect();
    assert_eq!(seeds, [0, 1, 2].repeat(6));
    assert!(!experiment.nested_seeds);
}

#[test]
fn parts_multiply_in_order_and_the_same_point_runs_once() {
    let experiment = valid("product.yaml");
    let size = |point: &serde_json::Value| point["backbone.vit.size"].as_str().unwrap().to_owned();
    let rows: Vec<String> = points(&experiment)
        .iter()
        .map(|(label, point)| {
            let ratio = &point["pretrain.objective.person_mae.mask_ratio"];
            format!("{label} {} {ratio} {}", size(point), point["protocol"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        rows,
        [
            "none micro null supervised",
            "none tiny null supervised",
            "person_mae micro 0.25 supervised",
            "person_mae micro 0.25 frozen",
            "person_mae tiny 0.25 supervised",
            "person_mae micro 0.75 supervised",
            "person_mae micro 0.75 frozen",
            "person_mae tiny 0.75 supervised",
        ]
    );
    assert!(experiment.nested_seeds);
    let seeds: Vec<_> = experiment.runs[..4].iter().map(|run| (run.seeds.pretrain, run.seeds.downstream)).collect();
    assert_eq!(seeds, [(0, 10), (0, 11), (1, 10), (1, 11)]);
    assert!(experiment.warnings.is_empty());
}

#[test]
fn whole_choices_with_the_same_name_are_told_apart() {
    let sweep = "sweep: {grid: {pretrain.objective: [mae, {mae: {mask_ratio: 0.5}}, none]}}";
    let experiment = load_text(&format!("{BASE}{sweep}"), &[]).unwrap();
    let names: Vec<_> = experiment.runs.iter().map(|run| run.varied["pretrain.objective"].clone()).collect();
    assert_eq!(names, ["mae", "mae {mask_ratio:0.5}", "none"]);
    let labels: Vec<_> = experiment.runs.iter().map(|run| run.label.as_str()).collect();
    assert_eq!(labels, ["mae", "mae", "none"]);
}

#[test]
fn a_map_of_settings_is_named_by_the_fields_in_it() {
    let sweep = "sweep:
  list:
    - {label: whole, pretrain.objective.person_mae: {region: same, feature_ramp: {epochs: 3}}}
    - {label: nested, pretrain.objective: {person_mae: {mask_ratio: 0.5}}, pretrain.train: {batch: 16}}
    - grid: {pretrain.objective.person_mae.mask_ratio: [0.25, 0.75]}
";
    let experiment = load_text(&format!("{BASE}{sweep}"), &[]).unwrap();
    let of = |field: &str| format!("pretrain.objective.person_mae.{field}");
    let names: Vec<&str> = experiment.runs[0].varied.keys().map(String::as_str).collect();
    let (ramp, ratio, region) = (of("feature_ramp"), of("mask_ratio"), of("region"));
    assert_eq!(names, ["pretrain.objective", &ramp, &ratio, &region, "pretrain.train.batch"]);
    assert_eq!(experiment.runs[0].varied[&region], "same");
    assert_eq!(experiment.runs[0].varied[&ramp], "epochs 3");
    assert_eq!(experiment.runs[1].varied["pretrain.train.batch"], 16);
    let tables = experiment.runs.iter().flat_map(|run| run.varied.values());
    assert!(tables.into_iter().all(|value| !value.is_object()));
}

#[test]
fn durations_and_lists_can_be_swept() {
    let sweep = "sweep:
  grid:
    pretrain.objective.person_mae.feature_ramp: [{fraction: 0.1}, {epochs: 3}]
    backbone.vit.image: [[64, 32], [128, 64]]
";
    let experiment = load_text(&format!("{BASE}{sweep}"), &[]).unwrap();
    assert_eq!(experiment.runs.len(), 4);
    let varied = &experiment.runs[1].varied;
    assert_eq!(varied["pretrain.objective.person_mae.feature_ramp"], "fraction 0.1");
    assert_eq!(varied["backbone.vit.image"], json!([128, 64]));
}

#[test]
fn a_sweep_may_supply_what_the_file_does_not_say() {
    let text = BASE.replace("objective: {person_mae: {mask_ratio: 0.5}}, ", "");
    assert!(load_text(&text, &[]).is_err());
    let sweep = "sweep: {grid: {pretrain.objective: [none, mae]}}";
    assert_eq!(load_text(&format!("{text}{sweep}"), &[]).unwrap().runs.len(), 2);
}

#[test]
fn exclusions_may_remove_points_that_break_a_rule() {
    let sweep = "sweep: {grid: {backbone.vit.patch: [8, 16, 24]}, exclude: [{backbone.vit.patch: 24}, {backbone.vit.patch: 16}]}";
    assert_eq!(load_text(&format!("{BASE}{sweep}"), &[]).unwrap().runs.len(), 1);
}

#[test]
fn exclusions_may_name_points() {
    let sweep = "sweep: {grid: {backbone.vit.patch: [8, 16]}, list: [{label: a, pretrain.train.batch: 8}, {label: b, \
                 pretrain.train.batch: 16}], exclude: [{label: b, backbone.vit.patch: 8}]}";
    let experiment = load_text(&format!("{BASE}{sweep}"), &[]).unwrap();
    let labels: Vec<&str> = experiment.runs.iter().map(|run| run.label.as_str()).collect();
    assert_eq!(labels, ["a", "a", "b"]);
}

#[test]
fn thousands_of_points_are_quick_and_more_are_refused() {
    let sweep = |n: usize| {
        let seeds: Vec<String> = (0..n).map(|i| i.to_string()).collect();
        format!("{BASE}sweep: {{grid: {{data.synthetic.seed: [{}]}}}}\nseeds: [0, 1]", seeds.join(", "))
    };
    assert_eq!(load_text(&sweep(1000), &[]).unwrap().runs.len(), 2000);
    assert_eq!(super::codes(&load_text(&sweep(5001), &[]).unwrap_err()), ["spec::sweep-too-large"]);
}

#[test]
fn epochs_are_named_by_their_number_and_none_is_taken_of_nothing() {
    let sweep = "sweep: {list: [{pretrain.objective: none, grid: {pretrain.take: [{epoch: 4}, last]}}, \
                 {grid: {pretrain.take: [{epoch: 4}, {epoch: 50}, last], pretrain.keep_every: [never]}}]}";
    let experiment = load_text(&format!("{BASE}{sweep}"), &[]).unwrap();
    let take = |run: &reid_experiments::ResolvedRun| run.varied.get("pretrain.take").cloned();
    let found: Vec<_> = experiment.runs.iter().map(|run| (run.label.as_str(), take(run))).collect();
    // The last epoch by its number is the last, and a random encoder has no epochs.
    assert_eq!(found, [("none", None), ("person_mae", Some(json!("epoch 4"))), ("person_mae", Some(json!("last")))]);
    let by_number = "sweep: {grid: {pretrain.take.epoch: [4, 8]}}";
    let experiment = load_text(&format!("{BASE}{by_number}"), &[]).unwrap();
    let epochs: Vec<_> = experiment.runs.iter().map(|run| run.varied["pretrain.take.epoch"].clone()).collect();
    assert_eq!(epochs, [4, 8]);
}

#[test]
fn a_frozen_encoder_is_shown_pictures_as_in_its_pretraining() {
    let spec = BASE.replace("protocol: {supervised: {train: {epochs: 60}}}", "protocol: frozen");
    let resolved = |overrides: &[&str]| {
        let experiment = load_text(&spec, overrides).unwrap();
        serde_json::to_value(&experiment.runs[0].spec.protocol).unwrap()["frozen"]["normalisation"].clone()
    };
    assert_eq!(resolved(&[]), "imagenet");
    assert_eq!(resolved(&["pretrain.objective.person_mae.normalisation=half"]), "half");
    assert_eq!(resolved(&["pretrain.objective=none"]), "half");
    assert_eq!(resolved(&["pretrain.objective=none", "protocol.frozen.normalisation=imagenet"]), "imagenet");
    // As in pre-training and by its own name, it is one point.
    let sweep = "sweep: {grid: {protocol.frozen.normalisation: [pretrain, imagenet, half]}}";
    let experiment = load_text(&format!("{spec}{sweep}"), &[]).unwrap();
    let names: Vec<_> = experiment.runs.iter().map(|run| run.varied["protocol.frozen.normalisation"].clone()).collect();
    assert_eq!(names, ["imagenet", "half"]);
}

/// Points that differ deep in a long choice are two settings, named by what differs.
#[test]
fn long_choices_are_told_apart_by_the_fields_that_differ() {
    let usl = |temperature: f64, rest: &str| {
        format!(
            "{{usl: {{train: {{epochs: 3, batch: 64, lr: 1.0e-3, schedule: {{steps: {{every: {{epochs: 2}}}}}}}}, \
             steps_per_epoch: 20, clusters_per_batch: 16, jaccard: {{k1: 8, k2: 3}}, \
             memory: {{temperature: {temperature}}}{rest}}}}}"
        )
    };
    let spec = format!(
        "{BASE}sweep: {{grid: {{protocol: [{}, {}, frozen]}}}}\n",
        usl(0.05, ""),
        usl(0.3, ", singleton: repeated")
    );
    let experiment = load_text(&spec, &[]).expect("a spec");
    let names: Vec<_> = experiment.runs.iter().map(|run| run.varied["protocol"].clone()).collect();
    assert_eq!(names, ["usl memory.temperature 0.05", "usl memory.temperature 0.3, singleton repeated", "frozen"]);
}

#[test]
fn an_entry_may_have_seeds_of_its_own() {
    let entries = "{label: a, pretrain.train.batch: 8}, {label: b, pretrain.train.batch: 16, seeds: [7]}, \
                   {label: c, seeds: {pretrain: [1], downstream: [2, 3]}, grid: {pretrain.train.batch: [32, 64]}}";
    let text = format!("{BASE}sweep: {{list: [{entries}]}}\nseeds: [0, 1]");
    let seeds = |experiment: &Experiment| -> Vec<String> {
        let of = |run: &reid_experiments::ResolvedRun| {
            format!("{}{}{}", run.label, run.seeds.pretrain, run.seeds.downstream)
        };
        experiment.runs.iter().map(of).collect()
    };
    let experiment = load_text(&text, &[]).unwrap();
    assert_eq!(seeds(&experiment), ["a00", "a11", "b77", "c12", "c13", "c12", "c13"]);
    assert!(experiment.nested_seeds);
    // The command line means all runs.
    assert_eq!(seeds(&load_text(&text, &["seeds=[5]"]).unwrap()), ["a55", "b55", "c55", "c55"]);

    let refused =
        |entries: &str| super::codes(&load_text(&format!("{BASE}sweep: {{list: [{entries}]}}"), &[]).unwrap_err());
    assert_eq!(refused("{label: a, seeds: []}"), ["spec::no-seeds"]);
    assert_eq!(refused("{label: a, seeds: 3}"), ["spec::wrong-type"]);
    assert_eq!(refused("{label: a, seeds: [1]}, {label: a, seeds: [2]}"), ["spec::same-point"]);
    let many: Vec<String> = (0..10_001).map(|seed| seed.to_string()).collect();
    assert_eq!(refused(&format!("{{label: a, seeds: [{}]}}", many.join(", "))), ["spec::sweep-too-large"]);
}
