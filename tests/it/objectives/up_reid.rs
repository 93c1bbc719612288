//! UP-ReID as a task: it learns, its terms are what they claim, and nothing but the seed, the draw and the
//! step decides its numbers.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use rayon::prelude::*;
use reid_backbones::optim::spec::{AdamwSpec, OptimSpec};
use reid_backbones::optim::{Course, Optimizer};
use reid_backbones::spec::VitDims;
use reid_data::dataset::Split;
use reid_data::views::{Crop, ViewBatch};
use reid_objectives::Result;
use reid_objectives::cost::cost;
use reid_objectives::math::distance::l2_normalize;
use reid_objectives::metric::MetricKey;
use reid_objectives::random::init_source;
use reid_objectives::spec::{CosineMomentum, Duration, Momentum, ObjectiveSpec, UpReidSpec};
use reid_objectives::task::{Features, StepOutput, Task};
use reid_objectives::up_reid::UpReid;
use reid_objectives::up_reid::losses::{Similarities, consistency};
use reid_objectives::up_reid::queue::Queue;
use reid_objectives::up_reid::spec::{
    ConsistencySpec, ContrastSpec, ContrastVariant, HardPrototype, InBatchSpec, PlainPrototype, Prototype, QueueSpec,
    StripsSpec,
};
use reid_objectives::up_reid::strips::strip_loss;
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, gradient_of, named_gradients, normal, randomize, values};

use super::fixture::{
    Archive, CELLS, TINY, backbone, batch, clock, gradients, record, reordered, scalar, train, up_reid,
};

/// Sums in another order.
const REORDERED: f64 = 1e-5;

/// A queue of three batches of four that no batch of five divides, and strips of one row.
fn spec() -> UpReidSpec {
    UpReidSpec {
        variant: ContrastVariant::Queue(QueueSpec { size: 12, hidden: 16 }),
        dim: 8,
        momentum: Momentum::HalfLife(Duration::Steps(5.0)),
        ..UpReidSpec::default()
    }
}

fn in_batch() -> UpReidSpec {
    UpReidSpec { variant: ContrastVariant::InBatch(InBatchSpec { hidden: 16 }), ..spec() }
}

/// Momentum contrast alone.
fn plain(spec: &UpReidSpec) -> UpReidSpec {
    UpReidSpec {
        consistency: ConsistencySpec { weight: 0.0, ..spec.consistency },
        strips: StripsSpec { weight: 0.0, ..spec.strips },
        ..spec.clone()
    }
}

/// A task whose every parameter matters.
fn task(spec: UpReidSpec) -> Result<UpReid> {
    let task = up_reid(spec, TINY, 1)?;
    randomize(task.trainable(), 2);
    Ok(task)
}

/// Pictures whose augmented views are themselves with some noise, the original last.
fn views(samples: usize, seed: u64) -> ViewBatch {
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

fn find(output: &StepOutput, key: MetricKey) -> Option<f64> {
    output.stats.iter().find(|(name, _)| *name == key).map(|(_, value)| scalar(value))
}

fn stat(output: &StepOutput, key: MetricKey) -> f64 {
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
        let losses = train(&mut task, &batch, 30, 3e-3)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.6 * first, "{spec:?}: {first} to {last}");
        let output = task.step(&batch, clock(30, 31))?;
        assert!(stat(&output, MetricKey::ContrastAccuracy) > 0.99, "{spec:?}");
    }
    Ok(())
}

