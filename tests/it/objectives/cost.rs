//! Foretold costs against what runs, and lengths that budgets allow.

use std::collections::BTreeMap;

use candle_core::Device;
use reid_backbones::spec::{VitSize, VitSpec};
use reid_backbones::weights;
use reid_objectives::Result;
use reid_objectives::budget::Length;
use reid_objectives::cost::{Cost, cost, encoder};
use reid_objectives::person_mae::PersonMae;
use reid_objectives::person_mae::spec::{DecoderKind, DecoderSpec, LossOn, PersonMaeSpec, Region, Target};
use reid_objectives::spec::{BudgetSpec, NoObjective, ObjectiveSpec, TrainSpec};
use reid_objectives::task::Task;

use super::fixture::{CELLS, backbone, batch, clock};

/// Recipes whose parts differ in every way that costs.
fn recipes() -> Vec<PersonMaeSpec> {
    let decoder = |kind, depth, width| DecoderSpec { kind, depth, width, heads: 1, ..DecoderSpec::default() };
    let default = PersonMaeSpec::default();
    let same = PersonMaeSpec { region: Region::Same, loss_on: LossOn::Masked, ..default.clone() };
    vec![
        PersonMaeSpec { pixel_decoder: decoder(DecoderKind::Joint, 1, 32), mask_ratio: 0.75, ..default.clone() },
        PersonMaeSpec { target: Target::Feature, feature_decoder: decoder(DecoderKind::Cross, 2, 64), ..default },
        PersonMaeSpec { target: Target::Pixel, pixel_decoder: decoder(DecoderKind::Unshuffle, 3, 48), ..same },
    ]
}

fn foretold(spec: &PersonMaeSpec, vit: &VitSpec) -> Cost {
    cost(&ObjectiveSpec::PersonMae(spec.clone()), vit).expect("it is trained here")
}

#[test]
fn tokens_are_those_that_a_step_counts() -> Result<()> {
    for spec in recipes() {
        let task = PersonMae::build(&spec, &backbone(), 4, 0, &Device::Cpu)?;
        let views = if spec.region == Region::Same { 1 } else { 2 };
        let output = task.step(&batch(4, views, 1), clock(0, 4))?;
        assert_eq!(output.tokens, 4 * foretold(&spec, &backbone()).encoder_tokens, "{spec:?}");
    }
    Ok(())
}

/// Tokens that go through a matrix of a task, by its name.
fn tokens_through(name: &str, kind: DecoderKind, visible: usize) -> usize {
    let memory = 1 + visible;
    let in_decoder = match kind {
        DecoderKind::Joint => memory + CELLS,
        DecoderKind::Unshuffle => 1 + CELLS,
        DecoderKind::Cross => CELLS,
    };
    match name.split_once('.').expect("a module and a name") {
        ("encoder", rest) if rest.starts_with("patch_embed") => visible,
        ("encoder", _) => memory,
        (_, rest) if rest.starts_with("embed") || rest.contains("cross.kv") => memory,
        (_, rest) if rest.starts_with("pred") => CELLS,
        _ => in_decoder,
    }
}

#[test]
fn operations_are_those_of_the_matrices_that_are_there() -> Result<()> {
    let vit = backbone();
    let dims = vit.size.dims();
    for spec in recipes() {
        let task = PersonMae::build(&spec, &vit, 4, 0, &Device::Cpu)?;
        let visible = foretold(&spec, &vit).encoder_tokens - 1;
        let memory = (1 + visible) as f64;
        let decoders =
            BTreeMap::from([("pixel_decoder", spec.pixel_decoder), ("feature_decoder", spec.feature_decoder)]);
        let (mut linear, mut attention) = (0.0, 4.0 * dims.depth as f64 * memory * memory * dims.width as f64);
        for (name, tensor) in weights::with_prefix(task.trainable(), "")? {
            let decoder = decoders.get(name.split('.').next().expect("a module"));
            let kind = decoder.map_or(DecoderKind::Joint, |decoder| decoder.kind);
            let is_matrix = tensor.rank() > 1 && name.ends_with(".weight");
            if is_matrix {
                linear += 2.0 * tensor.elem_count() as f64 * tokens_through(&name, kind, visible) as f64;
            }
            // One projection of attention's output for every attention.
            if let Some(decoder) = decoder.filter(|_| name.ends_with("proj.weight")) {
                let width = if decoder.width == 0 { dims.width } else { decoder.width };
                let queries = tokens_through(&name, kind, visible) as f64;
                let keys = if name.contains("cross.") { memory } else { queries };
                attention += 4.0 * queries * keys * width as f64;
            }
        }
        let teacher = if spec.target == Target::Pixel { 0.0 } else { encoder(&vit, CELLS) };
        let expected = 3.0 * (linear + attention) + teacher;
        let found = foretold(&spec, &vit).flops;
        assert!((found / expected - 1.0).abs() < 1e-12, "{found} against {expected}: {spec:?}");
    }
    Ok(())
}

/// A ViT-S at 224 x 224 takes 4.6 billion multiply-adds (Swin, arXiv 2103.14030, table 1, which calls it `DeiT-S`).
#[test]
fn a_small_vit_costs_what_is_published() {
    let vit = VitSpec { size: VitSize::Small, image: [224, 224], patch: 16, ..VitSpec::default() };
    let multiply_adds = encoder(&vit, 196) / 2.0;
    assert!((multiply_adds / 4.6e9 - 1.0).abs() < 0.01, "{multiply_adds}");
}

#[test]
fn budgets_come_to_lengths_rounded_up() {
    let train = TrainSpec { epochs: 7, batch: 16, accumulate: 2, ..TrainSpec::default() };
    let one = Cost { encoder_tokens: 5, flops: 1e3 };
    let length = |budget: BudgetSpec| budget.length(&train, Some(one));
    assert_eq!(length(BudgetSpec::default()), Some(Length::Epochs(7)));
    assert_eq!(length(BudgetSpec::Epochs(3)), Some(Length::Epochs(3)));
    for (images, steps) in [(1.0, 1), (32.0, 1), (33.0, 2), (64.0, 2), (1e6, 31_250)] {
        assert_eq!(length(BudgetSpec::Images(images)), Some(Length::Steps(steps)));
        assert_eq!(length(BudgetSpec::EncoderTokens(5.0 * images)), Some(Length::Steps(steps)));
        assert_eq!(length(BudgetSpec::Flops(1e3 * images)), Some(Length::Steps(steps)));
    }
    // Whose cost is unknown may be given pictures, but no operations; what costs nothing never spends anything.
    assert_eq!(BudgetSpec::Images(64.0).length(&train, None), Some(Length::Steps(2)));
    assert_eq!(BudgetSpec::Flops(64.0).length(&train, None), None);
    let nothing = cost(&ObjectiveSpec::None(NoObjective {}), &backbone());
    assert_eq!(nothing, Some(Cost::default()));
    assert_eq!(BudgetSpec::EncoderTokens(64.0).length(&train, nothing), None);
    assert_eq!((Length::Steps(30).steps(12), Length::Epochs(3).steps(12)), (30, 36));
    assert_eq!((Length::Steps(30).epochs(12), Length::Epochs(3).epochs(12)), (2.5, 3.0));
}
