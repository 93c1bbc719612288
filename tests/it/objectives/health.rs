//! Effective rank and eigenvalues: known spectra, invariances, and what a collapse looks like.

use candle_core::{Device, Tensor};
use reid_backbones::Result;
use reid_objectives::health;
use reid_objectives::math::spectrum::{effective_rank, symmetric_eigenvalues};

use super::{normals, rng};

/// `[n, n]` with the given eigenvalues: a diagonal matrix, turned by a reflection along a random direction.
fn with_eigenvalues(eigenvalues: &[f64], seed: u64) -> Vec<f64> {
    let n = eigenvalues.len();
    let v: Vec<f64> = normals(&mut rng(seed), n).into_iter().map(f64::from).collect();
    let squared: f64 = v.iter().map(|x| x * x).sum();
    let q = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / squared;
    let entry = |i: usize, j: usize| (0..n).map(|k| q(i, k) * eigenvalues[k] * q(j, k)).sum();
    (0..n * n).map(|at| entry(at / n, at % n)).collect()
}

#[test]
fn eigenvalues_are_those_the_matrix_was_made_of() {
    let spectra: [&[f64]; 6] = [
        &[3.0],
        &[2.0, -1.0],
        &[5.0, 5.0, 5.0, 1.0],
        &[1e6, 1.0, 1e-3, 0.0, 0.0, -4.0, 7.0],
        &[0.0, 0.0, 0.0],
        &[9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25, 0.125, 1e-9],
    ];
    for (seed, spectrum) in (0..).zip(spectra) {
        let mut found = symmetric_eigenvalues(with_eigenvalues(spectrum, seed), spectrum.len());
        let mut expected = spectrum.to_vec();
        found.sort_by(f64::total_cmp);
        expected.sort_by(f64::total_cmp);
        let largest = spectrum.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 1e-13 * largest, "{found} for {expected} of {spectrum:?}");
        }
    }
    assert!(symmetric_eigenvalues(Vec::new(), 0).is_empty());
}

/// Rows `+-s_k e_k`: centred, with the singular values `s_k sqrt(2)`.
fn crosses(lengths: &[f32], width: usize) -> Vec<f32> {
    let mut rows = vec![0.0; 2 * lengths.len() * width];
    for (k, &length) in lengths.iter().enumerate() {
        rows[2 * k * width + k] = length;
        rows[(2 * k + 1) * width + k] = -length;
    }
    rows
}

#[test]
fn effective_rank_follows_its_definition() {
    let even = |k: usize, width: usize| effective_rank(&crosses(&vec![3.0; k], width), width);
    for (k, width) in [(1, 1), (1, 5), (4, 4), (4, 40), (6, 7)] {
        assert!((even(k, width) - k as f64).abs() < 1e-6, "{k} of {width}: {}", even(k, width));
    }
    // p = (3/4, 1/4).
    let expected = (-(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln())).exp();
    assert!((effective_rank(&crosses(&[3.0, 1.0], 4), 4) - expected).abs() < 1e-6);
}

#[test]
fn effective_rank_ignores_scale_shift_and_order() {
    let (n, d) = (24, 10);
    let features = normals(&mut rng(31), n * d);
    let plain = effective_rank(&features, d);
    assert!(plain > 7.0 && plain < d as f64, "{plain}");
    let moved: Vec<f32> = features.iter().map(|x| 4.0 * x + 1.0).collect();
    let reversed: Vec<f32> = features.chunks_exact(d).rev().flatten().copied().collect();
    for other in [moved, reversed] {
        assert!((effective_rank(&other, d) - plain).abs() < 1e-4);
    }
}

#[test]
fn collapsed_features_have_no_rank() -> Result<()> {
    let row = normals(&mut rng(32), 12);
    let same: Vec<f32> = (0..20).flat_map(|_| row.clone()).collect();
    assert_eq!(effective_rank(&same, 12), 0.0);
    // Rounding alone is no direction.
    let nearly: Vec<f32> = same.iter().enumerate().map(|(i, x)| x * (1.0 + (i % 2) as f32 * f32::EPSILON)).collect();
    assert_eq!(effective_rank(&nearly, 12), 0.0);
    assert_eq!(effective_rank(&row, 12), 0.0, "one sample says nothing");
    assert_eq!(effective_rank(&[f32::NAN, 1.0, 2.0, 3.0], 2), 0.0);

    let of = |values: Vec<f32>| health::of(&Tensor::from_vec(values, (20, 12), &Device::Cpu)?);
    let [(_, std), (_, rank)] = of(same).map_err(|error| candle_core::Error::Msg(error.to_string()))?;
    assert!(std.to_scalar::<f32>()? < 1e-6);
    assert_eq!(rank.to_scalar::<f32>()?, 0.0);
    Ok(())
}
