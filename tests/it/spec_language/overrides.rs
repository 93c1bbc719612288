//! The command line.

use reid_objectives::person_mae::spec::{LossOn, MaskKind};
use reid_objectives::spec::ObjectiveSpec;

use super::{BASE, load_text, valid_with};

fn with(overrides: &[&str]) -> reid_experiments::ResolvedRun {
    load_text(BASE, overrides).unwrap_or_else(|issues| panic!("{issues}")).runs.remove(0)
}

#[test]
fn values_are_yaml_and_later_ones_win() {
    let run = with(&["pretrain.train.lr=3e-4", "backbone.vit.image=[128, 64]", "pretrain.train.lr=1e-4"]);
    assert_eq!(run.spec.pretrain.train.lr, 1e-4);
    let reid_backbones::spec::BackboneSpec::Vit(vit) = &run.spec.backbone;
    assert_eq!(vit.image, [128, 64]);
}

#[test]
fn a_choice_replaces_the_other() {
    let run = with(&["pretrain.objective=none"]);
    assert_eq!(run.label, "none");
    assert!(matches!(run.spec.pretrain.objective, ObjectiveSpec::None(_)));
    assert_eq!(with(&["pretrain.objective=none", "protocol=frozen"]).label, "untrained");

    let run = with(&["pretrain.objective.mae.mask_ratio=0.6"]);
    let ObjectiveSpec::PersonMae(spec) = &run.spec.pretrain.objective else { panic!() };
    assert_eq!((spec.mask_ratio, spec.mask, spec.loss_on), (0.6, MaskKind::Random, LossOn::Masked));
    assert_eq!(run.label, "mae");

    let run = with(&["pretrain.objective.person_mae.mask=random"]);
    let ObjectiveSpec::PersonMae(spec) = &run.spec.pretrain.objective else { panic!() };
    assert_eq!((spec.mask_ratio, spec.mask, spec.loss_on), (0.5, MaskKind::Random, LossOn::All));
}

#[test]
fn a_tilde_takes_away() {
    assert_eq!(with(&["~pretrain.train.epochs"]).spec.pretrain.train.epochs, 300, "the default");
    assert_eq!(with(&["~pretrain.train", "pretrain.train.batch=8"]).spec.pretrain.train.epochs, 300);
}

#[test]
fn sweeps_can_be_changed() {
    let swept = |overrides: &[&str]| valid_with("product.yaml", overrides);
    assert_eq!(swept(&["~sweep", "seeds=[5]"]).runs.len(), 1);
    let without =
        swept(&["~sweep.grid.pretrain.objective.person_mae.mask_ratio", "~sweep.zip", "~sweep.list", "~sweep.exclude"]);
    assert_eq!(without.swept, ["pretrain.objective"]);
    let other = swept(&[
        "sweep.grid.pretrain.objective.person_mae.mask_ratio=[0.5]",
        "~sweep.zip",
        "~sweep.list",
        "~sweep.exclude",
    ]);
    assert_eq!(other.runs.len(), 2 * 4, "two points with two by two seeds");
    assert_eq!(other.overrides.len(), 4);
}

#[test]
fn names_can_be_given() {
    assert_eq!(load_text(BASE, &["name=tuesday"]).unwrap().name, "tuesday");
    assert_eq!(load_text(BASE, &[]).unwrap().name, "spec");
}
