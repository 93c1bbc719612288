//! Fifty variants of an experiment and the keys of their stages.
//!
//! A key may change only together with what it stands for: a component's `algorithm_version`, a
//! default, the meaning of a field. Otherwise everything that anybody has computed is lost.
//! `REID_BLESS=1 cargo test --release --workspace` writes the keys anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use reid_experiments::load;
use reid_experiments::settings::Settings;
use reid_runner::engine::{Datasets, Plan};
use reid_runner::progress::{Options, Progress};

use crate::data::decode::png;

const SNAPSHOT: &str = "fixtures/stage_keys.txt";

const SPEC: &str = "\
name: keys
data: {market1501: {root: set}}
backbone: {vit: {size: micro, image: [64, 32], patch: 8}}
pretrain: {objective: {person_mae: {}}, train: {epochs: 50, batch: 64}}
protocol: {supervised: {}}
";

/// Overrides, each a variant of its own; an empty one is the spec itself.
const VARIANTS: [&str; 74] = [
    "",
    "seeds=[1]",
    "seeds={pretrain: [0], downstream: [1]}",
    "validation.identities=0.5",
    "decode={at_least: [16, 8]}",
    "backbone.vit.size=tiny",
    "backbone.vit.image=[128, 64]",
    "backbone.vit.patch=16",
    "backbone.vit.positions=sin_cos",
    "backbone.vit.drop_path=0.2",
    "pretrain.objective=none",
    "pretrain.objective.person_mae.mask=random",
    "pretrain.objective.person_mae.mask_ratio=0.75",
    "pretrain.objective.person_mae.region=same",
    "pretrain.objective.person_mae.scale_a=[0.4, 1.0]",
    "pretrain.objective.person_mae.scale_b=[0.4, 1.0]",
    "pretrain.objective.person_mae.ratio=[0.3, 0.7]",
    "pretrain.objective.person_mae.flip=0",
    "pretrain.objective.person_mae.filter=bilinear",
    "pretrain.objective.person_mae.normalisation=half",
    "pretrain.objective.person_mae.target=pixel",
    "pretrain.objective.person_mae.target=feature",
    "pretrain.objective.person_mae={region: same, loss_on: masked}",
    "pretrain.objective.person_mae.pixel_norm=channel",
    "pretrain.objective.person_mae.pixel_decoder.kind=cross",
    "pretrain.objective.person_mae.pixel_decoder.depth=1",
    "pretrain.objective.person_mae.pixel_decoder.input=first",
    "pretrain.objective.person_mae.feature_decoder={width: 64, heads: 2}",
    "pretrain.objective.person_mae.feature_weight=0.5",
    "pretrain.objective.person_mae.feature_ramp={epochs: 5}",
    "pretrain.objective.person_mae.teacher_half_life={steps: 100}",
    "pretrain.objective.person_mae.query_positions=grid",
    "pretrain.budget={epochs: 50}",
    "pretrain.budget={images: 6400}",
    "pretrain.train.epochs=51",
    "pretrain.train.batch=32",
    "pretrain.train.accumulate=2",
    "pretrain.train.lr=2e-4",
    "pretrain.train.lr_scaling=none",
    "pretrain.train.schedule={warmup_cosine: {warmup: {epochs: 5}}}",
    "pretrain.train.schedule={warmup_cosine: {floor: 0.01}}",
    "pretrain.train.optim={adamw: {betas: [0.9, 0.999]}}",
    "pretrain.train.optim={adamw: {weight_decay: 0.1}}",
    "pretrain.train.optim={sgd: {}}",
    "pretrain.train.clip=1",
    "pretrain.train.checkpoint_every={steps: 7}",
    "pretrain.train.evaluate_every=never",
    "pretrain.train.evaluate_every={epochs: 10}",
    "pretrain.train.recompute=true",
    "protocol=frozen",
    "protocol={frozen: {normalisation: half}}",
    "protocol={frozen: {pooling: cls_avg}}",
    "protocol={frozen: {probe: linear}}",
    "protocol={frozen: {probe: {linear: {width: 64}}}}",
    "pretrain.take={epoch: 4}",
    "pretrain.take={epoch: 50}",
    "pretrain.keep_every={epochs: 20}",
    "protocol.supervised.labels.identities=0.5",
    "protocol.supervised.labels.images_per_identity=4",
    "protocol.supervised.train.epochs=60",
    "protocol.supervised.train.lr=0.008",
    "protocol.supervised.train.schedule={transreid_cosine: {warmup: {epochs: 10}}}",
    "protocol.supervised.train.optim={sgd: {bias_lr: 1}}",
    "protocol.supervised.identities_per_batch=8",
    "protocol.supervised.id_weight=0.5",
    "protocol.supervised.label_smoothing=0.1",
    "protocol.supervised.triplet_weight=0.5",
    "protocol.supervised.triplet_margin={hard: {}}",
    "protocol.supervised.augment.pad=5",
    "protocol.supervised.augment.normalisation=imagenet",
    "protocol.supervised.augment.erasing.probability=0.3",
    "protocol.supervised.evaluation.filter=bicubic",
    "protocol.supervised.evaluation.feature=after_neck",
    "protocol.supervised.evaluation.batch=32",
];

