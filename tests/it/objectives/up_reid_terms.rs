//! UP-ReID's terms and its queue against their definitions.

use candle_core::{Device, Tensor, Var};
use reid_objectives::Result;
use reid_objectives::math::distance::l2_normalize;
use reid_objectives::metric::MetricKey;
use reid_objectives::random::init_source;
use reid_objectives::spec::{Duration, UpReidSpec};
use reid_objectives::task::Task;
use reid_objectives::up_reid::UpReid;
use reid_objectives::up_reid::losses::{Similarities, consistency};
use reid_objectives::up_reid::queue::Queue;
use reid_objectives::up_reid::spec::{
    ConsistencySpec, ContrastSpec, HardPrototype, PlainPrototype, Prototype, StripsSpec,
};
use reid_objectives::up_reid::strips::strip_loss;
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, normal, values};

use super::fixture::{TINY, clock, reordered, scalar, up_reid};
use super::up_reid::{REORDERED, in_batch, spec, stat, task, views};
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
