//! Row-wise passes over `[rows, width]` slices: bias, column sums, layer norm, GELU, softmax.
//!
//! Chunks are a fixed number of rows, so sums come out the same for any number of threads.

use rayon::prelude::*;

/// Rows per task, and per partial sum of a reduction over rows.
const CHUNK: usize = 64;

/// `x += bias` on every row.
pub(crate) fn add_bias(x: &mut [f32], bias: &[f32]) {
    let width = bias.len();
    x.par_chunks_mut(CHUNK * width).for_each(|chunk| {
        for row in chunk.chunks_exact_mut(width) {
            for (value, add) in row.iter_mut().zip(bias) {
                *value += add;
            }
        }
    });
}

/// `out += x`, element by element.
pub(crate) fn add(out: &mut [f32], x: &[f32]) {
    out.par_chunks_mut(1 << 14).zip(x.par_chunks(1 << 14)).for_each(|(out, x)| {
        for (sum, value) in out.iter_mut().zip(x) {
            *sum += value;
        }
    });
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

/// Sums fixed chunks of rows in parallel, then the partial sums in order.
fn reduce_rows(rows: usize, width: usize, partial: impl Fn(usize, usize, &mut [f32]) + Sync, out: &mut [f32]) {
    let chunks = rows.div_ceil(CHUNK);
    let mut partials = vec![0.0; chunks * width];
    partials.par_chunks_mut(width.max(1)).enumerate().for_each(|(chunk, sums)| {
        let first = chunk * CHUNK;
        partial(first, CHUNK.min(rows - first), sums);
    });
    for sums in partials.chunks_exact(width.max(1)) {
        for (total, value) in out.iter_mut().zip(sums) {
            *total += value;
        }
    }
}

/// `out += sum over rows of x`; `out` is `[width]`.
pub(crate) fn column_sums(x: &[f32], out: &mut [f32]) {
    let width = out.len();
    reduce_rows(
        x.len() / width,
        width,
        |first, count, sums| {
            for row in x[first * width..(first + count) * width].chunks_exact(width) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
        out,
    );
}

/// Mean and reciprocal standard deviation of each row.
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) rstd: Vec<f32>,
}

/// Sum in eight lanes, so that the compiler can use vectors without reordering anything else.
fn lane_sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let mut chunks = row.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += term(value);
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// Statistics of every row: biased variance, as all layer norms use.
pub(crate) fn moments(x: &[f32], width: usize, eps: f32) -> Moments {
    let stats: Vec<(f32, f32)> = x
        .par_chunks_exact(width)
        .with_min_len(CHUNK)
        .map(|row| {
            let mean = lane_sum(row, |v| v) / width as f32;
            let var = lane_sum(row, |v| (v - mean) * (v - mean)) / width as f32;
            (mean, 1.0 / (var + eps).sqrt())
        })
        .collect();
    let (mean, rstd) = stats.into_iter().unzip();
    Moments { mean, rstd }
}

/// `(x - mean) rstd weight + bias`.
pub(crate) fn normalise(x: &[f32], stats: &Moments, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    out.par_chunks_exact_mut(width).with_min_len(CHUNK).enumerate().for_each(|(row, out)| {
        let (mean, rstd) = (stats.mean[row], stats.rstd[row]);
        let x = &x[row * width..(row + 1) * width];
        for (((y, v), w), b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = (v - mean) * rstd * w + b;
        }
    });
    out
}

/// Backward of [`normalise`]: adds to `dx`, and to `dweight` and `dbias`.
pub(crate) fn normalise_backward(
    x: &[f32],
    stats: &Moments,
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let width = weight.len();
    let xhat = |row: usize, col: usize| (x[row * width + col] - stats.mean[row]) * stats.rstd[row];
    dx.par_chunks_exact_mut(width).with_min_len(CHUNK).enumerate().for_each(|(row, dx)| {
        let (mean, rstd) = (stats.mean[row], stats.rstd[row]);
        let x = &x[row * width..(row + 1) * width];
        let dy = &dy[row * width..(row + 1) * width];
        let (mut lanes, mut lanes_x) = ([0.0_f32; 8], [0.0_f32; 8]);
        for (col, ((g, v), w)) in dy.iter().zip(x).zip(weight).enumerate() {
            lanes[col % 8] += g * w;
            lanes_x[col % 8] += g * w * ((v - mean) * rstd);
        }
        let sum: f32 = lanes.iter().sum::<f32>() / width as f32;
        let sum_x: f32 = lanes_x.iter().sum::<f32>() / width as f32;
        for (((d, g), v), w) in dx.iter_mut().zip(dy).zip(x).zip(weight) {
            *d += rstd * (g * w - sum - (v - mean) * rstd * sum_x);
        }
    });
    let rows = dy.len() / width;
    reduce_rows(
        rows,
        width,
        |first, count, sums| {
            for row in first..first + count {
                for (col, sum) in sums.iter_mut().enumerate() {
                    *sum += dy[row * width + col] * xhat(row, col);
                }
            }
        },
        dweight,
    );
    column_sums(dy, dbias);
}

/// `exp(x)` for x <= 0 and moderate x > 0: range reduction by ln 2 and a degree-6 polynomial
/// (Taylor around 0 on |r| <= ln(2)/2; truncation error below 2e-7 relative). Written without branches
/// so that loops over it become vector code.
#[inline]
pub(crate) fn exp(x: f32) -> f32 {
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
#[inline]
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
    out.par_chunks_mut(1 << 13).zip(x.par_chunks(1 << 13)).for_each(|(out, x)| {
        for (y, &v) in out.iter_mut().zip(x) {
            let (e, _) = erf(v * std::f32::consts::FRAC_1_SQRT_2);
            *y = 0.5 * v * (1.0 + e);
        }
    });
    out
}

/// `dy *= gelu'(x)`.
pub(crate) fn gelu_backward(x: &[f32], dy: &mut [f32]) {
    /// 1 / sqrt(2 pi).
    const DENSITY: f32 = 0.398_942_3;
    dy.par_chunks_mut(1 << 13).zip(x.par_chunks(1 << 13)).for_each(|(dy, x)| {
        for (d, &v) in dy.iter_mut().zip(x) {
            let (e, gauss) = erf(v * std::f32::consts::FRAC_1_SQRT_2);
            *d *= 0.5 * (1.0 + e) + v * DENSITY * gauss;
        }
    });
}

/// Softmax of each row of `[rows, width]`, in place.
pub(crate) fn softmax(x: &mut [f32], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let max = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
        for value in row.iter_mut() {
            *value = exp(*value - max);
        }
        let scale = 1.0 / lane_sum(row, |v| v);
        for value in row.iter_mut() {
            *value *= scale;
        }
    }
}

/// `dp <- p (dp - sum(dp p))` on each row, in place.
pub(crate) fn softmax_backward(p: &[f32], dp: &mut [f32], width: usize) {
    for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
        let mut lanes = [0.0_f32; 8];
        for (col, (g, v)) in dp.iter().zip(p).enumerate() {
            lanes[col % 8] += g * v;
        }
        let dot: f32 = lanes.iter().sum();
        for (g, v) in dp.iter_mut().zip(p) {
            *g = v * (*g - dot);
        }
    }
}
