//! The supervised protocol as a task, and the model that it leaves.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::losses::{id_loss, smoothing, weighted_triplet_loss};
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::supervised::network::SupervisedModel;
use reid_objectives::protocols::supervised::{Seen, Supervised};
use reid_objectives::spec::{
    CamerasSpec, EvaluationFeature, EvaluationSpec, Hard, IdHead, JigsawSpec, LocalSpec, MarginHead, NeckBias, Pooling,
    SideSpec, Smoothing, Soft, SupervisedSpec, TrainSpec, TripletMargin, TripletMining, UnknownCamera,
};
use reid_objectives::task::{Embed, Task};
use reid_objectives::{Result, TaskError};
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, normal, randomize, values};

use super::fixture::{SIZE, backbone, batch, clock, gradients, scalar, train};

/// Statistics and features, absolute.
const F32: f64 = 1e-5;

/// Cameras of the fixture's batches.
const CAMERAS: [u32; 2] = [0, 1];

fn task(seed: u64) -> Result<Supervised> {
    task_of(SupervisedSpec::default(), seed)
}

fn task_of(spec: SupervisedSpec, seed: u64) -> Result<Supervised> {
    let train = TrainSpec { batch: 16, ..SupervisedSpec::default().train };
    let spec = SupervisedSpec { train, identities_per_batch: 4, ..spec };
    let encoder = EncoderModel::random(&backbone(), seed, &Device::Cpu)?;
    let seen = Seen { identities: 4, cameras: &CAMERAS };
    Supervised::build(&spec, &backbone(), encoder, seen, seed, &Device::Cpu)
}

#[test]
fn sixteen_pictures_can_be_learned_by_heart() -> Result<()> {
    let (mut task, batch) = (task(1)?, batch(16, 1, 1));
    let losses = train(&mut task, &batch, 30, 1e-3)?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.1 * first, "{first} to {last}");
    let output = task.step(&batch, clock(30, 30))?;
    let accuracy = output.stats.iter().find(|(key, _)| *key == MetricKey::TrainAccuracy).expect("the accuracy");
    assert!(scalar(&accuracy.1) > 0.99);
    assert_eq!(output.tokens, 16 * 9);
    assert!(task.couples_samples());
    Ok(())
}

/// Every head, rule of mining, smoothing and pooling learns, and its model ranks what was trained.
#[test]
fn variants_learn_sixteen_pictures_by_heart() -> Result<()> {
    let margin = MarginHead { scale: 16.0, margin: 0.2 };
    let default = SupervisedSpec::default;
    let variants = [
        SupervisedSpec { id_head: IdHead::ArcFace(margin), ..default() },
        SupervisedSpec { id_head: IdHead::CosFace(margin), ..default() },
        SupervisedSpec { id_head: IdHead::Circle(margin), ..default() },
        SupervisedSpec { triplet_mining: TripletMining::Weighted, ..default() },
        SupervisedSpec { pooling: Pooling::Gem, ..default() },
        SupervisedSpec { pooling: Pooling::ClsAvg, ..default() },
        SupervisedSpec { neck_bias: NeckBias::Learned, ..default() },
        SupervisedSpec { side: SideSpec::Cameras(CamerasSpec::default()), ..default() },
        SupervisedSpec { local: LocalSpec::Jigsaw(JigsawSpec { shift: 2, ..JigsawSpec::default() }), ..default() },
    ];
    for spec in variants {
        let (mut task, batch) = (task_of(spec.clone(), 1)?, batch(16, 1, 1));
        let losses = train(&mut task, &batch, 40, 1e-3)?;
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.4 * first, "{spec:?}: {first} to {last}");
        let output = task.step(&batch, clock(40, 40))?;
        let accuracy = output.stats.iter().find(|(key, _)| *key == MetricKey::TrainAccuracy).expect("the accuracy");
        assert!(scalar(&accuracy.1) > 0.99, "{spec:?}");
        task.after_step(&[output], clock(40, 40))?;
        let images = normal(7, (4, 3, SIZE.0, SIZE.1));
        let cameras = [0, 1, 1, 0];
        let in_training = task.evaluated().model.embed(&images, &cameras)?;
        let (product, path) = (task.product()?, Path::new("product"));
        let model = SupervisedModel::from_product(&spec, &backbone(), &product, path, &Device::Cpu)?;
        assert_eq!(bits(&model.embed(&images, &cameras)?), bits(&in_training), "{spec:?}");
        let width = backbone().size.dims().width;
        let of_parts = if let LocalSpec::Jigsaw(jigsaw) = spec.local { jigsaw.parts * width } else { 0 };
        assert_eq!(in_training.dim(1)?, spec.pooling.width(width) + of_parts, "{spec:?}");
    }
    Ok(())
}

