//! `mim_dino` as a task: it learns, its special cases are what they are called, and nothing but the seed, the
//! draw and the step decides its numbers.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::spec::VitDims;
use reid_backbones::{ParamStore, Vit};
use reid_data::spec::Size;
use reid_data::views::{ViewBatch, ViewGroup, Window};
use reid_objectives::Result;
use reid_objectives::metric::MetricKey;
use reid_objectives::mim_dino::spec::{
    Balance, Centering, DinoHeadSpec, MaskRatio, MimDinoSpec, MimMaskKind, MimMaskSpec, MultiCropSpec, Sinkhorn,
};
use reid_objectives::mim_dino::{MimDino, sinkhorn};
use reid_objectives::protocols::ENCODER;
use reid_objectives::random::init_source;
use reid_objectives::spec::{CosineMomentum, Duration, Momentum, TemperatureSpec};
use reid_objectives::task::{Clock, StepOutput, Task};
use reid_tests::tensors::{bits, named_gradients, normal, randomize, rng, values};

use super::fixture::{CELLS, TINY, backbone, batch, clock, gradients, scalar, train, wave};

/// Sums in another order.
const REORDERED: f64 = 1e-6;
/// Height and width of local views: 2 x 1 patches.
const LOCAL: Size = Size(16, 8);

fn spec() -> MimDinoSpec {
    let constant = |value| TemperatureSpec { start: value, end: value, ramp: Duration::Steps(0.0) };
    MimDinoSpec {
        views: MultiCropSpec { locals: 2, ..MultiCropSpec::default() },
        mask: MimMaskSpec { kind: MimMaskKind::Random, ratios: vec![MaskRatio { mean: 0.5, spread: 0.0 }] },
        head: DinoHeadSpec { hidden: 16, bottleneck: 8, prototypes: 12, patch_prototypes: 0, norm_last_layer: false },
        teacher_temperature: constant(0.04),
        patch_temperature: constant(0.04),
        freeze_last_layer: Duration::Steps(0.0),
        ..MimDinoSpec::default()
    }
}

fn build(spec: MimDinoSpec, dims: VitDims, seed: u64) -> Result<MimDino> {
    let source = init_source(seed);
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &backbone(), ENCODER, &mut store, &source)?;
    MimDino::assemble(spec, backbone(), 4, vit, store, &source)
}

/// A task whose every parameter matters.
fn task(spec: MimDinoSpec) -> Result<MimDino> {
    let task = build(spec, TINY, 1)?;
    randomize(task.trainable(), 2);
    randomize(task.teacher(), 3);
    Ok(task)
}

/// Two global views and `locals` local ones of each sample.
fn crops(samples: usize, locals: usize, seed: u64) -> ViewBatch {
    let mut batch = batch(samples, 2, seed);
    let Size(h, w) = LOCAL;
    let mut pixels = Vec::new();
    for draw in 0..(locals * samples * 3) as u32 {
        pixels.extend(wave(&mut rng(seed, 1000 + draw), h, w));
    }
    let windows = vec![Window { top: 0.0, left: 0.0, height: 1.0, width: 1.0 }; locals * samples];
    if locals > 0 {
        batch.groups.push(ViewGroup { size: LOCAL, views: (2..2 + locals).collect(), pixels, windows });
    }
    batch
}

fn stat(output: &StepOutput, key: MetricKey) -> f64 {
    let found = output.stats.iter().find(|(name, _)| *name == key);
    scalar(&found.unwrap_or_else(|| panic!("no {key:?}")).1)
}

// Learning.

/// An encoder that can tell eight pictures apart within thirty steps.
const LEARNER: VitDims = VitDims { width: 48, depth: 2, heads: 2 };
/// Share of the first loss that may be left: the entropy of the targets always is.
const LEFT: f64 = 0.5;

/// With a teacher that stands still, what it says of eight pictures can be learned.
#[test]
fn eight_pictures_can_be_learned_by_heart() -> Result<()> {
    let still = Momentum::Cosine(CosineMomentum { start: 1.0, end: 1.0 });
    let center = Balance::Centering(Centering { momentum: 0.9999, patch_momentum: 0.9999 });
    for (dino_weight, mim_weight) in [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)] {
        let spec = MimDinoSpec {
            dino_weight,
            mim_weight,
            head: DinoHeadSpec { hidden: 64, bottleneck: 32, prototypes: 32, ..spec().head },
            teacher_momentum: still,
            balance: center,
            ..spec()
        };
        let locals = spec.used_locals();
        let mut task = build(spec, LEARNER, 1)?;
        randomize(task.teacher(), 3);
        let losses = train(&mut task, &crops(8, locals, 1), 30, 3e-3)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < LEFT * first, "weights {dino_weight} and {mim_weight}: {first} to {last}");
    }
    Ok(())
}

