//! Frozen encoders, probes and subsets of labels, from spec to table.

use super::TINY;
use super::program::Lab;

/// The tiny spec with another protocol.
fn with_protocol(protocol: &str) -> String {
    let (head, _) = TINY.split_once("protocol:").expect("a protocol");
    format!("{head}protocol: {protocol}\n")
}

#[test]
fn poolings_and_probes_of_one_encoder_share_a_table() {
    let sweep = "sweep: {list: [{grid: {protocol.frozen.pooling: [cls, avg, max, cls_avg]}}, {label: probe, \
                 protocol.frozen.probe: {linear: {width: 16, train: {epochs: 4, batch: 8}}}}]}\n";
    let lab = Lab::with("tiny.yaml", &format!("{}{sweep}", with_protocol("frozen")));
    let said = lab.done(&["tiny.yaml"]);
    assert!(said.err.contains("5 runs: 7 stages computed"), "{}", said.err);
    for part in ["pooling", "cls_avg", "probe"] {
        assert!(said.text().contains(part), "no {part:?} in:\n{}", said.text());
    }
    let rows = lab.rows("runs");
    let protocols: Vec<&str> = rows.iter().filter_map(|row| row.protocol.split(',').next()).collect();
    for expected in ["class token before the neck", "mean of the patches", "linear probe of the class token before"] {
        assert!(protocols.iter().any(|protocol| protocol.starts_with(expected)), "no {expected:?} in {protocols:?}");
    }
    // What the probe was trained on is in its row, and the encoder is shown pictures as in its pre-training.
    let probe = rows.iter().find(|row| row.label == "probe").expect("a row");
    assert_eq!((probe.labelled_identities, probe.labelled_images), (Some(6), Some(24)));
    assert!(probe.stage_train.is_some());
    assert!(rows.iter().all(|row| row.config_json.contains("\"normalisation\":\"imagenet\",\"probe\"")));
    assert_eq!(lab.done(&["tiny.yaml"]).computed(), 0);
}

#[test]
fn a_probe_that_is_interrupted_goes_on_to_the_same_bits() {
    let probe = "{frozen: {probe: {linear: {width: 16, train: {epochs: 400, batch: 8, \
                 checkpoint_every: {steps: 50}}}}}}";
    let spec = with_protocol(probe).replace("objective: {person_mae", "objective: none\n  #{person_mae");
    let spec: String =
        spec.lines().filter(|line| !line.contains("decoder")).fold(String::new(), |all, line| all + line + "\n");
    let unbroken = Lab::with("tiny.yaml", &spec);
    unbroken.done(&["tiny.yaml"]);
    assert_eq!(unbroken.rows("runs")[0].label, "none", "a probe has been trained");

    let broken = Lab::with("tiny.yaml", &spec);
    let mut running = broken.start(&["tiny.yaml"]);
    running.wait_until(|| !super::program::checkpoints(&broken.path("runs")).is_empty());
    running.kill();
    broken.done(&["tiny.yaml"]);
    assert_eq!(unbroken.artefacts("runs"), broken.artefacts("runs"));
}

#[test]
fn few_labels_are_counted_and_said() {
    let labels = "protocol.supervised.labels={identities: 0.67, images_per_identity: 2}";
    let lab = Lab::with("tiny.yaml", &format!("{TINY}seeds: [0, 1]\n"));
    let said = lab.done(&["tiny.yaml", "pretrain.objective=none", labels]);
    assert!(said.err.contains("train none s0: labels of 4 of 6 identities, 8 of 24 pictures"), "{}", said.err);
    for row in lab.rows("runs") {
        assert_eq!((row.labelled_identities, row.labelled_images), (Some(4), Some(8)));
    }
    // Fewer than a batch takes are one clear mistake, before anything is computed.
    let labels = "protocol.supervised.labels.identities=0.34";
    lab.run(&["tiny.yaml", labels]).assert_error(3, &["a batch of 4 identities cannot be drawn from 2", "labels of 2"]);
}

#[test]
fn a_collapse_is_warned_of_once_and_marked() {
    // Decay this strong leaves no weight; what remains is the same feature for every picture.
    let decay = "epochs: 6, batch: 16, optim: {sgd: {weight_decay: 10, momentum: 0}}, lr: 0.1, schedule: {warmup_cosine: {warmup: {steps: 0}}}";
    let spec = with_protocol("frozen").replace("epochs: 1, batch: 16, lr: 1.0e-3", decay);
    let lab = Lab::with("tiny.yaml", &spec);
    let said = lab.done(&["tiny.yaml"]);
    let warnings: Vec<&str> = said.err.lines().filter(|line| line.contains("features collapsed by step")).collect();
    assert_eq!(warnings.len(), 1, "{}", said.err);
    for part in ["warning: pretrain person_mae s0", "standard deviation", "below 0.01", "lower the learning rate"] {
        assert!(warnings[0].contains(part), "no {part:?} in {}", warnings[0]);
    }
    assert!(lab.rows("runs")[0].marks.iter().any(|mark| mark.starts_with("features collapsed by step")));
    assert!(said.text().contains("1 run(s): features collapsed by step"), "{}", said.text());
    // A sound one is not.
    let sound = Lab::with("tiny.yaml", &with_protocol("frozen"));
    assert!(!sound.done(&["tiny.yaml"]).err.contains("collapsed"));
}
