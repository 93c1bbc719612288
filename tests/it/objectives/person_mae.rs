//! `PersonMAE` as a task: it learns, every combination of its switches works, and nothing but the seed,
//! the draw and the step decides its numbers.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reid_backbones::spec::VitDims;
use reid_data::dataset::Split;
use reid_data::views::ViewBatch;
use reid_objectives::math::mask::hidden_count;
use reid_objectives::math::schedule::{RunLength, ema_momentum};
use reid_objectives::metric::MetricKey;
use reid_objectives::person_mae::PersonMae;
use reid_objectives::person_mae::spec::{
    DecoderInput, DecoderKind, DecoderSpec, LossOn, MaskKind, PersonMaeSpec, PixelNorm, QueryPositions, Region, Target,
};
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::Duration;
use reid_objectives::task::{Clock, Embed, Features, StepOutput, Task};
use reid_objectives::{Result, TaskError};
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{bits, named_gradients, randomize, values};

use super::fixture::{
    Archive, CELLS, SIZE, TINY, backbone, batch, clock, gradients, person_mae, record, reordered, scalar, train,
};

/// Sums in another order.
const REORDERED: f64 = 1e-6;

/// `PersonMAE` as it stands in the spec's defaults, with a decoder of one block.
fn spec() -> PersonMaeSpec {
    let decoder = DecoderSpec { depth: 1, ..DecoderSpec::default() };
    PersonMaeSpec { pixel_decoder: decoder, feature_decoder: decoder, ..PersonMaeSpec::default() }
}

/// Masked autoencoding of the same region.
fn mae() -> PersonMaeSpec {
    PersonMaeSpec { region: Region::Same, target: Target::Pixel, mask: MaskKind::Random, ..spec() }
}

/// A task whose every parameter matters.
fn task(spec: PersonMaeSpec) -> Result<PersonMae> {
    let task = person_mae(spec, TINY, 1)?;
    randomize(task.trainable(), 2);
    Ok(task)
}

fn stat(output: &StepOutput, key: MetricKey) -> f64 {
    let found = output.stats.iter().find(|(name, _)| *name == key);
    scalar(&found.unwrap_or_else(|| panic!("no {key:?}")).1)
}

// Learning.

/// Both targets are standardized, so that a prediction which ignores the picture costs 1 at best.
const LEARNED: f64 = 0.45;
/// An encoder that can learn a batch by heart within a hundred steps.
const LEARNER: VitDims = VitDims { width: 48, depth: 2, heads: 2 };

#[test]
fn eight_pictures_can_be_learned_by_heart() -> Result<()> {
    for (spec, views) in [(mae(), 1), (PersonMaeSpec { target: Target::Pixel, ..spec() }, 2)] {
        let region = spec.region;
        let losses = train(&mut person_mae(spec, LEARNER, 1)?, &batch(8, views, 1), 100, 3e-3)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(first > 1.0 && last < LEARNED, "{region:?}: {first} to {last}");
    }
    Ok(())
}

#[test]
fn the_teacher_s_features_can_be_learned() -> Result<()> {
    let spec = PersonMaeSpec {
        target: Target::Feature,
        feature_ramp: Duration::Steps(0.0),
        teacher_half_life: Duration::Steps(50.0),
        ..spec()
    };
    let losses = train(&mut person_mae(spec, LEARNER, 1)?, &batch(8, 2, 1), 60, 3e-3)?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(first > 1.0 && last < LEARNED, "{first} to {last}");
    Ok(())
}

// Switches.

