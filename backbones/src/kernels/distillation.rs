//! Soft targets by row: a teacher's sharpened distribution, and a student's cross-entropy to it.

use rayon::prelude::*;

use super::losses::{row_log_sum_exp, sum_rows};
use super::rows::{CHUNK, exp, sum_of};
use super::simd::vectorized;

/// `softmax((x - center) scale)` of every row.
pub(crate) fn sharpened(x: &[f32], center: Option<&[f32]>, width: usize, scale: f32) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).zip(x.par_chunks(CHUNK * width)).for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    match center {
                        Some(center) => {
                            for ((y, v), c) in out.iter_mut().zip(x).zip(center) {
                                *y = (v - c) * scale;
                            }
                        }
                        None => {
                            for (y, v) in out.iter_mut().zip(x) {
                                *y = v * scale;
                            }
                        }
                    }
                    let max = out.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
                    for y in out.iter_mut() {
                        *y = exp(*y - max);
                    }
                    let total = 1.0 / sum_of(out, out, |v, _| v);
                    for y in out.iter_mut() {
                        *y *= total;
                    }
                }
            },
        );
    });
    out
}

/// Rows of targets, and their weights, for every row of a student.
pub(crate) struct Targets<'a> {
    /// `[n, width]`, distributions.
    pub(crate) values: &'a [f32],
    /// Row `i` of the student has the entries `starts[i]..starts[i + 1]`.
    pub(crate) starts: &'a [usize],
    /// Row of `values`, and its weight.
    pub(crate) entries: &'a [(u32, f32)],
}

impl Targets<'_> {
    fn of(&self, row: usize) -> &[(u32, f32)] {
        &self.entries[self.starts[row]..self.starts[row + 1]]
    }
}

/// Sum over rows and their targets of `weight (log sum exp(x scale) - target . x scale)`.
pub(crate) fn soft_cross_entropy(x: &[f32], width: usize, targets: &Targets, scale: f32) -> f64 {
    sum_rows(x.len() / width, |first, count| {
        vectorized(
            #[inline(always)]
            || {
                let mut total = 0.0;
                for row in first..first + count {
                    let entries = targets.of(row);
                    if entries.is_empty() {
                        continue;
                    }
                    let logits = &x[row * width..(row + 1) * width];
                    let log_sum = row_log_sum_exp(logits, scale);
                    for &(target, weight) in entries {
                        let target = &targets.values[target as usize * width..][..width];
                        let along = sum_of(logits, target, |v, p| v * p) * scale;
                        total += f64::from(weight) * f64::from(log_sum - along);
                    }
                }
                total
            },
        )
    })
}

/// Gradient of [`soft_cross_entropy`] times `factor`.
pub(crate) fn soft_cross_entropy_backward(
    x: &[f32],
    width: usize,
    targets: &Targets,
    scale: f32,
    factor: f32,
) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, out)| {
        vectorized(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                    let row = chunk * CHUNK + i;
                    let entries = targets.of(row);
                    if entries.is_empty() {
                        continue;
                    }
                    let logits = &x[row * width..(row + 1) * width];
                    let log_sum = row_log_sum_exp(logits, scale);
                    let mass: f32 = entries.iter().map(|&(_, weight)| weight).sum();
                    for (d, &v) in out.iter_mut().zip(logits) {
                        *d = mass * exp(v * scale - log_sum);
                    }
                    for &(target, weight) in entries {
                        for (d, &p) in out.iter_mut().zip(&targets.values[target as usize * width..][..width]) {
                            *d -= weight * p;
                        }
                    }
                    for d in out.iter_mut() {
                        *d *= scale * factor;
                    }
                }
            },
        );
    });
    out
}
