//! What pictures of a model are made of: attention, clusters of patches, principal components, predictions.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use reid_backbones::weights;
use reid_objectives::Result;
use reid_objectives::math::kmeans::kmeans;
use reid_objectives::math::patch::{denormalize_patches, normalize_patches, patchify, unpatchify};
use reid_objectives::math::principal::plane;
use reid_objectives::person_mae::PersonMae;
use reid_objectives::person_mae::spec::{DecoderSpec, PersonMaeSpec, PixelNorm, Region, Target};
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::task::{Embed, Task};
use reid_tests::tensors::{randomize, values};

use super::fixture::{CELLS, SIZE, backbone, batch, clock};
use super::{normals, rng};

#[test]
fn attention_and_patches_are_those_of_the_features() -> Result<()> {
    let model = EncoderModel::random(&backbone(), 3, &Device::Cpu)?;
    randomize(model.parts().1, 5);
    let images = Tensor::from_vec(normals(&mut rng(1), 4 * 3 * SIZE.0 * SIZE.1), (4, 3, SIZE.0, SIZE.1), &Device::Cpu)?;
    let look = model.look(&images)?;
    let (b, heads, n) = look.attention.dims3()?;
    assert_eq!((b, n, look.grid), (4, CELLS, (4, 2)));
    // What is left of 1 is the class token's attention to itself.
    let sums: Vec<f32> = look.attention.sum(2)?.flatten_all()?.to_vec1()?;
    assert_eq!(sums.len(), 4 * heads);
    assert!(sums.iter().all(|&sum| sum > 0.0 && sum < 1.0), "{sums:?}");
    let mean = look.patches.mean(1)?;
    let pooled = model.with_pooling(reid_objectives::spec::Pooling::Avg).embed(&images, &[0; 4])?;
    let off: f32 = (mean - pooled)?.abs()?.max_all()?.to_scalar()?;
    assert!(off < 1e-5, "{off}");
    Ok(())
}

proptest! {
    /// No row is nearer to the mean of another cluster than to that of its own.
    #[test]
    fn clusters_are_where_lloyd_s_rounds_end(n in 1..60_usize, width in 1..5_usize, k in 1..7_usize, seed: u64) {
        let features = normals(&mut rng(seed), n * width);
        let of = kmeans(&features, width, k, rng(seed ^ 1));
        prop_assert_eq!(of.len(), n);
        prop_assert_eq!(&of, &kmeans(&features, width, k, rng(seed ^ 1)));
        let rows: Vec<&[f32]> = features.chunks_exact(width).collect();
        let mut means: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for (row, &cluster) in rows.iter().zip(&of) {
            *counts.entry(cluster).or_default() += 1;
            let sum = means.entry(cluster).or_insert_with(|| vec![0.0; width]);
            for (sum, value) in sum.iter_mut().zip(*row) {
                *sum += f64::from(*value);
            }
        }
        prop_assert!(counts.len() <= k);
        // By size.
        let sizes: Vec<usize> = counts.values().copied().collect();
        prop_assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{:?}", sizes);
        let distance = |row: &[f32], cluster: u32| -> f64 {
            let count = counts[&cluster] as f64;
            row.iter().zip(&means[&cluster]).map(|(value, sum)| (f64::from(*value) - sum / count).powi(2)).sum()
        };
        for (row, &own) in rows.iter().zip(&of) {
            for &other in counts.keys() {
                prop_assert!(distance(row, own) <= distance(row, other) + 1e-5);
            }
        }
    }
}

#[test]
fn clusters_that_lie_apart_are_found() {
    let mut rng = rng(3);
    let mut features = Vec::new();
    for at in 0..90 {
        let center = [0.0, 20.0, 40.0][at % 3];
        features.extend([center + rng.normal() as f32, -center + rng.normal() as f32]);
    }
    let of = kmeans(&features, 2, 3, rng);
    assert!((0..90).all(|at| of[at] == of[at % 3]) && of[0] != of[1] && of[1] != of[2] && of[0] != of[2], "{of:?}");
    assert_eq!(kmeans(&[], 2, 3, super::rng(0)), Vec::<u32>::new());
    assert_eq!(kmeans(&[1.0; 8], 2, 3, super::rng(0)), [0; 4], "equal rows are one cluster");
}

