//! UP-ReID as a task: it learns, and nothing but the seed, the draw and the
//! step decides its numbers.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rayon::prelude::*;
use reid_backbones::optim::spec::{AdamwSpec, OptimSpec};
use reid_backbones::optim::{Course, Optimizer};
use reid_backbones::spec::VitDims;
use reid_data::dataset::Split;
use reid_data::views::{Crop, ViewBatch};
use reid_objectives::Result;
use reid_objectives::cost::cost;
use reid_objectives::metric::MetricKey;
use reid_objectives::spec::{CosineMomentum, Duration, Momentum, ObjectiveSpec, UpReidSpec};
use reid_objectives::task::{Features, StepOutput, Task};
use reid_objectives::up_reid::UpReid;
use reid_objectives::up_reid::spec::{
    ConsistencySpec, ContrastSpec, ContrastVariant, HardPrototype, InBatchSpec, PlainPrototype, Prototype, QueueSpec,
    StripsSpec,
};
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, gradient_of, named_gradients, normal, randomize, values};

use super::fixture::{Archive, CELLS, TINY, backbone, batch, clock, gradients, record, scalar, train, up_reid};

/// Sums in another order.
pub(super) const REORDERED: f64 = 1e-5;

/// A queue of three batches of four that no batch of five divides, and strips of one row.
pub(super) fn spec() -> UpReidSpec {
    UpReidSpec {
        variant: ContrastVariant::Queue(QueueSpec { size: 12, hidden: 16 }),
        dim: 8,
        momentum: Momentum::HalfLife(Duration::Steps(5.0)),
        ..UpReidSpec::default()
    }
}

pub(super) fn in_batch() -> UpReidSpec {
    UpReidSpec { variant: ContrastVariant::InBatch(InBatchSpec { hidden: 16 }), ..spec() }
}

/// Momentum contrast alone.
pub(super) fn plain(spec: &UpReidSpec) -> UpReidSpec {
    UpReidSpec {
        consistency: ConsistencySpec { weight: 0.0, ..spec.consistency },
        strips: StripsSpec { weight: 0.0, ..spec.strips },
        ..spec.clone()
    }
}

/// A task whose every parameter matters.
pub(super) fn task(spec: UpReidSpec) -> Result<UpReid> {
    let task = up_reid(spec, TINY, 1)?;
    randomize(task.trainable(), 2);
    Ok(task)
}

/// Pictures whose augmented views are themselves with some noise, the original last.
pub(super) fn views(samples: usize, seed: u64) -> ViewBatch {
    const NOISE: f64 = 0.2;
    let mut batch = batch(samples, 3, seed);
    let group = &mut batch.groups[0];
    let one = group.pixels.len() / 3;
    let original = group.pixels[..one].to_vec();
    let noise = values(&normal(seed, 3 * one));
    for (view, pixels) in group.pixels.chunks_exact_mut(one).enumerate() {
        for (at, (pixel, source)) in pixels.iter_mut().zip(&original).enumerate() {
            let noise = if view == 2 { 0.0 } else { NOISE * noise[view * one + at] };
            *pixel = source + noise as f32;
        }
    }
    batch
}

pub(super) fn find(output: &StepOutput, key: MetricKey) -> Option<f64> {
    output.stats.iter().find(|(name, _)| *name == key).map(|(_, value)| scalar(value))
}

pub(super) fn stat(output: &StepOutput, key: MetricKey) -> f64 {
    find(output, key).unwrap_or_else(|| panic!("no {key:?}"))
}

// Learning.

/// An encoder that can learn a batch by heart within thirty steps.
const LEARNER: VitDims = VitDims { width: 48, depth: 2, heads: 2 };

#[test]
fn eight_pictures_can_be_told_apart() -> Result<()> {
    let momentum = Momentum::HalfLife(Duration::Steps(2.0));
    for spec in [plain(&in_batch()), in_batch()] {
        let mut task = up_reid(UpReidSpec { momentum, dim: 32, ..spec.clone() }, LEARNER, 1)?;
        let batch = views(8, 1);
        let contrast = |task: &UpReid| -> Result<(f64, f64)> {
            let output = task.step(&batch, clock(0, 30))?;
            Ok((stat(&output, MetricKey::LossContrast), stat(&output, MetricKey::ContrastAccuracy)))
        };
        let (first, _) = contrast(&task)?;
        train(&mut task, &batch, 30, 3e-3)?;
        let (last, accuracy) = contrast(&task)?;
        assert!(last < 0.5 * first && accuracy > 0.9, "{spec:?}: {first} to {last}, accuracy {accuracy}");
    }
    Ok(())
}

