//! Other domains and other ways to evaluate: what is trained once is tested often.

use reid_results::{RunRow, read};

use super::program::Lab;
use super::{TINY, UNTRAINED};

/// A second domain of the built-in pictures, as small as the first.
const SECOND: &str = "{synthetic: {domain: second, size: [32, 16], train_identities: 6, validation_identities: 0, \
                      test_identities: 6, images_per_identity: 4, cameras: 2}}";

fn metric(row: &RunRow, name: &str) -> f64 {
    row.metrics.get(name).copied().unwrap_or(f64::NAN)
}

#[test]
fn a_trained_model_is_tested_on_another_domain_and_in_other_ways_without_training_again() {
    let lab = Lab::with("tiny.yaml", TINY);
    let args = ["tiny.yaml", "pretrain.objective=none"];
    assert_eq!(lab.done(&args).computed(), 2);
    let other = format!("test_on={{other: {SECOND}}}");
    let said = lab.done(&[args[0], args[1], &other]);
    assert_eq!((said.computed(), said.reused()), (1, 1), "{}", said.err);
    let rows = lab.rows("runs");
    let row = rows.iter().find(|row| row.dataset.contains(" to ")).expect("a row of both sets");
    assert_eq!(row.dataset, "synthetic-first to synthetic-second");
    assert!(metric(row, "test.map") > 0.0);
    assert!(!row.metrics.contains_key("validation.map"), "nothing is held out of another set: {:?}", row.metrics);

    lab.run(&["table"]).assert_error(2, &["would pool settings that differ", "dataset"]);

    // One training, and a table that does not mix what was measured otherwise.
    let ways = [
        ("flip_test=true", "mean with the mirror image"),
        ("reranking={k_reciprocal: {k1: 4, k2: 2}}", "re-ranked (Zhong, k1 4, k2 2, lambda 0.3)"),
        ("expansion={alpha: {k: 2}}", "expanded (k 2, alpha 3, rounds 1)"),
        ("average_precision=trapezoid", "AP by trapezoids"),
        ("cmc=single", "ranks among single shots"),
        ("same_camera=kept", "same identity and camera kept"),
    ];
    for (way, told) in ways {
        let said = lab.done(&[args[0], args[1], &format!("protocol.supervised.evaluation.{way}")]);
        assert_eq!((said.computed(), said.reused()), (1, 1), "{way}: {}", said.err);
        assert!(lab.rows("runs").iter().any(|row| row.protocol.contains(told)), "{told}");
    }
    let verified = lab.done(&[args[0], args[1], "protocol.supervised.evaluation.verification=true"]);
    assert_eq!(verified.computed(), 1);
    let rows = lab.rows("runs");
    let row = rows.iter().find(|row| row.metrics.contains_key("test.roc_auc")).expect("a verified run");
    assert!((0.0..=1.0).contains(&metric(row, "test.roc_auc")));
    assert!(metric(row, "test.tpr_fpr_1e4") <= metric(row, "test.tpr_fpr_1e2"));

    lab.run(&["table"]).assert_error(2, &["runs of different evaluation protocols cannot share a table"]);
}

/// A spec of domain adaptation: labels of the second domain, pictures of the first.
fn adaptation() -> String {
    let (head, supervised) = TINY.split_once("protocol:").expect("a protocol");
    let head = head.replace("validation_identities: 2", "validation_identities: 0");
    let usl = "usl: {train: {epochs: 2, batch: 4, lr: 1.0e-4, schedule: {steps: {}}, checkpoint_every: {steps: 3}}, \
               steps_per_epoch: 20, clusters_per_batch: 2, jaccard: {k1: 4, k2: 2}, dbscan: {eps: 0.7, min_samples: 2}, \
               augment: {pad: 2}}";
    let indented = supervised.replace('\n', "\n  ");
    format!("{head}protocol:\n  uda:\n    source: {SECOND}\n    {usl}{indented}\n")
}