/// Features that vary along two known directions, and hardly otherwise.
#[test]
fn the_plane_is_that_of_the_largest_variances() {
    let mut rng = rng(4);
    let (width, n) = (6, 400_u32);
    let first = [0.5, 0.5, 0.5, -0.5, 0.0, 0.0];
    let second = [0.5, -0.5, 0.5, 0.5, 0.0, 0.0];
    let mut features = Vec::new();
    let mut known = Vec::new();
    for _ in 0..n {
        let (a, b) = (3.0 * rng.normal(), rng.normal());
        known.push([a, b]);
        features.extend((0..width).map(|i| (7.0 + a * first[i] + b * second[i] + 0.01 * rng.normal()) as f32));
    }
    let (points, shares) = plane(&features, width);
    assert!(shares[0] > 0.85 && shares[1] > 0.05 && (shares[0] + shares[1] - 1.0).abs() < 1e-3, "{shares:?}");
    for axis in 0..2 {
        let mean = |of: &[[f64; 2]]| of.iter().map(|point| point[axis]).sum::<f64>() / f64::from(n);
        let (own, true_mean) = (mean(&points), mean(&known));
        assert!(own.abs() < 1e-6, "centered");
        let product: f64 = points.iter().zip(&known).map(|(p, k)| p[axis] * (k[axis] - true_mean)).sum();
        let norm = |of: &[[f64; 2]], mean: f64| of.iter().map(|p| (p[axis] - mean).powi(2)).sum::<f64>().sqrt();
        let cosine = product / norm(&points, 0.0) / norm(&known, true_mean);
        assert!(cosine.abs() > 0.99, "axis {axis}: {cosine}");
    }
    let (points, shares) = plane(&[2.0; 12], 3);
    assert!(shares == [0.0; 2] && points.iter().flatten().all(|&value| value == 0.0), "nothing varies");
}

#[test]
fn patches_are_put_back_as_they_were() -> Result<()> {
    let images = Tensor::from_vec(normals(&mut rng(6), 2 * 3 * 16 * 8), (2, 3, 16, 8), &Device::Cpu)?;
    let patches = patchify(&images, 4)?;
    for norm in [PixelNorm::None, PixelNorm::Patch, PixelNorm::Channel] {
        let back = denormalize_patches(&normalize_patches(&patches, norm)?, &patches, norm)?;
        let off: f32 = (unpatchify(&back, 4, 4, 2)? - &images)?.abs()?.max_all()?.to_scalar()?;
        assert!(off < 1e-5, "{norm:?}: {off}");
    }
    Ok(())
}

/// What a task predicts is what one predicts that was given its encoder and decoder, and none else of it.
#[test]
fn predictions_come_back_from_encoder_and_decoder() -> Result<()> {
    let decoder = DecoderSpec { depth: 1, width: 24, heads: 1, ..DecoderSpec::default() };
    let spec = PersonMaeSpec { pixel_decoder: decoder, feature_decoder: decoder, ..PersonMaeSpec::default() };
    let task = PersonMae::build(&spec, &backbone(), 4, 1, &Device::Cpu)?;
    randomize(task.trainable(), 9);
    let (encoder, decoder) = (task.product()?, task.decoder()?);
    assert!(!decoder.is_empty() && decoder.keys().all(|name| name.starts_with("pixel_decoder.")));
    let again = PersonMae::with_weights(
        &spec,
        &backbone(),
        &encoder,
        &decoder,
        Path::new("decoder.safetensors"),
        &Device::Cpu,
    )?;
    let pictures = batch(3, 2, 5);
    let own = task.reconstruct(&pictures, clock(0, 10))?.expect("pixels are predicted");
    let found = again.reconstruct(&pictures, clock(0, 10))?.expect("pixels are predicted");
    assert_eq!(values(&own.predicted), values(&found.predicted));
    assert_eq!(own.predicted.dims4()?, (3, 3, SIZE.0, SIZE.1));
    assert_eq!(own.hidden, found.hidden);
    let share = own.hidden.iter().flatten().filter(|&&hidden| hidden).count() as f64 / (3 * CELLS) as f64;
    assert!((share - spec.mask_ratio).abs() <= 1.0 / CELLS as f64, "{share}");
    // Every patch of the prediction has RegionB's own mean and deviation where these are left open: an error of the
    // normalised values is the loss.
    let loss = values(&task.step(&pictures, clock(0, 10))?.loss);
    assert!(loss[0].is_finite());

    let mut short = decoder.clone();
    short.pop_last();
    let error =
        PersonMae::with_weights(&spec, &backbone(), &encoder, &short, Path::new("decoder.safetensors"), &Device::Cpu);
    let text = error.err().expect("a tensor is missing").to_string();
    assert!(text.contains("is missing: decoder.safetensors"), "{text}");
    let features = PersonMaeSpec { target: Target::Feature, region: Region::Cross, ..spec };
    let task = PersonMae::build(&features, &backbone(), 4, 1, &Device::Cpu)?;
    assert!(task.decoder()?.is_empty() && task.reconstruct(&pictures, clock(0, 10))?.is_none());
    assert!(weights::with_prefix(task.trainable(), ENCODER)?.len() == encoder.len());
    Ok(())
}