/// The momentum encoder stands still, so that from the second step on the queue holds the eight pictures' own keys.
/// Nothing can tell a key from its copy: the loss comes down to the logarithm of two.
#[test]
fn eight_queued_pictures_can_be_told_apart() -> Result<()> {
    let momentum = Momentum::Cosine(CosineMomentum { start: 1.0, end: 1.0 });
    let variant = ContrastVariant::Queue(QueueSpec { size: 8, hidden: 0 });
    let contrast = ContrastSpec { weight: 1.0, temperature: 0.05 };
    let mut task = up_reid(UpReidSpec { variant, momentum, contrast, dim: 32, ..plain(&spec()) }, LEARNER, 1)?;
    // Two strangers: a fresh momentum encoder is the trained one and knows the pictures' keys already.
    randomize(task.trainable(), 2);
    let mut state = task.save()?;
    state.tensors.extend(task.trainable().buffers("teacher.")?);
    task.load(&state)?;
    randomize(task.trainable(), 3);
    let losses = train(&mut task, &views(8, 1), 30, 3e-3)?;
    let (second, last) = (losses[1], losses[losses.len() - 1]);
    assert!(second > 2.0 && last < 0.8, "{second} to {last}, not {}", 2.0_f64.ln());
    Ok(())
}

#[test]
fn strips_can_be_told_apart() -> Result<()> {
    let contrast = ContrastSpec { weight: 0.0, ..ContrastSpec::default() };
    let strips = StripsSpec { warmup: Duration::Steps(0.0), ..StripsSpec::default() };
    let momentum = Momentum::HalfLife(Duration::Steps(2.0));
    for prototype in [Prototype::Hard(HardPrototype::default()), Prototype::Plain(PlainPrototype {})] {
        let spec = UpReidSpec { strips: StripsSpec { prototype, ..strips }, contrast, momentum, ..plain(&spec()) };
        let spec = UpReidSpec { strips: StripsSpec { weight: 1.0, ..spec.strips }, dim: 32, ..spec };
        let losses = train(&mut up_reid(spec, LEARNER, 1)?, &views(8, 1), 30, 3e-3)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.3 * first, "{prototype:?}: {first} to {last}");
    }
    Ok(())
}

// Switches.

fn combinations() -> Vec<UpReidSpec> {
    let mut out = Vec::new();
    let variants = [spec().variant, in_batch().variant];
    for variant in variants {
        for alpha in [0.0, 1.0] {
            for beta in [0.0, 1.0] {
                for prototype in [Prototype::Hard(HardPrototype::default()), Prototype::Plain(PlainPrototype {})] {
                    for (count, original) in [(2, true), (4, false)] {
                        for freeze_patch_embed in [false, true] {
                            let strips = StripsSpec { weight: beta, prototype, count, original, ..spec().strips };
                            let consistency = ConsistencySpec { weight: alpha, ..spec().consistency };
                            out.push(UpReidSpec { variant, strips, consistency, freeze_patch_embed, ..spec() });
                        }
                    }
                }
            }
        }
    }
    out
}

/// A finite loss, as many views as the terms need, and a gradient for all but a frozen patch embedding.
fn check_combination(spec: &UpReidSpec) -> Result<()> {
    let task = task(spec.clone())?;
    let needs_original = spec.consistency.weight > 0.0 || (spec.strips.weight > 0.0 && spec.strips.original);
    assert_eq!(task.views().views.len(), 2 + usize::from(needs_original));
    let queue = matches!(spec.variant, ContrastVariant::Queue(_));
    assert_eq!(task.couples_samples(), !queue);
    let output = task.step(&views(5, 5), clock(1, 4))?;
    assert!(scalar(&output.loss).is_finite() && scalar(&output.loss) > 0.0, "{spec:?}");
    assert!(output.stats.iter().all(|(_, value)| scalar(value).is_finite() && !value.track_op()), "{spec:?}");
    assert_eq!(find(&output, MetricKey::LossConsistency).is_some(), spec.consistency.weight > 0.0);
    assert_eq!(find(&output, MetricKey::LossStrips).is_some(), spec.strips.weight > 0.0);
    assert_eq!(find(&output, MetricKey::QueueAge).is_some(), queue);
    let whole = 5 * (1 + CELLS) * if queue { 1 } else { 2 };
    let strips = if spec.strips.weight > 0.0 { 5 * (spec.strips.count + CELLS) } else { 0 };
    assert_eq!(output.tokens, whole + strips);
    let foretold = cost(&ObjectiveSpec::UpReid(spec.clone()), &backbone()).expect("a cost");
    assert_eq!(output.tokens, 5 * foretold.encoder_tokens);
    assert!(foretold.flops > 0.0);
    let gradients = gradients(&task, &output)?;
    for (entry, gradient) in named_gradients(task.trainable(), &gradients) {
        let gradient = values(&gradient);
        assert!(gradient.iter().all(|value| value.is_finite()), "{} {spec:?}", entry.name);
        let frozen = spec.freeze_patch_embed && entry.name.starts_with("encoder.patch_embed");
        assert_eq!(gradient.iter().all(|&value| value == 0.0), frozen, "{} {spec:?}", entry.name);
    }
    Ok(())
}

