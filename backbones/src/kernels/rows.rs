//! Row-wise passes over `[rows, width]` slices: bias, column sums, layer norm, GELU, softmax.
//!
//! Work is cut into chunks of a fixed number of rows, and sums over rows are added up chunk by chunk
//! in order, so they come out the same for any number of threads. Sums within a row run in sixteen
//! lanes that are added up in a fixed tree, so that they can use vectors of any width.

use rayon::prelude::*;

use super::simd::vectorized;

/// Rows per task, and per partial sum of a reduction over rows.
pub(super) const CHUNK: usize = 64;
/// Elements per task of passes that know no rows.
const ELEMENTS: usize = 1 << 13;
/// Independent partial sums within a row.
const LANES: usize = 16;

/// `x += bias` on every row.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    let width = bias.len();
    x.par_chunks_mut(CHUNK * width).for_each(|chunk| {
        vectorized(
            #[inline(always)]
            || {
                for row in chunk.chunks_exact_mut(width) {
                    accumulate(row, bias);
                }
            },
        );
    });
}

/// `out += x`, element by element.
pub(crate) fn add(out: &mut [f32], x: &[f32]) {
    out.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(out, x)| {
        vectorized(
            #[inline(always)]
            || accumulate(out, x),
        );
    });
}

#[inline(always)]
fn accumulate(out: &mut [f32], x: &[f32]) {
    for (sum, value) in out.iter_mut().zip(x) {
        *sum += value;
    }
}

/// Multiplies the rows of each sample by its factor; `factors` has one entry per sample.
pub(crate) fn scale_samples(x: &mut [f32], factors: &[f32]) {
    let per_sample = x.len() / factors.len();
    x.par_chunks_mut(per_sample).zip(factors).for_each(|(rows, &factor)| {
        for value in rows {
            *value *= factor;
        }
    });
}

/// Sums fixed chunks of rows in parallel, then the partial sums in order, onto `out`.
///
/// `partial` adds a chunk of rows, given by its first row and their number, to zeros.
fn reduce_rows(rows: usize, partial: impl Fn(usize, usize, &mut [f32]) + Sync, out: &mut [f32]) {
    let width = out.len();
    let mut partials = vec![0.0; rows.div_ceil(CHUNK) * width];
    partials.par_chunks_mut(width).enumerate().for_each(|(chunk, sums)| {
        let first = chunk * CHUNK;
        partial(first, CHUNK.min(rows - first), sums);
    });
    for sums in partials.chunks_exact(width) {
        accumulate(out, sums);
    }
}

/// `out += sum over rows of x`; `out` is `[width]`.
pub(crate) fn column_sums(x: &[f32], out: &mut [f32]) {
    let width = out.len();
    let partial = |first: usize, count: usize, sums: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                for row in x[first * width..(first + count) * width].chunks_exact(width) {
                    accumulate(sums, row);
                }
            },
        );
    };
    reduce_rows(x.len() / width, partial, out);
}

/// Mean and reciprocal standard deviation of each row.
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) rstd: Vec<f32>,
}

/// Adds up lanes in a fixed tree.
#[inline(always)]
fn tree(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Sum of `term(a_i, b_i)` over two slices of equal length.
#[inline(always)]
pub(super) fn sum_of(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for ((lane, &a), &b) in lanes.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *lane = term(a, b);
    }
    for (a, b) in a.zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(a, b);
        }
    }
    tree(lanes)
}

/// Statistics of every row: biased variance, as all layer norms use.
pub(crate) fn moments(x: &[f32], width: usize, eps: f32) -> Moments {
    let rows = x.len() / width;
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    let chunks = mean.par_chunks_mut(CHUNK).zip(rstd.par_chunks_mut(CHUNK)).zip(x.par_chunks(CHUNK * width));
    chunks.for_each(|((means, rstds), x)| {
        vectorized(
            #[inline(always)]
            || {
                for ((row, mean), rstd) in x.chunks_exact(width).zip(means.iter_mut()).zip(rstds.iter_mut()) {
                    let center = sum_of(row, row, |v, _| v) / width as f32;
                    let var = sum_of(row, row, |v, _| (v - center) * (v - center)) / width as f32;
                    (*mean, *rstd) = (center, 1.0 / (var + eps).sqrt());
                }
            },
        );
    });
    Moments { mean, rstd }
}

