//! Frozen encoders: poolings, and the linear probe as a task and as a model.

use std::path::Path;

use candle_core::{D, Device, Tensor};
use reid_backbones::{Encoder, Input, Tokens, Vit};
use reid_data::dataset::Split;
use reid_data::plan::EpochPlan;
use reid_data::spec::{LabelsSpec, Normalisation};
use reid_data::views::ViewBatch;
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::evaluation;
use reid_objectives::protocols::frozen::{LinearProbe, pool};
use reid_objectives::protocols::model::{EncoderModel, NeckModel};
use reid_objectives::spec::{EvaluationFeature, EvaluationSpec, LinearProbeSpec, Pooling, TrainSpec};
use reid_objectives::task::{Embed, Features, Task};
use reid_objectives::{Result, TaskError};
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, normal, randomize, rng, values};

use super::fixture::{Archive, SIZE, backbone, clock, record, scalar, train};

/// Features, absolute.
const F32: f64 = 1e-5;
/// Identities and pictures of each.
const PEOPLE: usize = 6;
const SHOTS: usize = 5;

fn encoder(pooling: Pooling) -> Result<EncoderModel> {
    let (vit, store) = EncoderModel::random(&backbone(), 4, &Device::Cpu)?.into_parts();
    // Random tokens are nearly the same in every picture; noise tells them apart.
    randomize(&store, 5);
    let tensors = reid_backbones::weights::with_prefix(&store, "encoder.")?;
    drop((vit, store));
    let model = EncoderModel::with_weights(&backbone(), &tensors, Path::new("weights"), &Device::Cpu)?;
    Ok(model.with_pooling(pooling))
}

fn tokens(images: &Tensor) -> Result<Tokens> {
    let (vit, store): (Vit, _) = encoder(Pooling::Cls)?.into_parts();
    Ok(vit.forward(&store.frozen(), images, &Input::default())?)
}

#[test]
fn poolings_follow_their_definitions() -> Result<()> {
    let images = normal(3, (3, 3, SIZE.0, SIZE.1));
    let tokens = tokens(&images)?;
    let (_, count, d) = tokens.all.dims3()?;
    let all: Vec<Vec<Vec<f32>>> = tokens.all.to_vec3()?;
    let channel = |picture: usize, at: usize| (1..count).map(move |token| (picture, token, at));
    let read = |(picture, token, at): (usize, usize, usize)| f64::from(all[picture][token][at]);
    for picture in 0..3 {
        let class: Vec<f64> = (0..d).map(|at| read((picture, 0, at))).collect();
        let mean: Vec<f64> =
            (0..d).map(|at| channel(picture, at).map(read).sum::<f64>() / (count - 1) as f64).collect();
        let max: Vec<f64> = (0..d).map(|at| channel(picture, at).map(read).fold(f64::MIN, f64::max)).collect();
        let unit = |part: &[f64]| -> Vec<f64> {
            let norm = part.iter().map(|x| x * x).sum::<f64>().sqrt();
            part.iter().map(|x| x / norm).collect()
        };
        let both = [unit(&class), unit(&mean)].concat();
        let expected = [(Pooling::Cls, class), (Pooling::Avg, mean), (Pooling::Max, max), (Pooling::ClsAvg, both)];
        for (pooling, expected) in expected {
            let pooled = pool(&tokens, pooling)?;
            assert_eq!(pooled.dims(), [3, pooling.width(d)]);
            let found = values(&pooled.narrow(0, picture, 1)?);
            assert!(max_abs(&found, &expected) < F32, "{pooling:?}");
            // A model hands out the same.
            assert_eq!(bits(&encoder(pooling)?.embed(&images, &[])?), bits(&pooled), "{pooling:?}");
        }
    }
    Ok(())
}

/// Features in which a few channels tell people apart and the others are large noise.
fn archive(pooling: Pooling) -> Result<Archive> {
    let width = encoder(pooling)?.width();
    let mut rng = rng(9, 0);
    let mut archive = Archive::default();
    let centers: Vec<f64> = (0..PEOPLE * 8).map(|_| rng.normal()).collect();
    let (mut records, mut features) = (Vec::new(), Features { values: Vec::new(), width, records: Vec::new() });
    for at in 0..PEOPLE * SHOTS {
        let pid = at % PEOPLE;
        let usable = at != 7;
        let mut of = record(10 + pid as i64, 0, usable);
        of.path = format!("{at}.jpg");
        records.push(of);
        if usable {
            features.records.push(at as u32);
            let value = |axis: usize| match axis {
                0..8 => 5.0 + centers[pid * 8 + axis] + 0.1 * rng.normal(),
                _ => -3.0 + 20.0 * rng.normal(),
            };
            features.values.extend((0..width).map(value).map(|value| value as f32));
        }
    }
    archive.splits.insert(Split::Train, (records, features));
    Ok(archive)
}

fn spec() -> LinearProbeSpec {
    let default = LinearProbeSpec::default();
    LinearProbeSpec { width: 12, train: TrainSpec { batch: 10, ..default.train.clone() }, ..default }
}

fn probe(spec: &LinearProbeSpec, pooling: Pooling) -> Result<LinearProbe> {
    let evaluation = EvaluationSpec { feature: EvaluationFeature::AfterNeck, ..EvaluationSpec::default() };
    let views = evaluation::views(&evaluation, &backbone(), Normalisation::Half);
    LinearProbe::build(spec, &evaluation, (encoder(pooling)?, views), PEOPLE, 3, &Device::Cpu)
}