// Special cases.

#[test]
fn every_combination_of_switches_trains() -> Result<()> {
    let free = spec().head;
    let heads = [
        free.clone(),
        DinoHeadSpec { norm_last_layer: true, ..free.clone() },
        DinoHeadSpec { patch_prototypes: 7, ..free },
    ];
    for head in heads {
        for balance in [spec().balance, Balance::Sinkhorn(Sinkhorn::default())] {
            for (dino_weight, mim_weight) in [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)] {
                for kind in [MimMaskKind::Block, MimMaskKind::Random] {
                    let mask = MimMaskSpec { kind, ..spec().mask };
                    let spec = MimDinoSpec { dino_weight, mim_weight, mask, head: head.clone(), balance, ..spec() };
                    let locals = spec.used_locals();
                    assert_eq!(locals > 0, dino_weight > 0.0);
                    let task = task(spec.clone())?;
                    assert_eq!(task.views().views.len(), 2 + locals);
                    assert_eq!(task.couples_samples(), matches!(balance, Balance::Sinkhorn(_)));
                    let output = task.step(&crops(3, locals, 5), clock(1, 4))?;
                    assert!(scalar(&output.loss).is_finite() && scalar(&output.loss) > 0.0, "{spec:?}");
                    assert!(output.stats.iter().all(|(_, value)| scalar(value).is_finite()), "{spec:?}");
                    check_gradients(&task, &output, &spec)?;
                }
            }
        }
    }
    Ok(())
}

/// Finite gradients; none for what the weights leave out.
fn check_gradients(task: &MimDino, output: &StepOutput, spec: &MimDinoSpec) -> Result<()> {
    for (entry, gradient) in named_gradients(task.trainable(), &gradients(task, output)?) {
        let gradient = values(&gradient);
        assert!(gradient.iter().all(|value| value.is_finite()), "{} {spec:?}", entry.name);
        let idle = match entry.name.as_str() {
            // With patches of their own last layer, or without a loss on them.
            name if name.starts_with("head.last_layer2.") => spec.mim_weight == 0.0,
            name if name.starts_with("head.last_layer.") => {
                spec.dino_weight == 0.0 && (spec.head.patch_prototypes > 0 || spec.mim_weight == 0.0)
            }
            _ => false,
        };
        // Blocks on this small grid may mask nothing; what is masked with `random` is seen everywhere.
        if idle || spec.mask.kind == MimMaskKind::Random {
            assert_eq!(gradient.iter().all(|&value| value == 0.0), idle, "{} {spec:?}", entry.name);
        }
    }
    Ok(())
}

/// Without masks and without the patches' loss it is DINO: the masks' settings and the patches' temperature change
/// nothing, and no patch is hidden.
#[test]
fn without_masks_it_is_dino() -> Result<()> {
    let plain = MimMaskSpec { kind: MimMaskKind::Block, ratios: vec![MaskRatio::default()] };
    let dino = MimDinoSpec { mim_weight: 0.0, mask: plain.clone(), ..spec() };
    let batch = crops(3, 2, 6);
    let run = |spec: &MimDinoSpec| -> Result<(u64, f64)> {
        let output = task(spec.clone())?.step(&batch, clock(1, 4))?;
        Ok((scalar(&output.loss).to_bits(), stat(&output, MetricKey::MaskedShare)))
    };
    let (loss, share) = run(&dino)?;
    assert_eq!(share, 0.0);
    let warm = TemperatureSpec { start: 0.5, ..dino.patch_temperature };
    let other =
        MimDinoSpec { mask: MimMaskSpec { kind: MimMaskKind::Random, ..plain }, patch_temperature: warm, ..dino };
    assert_eq!(run(&other)?.0, loss);
    // With masks on, the same loss is taken on views of which the student sees a part.
    let (masked, share) = run(&MimDinoSpec { mim_weight: 0.0, ..spec() })?;
    assert_eq!(share, 0.5);
    assert_ne!(masked, loss);
    Ok(())
}

