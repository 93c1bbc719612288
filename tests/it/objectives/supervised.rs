//! The supervised protocol as a task, and the model that it leaves.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::model::{EncoderModel, NeckModel};
use reid_objectives::protocols::supervised::Supervised;
use reid_objectives::spec::{EvaluationFeature, SupervisedSpec, TrainSpec};
use reid_objectives::task::{Embed, Task};
use reid_objectives::{Result, TaskError};
use reid_tests::golden::max_abs;
use reid_tests::tensors::{bits, normal, randomize, values};

use super::fixture::{SIZE, backbone, batch, clock, gradients, scalar, train};

/// Statistics and features, absolute.
const F32: f64 = 1e-5;

fn task(seed: u64) -> Result<Supervised> {
    let train = TrainSpec { batch: 16, ..SupervisedSpec::default().train };
    let spec = SupervisedSpec { train, identities_per_batch: 4, ..SupervisedSpec::default() };
    let encoder = EncoderModel::random(&backbone(), seed, &Device::Cpu)?;
    Supervised::build(&spec, &backbone(), encoder, 4, seed, &Device::Cpu)
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
        NeckModel::from_product(&backbone(), &product, feature, path, &device)?.embed(&images)
    };
    let before = feature(EvaluationFeature::BeforeNeck)?;
    let strip = |(name, tensor): (&String, &Tensor)| Some((name.strip_prefix("encoder.")?.to_owned(), tensor.clone()));
    let encoder = EncoderModel::with_weights(&backbone(), &product.iter().filter_map(strip).collect(), path, &device)?;
    assert_eq!(bits(&before), bits(&encoder.embed(&images)?));

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

    let mut partial = product.clone();
    partial.remove("neck.weight");
    let model = NeckModel::from_product(&backbone(), &partial, EvaluationFeature::AfterNeck, path, &device);
    assert!(matches!(model.err(), Some(TaskError::MissingState { name }) if name == "neck.weight"));
    Ok(())
}