/// `(x - mean) rstd weight + bias`.
pub(crate) fn normalise(x: &[f32], stats: &Moments, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, out)| {
        vectorized(
            #[inline(always)]
            || {
                let first = chunk * CHUNK;
                let rows = out.chunks_exact_mut(width).zip(x[first * width..].chunks_exact(width));
                let stats = stats.mean[first..].iter().zip(&stats.rstd[first..]);
                for ((out, x), (mean, rstd)) in rows.zip(stats) {
                    for (((y, v), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                        *y = (v - mean) * rstd * w + b;
                    }
                }
            },
        );
    });
    out
}

/// `(x - mean) rstd`.
pub(crate) fn standardise(x: &[f32], stats: &Moments, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, out)| {
        vectorized(
            #[inline(always)]
            || {
                let first = chunk * CHUNK;
                let rows = out.chunks_exact_mut(width).zip(x[first * width..].chunks_exact(width));
                let stats = stats.mean[first..].iter().zip(&stats.rstd[first..]);
                for ((out, x), (mean, rstd)) in rows.zip(stats) {
                    for (y, v) in out.iter_mut().zip(x) {
                        *y = (v - mean) * rstd;
                    }
                }
            },
        );
    });
    out
}

/// Backward of [`standardise`] through mean and deviation: `dx` holds the output's gradient and gets the
/// input's.
pub(crate) fn standardise_backward(x: &[f32], stats: &Moments, width: usize, dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, dx)| {
        vectorized(
            #[inline(always)]
            || {
                let first = chunk * CHUNK;
                let rows = dx.chunks_exact_mut(width).zip(x[first * width..].chunks_exact(width));
                let stats = stats.mean[first..].iter().zip(&stats.rstd[first..]);
                for ((dx, x), (&mean, &rstd)) in rows.zip(stats) {
                    let sum = sum_of(dx, x, |d, _| d) / width as f32;
                    let sum_x = sum_of(dx, x, |d, v| d * ((v - mean) * rstd)) / width as f32;
                    for (d, v) in dx.iter_mut().zip(x) {
                        *d = rstd * (*d - sum - (v - mean) * rstd * sum_x);
                    }
                }
            },
        );
    });
}

/// Gradients of a norm's scale and shift.
pub(crate) struct NormGrads<'a> {
    pub(crate) weight: &'a mut [f32],
    pub(crate) bias: &'a mut [f32],
}

/// Backward of [`normalise`]: adds to `dx`, and to the gradients of scale and shift.
pub(crate) fn normalise_backward(
    x: &[f32],
    stats: &Moments,
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    grads: &mut NormGrads,
) {
    let width = weight.len();
    dx.par_chunks_mut(CHUNK * width).enumerate().for_each(|(chunk, dx)| {
        vectorized(
            #[inline(always)]
            || {
                let mut scaled = vec![0.0; width];
                let first = chunk * CHUNK;
                let rows = dx.chunks_exact_mut(width).zip(x[first * width..].chunks_exact(width));
                let rows = rows.zip(dy[first * width..].chunks_exact(width));
                let stats = stats.mean[first..].iter().zip(&stats.rstd[first..]);
                for (((dx, x), dy), (&mean, &rstd)) in rows.zip(stats) {
                    for ((s, g), w) in scaled.iter_mut().zip(dy).zip(weight) {
                        *s = g * w;
                    }
                    let sum = sum_of(&scaled, x, |s, _| s) / width as f32;
                    let sum_x = sum_of(&scaled, x, |s, v| s * ((v - mean) * rstd)) / width as f32;
                    for ((d, s), v) in dx.iter_mut().zip(&scaled).zip(x) {
                        *d += rstd * (s - sum - (v - mean) * rstd * sum_x);
                    }
                }
            },
        );
    });
    let partial = |first: usize, count: usize, sums: &mut [f32]| {
        vectorized(
            #[inline(always)]
            || {
                let range = first * width..(first + count) * width;
                let rows = dy[range.clone()].chunks_exact(width).zip(x[range].chunks_exact(width));
                let stats = stats.mean[first..].iter().zip(&stats.rstd[first..]);
                for ((dy, x), (mean, rstd)) in rows.zip(stats) {
                    for ((sum, g), v) in sums.iter_mut().zip(dy).zip(x) {
                        *sum += g * ((v - mean) * rstd);
                    }
                }
            },
        );
    };
    reduce_rows(dy.len() / width, partial, grads.weight);
    column_sums(dy, grads.bias);
}