#[test]
fn every_combination_of_switches_trains() -> Result<()> {
    combinations().par_iter().map(check_combination).collect()
}

#[test]
fn a_frozen_patch_embedding_keeps_its_values() -> Result<()> {
    let mut task = up_reid(UpReidSpec { freeze_patch_embed: true, ..plain(&in_batch()) }, TINY, 1)?;
    let value = |task: &UpReid, name: &str| bits(&task.trainable().get(name).expect("a parameter").expect("its value"));
    let names = ["encoder.patch_embed.proj.weight", "encoder.blocks.0.attn.qkv.weight"];
    let before = names.map(|name| value(&task, name));
    let spec = OptimSpec::Adamw(AdamwSpec { weight_decay: 0.5, ..AdamwSpec::default() });
    let mut optimizer = Optimizer::new(&spec, task.trainable());
    let output = task.step(&views(4, 1), clock(0, 2))?;
    optimizer.step(task.trainable(), &gradients(&task, &output)?, &Course::of_rate(&|_| 0.1))?;
    task.after_step(&[output], clock(0, 2))?;
    let after = names.map(|name| value(&task, name));
    assert_eq!(before[0], after[0], "weight decay leaves it alone, too");
    assert_ne!(before[1], after[1]);
    Ok(())
}

// State.

#[test]
fn a_step_is_pure() -> Result<()> {
    for spec in [spec(), in_batch()] {
        let (task, batch) = (task(spec)?, views(4, 9));
        let before = (task.trainable().buffers("")?, task.save()?);
        let run = || -> Result<Vec<Vec<u32>>> {
            let output = task.step(&batch, clock(2, 4))?;
            let gradients = gradients(&task, &output)?;
            Ok([vec![bits(&output.loss)], gradients.buffers.iter().map(bits).collect()].concat())
        };
        assert!(run()? == run()?);
        for ((name, before), (_, after)) in before.0.iter().zip(task.trainable().buffers("")?) {
            assert_eq!(bits(before), bits(&after), "{name}");
        }
        let after = task.save()?;
        assert_eq!(before.1.scalars, after.scalars);
        for (name, after) in after.tensors {
            assert_eq!(values(&before.1.tensors[&name]), values(&after), "{name}");
        }
    }
    Ok(())
}

/// Steps `range` of a training of nine.
fn steps(task: &mut UpReid, optimizer: &mut Optimizer, range: std::ops::Range<usize>) -> Result<Vec<u32>> {
    let mut losses = Vec::new();
    for step in range {
        let output = task.step(&views(5, 20 + step as u64), clock(step, 9))?;
        losses.extend(bits(&output.loss));
        optimizer.step(
            task.trainable(),
            &gradients(task, &output)?,
            &Course::of_rate(&|multiplier| 1e-2 * multiplier),
        )?;
        task.after_step(&[output], clock(step, 9))?;
    }
    Ok(losses)
}

#[test]
fn a_resumed_training_is_the_unbroken_one() -> Result<()> {
    let rule = OptimSpec::Adamw(AdamwSpec::default());
    let cosine = Momentum::Cosine(CosineMomentum { start: 0.9, end: 1.0 });
    for spec in [spec(), UpReidSpec { momentum: cosine, freeze_patch_embed: true, ..in_batch() }] {
        let mut unbroken = up_reid(spec.clone(), TINY, 1)?;
        let mut optimizer = Optimizer::new(&rule, unbroken.trainable());
        let first = steps(&mut unbroken, &mut optimizer, 0..4)?;
        let parameters: BTreeMap<String, Tensor> = unbroken.trainable().buffers("")?.into_iter().collect();
        let (state, moments) = (unbroken.save()?, optimizer.save(unbroken.trainable())?);
        let expected = steps(&mut unbroken, &mut optimizer, 4..9)?;
        assert_ne!(first, expected);

        let mut resumed = up_reid(spec, TINY, 2)?;
        resumed.trainable().restore("", &parameters)?;
        resumed.load(&state)?;
        let mut optimizer = Optimizer::new(&rule, resumed.trainable());
        optimizer.load(resumed.trainable(), &moments.0.into_iter().collect(), moments.1)?;
        assert_eq!(steps(&mut resumed, &mut optimizer, 4..9)?, expected);
        let (ours, theirs) = (resumed.save()?, unbroken.save()?);
        assert_eq!(ours.scalars, theirs.scalars);
        assert_eq!(ours.tensors.len(), theirs.tensors.len());
        for (name, tensor) in &ours.tensors {
            assert_eq!(values(tensor), values(&theirs.tensors[name]), "{name}");
        }

        for name in state.tensors.keys().chain(state.scalars.keys()) {
            let mut partial = state.clone();
            partial.tensors.remove(name);
            partial.scalars.remove(name);
            let error = resumed.load(&partial).unwrap_err().to_string();
            assert!(error.contains(name.as_str()), "{name}: {error}");
        }
    }
    Ok(())
}