/// Every valid combination. A pixel norm counts only with pixels, relative positions only across regions.
fn combinations() -> Vec<PersonMaeSpec> {
    let mut out = Vec::new();
    let regions = [
        (Region::Cross, LossOn::All, &[DecoderKind::Joint, DecoderKind::Cross][..]),
        (Region::Same, LossOn::All, &[DecoderKind::Joint, DecoderKind::Cross, DecoderKind::Unshuffle]),
        (Region::Same, LossOn::Masked, &[DecoderKind::Joint, DecoderKind::Cross, DecoderKind::Unshuffle]),
    ];
    let norms = [PixelNorm::None, PixelNorm::Patch, PixelNorm::Channel];
    let targets = [(Target::Pixel, &norms[..]), (Target::Both, &norms), (Target::Feature, &norms[..1])];
    for (region, loss_on, kinds) in regions {
        let positions = [QueryPositions::Grid, QueryPositions::Relative];
        let positions = if region == Region::Same { &positions[..1] } else { &positions };
        for (target, norms) in targets {
            for &pixel_norm in norms {
                for &kind in kinds {
                    for input in [DecoderInput::First, DecoderInput::Last] {
                        for &query_positions in positions {
                            for mask in [MaskKind::Block, MaskKind::Random] {
                                let decoder = DecoderSpec { kind, input, depth: 1, ..DecoderSpec::default() };
                                out.push(PersonMaeSpec {
                                    mask,
                                    region,
                                    target,
                                    loss_on,
                                    pixel_norm,
                                    pixel_decoder: decoder,
                                    feature_decoder: decoder,
                                    query_positions,
                                    ..PersonMaeSpec::default()
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    out
}

/// A finite loss, and a gradient for exactly the parameters that the decoders' input depends on.
fn check_combination(spec: &PersonMaeSpec) -> Result<()> {
    let task = person_mae(spec.clone(), TINY, 1)?;
    let views = if spec.region == Region::Cross { 2 } else { 1 };
    assert_eq!(task.views().views.len(), views);
    let output = task.step(&batch(3, views, 5), clock(1, 4))?;
    assert!(scalar(&output.loss).is_finite() && scalar(&output.loss) > 0.0, "{spec:?}");
    assert!(output.stats.iter().all(|(_, value)| scalar(value).is_finite() && !value.track_op()), "{spec:?}");
    let gradients = gradients(&task, &output)?;
    for (entry, gradient) in named_gradients(task.trainable(), &gradients) {
        let gradient = values(&gradient);
        assert!(gradient.iter().all(|value| value.is_finite()), "{} {spec:?}", entry.name);
        let behind_first_block = ["encoder.blocks.1.", "encoder.norm."].iter().any(|part| entry.name.starts_with(part));
        let idle = spec.pixel_decoder.input == DecoderInput::First && behind_first_block;
        assert_eq!(gradient.iter().all(|&value| value == 0.0), idle, "{} {spec:?}", entry.name);
    }
    Ok(())
}

#[test]
fn every_combination_of_switches_trains() -> Result<()> {
    let combinations = combinations();
    assert_eq!(combinations.len(), 2 * 7 * 2 * (2 * 2 + 3 + 3));
    combinations.par_iter().map(check_combination).collect()
}

#[test]
fn switches_change_the_loss() -> Result<()> {
    let loss = |spec: PersonMaeSpec| -> Result<(u64, PersonMaeSpec)> {
        let views = if spec.region == Region::Cross { 2 } else { 1 };
        let output = task(spec.clone())?.step(&batch(2, views, 5), clock(1, 4))?;
        Ok((scalar(&output.loss).to_bits(), spec))
    };
    let losses: Vec<(u64, PersonMaeSpec)> = combinations().into_par_iter().map(loss).collect::<Result<_>>()?;
    let mut seen = BTreeMap::new();
    for (loss, spec) in &losses {
        let other = seen.insert(loss, spec);
        assert_eq!(other, None, "one loss of two specs: {spec:?}");
    }
    Ok(())
}

// Masks.

#[test]
fn as_many_patches_are_hidden_as_the_ratio_says() -> Result<()> {
    let samples = 5;
    for mask in [MaskKind::Block, MaskKind::Random] {
        for mask_ratio in [0.0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 0.99] {
            let task = task(PersonMaeSpec { mask, mask_ratio, ..spec() })?;
            let output = task.step(&batch(samples, 2, 6), clock(0, 4))?;
            let hidden = hidden_count(CELLS, mask_ratio);
            assert_eq!(output.tokens, samples * (1 + CELLS - hidden), "{mask:?} {mask_ratio}");
            let share = stat(&output, MetricKey::BlockShare);
            assert!((0.0..=1.0).contains(&share), "{share}");
            assert_eq!(share > 0.0, mask == MaskKind::Block && hidden > 0, "{mask:?} {mask_ratio}: {share}");
        }
    }
    Ok(())
}

/// A mask belongs to the draw, not to the place in the batch; another epoch has other masks.
#[test]
fn samples_may_stand_in_any_order() -> Result<()> {
    for spec in [spec(), mae()] {
        let views = if spec.region == Region::Cross { 2 } else { 1 };
        let (task, batch) = (task(spec)?, batch(6, views, 7));
        let loss = |batch: &ViewBatch, clock: Clock| task.step(batch, clock).map(|output| scalar(&output.loss));
        let plain = loss(&batch, clock(0, 4))?;
        let moved = loss(&reordered(&batch, &[4, 0, 5, 2, 1, 3]), clock(0, 4))?;
        assert!((plain - moved).abs() <= REORDERED * plain, "{plain} {moved}");
        let next_epoch = loss(&batch, Clock { epoch: 1, ..clock(0, 4) })?;
        let other_seed = loss(&batch, Clock { seed: 4, ..clock(0, 4) })?;
        assert!((plain - next_epoch).abs() > 1e-4 && (plain - other_seed).abs() > 1e-4);
    }
    Ok(())
}

// Positions.

#[test]
fn where_regions_agree_relative_positions_are_the_grid_s() -> Result<()> {
    let mut batch = batch(3, 2, 8);
    let first = batch.groups[0].windows[..3].to_vec();
    batch.groups[0].windows[3..].copy_from_slice(&first);
    let loss = |query_positions| {
        let task = task(PersonMaeSpec { query_positions, ..spec() })?;
        Ok::<_, TaskError>(scalar(&task.step(&batch, clock(0, 4))?.loss))
    };
    let (relative, grid) = (loss(QueryPositions::Relative)?, loss(QueryPositions::Grid)?);
    assert!((relative - grid).abs() <= 1e-5 * grid, "{relative} {grid}");
    Ok(())
}

// State.

#[test]
fn a_step_is_pure() -> Result<()> {
    let (task, batch) = (task(spec())?, batch(3, 2, 9));
    let before = (task.trainable().buffers("")?, task.save()?.tensors);
    let run = || -> Result<Vec<Vec<u32>>> {
        let output = task.step(&batch, clock(2, 4))?;
        let gradients = gradients(&task, &output)?;
        Ok([vec![bits(&output.loss)], gradients.buffers.iter().map(bits).collect()].concat())
    };
    assert!(run()? == run()?);
    for ((name, before), (_, after)) in before.0.iter().zip(task.trainable().buffers("")?) {
        assert_eq!(bits(before), bits(&after), "{name}");
    }
    for (name, after) in task.save()?.tensors {
        assert_eq!(bits(&before.1[&name]), bits(&after), "{name}");
    }
    Ok(())
}

/// What each of the targets' losses is worth, by the statistics that go with them.
#[test]
fn the_loss_is_the_ramped_sum_of_its_terms() -> Result<()> {
    let spec = PersonMaeSpec { feature_weight: 3.0, feature_ramp: Duration::Fraction(0.5), ..spec() };
    let (task, batch) = (task(spec)?, batch(3, 2, 10));
    for (step, weight) in [(0, 0.3), (4, 1.5), (9, 3.0), (19, 3.0)] {
        let output = task.step(&batch, clock(step, 20))?;
        let expected = stat(&output, MetricKey::LossPixel) + weight * stat(&output, MetricKey::LossFeature);
        assert!((scalar(&output.loss) - expected).abs() < 1e-5 * expected, "step {step}");
    }
    Ok(())
}

#[test]
fn the_teacher_moves_by_averaging_only() -> Result<()> {
    let half_life = Duration::Steps(2.0);
    let mut task = person_mae(PersonMaeSpec { teacher_half_life: half_life, ..spec() }, TINY, 1)?;
    let student = |task: &PersonMae| -> Result<BTreeMap<String, Tensor>> {
        Ok(task.trainable().buffers("teacher.")?.into_iter().collect())
    };
    let start = task.save()?.tensors;
    assert!(start.keys().all(|name| name.starts_with("teacher.encoder.")));
    assert!(!task.trainable().names().any(|name| name.starts_with("teacher")), "no optimizer sees it");
    for (name, teacher) in &start {
        assert_eq!(bits(teacher), bits(&student(&task)?[name]), "{name}: the teacher begins as the student");
    }

    randomize(task.trainable(), 11);
    let output = task.step(&batch(3, 2, 12), clock(0, 20))?;
    gradients(&task, &output)?;
    for (name, teacher) in task.save()?.tensors {
        assert_eq!(bits(&teacher), bits(&start[&name]), "{name}: neither a step nor the student moves it");
    }
    task.after_step(&[output], clock(0, 20))?;
    let momentum = ema_momentum(half_life, RunLength { steps: 20, epochs: 1.0 });
    assert!((momentum - 0.5_f64.sqrt()).abs() < 1e-12);
    for (name, teacher) in task.save()?.tensors {
        let pairs = values(&start[&name]).into_iter().zip(values(&student(&task)?[&name]));
        let expected: Vec<f64> = pairs.map(|(old, new)| momentum * old + (1.0 - momentum) * new).collect();
        assert!(max_abs(&values(&teacher), &expected) < 1e-6, "{name}");
    }
    Ok(())
}

#[test]
fn saved_state_restores_the_task() -> Result<()> {
    let spec = PersonMaeSpec { teacher_half_life: Duration::Steps(3.0), ..spec() };
    let batch = batch(3, 2, 13);
    let mut first = person_mae(spec.clone(), TINY, 1)?;
    train(&mut first, &batch, 3, 1e-2)?;
    let parameters = first.trainable().buffers("")?.into_iter().collect();
    let state = first.save()?;

    let mut second = person_mae(spec, TINY, 2)?;
    second.trainable().restore("", &parameters)?;
    let loss = |task: &PersonMae| -> Result<Vec<u32>> { Ok(bits(&task.step(&batch, clock(3, 9))?.loss)) };
    assert_ne!(loss(&second)?, loss(&first)?, "the teacher is part of the state");
    second.load(&state)?;
    assert_eq!(loss(&second)?, loss(&first)?);

    let mut partial = state;
    partial.tensors.remove("teacher.encoder.norm");
    let error = second.load(&partial).unwrap_err().to_string();
    assert!(error.contains("teacher.encoder.norm"), "{error}");
    Ok(())
}

/// A seed is the same encoder in every objective and without one, whatever else an objective builds.
#[test]
fn objectives_begin_from_the_same_encoder() -> Result<()> {
    let device = Device::Cpu;
    let (_, alone) = EncoderModel::random(&backbone(), 7, &device)?.into_parts();
    let wider = PersonMaeSpec { pixel_decoder: DecoderSpec { depth: 3, ..spec().pixel_decoder }, ..spec() };
    for spec in [spec(), mae(), wider] {
        let task = PersonMae::build(&spec, &backbone(), 4, 7, &device)?;
        for (name, tensor) in alone.tensors()? {
            let other = task.trainable().get(&name).expect("an encoder's parameter")?;
            assert_eq!(bits(&tensor), bits(&other), "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_product_is_the_encoder() -> Result<()> {
    let device = Device::Cpu;
    let task = PersonMae::build(&spec(), &backbone(), 4, 1, &device)?;
    randomize(task.trainable(), 14);
    let product = task.product()?;
    assert!(product.contains_key("blocks.3.attn.qkv.weight") && !product.keys().any(|name| name.contains("decoder")));
    for (name, tensor) in &product {
        let own = task.trainable().get(&format!("{ENCODER}{name}")).expect("an encoder's parameter")?;
        assert_eq!(bits(tensor), bits(&own), "{name}");
    }
    let model = EncoderModel::with_weights(&backbone(), &product, Path::new("product"), &device)?;
    let images = reid_tests::tensors::normal(1, (2, 3, SIZE.0, SIZE.1));
    let features = model.embed(&images, &[])?;
    assert!(!features.track_op());
    let mut twice = product;
    twice.insert("norm.bias".to_owned(), (&twice["norm.bias"] + 1.0)?);
    let moved = EncoderModel::with_weights(&backbone(), &twice, Path::new("product"), &device)?.embed(&images, &[])?;
    assert!(relative_to_max(&values(&(features + 1.0)?), &values(&moved)) < 1e-6);
    Ok(())
}

#[test]
fn epochs_draw_from_the_pool_or_else_from_training() -> Result<()> {
    let mut task = person_mae(spec(), TINY, 1)?;
    let records = |n: i64| (0..n).map(|pid| record(pid, 0, pid % 5 != 4)).collect::<Vec<_>>();
    let nothing = || Features { values: Vec::new(), width: 1, records: Vec::new() };
    let mut archive = Archive::default();
    archive.splits.insert(Split::Train, (records(10), nothing()));
    let plan = task.begin_epoch(0, 1, &archive)?;
    assert_eq!((plan.draws.len(), plan.steps(), plan.batch), (8, 2, 4));
    archive.splits.insert(Split::Pool, (records(30), nothing()));
    let plan = task.begin_epoch(0, 1, &archive)?;
    assert_eq!(plan.draws.len(), 24);
    assert!(plan.draws.iter().all(|draw| draw.image % 5 != 4), "what cannot be decoded is never drawn");
    assert_eq!(task.begin_epoch(0, 1, &archive)?, plan);
    assert_ne!(task.begin_epoch(1, 1, &archive)?, plan);
    assert!(!task.couples_samples());
    Ok(())
}
