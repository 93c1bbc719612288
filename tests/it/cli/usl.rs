//! Unsupervised ReID by clustering, from spec to table.

use super::TINY;
use super::program::Lab;

/// The tiny spec with clusters instead of labels; random weights are enough to cluster something.
fn spec(usl: &str) -> String {
    let (head, _) = TINY.split_once("protocol:").expect("a protocol");
    let head = head.replace("cameras: 2}}", "cameras: 2}}\nvalidation: {identities: 0}");
    format!("{head}protocol: {{usl: {{{usl}}}}}\n")
}

const CLUSTERED: &str = "train: {epochs: 3, batch: 4, lr: 1.0e-4, schedule: {steps: {every: {epochs: 2}, factor: 0.5}}, \
                         checkpoint_every: {steps: 3}}, steps_per_epoch: 40, clusters_per_batch: 2, \
                         jaccard: {k1: 4, k2: 2}, dbscan: {eps: 0.7, min_samples: 2}, augment: {pad: 2}";

#[test]
fn clusters_are_trained_on_evaluated_and_reported() {
    let lab = Lab::with("tiny.yaml", &spec(CLUSTERED));
    let said = lab.done(&["tiny.yaml", "table.metrics=[map, start.cluster_ari, end.clusters]"]);
    assert!(said.err.contains("train person_mae s0: 120 steps"), "{}", said.err);
    assert!(said.text().contains("ARI"), "{}", said.text());
    let rows = lab.rows("runs");
    let row = &rows[0];
    assert!(row.protocol.starts_with("class token after the neck"), "{}", row.protocol);
    assert!(row.labelled_identities.is_none(), "no label is known");
    let metric = |name: &str| row.metrics.get(name).copied().unwrap_or(f64::NAN);
    for end in ["start", "end"] {
        assert!(metric(&format!("{end}.clusters")) >= 2.0, "{:?}", row.metrics);
        assert!(metric(&format!("{end}.outliers")) < 24.0);
        assert!((-1.0..=1.0).contains(&metric(&format!("{end}.cluster_ari"))));
    }
    assert_eq!(lab.done(&["tiny.yaml"]).computed(), 0);
}

#[test]
fn a_training_on_clusters_that_is_killed_goes_on_to_the_same_bits() {
    let spec = spec(CLUSTERED);
    let unbroken = Lab::with("tiny.yaml", &spec);
    unbroken.done(&["tiny.yaml", "pretrain.objective=none"]);
    let broken = Lab::with("tiny.yaml", &spec);
    let mut running = broken.start(&["tiny.yaml", "pretrain.objective=none"]);
    running.wait_until(|| !super::program::checkpoints(&broken.path("runs")).is_empty());
    running.kill();
    broken.done(&["tiny.yaml", "pretrain.objective=none"]);
    assert_eq!(unbroken.artefacts("runs"), broken.artefacts("runs"));
}

#[test]
fn a_run_without_clusters_has_failed_and_says_what_to_change() {
    let lab = Lab::with("tiny.yaml", &spec(&CLUSTERED.replace("min_samples: 2", "min_samples: 20")));
    let said = lab.run(&["tiny.yaml", "pretrain.objective=none"]);
    said.assert_error(100, &["epoch 0: no clusters, all 24 pictures are outliers", "protocol.usl.dbscan.eps"]);
    assert_eq!(lab.rows("runs")[0].status.name(), "failed");
}

#[test]
fn settings_that_cannot_work_are_found_before() {
    let lab = Lab::with("tiny.yaml", &spec(&CLUSTERED.replace("clusters_per_batch: 2", "clusters_per_batch: 3")));
    lab.run(&["check", "tiny.yaml"]).assert_error(3, &["a batch of 4 is not 3 clusters"]);
    let wide = Lab::with("tiny.yaml", &spec(&CLUSTERED.replace("k1: 4", "k1: 9")));
    let said = wide.done(&["check", "tiny.yaml"]);
    assert!(said.err.contains("9 neighbours are more than twice the 4 pictures"), "{}", said.err);
}

/// One memory of a labelled source and of the clusters of the run's own pictures.
#[test]
fn both_domains_are_learnt_from_at_once_and_a_kill_changes_nothing() {
    let (head, _) = TINY.split_once("protocol:").expect("a protocol");
    let source = "{synthetic: {domain: second, size: [32, 16], train_identities: 6, validation_identities: 0, \
                  test_identities: 6, images_per_identity: 4, cameras: 2}}";
    let spcl = "train: {epochs: 3, batch: 16, lr: 1.0e-4, schedule: {warmup_cosine: {}}, checkpoint_every: {steps: 3}}, \
                steps_per_epoch: 30, identities_per_batch: 4, jaccard: {k1: 4, k2: 2}, \
                dbscan: {eps: 0.7, min_samples: 2}, augment: {pad: 2}";
    let spec = format!("{head}train_with: [{source}]\nprotocol: {{spcl: {{{spcl}}}}}\n");
    let args = ["tiny.yaml", "pretrain.objective=none", "table.metrics=[map, start.clusters, end.cluster_nmi]"];
    let unbroken = Lab::with("tiny.yaml", &spec);
    let said = unbroken.done(&args);
    assert!(said.err.contains("train none s0: 90 steps"), "{}", said.err);
    let row = unbroken.rows("runs").remove(0);
    assert!(row.metrics["start.clusters"] >= 2.0, "{:?}", row.metrics);
    assert!(row.metrics["test.map"] > 0.0);

    let broken = Lab::with("tiny.yaml", &spec);
    let mut running = broken.start(&args);
    running.wait_until(|| !super::program::checkpoints(&broken.path("runs")).is_empty());
    running.kill();
    broken.done(&args);
    assert_eq!(unbroken.artefacts("runs"), broken.artefacts("runs"));

    unbroken.run(&["check", "tiny.yaml", "train_with=[]"]).assert_error(3, &["needs", "train_with"]);
}