/// A data set whose every byte this test decides, in stored PNGs: its fingerprint is the same everywhere.
fn write_set(root: &Path) {
    let write = |name: &str, level: u8| {
        let path = root.join("set").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, png(2, 1, 2, &[level, 0, 0, 0, level, 0])).expect("written");
    };
    for pid in 0..4_u8 {
        for shot in 0..4 {
            let (camera, level) = (shot % 2 + 1, 10 * pid + shot);
            write(&format!("bounding_box_train/{:04}_c{camera}s1_{shot:06}_01.png", 2 + 2 * pid), level);
        }
    }
    for pid in [1_u8, 3] {
        write(&format!("query/{pid:04}_c1s1_000001_00.png"), 100 + pid);
        write(&format!("bounding_box_test/{pid:04}_c2s1_000001_00.png"), 200 + pid);
    }
}

/// Kinds and keys of the stages of a variant.
fn keys(root: &Path, datasets: &mut Datasets, overrides: &[String]) -> Vec<(&'static str, String)> {
    let experiment = load(&root.join("keys.yaml"), overrides).unwrap_or_else(|issues| panic!("{issues}"));
    let plan = Plan::new(&experiment, datasets).expect("a plan");
    plan.stages.iter().map(|stage| (stage.kind.name(), stage.key.hex().to_owned())).collect()
}

#[test]
fn the_keys_of_stages_never_change_by_accident() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    fs::write(root.join("keys.yaml"), SPEC).expect("written");
    write_set(root);
    let progress = Progress::to_writer(Box::new(std::io::sink()), Options::default());
    let mut datasets =
        Datasets::new(root, &Settings { threads: 1, ..Settings::defaults(root.join("cache")) }, &progress);

    let mut text = String::new();
    let mut all: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
    for variant in VARIANTS {
        let overrides: Vec<String> = if variant.is_empty() { Vec::new() } else { vec![variant.to_owned()] };
        let stages = keys(root, &mut datasets, &overrides);
        let _ = writeln!(text, "{}", if variant.is_empty() { "(as written)" } else { variant });
        for (kind, key) in &stages {
            let _ = writeln!(text, "  {kind:<8} {key}");
        }
        all.insert(variant, stages);
    }

    // What does not change the numbers does not change a key; everything else changes the last one.
    let neutral = [
        "",
        "pretrain.budget={epochs: 50}",
        "pretrain.train.checkpoint_every={steps: 7}",
        "pretrain.train.evaluate_every=never",
        "pretrain.train.recompute=true",
        "pretrain.take={epoch: 50}",
        "pretrain.keep_every={epochs: 20}",
        "protocol.supervised.evaluation.batch=32",
    ];
    for variant in neutral {
        assert_eq!(all[variant], all[""], "{variant}");
    }
    let last: BTreeSet<&String> = all.values().filter_map(|stages| Some(&stages.last()?.1)).collect();
    assert_eq!(last.len(), VARIANTS.len() - neutral.len() + 1);
    let distinct: BTreeSet<&String> = all.values().flatten().map(|(_, key)| key).collect();
    assert!(distinct.len() >= 50, "only {} keys", distinct.len());

    if std::env::var_os("REID_BLESS").is_some() {
        fs::write(SNAPSHOT, &text).expect("written");
    }
    let committed = fs::read_to_string(SNAPSHOT).unwrap_or_default();
    let changed: Vec<_> = text.lines().zip(committed.lines()).filter(|(now, then)| now != then).take(5).collect();
    assert!(text == committed, "keys have changed; if that is meant, run with REID_BLESS=1; first: {changed:#?}");
}