/// A step's batch, as the loader makes it where no view is asked for.
fn batch(plan: &EpochPlan, step: usize) -> ViewBatch {
    let draws = &plan.draws[step * plan.batch..(step + 1) * plan.batch];
    ViewBatch {
        groups: Vec::new(),
        draws: (0..draws.len() as u32).collect(),
        images: draws.iter().map(|draw| draw.image).collect(),
        labels: draws.iter().map(|draw| draw.label).collect(),
        cameras: vec![0; draws.len()],
    }
}

#[test]
fn a_probe_learns_what_features_hold() -> Result<()> {
    let mut task = probe(&spec(), Pooling::Cls)?;
    assert!(task.views().views.is_empty() && task.couples_samples());
    let plan = task.begin_epoch(0, 1, &archive(Pooling::Cls)?)?;
    assert_eq!((plan.batch, plan.steps()), (10, 2));
    assert!(plan.draws.iter().all(|draw| draw.image != 7), "what cannot be decoded is never drawn");
    let losses = train(&mut task, &batch(&plan, 0), 60, 1e-2)?;
    assert!(losses[59] < 0.1 * losses[0], "{} to {}", losses[0], losses[59]);
    let output = task.step(&batch(&plan, 0), clock(0, 1))?;
    let accuracy = output.stats.iter().find(|(key, _)| *key == MetricKey::TrainAccuracy).expect("the accuracy");
    assert_eq!(scalar(&accuracy.1), 1.0);
    assert_eq!(output.tokens, 0, "no token enters the encoder");
    Ok(())
}

#[test]
fn a_probe_knows_the_labels_that_it_may() -> Result<()> {
    let labels = LabelsSpec { identities: 0.5, images_per_identity: 2 };
    let spec = LinearProbeSpec { labels, train: TrainSpec { batch: 3, ..spec().train }, ..spec() };
    let mut task = probe(&spec, Pooling::Cls)?;
    let archive = archive(Pooling::Cls)?;
    let plans: Vec<EpochPlan> = (0..4).map(|epoch| task.begin_epoch(epoch, 1, &archive)).collect::<Result<_>>()?;
    assert!(plans.iter().all(|plan| plan.draws.len() == 6 && plan.draws.iter().all(|draw| draw.label < 3)));
    assert_ne!(plans[0], plans[1]);
    // Every epoch draws the same pictures.
    let images = |plan: &EpochPlan| {
        let mut images: Vec<u32> = plan.draws.iter().map(|draw| draw.image).collect();
        images.sort_unstable();
        images
    };
    assert!(plans.iter().all(|plan| images(plan) == images(&plans[0])));
    Ok(())
}

#[test]
fn a_saved_probe_goes_on_without_its_pictures() -> Result<()> {
    let mut first = probe(&spec(), Pooling::ClsAvg)?;
    assert!(matches!(first.save(), Err(TaskError::MissingState { name }) if name == "features"));
    let plan = first.begin_epoch(0, 1, &archive(Pooling::ClsAvg)?)?;
    train(&mut first, &batch(&plan, 0), 5, 1e-3)?;

    let mut second = probe(&spec(), Pooling::ClsAvg)?;
    second.load(&first.save()?)?;
    second.trainable().restore("", &first.trainable().buffers("")?.into_iter().collect())?;
    let losses = |task: &mut LinearProbe| train(task, &batch(&plan, 1), 5, 1e-3);
    assert_eq!(losses(&mut first)?, losses(&mut second)?);
    for (name, tensor) in first.product()? {
        assert_eq!(bits(&tensor), bits(&second.product()?[&name]), "{name}");
    }
    Ok(())
}

/// The model that evaluation reads back is the one that was trained, and ranks `W (f - mean) / std`.
#[test]
fn the_product_is_encoder_embedding_and_neck() -> Result<()> {
    let pooling = Pooling::Avg;
    let mut task = probe(&spec(), pooling)?;
    let plan = task.begin_epoch(0, 1, &archive(pooling)?)?;
    train(&mut task, &batch(&plan, 0), 5, 1e-3)?;
    let product = task.product()?;
    let beside: Vec<&str> = product.keys().map(String::as_str).filter(|name| !name.starts_with("encoder.")).collect();
    let expected = ["neck.running_mean", "neck.running_var", "neck.weight", "probe.mean", "probe.std", "probe.weight"];
    assert_eq!(beside, expected, "no classifier");

    let images = normal(8, (4, 3, SIZE.0, SIZE.1));
    let model = |feature| -> Result<Tensor> {
        let path = Path::new("product");
        let model = NeckModel::from_product(&backbone(), &product, feature, path, &Device::Cpu)?;
        model.with_pooling(pooling).embed(&images, &[])
    };
    let in_training = task.evaluated().model.embed(&images, &[])?;
    assert_eq!(bits(&model(EvaluationFeature::AfterNeck)?), bits(&in_training));
    assert!(!in_training.track_op());

    let feature = encoder(pooling)?.embed(&images, &[])?;
    let standardised = feature.broadcast_sub(&product["probe.mean"])?.broadcast_div(&product["probe.std"])?;
    let expected = standardised.unsqueeze(1)?.broadcast_mul(&product["probe.weight"].unsqueeze(0)?)?.sum(D::Minus1)?;
    let found = model(EvaluationFeature::BeforeNeck)?;
    let largest = values(&expected).into_iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    assert!(max_abs(&values(&found), &values(&expected)) < F32 * largest.max(1.0));
    Ok(())
}