#[test]
fn smoothing_and_weighted_pairs_equal_their_formulas() -> Result<()> {
    let (b, k, d, epsilon) = (6, 5, 7, 0.3);
    let (logits, features) = (normal(11, (b, k)), normal(12, (b, d)));
    let names: Vec<u32> = vec![0, 0, 1, 1, 2, 1];
    let labels = Tensor::from_slice(&names, b, &Device::Cpu)?;
    let rows = |tensor: &Tensor, width: usize| -> Vec<Vec<f64>> {
        values(tensor).chunks(width).map(<[f64]>::to_vec).collect()
    };
    let of_row = |(row, &name): (&Vec<f64>, &u32)| {
        let all = row.iter().map(|x| x.exp()).sum::<f64>().ln();
        let target = |i: usize| if i == name as usize { 1.0 - epsilon } else { epsilon / (k - 1) as f64 };
        row.iter().enumerate().map(|(i, x)| target(i) * (all - x)).sum::<f64>()
    };
    let expected = rows(&logits, k).iter().zip(&names).map(of_row).sum::<f64>() / b as f64;
    let found = id_loss(&logits, &labels, smoothing(Smoothing::Others, epsilon, k))?;
    assert!((scalar(&found) - expected).abs() < F32, "{} {expected}", scalar(&found));

    let features_of = rows(&features, d);
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let mean = |anchor: usize, same: bool| {
        let others = (0..b).filter(|&j| (names[j] == names[anchor]) == same);
        let pairs: Vec<f64> = others.map(|j| distance(&features_of[anchor], &features_of[j])).collect();
        let weight = |d: f64| if same { d.exp() } else { (-d).exp() };
        pairs.iter().map(|&d| weight(d) * d).sum::<f64>() / pairs.iter().map(|&d| weight(d)).sum::<f64>()
    };
    let gaps: Vec<f64> = (0..b).map(|anchor| mean(anchor, true) - mean(anchor, false)).collect();
    for (margin, of_gap) in [
        (TripletMargin::Soft(Soft {}), (|gap: f64| gap.exp().ln_1p()) as fn(f64) -> f64),
        (TripletMargin::Hard(Hard { margin: 0.3 }), |gap| (gap + 0.3).max(0.0)),
    ] {
        let expected = gaps.iter().map(|&gap| of_gap(gap)).sum::<f64>() / b as f64;
        let found = scalar(&weighted_triplet_loss(&features, &labels, margin)?);
        assert!((found - expected).abs() < F32, "{found} {expected}");
    }
    Ok(())
}

#[test]
fn a_step_is_pure() -> Result<()> {
    let (task, batch) = (task(1)?, batch(16, 1, 2));
    let run = || -> Result<Vec<Vec<u32>>> {
        let output = task.step(&batch, clock(0, 4))?;
        let gradients = gradients(&task, &output)?;
        Ok([vec![bits(&output.loss)], gradients.buffers.iter().map(bits).collect()].concat())
    };
    let before = task.save()?.tensors;
    assert!(run()? == run()?);
    for (name, after) in task.save()?.tensors {
        assert_eq!(bits(&before[&name]), bits(&after), "{name}");
    }
    Ok(())
}