#[test]
fn masks_wait_for_their_start() -> Result<()> {
    let task = task(MimDinoSpec { mim_start: Duration::Epochs(2.0), ..spec() })?;
    let batch = crops(3, 2, 7);
    for (epoch, expected) in [(0, 0.0), (1, 0.0), (2, 0.5), (3, 0.5)] {
        let clock = Clock { epoch, epochs: 4.0, step: epoch, steps: 4, seed: 3 };
        let output = task.step(&batch, clock)?;
        assert_eq!(stat(&output, MetricKey::MaskedShare), expected, "epoch {epoch}");
        assert_eq!(output.stats.iter().any(|(key, _)| *key == MetricKey::LossMim), expected > 0.0);
    }
    Ok(())
}

#[test]
fn the_last_layer_is_held_for_its_time() -> Result<()> {
    let head = DinoHeadSpec { patch_prototypes: 5, ..spec().head };
    let task = task(MimDinoSpec { freeze_last_layer: Duration::Fraction(0.5), head, ..spec() })?;
    for (epoch, held) in [(0, 2), (1, 2), (2, 0), (3, 0)] {
        let clock = Clock { epoch, epochs: 4.0, step: epoch, steps: 4, seed: 3 };
        let names: Vec<_> = task.held(clock).into_iter().map(|id| &task.trainable().module(id).name).collect();
        assert_eq!(names.len(), held, "epoch {epoch}");
        assert!(names.iter().all(|name| name.starts_with("head.last_layer")), "{names:?}");
    }
    Ok(())
}

// What the papers claim.

/// Both global views are treated alike, and local ones have no order.
#[test]
fn views_may_be_exchanged() -> Result<()> {
    let task = task(MimDinoSpec { mask: MimMaskSpec { ratios: vec![MaskRatio::default()], ..spec().mask }, ..spec() })?;
    let plain = crops(3, 2, 8);
    let mut exchanged = plain.clone();
    for group in &mut exchanged.groups {
        let half = group.pixels.len() / 2;
        group.pixels.rotate_left(half);
    }
    let loss = |batch: &ViewBatch| -> Result<f64> { Ok(scalar(&task.step(batch, clock(0, 4))?.loss)) };
    let (plain, exchanged) = (loss(&plain)?, loss(&exchanged)?);
    assert!((plain - exchanged).abs() <= REORDERED * plain, "{plain} {exchanged}");
    Ok(())
}

/// The teacher sees whole views: its targets do not know the masks.
#[test]
fn targets_do_not_depend_on_masks() -> Result<()> {
    let entropy = |mean: f64| -> Result<u64> {
        let mask = MimMaskSpec { ratios: vec![MaskRatio { mean, spread: 0.0 }], ..spec().mask };
        let output = task(MimDinoSpec { mask, ..spec() })?.step(&crops(3, 2, 9), clock(0, 4))?;
        Ok(stat(&output, MetricKey::TeacherEntropy).to_bits())
    };
    assert_eq!(entropy(0.25)?, entropy(0.75)?);
    Ok(())
}

/// Masked patches enter as the same token: the student's loss on them cannot see their pixels.
#[test]
fn all_masked_patches_look_alike_to_the_student() -> Result<()> {
    let ratio = MaskRatio { mean: 0.95, spread: 0.0 };
    let mask = MimMaskSpec { kind: MimMaskKind::Random, ratios: vec![ratio] };
    let task = task(MimDinoSpec { dino_weight: 0.0, mask, ..spec() })?;
    let batch = crops(2, 0, 10);
    let output = task.step(&batch, clock(0, 4))?;
    let expected = (CELLS as f64 * ratio.mean).floor() / CELLS as f64;
    assert!((stat(&output, MetricKey::MaskedShare) - expected).abs() < 1e-6);
    assert_eq!(output.tokens, 2 * 2 * (1 + CELLS), "masked patches are encoded, not left out");
    Ok(())
}

