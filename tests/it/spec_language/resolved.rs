//! What is written against what it comes to.

use std::path::Path;

use reid_backbones::optim::spec::{OptimSpec, SgdSpec};
use reid_data::spec::DataSpec;
use reid_experiments::{ChooseOn, PRESETS, ResolvedRun};
use reid_objectives::person_mae::spec::{
    DecoderKind, DecoderSpec, LossOn, MaskKind, PersonMaeSpec, PixelNorm, Region, Target,
};
use reid_objectives::spec::{ObjectiveSpec, ProtocolSpec, SupervisedSpec};

use super::{run_of, valid};

fn supervised(run: &ResolvedRun) -> &SupervisedSpec {
    let ProtocolSpec::Supervised(spec) = &run.spec.protocol else { panic!("{:?}", run.spec.protocol) };
    spec
}

fn person_mae(run: &ResolvedRun) -> &PersonMaeSpec {
    let ObjectiveSpec::PersonMae(spec) = &run.spec.pretrain.objective else { panic!("{:?}", run.spec.pretrain) };
    spec
}

#[test]
fn bare_names_are_choices_as_they_come() {
    let run = &valid("bare_names.yaml").runs[0];
    assert_eq!(*supervised(run), SupervisedSpec::default());
    assert_eq!(run.spec.pretrain.train.optim, OptimSpec::Sgd(SgdSpec::default()));
    assert_eq!(run.spec.pretrain.train.epochs, 100, "1e2 is a whole number");
    assert!(matches!(run.spec.data, DataSpec::Synthetic(_)));
    assert_eq!((run.seeds.pretrain, run.seeds.downstream), (0, 0));
}

#[test]
fn presets_equal_their_canonical_form() {
    let mae = PersonMaeSpec {
        region: Region::Same,
        mask: MaskKind::Random,
        mask_ratio: 0.75,
        target: Target::Pixel,
        loss_on: LossOn::Masked,
        pixel_norm: PixelNorm::Patch,
        pixel_decoder: DecoderSpec { kind: DecoderKind::Unshuffle, ..DecoderSpec::default() },
        ..PersonMaeSpec::default()
    };
    assert_eq!(*person_mae(&valid("bare_names.yaml").runs[0]), mae);
    for preset in PRESETS {
        let written = |choice: &str| match preset.choice {
            "ObjectiveSpec" => super::BASE.replace("{person_mae: {mask_ratio: 0.5}}", choice),
            _ => super::BASE.replace("{supervised: {train: {epochs: 60}}}", choice),
        };
        let canonical = format!("{{{}: {}}}", preset.variant, preset.fields());
        assert_eq!(run_of(&written(preset.name)).spec, run_of(&written(&canonical)).spec, "{}", preset.name);
    }
}

#[test]
fn chain_merges_maps_and_replaces_choices() {
    let experiment = valid("child.yaml");
    let run = &experiment.runs[0];
    assert_eq!(experiment.name, "child", "names are not taken from bases");
    assert_eq!(run.spec.pretrain.train.epochs, 70, "the later base wins");
    assert_eq!(run.spec.pretrain.train.batch, 64, "maps merge");
    assert_eq!(person_mae(run).mask_ratio, 0.6);
    assert_eq!(person_mae(run).mask, MaskKind::Random, "the preset's other fields");
    let OptimSpec::Sgd(sgd) = &supervised(run).train.optim else { panic!("the choice was not replaced") };
    assert_eq!(*sgd, SgdSpec { momentum: 0.8, ..SgdSpec::default() });
    assert_eq!(run.label, "mae");
}

#[test]
fn a_field_written_in_part_keeps_the_rest_of_its_own_default() {
    let run = run_of(super::BASE);
    let default = SupervisedSpec::default();
    let mut train = supervised(&run).train.clone();
    assert_eq!(train.epochs, 60);
    train.epochs = default.train.epochs;
    assert_eq!(train, default.train, "the supervised recipe, not that of pre-training");
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let experiment = valid("market.yaml");
    let DataSpec::Market1501(spec) = &experiment.runs[0].spec.data else { panic!() };
    let wanted = std::path::absolute("fixtures/valid/../market").unwrap();
    assert_eq!(Path::new(&spec.root), wanted);
    assert_eq!(experiment.table.metrics, ["rank1", "map"]);
    assert_eq!(experiment.table.choose_on, ChooseOn::Validation);
}

#[test]
fn tables_choose_on_validation_where_there_is_one() {
    assert_eq!(valid("base.yaml").table.choose_on, ChooseOn::Validation);
    assert_eq!(valid("base.yaml").table.metrics, ["map", "rank1"]);
    let text = super::BASE.replace("{synthetic: {}}", "{synthetic: {validation_identities: 0}}");
    assert_eq!(super::load_text(&text, &[]).unwrap().table.choose_on, ChooseOn::Test);
}

#[test]
fn warnings_do_not_stop_a_spec() {
    let experiment = valid("warnings.yaml");
    let codes: Vec<&str> = experiment.warnings.iter().map(|issue| issue.code).collect();
    assert_eq!(codes, ["spec::half-life", "spec::long-ramp", "spec::unused-exclusion"]);
    assert!(experiment.warnings[0].render(false).starts_with("warning[spec::half-life]"));
}

#[test]
fn scalars_mean_what_serde_yaml_says() {
    for (written, epochs) in [("0x10", 16), ("0o17", 15), ("1e1", 10), ("0b11", 3), ("+7", 7), ("12", 12)] {
        let run = run_of(&super::BASE.replace("epochs: 50", &format!("epochs: {written}")));
        assert_eq!(run.spec.pretrain.train.epochs, epochs, "{written}");
    }
    for (written, lr) in [(".5", 0.5), ("1e-3", 1e-3), ("2", 2.0), ("5.", 5.0)] {
        let run = run_of(&super::BASE.replace("epochs: 50", &format!("lr: {written}")));
        assert_eq!(run.spec.pretrain.train.lr, lr, "{written}");
    }
    for text in ["no", "off", "'12'", "~", "null", "0o18", "1_000", "1:30", "2026-01-01"] {
        let text = super::BASE.replace("epochs: 50", &format!("epochs: {text}"));
        assert_eq!(super::codes(&super::load_text(&text, &[]).unwrap_err()), ["spec::wrong-type"], "{text}");
    }
    assert_eq!(super::load_text(&format!("name: no\n{}", super::BASE), &[]).unwrap().name, "no");
}

#[test]
fn whole_numbers_end_where_the_machine_ends() {
    let load = |seed: &str| super::load_text(super::BASE, &[&format!("data.synthetic.seed={seed}")]);
    for seed in ["18446744073709551615", "1.0e19", "0"] {
        assert!(load(seed).is_ok(), "{seed}");
    }
    for seed in ["18446744073709551616", "1e30", "-1", ".nan"] {
        let issues = load(seed).unwrap_err();
        assert!(super::codes(&issues)[0] == "spec::out-of-range", "{seed}: {issues}");
    }
}