#[test]
fn running_statistics_move_once_for_each_batch() -> Result<()> {
    let mut task = task(1)?;
    let outputs = [task.step(&batch(16, 1, 3), clock(0, 4))?, task.step(&batch(16, 1, 4), clock(0, 4))?];
    for (name, initial) in [("mean", 0.0), ("variance", 1.0)] {
        let of = |output: &reid_objectives::task::StepOutput| {
            values(&output.carried.iter().find(|(key, _)| *key == name).expect("the batch's statistics").1)
        };
        let (first, second) = (of(&outputs[0]), of(&outputs[1]));
        let moved = first.iter().zip(&second).map(|(a, b)| 0.9 * (0.9 * initial + 0.1 * a) + 0.1 * b);
        let expected: Vec<f64> = moved.collect();
        let saved = if name == "mean" { "neck.running_mean" } else { "neck.running_var" };
        assert!(max_abs(&values(&task.save()?.tensors[saved]), &vec![initial; expected.len()]) < 1e-9);
        let mut fresh = self::task(1)?;
        fresh.after_step(&outputs, clock(0, 4))?;
        assert!(max_abs(&values(&fresh.save()?.tensors[saved]), &expected) < F32, "{name}");
    }
    task.after_step(&[], clock(0, 4))?;
    assert!(values(&task.save()?.tensors["neck.running_mean"]).iter().all(|&mean| mean == 0.0), "no batch, no move");
    Ok(())
}

#[test]
fn saved_state_restores_the_task() -> Result<()> {
    let mut first = task(1)?;
    train(&mut first, &batch(16, 1, 5), 3, 1e-3)?;
    let state = first.save()?;
    let mut second = task(2)?;
    second.load(&state)?;
    for (name, tensor) in second.save()?.tensors {
        assert_eq!(bits(&tensor), bits(&state.tensors[&name]), "{name}");
    }
    let mut partial = state;
    partial.tensors.remove("neck.running_var");
    let error = second.load(&partial).unwrap_err();
    assert!(matches!(&error, TaskError::MissingState { name } if name == "neck.running_var"), "{error}");
    Ok(())
}

/// A trained task with statistics that are not their initial ones, and its product.
fn product() -> Result<BTreeMap<String, Tensor>> {
    let mut task = task(1)?;
    randomize(task.trainable(), 6);
    for seed in 0..5 {
        let output = task.step(&batch(16, 1, seed), clock(0, 4))?;
        task.after_step(&[output], clock(0, 4))?;
    }
    task.product()
}

#[test]
fn the_product_is_encoder_and_neck() -> Result<()> {
    let product = product()?;
    let beside: Vec<&str> = product.keys().map(String::as_str).filter(|name| !name.starts_with("encoder.")).collect();
    assert_eq!(beside, ["neck.running_mean", "neck.running_var", "neck.weight"], "no classifier");
    let (_, encoder) = EncoderModel::random(&backbone(), 0, &Device::Cpu)?.into_parts();
    assert_eq!(product.len(), encoder.names().count() + 3);
    Ok(())
}