/// From the second step on, the queue holds the eight pictures' own keys of the step before. Nothing can tell a
/// picture from its own old key, so the loss comes down from the logarithm of nine to that of two.
#[test]
fn eight_queued_pictures_can_be_told_apart() -> Result<()> {
    let variant = ContrastVariant::Queue(QueueSpec { size: 8, hidden: 0 });
    let momentum = Momentum::HalfLife(Duration::Steps(2.0));
    let spec = UpReidSpec { variant, momentum, dim: 32, ..plain(&spec()) };
    let losses = train(&mut up_reid(spec, LEARNER, 1)?, &views(8, 1), 30, 3e-3)?;
    let (second, last) = (losses[1], losses[losses.len() - 1]);
    assert!((second - 9.0_f64.ln()).abs() < 0.3, "a fresh encoder takes all for one: {second}");
    assert!(last < 1.0, "{second} to {last}, not {}", 2.0_f64.ln());
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

// Terms.

#[test]
fn the_loss_is_the_weighted_sum_of_its_terms() -> Result<()> {
    let strips = StripsSpec { weight: 3.0, warmup: Duration::Fraction(0.5), ..spec().strips };
    let consistency = ConsistencySpec { weight: 2.0, ..spec().consistency };
    let contrast = ContrastSpec { weight: 0.5, ..spec().contrast };
    for variant in [spec().variant, in_batch().variant] {
        let task = task(UpReidSpec { variant, contrast, consistency, strips, ..spec() })?;
        for (step, ramp) in [(0, 0.1), (4, 0.5), (9, 1.0), (19, 1.0)] {
            let output = task.step(&views(4, 10), clock(step, 20))?;
            let expected = 0.5 * stat(&output, MetricKey::LossContrast)
                + 2.0 * stat(&output, MetricKey::LossConsistency)
                + 3.0 * ramp * stat(&output, MetricKey::LossStrips);
            assert!((scalar(&output.loss) - expected).abs() < 1e-5 * expected, "step {step}");
        }
    }
    Ok(())
}

/// Where augmentation changes nothing, an encoder that is its own teacher is consistent.
#[test]
fn an_original_is_consistent_with_itself() -> Result<()> {
    let mut batch = views(4, 3);
    let group = &mut batch.groups[0];
    let one = group.pixels.len() / 3;
    let original = group.pixels[2 * one..].to_vec();
    group.pixels[..one].copy_from_slice(&original);
    // A fresh task's teacher is its student, and the queue variant has no predictor between them.
    let output = up_reid(spec(), TINY, 1)?.step(&batch, clock(0, 9))?;
    assert!(stat(&output, MetricKey::LossConsistency).abs() < 1e-6);
    let changed = up_reid(spec(), TINY, 1)?.step(&views(4, 3), clock(0, 9))?;
    assert!(stat(&changed, MetricKey::LossConsistency) > 1e-6);
    Ok(())
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exp: Vec<f64> = logits.iter().map(|value| (value - largest).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.into_iter().map(|value| value / sum).collect()
}

#[test]
fn consistency_is_a_divergence() -> Result<()> {
    let (rows, width, temperature) = (3, 7, 0.3);
    let (original, augmented) = (normal(1, (rows, width)), Var::from_tensor(&normal(2, (rows, width)))?);
    let loss = consistency(&original, augmented.as_tensor(), temperature)?;
    let scaled = |tensor: &Tensor| values(tensor).into_iter().map(|value| value / temperature).collect::<Vec<_>>();
    let (ours, theirs) = (scaled(&original), scaled(augmented.as_tensor()));
    let (mut expected, mut gradient) = (0.0, Vec::new());
    for (o, a) in ours.chunks_exact(width).zip(theirs.chunks_exact(width)) {
        let (p, q) = (softmax(o), softmax(a));
        expected += p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>() / rows as f64;
        gradient.extend(p.iter().zip(&q).map(|(p, q)| (q - p) / temperature / rows as f64));
    }
    assert!((scalar(&loss) - expected).abs() < 1e-5 * expected);
    let gradients = loss.backward()?;
    assert!(max_abs(&values(gradients.get(&augmented).expect("a gradient")), &gradient) < 1e-5);
    Ok(())
}

/// The definition, strip by strip.
fn strip_loss_by_hand(anchor: &Tensor, others: &[Tensor], spec: &StripsSpec) -> f64 {
    let (b, m, d) = anchor.dims3().expect("strips");
    let all: Vec<Vec<f64>> = std::iter::once(anchor).chain(others).map(values).collect();
    let row = |view: usize, sample: usize, strip: usize| &all[view][(sample * m + strip) * d..][..d];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut total = 0.0;
    for sample in 0..b {
        for i in 0..m {
            let query = row(0, sample, i);
            let logits: Vec<f64> = (0..m)
                .map(|j| {
                    let views: Vec<&[f64]> =
                        (usize::from(i == j)..all.len()).map(|view| row(view, sample, j)).collect();
                    let weights = match spec.prototype {
                        Prototype::Plain(_) => vec![1.0; views.len()],
                        Prototype::Hard(hard) => {
                            let sign = if i == j { -1.0 } else { 1.0 };
                            softmax(
                                &views
                                    .iter()
                                    .map(|view| sign * dot(query, view) / hard.temperature)
                                    .collect::<Vec<_>>(),
                            )
                        }
                    };
                    let mut prototype = vec![0.0; d];
                    for (view, weight) in views.iter().zip(&weights) {
                        prototype.iter_mut().zip(*view).for_each(|(sum, value)| *sum += weight * value);
                    }
                    dot(query, &prototype) / dot(&prototype, &prototype).sqrt() / spec.temperature
                })
                .collect();
            total -= softmax(&logits)[i].ln() / (b * m) as f64;
        }
    }
    total
}

#[test]
fn strips_are_contrasted_as_defined() -> Result<()> {
    let unit = |seed, (b, m, d): (usize, usize, usize)| l2_normalize(&normal(seed, (b, m, d)));
    for prototype in [Prototype::Hard(HardPrototype { temperature: 0.4 }), Prototype::Plain(PlainPrototype {})] {
        for (views, shape) in [(1, (3, 4, 6)), (2, (2, 2, 5)), (2, (1, 5, 4))] {
            let spec = StripsSpec { prototype, temperature: 0.3, ..StripsSpec::default() };
            let anchor = Var::from_tensor(&unit(1, shape)?)?;
            let others: Vec<Tensor> =
                (0..views).map(|view| unit(2 + view, shape)).collect::<std::result::Result<_, _>>()?;
            let loss = strip_loss(anchor.as_tensor(), &others, &spec)?;
            let expected = strip_loss_by_hand(anchor.as_tensor(), &others, &spec);
            assert!((scalar(&loss) - expected).abs() < 1e-5 * expected, "{prototype:?}: {} {expected}", scalar(&loss));
            assert!(loss.backward()?.get(&anchor).is_some());
        }
    }
    Ok(())
}

/// The more temperature, the less hardness counts: in the limit the prototype is the mean.
#[test]
fn hardness_fades_with_temperature() -> Result<()> {
    let shape = (4, 4, 8);
    let (anchor, others) =
        (l2_normalize(&normal(1, shape))?, [l2_normalize(&normal(2, shape))?, l2_normalize(&normal(3, shape))?]);
    let loss = |prototype| -> Result<f64> {
        Ok(scalar(&strip_loss(&anchor, &others, &StripsSpec { prototype, ..StripsSpec::default() })?))
    };
    let plain = loss(Prototype::Plain(PlainPrototype {}))?;
    let hard = |temperature| loss(Prototype::Hard(HardPrototype { temperature }));
    assert!(hard(0.1)? > hard(1.0)? && hard(1.0)? > plain, "hard views are farther and hard strips nearer");
    assert!((hard(1e5)? - plain).abs() < 1e-4 * plain);
    Ok(())
}

/// A picture is compared with the queue and with itself: the order of the batch is only an order, and the
/// strips of other pictures have no influence.
#[test]
fn samples_may_stand_in_any_order() -> Result<()> {
    for spec in [spec(), in_batch()] {
        let (task, batch) = (task(spec)?, views(6, 7));
        let output = task.step(&batch, clock(0, 4))?;
        let moved = task.step(&reordered(&batch, &[4, 0, 5, 2, 1, 3]), clock(0, 4))?;
        for key in [MetricKey::LossContrast, MetricKey::LossConsistency, MetricKey::LossStrips] {
            let (plain, moved) = (stat(&output, key), stat(&moved, key));
            assert!((plain - moved).abs() <= REORDERED * plain, "{key:?}: {plain} {moved}");
        }
    }
    Ok(())
}

#[test]
fn others_are_all_but_the_own_key() -> Result<()> {
    let (query, key) = (normal(1, (3, 4)), normal(2, (3, 4)));
    let within = Similarities::in_batch(&query, &key)?;
    let rows: Vec<Vec<f32>> = within.all.to_vec2()?;
    let others = within.to_others()?.to_vec2::<f32>()?;
    assert_eq!(others, [[rows[0][1], rows[0][2]], [rows[1][0], rows[1][2]], [rows[2][0], rows[2][1]]]);
    let queued = Similarities::with_queue(&query, &key, &normal(3, (5, 4)))?;
    assert_eq!(values(&queued.to_others()?), values(&queued.all.narrow(1, 1, 5)?));
    Ok(())
}

// The queue.

#[test]
fn a_queue_is_a_ring() -> Result<()> {
    let (size, width) = (7, 3);
    let mut queue = Queue::random(size, width, &init_source(1), &Device::Cpu)?;
    let lengths = queue.keys().sqr()?.sum(1)?;
    assert!(values(&lengths).iter().all(|length| (length - 1.0).abs() < 1e-6));
    assert_eq!(bits(queue.keys()), bits(Queue::random(size, width, &init_source(1), &Device::Cpu)?.keys()));
    assert_ne!(bits(queue.keys()), bits(Queue::random(size, width, &init_source(2), &Device::Cpu)?.keys()));

    let mut rows: Vec<Vec<f32>> = queue.keys().to_vec2()?;
    let mut written = vec![0; size];
    for step in 0..9 {
        assert_eq!(queue.age(step), step - written[queue.next()], "step {step}");
        let batch = 1 + step % size;
        let keys = l2_normalize(&normal(100 + step as u64, (batch, width)))?;
        queue.push(&keys, step)?;
        let at = rows.len();
        for (place, key) in keys.to_vec2::<f32>()?.into_iter().enumerate() {
            let place = (written_so_far(step, size) + place) % at;
            rows[place] = key;
            written[place] = step;
        }
        assert_eq!(queue.keys().to_vec2::<f32>()?, rows, "step {step}");
        assert_eq!(queue.next(), written_so_far(step + 1, size) % size);
    }
    let error = queue.push(&normal(1, (size + 1, width)), 9).expect_err("too many").to_string();
    assert!(error.contains("a queue of 7 got 8 keys"), "{error}");
    Ok(())
}

/// Keys of the steps before one, as the test above pushes them.
fn written_so_far(step: usize, size: usize) -> usize {
    (0..step).map(|step| 1 + step % size).sum()
}

#[test]
fn keys_are_queued_after_the_step() -> Result<()> {
    let mut task = task(spec())?;
    let keys = |task: &UpReid| -> Result<Vec<Vec<f32>>> { Ok(task.save()?.tensors["queue.keys"].to_vec2()?) };
    let before = keys(&task)?;
    let output = task.step(&views(5, 2), clock(0, 9))?;
    assert_eq!(keys(&task)?, before, "a step queues nothing");
    let carried: Vec<Vec<f32>> = output.carried[0].1.to_vec2()?;
    let twin = task.step(&views(5, 3), clock(0, 9))?;
    // Two batches of one accumulated update.
    task.after_step(&[output, twin], clock(0, 9))?;
    let after = keys(&task)?;
    assert_eq!(after[..5], carried[..]);
    assert_eq!(after[10..], before[10..]);
    assert_eq!(task.save()?.scalars["queue.next"], 10.0);
    let output = task.step(&views(5, 4), clock(3, 9))?;
    assert!((stat(&output, MetricKey::QueueAge) - 3.0).abs() < 1e-9, "two random keys are left");
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
