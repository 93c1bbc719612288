//! Losses and normalisations by row: `[rows, width]` slices, fixed chunks of rows per task.

use rayon::prelude::*;

use super::rows::{CHUNK, exp, sum_of};
use super::simd::vectorized;

/// Sums `row(i)` over all rows: in f64 within fixed chunks, then over the chunks in order.
pub(super) fn sum_rows(rows: usize, chunk: impl Fn(usize, usize) -> f64 + Sync) -> f64 {
    let partial = |at: usize| chunk(at * CHUNK, CHUNK.min(rows - at * CHUNK));
    let partials: Vec<f64> = (0..rows.div_ceil(CHUNK)).into_par_iter().map(partial).collect();
    partials.iter().sum()
}

/// `log sum exp(x scale)` of one row.
#[inline(always)]
pub(super) fn row_log_sum_exp(x: &[f32], scale: f32) -> f32 {
    let max = x.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    max * scale + sum_of(x, x, |v, _| exp((v - max) * scale)).ln()
}

/// Logarithm of the sum of exponentials of every row.
pub(crate) fn log_sum_exp(x: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / width];
    out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK * width)).for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (out, row) in out.iter_mut().zip(x.chunks_exact(width)) {
                    *out = row_log_sum_exp(row, 1.0);
                }
            },
        );
    });
    out
}

/// Mean over rows of `log sum exp - (1 - e) x_label - e mean(x)`.
pub(crate) fn cross_entropy(x: &[f32], labels: &[u32], log_sums: &[f32], smoothing: f32) -> f32 {
    let width = x.len() / labels.len();
    let total = sum_rows(labels.len(), |first, count| {
        vectorized(
            #[inline(always)]
            || {
                let mut total = 0.0;
                for row in first..first + count {
                    let logits = &x[row * width..(row + 1) * width];
                    let mean = sum_of(logits, logits, |v, _| v) / width as f32;
                    let target = (1.0 - smoothing) * logits[labels[row] as usize] + smoothing * mean;
                    total += f64::from(log_sums[row] - target);
                }
                total
            },
        )
    });
    (total / labels.len() as f64) as f32
}

/// Gradient of [`cross_entropy`] times `scale`: `(softmax - target) scale / rows`.
pub(crate) fn cross_entropy_backward(
    x: &[f32],
    labels: &[u32],
    log_sums: &[f32],
    smoothing: f32,
    scale: f32,
) -> Vec<f32> {
    let width = x.len() / labels.len();
    let scale = scale / labels.len() as f32;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, out)| {
        vectorized(
            #[inline(always)]
            || {
                let first = chunk * CHUNK;
                let rows = out.chunks_exact_mut(width).zip(x[first * width..].chunks_exact(width));
                for ((out, x), (&label, &log_sum)) in rows.zip(labels[first..].iter().zip(&log_sums[first..])) {
                    let rest = smoothing / width as f32;
                    for (d, &v) in out.iter_mut().zip(x) {
                        *d = (exp(v - log_sum) - rest) * scale;
                    }
                    out[label as usize] -= (1.0 - smoothing) * scale;
                }
            },
        );
    });
    out
}

/// Sum over rows of `weight times the mean squared difference`; every weight is 1 if there are none.
pub(crate) fn squared_error(x: &[f32], target: &[f32], width: usize, weights: Option<&[f32]>) -> f64 {
    sum_rows(x.len() / width, |first, count| {
        vectorized(
            #[inline(always)]
            || {
                let mut total = 0.0;
                for row in first..first + count {
                    let range = row * width..(row + 1) * width;
                    let sum = sum_of(&x[range.clone()], &target[range], |a, b| (a - b) * (a - b));
                    total += f64::from(sum / width as f32 * weights.map_or(1.0, |weights| weights[row]));
                }
                total
            },
        )
    })
}

/// Gradient of [`squared_error`] times `scale`.
pub(crate) fn squared_error_backward(
    x: &[f32],
    target: &[f32],
    width: usize,
    weights: Option<&[f32]>,
    scale: f32,
) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, out)| {
        vectorized(
            #[inline(always)]
            || {
                let first = chunk * CHUNK;
                let rows = x[first * width..].chunks_exact(width).zip(target[first * width..].chunks_exact(width));
                for (row, (out, (x, target))) in out.chunks_exact_mut(width).zip(rows).enumerate() {
                    let weight = weights.map_or(1.0, |weights| weights[first + row]);
                    let factor = 2.0 * scale * weight / width as f32;
                    for ((d, a), b) in out.iter_mut().zip(x).zip(target) {
                        *d = (a - b) * factor;
                    }
                }
            },
        );
    });
    out
}

/// Rows divided by their Euclidean norm, or by `eps` where that is greater; and the reciprocal divisors,
/// negative where `eps` was taken.
pub(crate) fn unit_rows(x: &[f32], width: usize, eps: f32) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut scales) = (vec![0.0; x.len()], vec![0.0; x.len() / width]);
    let chunks = out.par_chunks_mut(CHUNK * width).zip(scales.par_chunks_mut(CHUNK)).zip(x.par_chunks(CHUNK * width));
    chunks.for_each(|((out, scales), x)| {
        vectorized(
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
                for ((out, x), scale) in rows.zip(scales.iter_mut()) {
                    let norm = sum_of(x, x, |a, b| a * b).sqrt();
                    *scale = if norm > eps { 1.0 / norm } else { -1.0 / eps };
                    for (y, v) in out.iter_mut().zip(x) {
                        *y = v * scale.abs();
                    }
                }
            },
        );
    });
    (out, scales)
}

/// Backward of [`unit_rows`], given its output: `dx` holds the output's gradient and gets the input's.
pub(crate) fn unit_rows_backward(y: &[f32], scales: &[f32], width: usize, dx: &mut [f32]) {
    let chunks = dx.par_chunks_mut(CHUNK * width).zip(scales.par_chunks(CHUNK)).zip(y.par_chunks(CHUNK * width));
    chunks.for_each(|((dx, scales), y)| {
        vectorized(
            #[inline(always)]
            || {
                for ((dx, y), &scale) in dx.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(scales) {
                    // At a clamped norm the divisor is a constant.
                    let along = if scale > 0.0 { sum_of(dx, y, |d, v| d * v) } else { 0.0 };
                    for (d, v) in dx.iter_mut().zip(y) {
                        *d = (*d - v * along) * scale.abs();
                    }
                }
            },
        );
    });
}