#[test]
fn adaptation_trains_on_both_domains_and_reports_the_direct_transfer() {
    let lab = Lab::with("tiny.yaml", &adaptation());
    let said = lab.done(&["tiny.yaml", "pretrain.objective=none"]);
    assert_eq!(said.computed(), 4, "two trainings and two evaluations: {}", said.err);
    let rows = lab.rows("runs");
    let [row] = rows.as_slice() else { panic!("{} rows", rows.len()) };
    assert_eq!(row.dataset, "synthetic-second to synthetic-first");
    assert!(row.protocol.starts_with("class token after the neck"), "{}", row.protocol);
    assert!(row.labelled_identities.is_none(), "no label of the target is known");
    assert!(metric(row, "start.clusters") >= 2.0, "{:?}", row.metrics);
    let steps = read(&lab.path("runs/results")).and_then(|frames| frames.metrics()).expect("step metrics");
    let stages = steps.collect().expect("step metrics").column("stage").expect("a stage").unique().expect("stages");
    let stages = format!("{stages:?}");
    assert!(stages.contains("\"train\"") && stages.contains("\"train_source\""), "{stages}");

    // The source's training is that of the supervised protocol, and its evaluation the direct transfer.
    let (head, supervised) = TINY.split_once("protocol:").expect("a protocol");
    let target = head.split_once("data: ").expect("data").1.split_once("backbone").expect("a backbone").0;
    let target = target.replace("validation_identities: 2", "validation_identities: 0").replace('\n', " ");
    let head = head.replacen("name: tiny", "name: transfer", 1);
    let at = head.find("data: ").expect("data");
    let end = head.find("backbone").expect("a backbone");
    let transfer = format!(
        "{}data: {SECOND}\ntest_on: {{other: {target}}}\n{}protocol:{supervised}    evaluation: {{feature: after_neck, filter: bicubic}}\n",
        &head[..at],
        &head[end..]
    );
    lab.write("transfer.yaml", &transfer);
    let said = lab.done(&["transfer.yaml", "pretrain.objective=none"]);
    assert_eq!((said.computed(), said.reused()), (0, 2), "{}", said.err);
    let rows = lab.rows("runs");
    let direct = rows.iter().find(|row| row.experiment == "transfer").expect("the direct transfer");
    let adapted = rows.iter().find(|row| row.experiment == "tiny").expect("the adapted run");
    for name in ["map", "rank1", "minp"] {
        let (direct, told) = (metric(direct, &format!("test.{name}")), metric(adapted, &format!("source_only.{name}")));
        assert_eq!(direct.to_bits(), told.to_bits(), "{name}");
    }
    assert_eq!(lab.done(&["tiny.yaml", "pretrain.objective=none"]).computed(), 0);
    let shown = lab.done(&["tiny.yaml", "pretrain.objective=none", "table.metrics=[map, source_only.map]"]);
    assert!(shown.text().contains("source"), "{}", shown.text());
}

#[test]
fn what_does_not_fit_in_an_adaptation_is_said_at_its_place() {
    let lab = Lab::with("tiny.yaml", &adaptation());
    let check = |change: &str| lab.run(&["check", "tiny.yaml", change]);
    check("protocol.uda.usl.clusters_per_batch=3")
        .assert_error(3, &["a batch of 4 is not 3 clusters", "protocol.uda.usl"]);
    check("protocol.uda.supervised.identities_per_batch=3").assert_error(3, &["does not divide among 3 identities"]);
    check("protocol.uda.supervised.evaluation={flip_test: true}").assert_error(3, &["evaluated in two ways"]);
    check("protocol.uda.source={images: {root: .}}").assert_error(3, &["`images` has no names"]);
    check("test_on={other: {images: {root: .}}}").assert_error(3, &["`test_on`: `images` has nothing to test on"]);
}

/// Where hidden shares are known, mAP by them are means over their queries.
#[test]
fn queries_are_told_apart_by_how_much_is_hidden() {
    let lab = Lab::with("tiny.yaml", UNTRAINED);
    lab.done(&["tiny.yaml"]);
    let row = lab.rows("runs").remove(0);
    let queries = read(&lab.path("runs/results")).and_then(|frames| frames.queries()).expect("results");
    let queries = queries.collect().expect("rows");
    let column = |name: &str| queries.column(name).unwrap();
    let (split, hidden, ap) =
        (column("split").str().unwrap(), column("hidden").f64().unwrap(), column("ap").f64().unwrap());
    let names = ["map_hidden_low", "map_hidden_mid", "map_hidden_high"];
    let bounds = [1.0_f32 / 3.0, 0.5];
    let mut kinds = [(0.0, 0); 3];
    for at in (0..queries.height()).filter(|&at| split.get(at) == Some("occluded")) {
        let (share, ap) = (hidden.get(at).expect("known") as f32, ap.get(at).expect("a score"));
        if !ap.is_nan() {
            let kind: &mut (f64, u32) = &mut kinds[bounds.iter().filter(|&&bound| share >= bound).count()];
            *kind = (kind.0 + ap, kind.1 + 1);
        }
    }
    assert!(kinds.iter().filter(|(_, count)| *count > 0).count() >= 2, "of more than one kind: {kinds:?}");
    for (name, (sum, count)) in names.into_iter().zip(kinds) {
        let found = row.metrics.get(&format!("occluded.{name}")).copied();
        let expected = (count > 0).then(|| sum / f64::from(count));
        assert!(
            found.zip(expected).map_or(found == expected, |(a, b)| (a - b).abs() < 1e-12),
            "{name}: {found:?} {expected:?}"
        );
    }
}