#[test]
fn the_momentum_encoder_moves_by_averaging_only() -> Result<()> {
    let momenta = [
        (Momentum::Cosine(CosineMomentum { start: 0.75, end: 0.75 }), 0.75),
        // The momentum of the next step, of which it makes the keys: half a cosine's first quarter.
        (
            Momentum::Cosine(CosineMomentum { start: 0.5, end: 1.0 }),
            1.0 - 0.5 * 0.5 * (1.0 + (0.25 * std::f64::consts::PI).cos()),
        ),
        (Momentum::HalfLife(Duration::Steps(1.0)), 0.5),
    ];
    for (momentum, expected) in momenta {
        let mut task = up_reid(UpReidSpec { momentum, ..in_batch() }, TINY, 1)?;
        let teacher =
            |task: &UpReid| -> Result<Vec<f64>> { Ok(values(&task.save()?.tensors["teacher.encoder.blocks.0"])) };
        let student = |task: &UpReid| -> Result<Vec<f64>> {
            let buffers: BTreeMap<String, Tensor> = task.trainable().buffers("")?.into_iter().collect();
            Ok(values(&buffers["encoder.blocks.0"]))
        };
        let start = teacher(&task)?;
        assert_eq!(start, student(&task)?, "it begins as the trained one");
        randomize(task.trainable(), 11);
        let output = task.step(&views(4, 12), clock(0, 4))?;
        gradients(&task, &output)?;
        assert_eq!(teacher(&task)?, start);
        task.after_step(&[output], clock(0, 4))?;
        let pairs = start.iter().zip(student(&task)?);
        let averaged: Vec<f64> = pairs.map(|(old, new)| expected * old + (1.0 - expected) * new).collect();
        assert!(max_abs(&teacher(&task)?, &averaged) < 1e-6, "{momentum:?}");
        assert!(!task.save()?.tensors.keys().any(|name| name.contains("predictor") && name.starts_with("teacher")));
    }
    Ok(())
}

#[test]
fn gradients_reach_the_query_only() -> Result<()> {
    // With the teacher's parameters changed, the loss changes, but no gradient of the student's names is theirs.
    let task = task(plain(&spec()))?;
    let output = task.step(&views(4, 3), clock(0, 4))?;
    let gradients = gradients(&task, &output)?;
    let head = values(&gradient_of(task.trainable(), &gradients, "head.2.weight"));
    assert!(head.iter().any(|value| value.abs() > 0.0));
    assert!(output.carried.iter().all(|(_, tensor)| !tensor.track_op()));
    Ok(())
}

#[test]
fn views_are_cut_as_the_spec_says() -> Result<()> {
    let spec = spec();
    let plan = up_reid(spec.clone(), TINY, 1)?.views();
    let [query, key, original] = plan.views.as_slice() else { panic!("{} views", plan.views.len()) };
    assert_eq!(query, key);
    assert_eq!(query.crop, Crop::RandomResized { scale: [0.2, 1.0], ratio: [0.75, 4.0 / 3.0] });
    assert_eq!((query.photometric, query.erasing), (spec.query.photometric, Some(spec.query.erasing)));
    assert_eq!((original.crop, original.flip, original.erasing), (Crop::Full, 0.0, None));
    assert!(plan.shared_flip.abs() < 1e-12, "each view is mirrored on its own");
    Ok(())
}

#[test]
fn epochs_draw_from_the_pool_or_else_from_training() -> Result<()> {
    let mut task = up_reid(spec(), TINY, 1)?;
    let records = |n: i64| (0..n).map(|pid| record(pid, 0, true)).collect::<Vec<_>>();
    let nothing = || Features { values: Vec::new(), width: 1, records: Vec::new() };
    let mut archive = Archive::default();
    archive.splits.insert(Split::Train, (records(8), nothing()));
    assert_eq!(task.begin_epoch(0, 1, &archive)?.draws.len(), 8);
    archive.splits.insert(Split::Pool, (records(24), nothing()));
    assert_eq!(task.begin_epoch(0, 1, &archive)?.draws.len(), 24);
    assert!(task.product()?.keys().all(|name| !name.contains("head")), "the encoder alone is the product");
    Ok(())
}