/// `exp(x)` for x in -87..88: range reduction by ln 2 and a degree-6 polynomial (Taylor around 0 on
/// |r| <= ln(2)/2; truncation error below 2e-7 relative). Without branches, so that loops over it
/// become vector code.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // 1.5 * 2^23: adding it rounds to the nearest integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    p * power
}

/// `erf(x)` by Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7, and the Gaussian
/// `exp(-x^2)` it needs, returned too.
#[inline(always)]
fn erf(x: f32) -> (f32, f32) {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let poly = t * (0.254_829_6 + t * (-0.284_496_72 + t * (1.421_413_8 + t * (-1.453_152_1 + t * 1.061_405_4))));
    let gauss = exp(-z * z);
    ((1.0 - poly * gauss).copysign(x), gauss)
}

/// Exact (erf) GELU.
pub(crate) fn gelu(x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(out, x)| {
        out.copy_from_slice(x);
        gelu_chunk(out);
    });
    out
}

/// [`gelu`] where the input is not needed any more.
pub(crate) fn gelu_in_place(x: &mut [f32]) {
    x.par_chunks_mut(ELEMENTS).for_each(gelu_chunk);
}

fn gelu_chunk(x: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for v in x.iter_mut() {
                let (e, _) = erf(*v * std::f32::consts::FRAC_1_SQRT_2);
                *v = 0.5 * *v * (1.0 + e);
            }
        },
    );
}

/// `dy *= gelu'(x)`.
pub(crate) fn gelu_backward(x: &[f32], dy: &mut [f32]) {
    /// 1 / sqrt(2 pi).
    const DENSITY: f32 = 0.398_942_3;
    dy.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(dy, x)| {
        vectorized(
            #[inline(always)]
            || {
                for (d, &v) in dy.iter_mut().zip(x) {
                    let (e, gauss) = erf(v * std::f32::consts::FRAC_1_SQRT_2);
                    *d *= 0.5 * (1.0 + e) + v * DENSITY * gauss;
                }
            },
        );
    });
}

/// Softmax of each row of `[rows, width]`, in place, on the calling thread; and the logarithm of each
/// row's sum of exponentials.
pub(crate) fn softmax(x: &mut [f32], width: usize, log_sums: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (row, log_sum) in x.chunks_exact_mut(width).zip(log_sums.iter_mut()) {
                let max = row.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
                for value in row.iter_mut() {
                    *value = exp(*value - max);
                }
                let sum = sum_of(row, row, |v, _| v);
                *log_sum = max + sum.ln();
                let scale = 1.0 / sum;
                for value in row.iter_mut() {
                    *value *= scale;
                }
            }
        },
    );
}

/// [`softmax`] of rows whose sums are known, in place, on the calling thread.
pub(crate) fn softmax_again(x: &mut [f32], width: usize, log_sums: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (row, log_sum) in x.chunks_exact_mut(width).zip(log_sums) {
                for value in row {
                    *value = exp(*value - log_sum);
                }
            }
        },
    );
}

/// `dp <- p (dp - sum(dp p))` on each row, in place, on the calling thread.
pub(crate) fn softmax_backward(p: &[f32], dp: &mut [f32], width: usize) {
    vectorized(
        #[inline(always)]
        || {
            for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
                let dot = sum_of(p, dp, |p, g| p * g);
                for (g, v) in dp.iter_mut().zip(p) {
                    *g = v * (*g - dot);
                }
            }
        },
    );
}