/// After Sinkhorn's last round rows sum to 1, and prototypes are used nearly equally however the outputs lean.
#[test]
fn sinkhorn_uses_every_prototype() -> Result<()> {
    let (n, k) = (64, 8);
    let leaning = (normal(11, (n, k)) * 0.1)?.broadcast_add(&(normal(12, (1, k)) * 0.5)?)?;
    let q = sinkhorn(&leaning, 0.1, Sinkhorn { iterations: 50 })?;
    for row in values(&q.sum(1)?) {
        assert!((row - 1.0).abs() < 1e-6, "{row}");
    }
    for column in values(&q.sum(0)?) {
        assert!((column - n as f64 / k as f64).abs() < 0.05, "{column}");
    }
    // A factor of all outputs' exponentials changes nothing, and large outputs do not overflow.
    let shifted = sinkhorn(&(&leaning + 3000.0)?, 0.1, Sinkhorn { iterations: 3 })?;
    let plain = sinkhorn(&leaning, 0.1, Sinkhorn { iterations: 3 })?;
    let off = values(&shifted).into_iter().zip(values(&plain)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off < 5e-3, "{off}");
    Ok(())
}

// State.

#[test]
fn centers_and_teacher_move_after_a_step_only() -> Result<()> {
    let mut task = task(MimDinoSpec { teacher_momentum: Momentum::HalfLife(Duration::Steps(1.0)), ..spec() })?;
    let before = task.save()?.tensors;
    let output = task.step(&crops(3, 2, 13), clock(0, 4))?;
    for (name, tensor) in task.save()?.tensors {
        assert_eq!(bits(&tensor), bits(&before[&name]), "{name}");
    }
    let mean = output.carried.iter().find(|(name, _)| *name == "class_mean").map(|(_, mean)| values(mean));
    task.after_step(&[output], clock(0, 4))?;
    let moved: Vec<f64> = mean.expect("a mean").into_iter().map(|mean| 0.1 * mean).collect();
    let center = values(&task.centers().class);
    assert!(center.iter().zip(&moved).all(|(a, b)| (a - b).abs() < 1e-6), "{center:?} {moved:?}");
    for (name, tensor) in task.save()?.tensors {
        assert_ne!(bits(&tensor), bits(&before[&name]), "{name}");
    }
    Ok(())
}

#[test]
fn saved_state_restores_the_task() -> Result<()> {
    let batch = crops(3, 2, 14);
    let mut first = build(spec(), TINY, 1)?;
    train(&mut first, &batch, 3, 1e-2)?;
    let parameters: BTreeMap<String, Tensor> = first.trainable().buffers("")?.into_iter().collect();
    let state = first.save()?;

    let mut second = build(spec(), TINY, 2)?;
    second.trainable().restore("", &parameters)?;
    let loss = |task: &MimDino| -> Result<Vec<u32>> { Ok(bits(&task.step(&batch, clock(3, 9))?.loss)) };
    assert_ne!(loss(&second)?, loss(&first)?, "teacher and centers are part of the state");
    second.load(&state)?;
    assert_eq!(loss(&second)?, loss(&first)?);
    for name in ["teacher.encoder.norm", "center", "patch_center"] {
        let mut partial = state.clone();
        partial.tensors.remove(name);
        let error = second.load(&partial).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    Ok(())
}

/// A mask belongs to the draw and its view; another epoch or seed has other masks.
#[test]
fn masks_are_keyed_by_draw_and_view() -> Result<()> {
    let task = task(spec())?;
    let batch = crops(4, 2, 15);
    let loss = |batch: &ViewBatch, clock: Clock| task.step(batch, clock).map(|output| scalar(&output.loss));
    let plain = loss(&batch, clock(0, 4))?;
    assert_eq!(plain.to_bits(), loss(&batch, clock(0, 4))?.to_bits());
    let mut others = batch.clone();
    others.draws.rotate_left(1);
    for other in [
        loss(&batch, Clock { epoch: 1, ..clock(0, 4) })?,
        loss(&batch, Clock { seed: 4, ..clock(0, 4) })?,
        loss(&others, clock(0, 4))?,
    ] {
        assert!((plain - other).abs() > 1e-5, "{plain} {other}");
    }
    Ok(())
}

/// The encoder of a seed is the same as in every other objective, and downstream gets the teacher's.
#[test]
fn the_product_is_the_teacher_s_encoder() -> Result<()> {
    let task = task(spec())?;
    let product = task.product()?;
    for (name, tensor) in &product {
        let teacher = task.teacher().get(&format!("{ENCODER}{name}")).expect("a parameter")?;
        assert_eq!(bits(tensor), bits(&teacher), "{name}");
    }
    assert!(product.contains_key("norm.weight") && !product.keys().any(|name| name.contains("masked_embed")));
    Ok(())
}