#[test]
fn models_rank_the_feature_before_or_after_the_neck() -> Result<()> {
    let (product, device, path) = (product()?, Device::Cpu, Path::new("product"));
    let images = normal(7, (4, 3, SIZE.0, SIZE.1));
    let feature = |feature| -> Result<Tensor> {
        let evaluation = EvaluationSpec { feature, ..EvaluationSpec::default() };
        let spec = SupervisedSpec { evaluation, ..SupervisedSpec::default() };
        SupervisedModel::from_product(&spec, &backbone(), &product, path, &device)?.embed(&images, &[0; 4])
    };
    let before = feature(EvaluationFeature::BeforeNeck)?;
    let strip = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix("encoder.")?.to_owned(), tensor.clone()));
    let encoder = EncoderModel::with_weights(&backbone(), &product.iter().filter_map(strip).collect(), path, &device)?;
    assert_eq!(bits(&before), bits(&encoder.embed(&images, &[0; 4])?));

    let get = |name: &str| values(&product[&format!("neck.{name}")]);
    let (mean, variance, weight) = (get("running_mean"), get("running_var"), get("weight"));
    let width = mean.len();
    let normalized = values(&before).into_iter().enumerate().map(|(at, value)| {
        let axis = at % width;
        (value - mean[axis]) / (variance[axis] + 1e-5).sqrt() * weight[axis]
    });
    let expected: Vec<f64> = normalized.collect();
    let after = feature(EvaluationFeature::AfterNeck)?;
    assert!(!after.track_op());
    assert!(max_abs(&values(&after), &expected) < F32);

    for lost in ["neck.weight", "neck.running_mean"] {
        let mut partial = product.clone();
        partial.remove(lost);
        let model = SupervisedModel::from_product(&SupervisedSpec::default(), &backbone(), &partial, path, &device);
        assert!(model.err().is_some_and(|error| error.to_string().contains(lost)), "{lost}");
    }
    Ok(())
}

/// A camera changes the feature; one that training has not seen is refused, or adds nothing, and so is every camera of
/// another data set.
#[test]
fn cameras_are_told_apart_and_strangers_named() -> Result<()> {
    let (images, path, device) = (normal(7, (4, 3, SIZE.0, SIZE.1)), Path::new("product"), Device::Cpu);
    let side = |unknown| SideSpec::Cameras(CamerasSpec { unknown, ..CamerasSpec::default() });
    let spec = SupervisedSpec { side: side(UnknownCamera::Zero), ..SupervisedSpec::default() };
    let task = task_of(spec.clone(), 1)?;
    randomize(task.trainable(), 6);
    let product = task.product()?;
    let model = |spec| SupervisedModel::from_product(spec, &backbone(), &product, path, &device);
    let embed = |cameras: [u32; 4]| -> Result<Vec<u32>> { Ok(bits(&model(&spec)?.embed(&images, &cameras)?)) };
    let width = embed([0; 4])?.len() / 4;
    let (known, mixed, unknown) = (embed([0, 1, 0, 1])?, embed([0, 7, 1, 7])?, embed([7; 4])?);
    assert_eq!(known[..width], mixed[..width], "a picture's neighbours do not matter");
    assert_ne!(known[2 * width..3 * width], mixed[2 * width..3 * width], "its camera does");
    assert_eq!(mixed[width..2 * width], unknown[width..2 * width]);
    assert_ne!(known, unknown);
    assert_eq!(bits(&model(&spec)?.among_strangers().embed(&images, &[0, 1, 0, 1])?), unknown);

    let strict = SupervisedSpec { side: side(UnknownCamera::Refuse), ..spec.clone() };
    let error = model(&strict)?.embed(&images, &[0, 1, 7, 0]).unwrap_err().to_string();
    assert!(error.contains("camera 7") && error.contains("unknown: zero"), "{error}");
    assert!(model(&strict)?.embed(&images, &[1, 1, 0, 0]).is_ok());
    Ok(())
}

/// The local branch starts as the encoder's last block: of the same tokens both make the same.
#[test]
fn jigsaw_parts_start_from_the_last_block() -> Result<()> {
    let jigsaw = JigsawSpec { shift: 1, groups: 1, parts: 1, weight: 0.5 };
    let spec = SupervisedSpec { local: LocalSpec::Jigsaw(jigsaw), ..SupervisedSpec::default() };
    let task = task_of(spec, 1)?;
    let feature = task.evaluated().model.embed(&normal(7, (2, 3, SIZE.0, SIZE.1)), &[0, 1])?;
    let width = feature.dim(1)? / 2;
    for row in values(&feature).chunks_exact(2 * width) {
        assert!(max_abs(&row[..width], &row[width..]) < F32);
    }
    Ok(())
}
