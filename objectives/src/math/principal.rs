//! The directions in which features vary most: a plane on which many can be shown at once.

/// Rows that the directions are found from, at most.
const ROWS: usize = 4096;
/// Rounds of the power iteration at most.
const ROUNDS: usize = 1000;
/// Change of a direction, squared, below which it has settled.
const SETTLED: f64 = 1e-20;

/// Coordinates of each row along the first two principal components, and the share of the variance that each has:
/// power iteration on the covariance, the second after the first is taken out. A component's sign is that of its
/// entry of largest size. f64 and a fixed order throughout.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, `d = width`; output: `[n]` pairs
pub fn plane(features: &[f32], width: usize) -> (Vec<[f64; 2]>, [f64; 2]) {
    let all = features.len() / width.max(1);
    // Rows evenly apart: the directions of a few thousand are those of all.
    let seen = || features.chunks_exact(width.max(1)).step_by(all.div_ceil(ROWS).max(1));
    let n = seen().len();
    let mut means = vec![0.0; width];
    for row in seen() {
        for (mean, value) in means.iter_mut().zip(row) {
            *mean += f64::from(*value) / n as f64;
        }
    }
    let mut covariance = vec![0.0; width * width];
    let mut centered = vec![0.0; width];
    for row in seen() {
        for ((out, value), mean) in centered.iter_mut().zip(row).zip(&means) {
            *out = f64::from(*value) - mean;
        }
        for (i, a) in centered.iter().enumerate() {
            for (out, b) in covariance[i * width..(i + 1) * width].iter_mut().zip(&centered) {
                *out += a * b / n as f64;
            }
        }
    }
    let total: f64 = (0..width).map(|i| covariance[i * width + i]).sum();
    let mut axes = Vec::with_capacity(2);
    let mut shares = [0.0; 2];
    for share in &mut shares {
        let (axis, value) = leading(&covariance, width);
        for i in 0..width {
            for j in 0..width {
                covariance[i * width + j] -= value * axis[i] * axis[j];
            }
        }
        *share = if total > 0.0 { (value / total).max(0.0) } else { 0.0 };
        axes.push(axis);
    }
    let along = |row: &[f32], axis: &[f64]| -> f64 {
        row.iter().zip(&means).zip(axis).map(|((value, mean), axis)| (f64::from(*value) - mean) * axis).sum()
    };
    let points = features.chunks_exact(width.max(1)).map(|row| [along(row, &axes[0]), along(row, &axes[1])]);
    (points.collect(), shares)
}

/// The eigenvector of the largest eigenvalue of a positive semi-definite matrix, and that value.
fn leading(matrix: &[f64], n: usize) -> (Vec<f64>, f64) {
    // A start that no axis is orthogonal to but by accident.
    let mut axis: Vec<f64> = (0..n).map(|i| 1.0 + (i as f64 * 0.618_033_988_749_895).fract()).collect();
    normalize(&mut axis);
    let times = |axis: &[f64]| -> Vec<f64> {
        matrix.chunks_exact(n.max(1)).map(|row| row.iter().zip(axis).map(|(a, b)| a * b).sum()).collect()
    };
    for _ in 0..ROUNDS {
        let mut next = times(&axis);
        if !normalize(&mut next) {
            return (vec![0.0; n], 0.0);
        }
        let change: f64 = next.iter().zip(&axis).map(|(a, b)| (a - b) * (a - b)).sum();
        axis = next;
        if change < SETTLED {
            break;
        }
    }
    let value = times(&axis).iter().zip(&axis).map(|(a, b)| a * b).sum();
    let largest =
        axis.iter().copied().fold(0.0_f64, |largest, value| if value.abs() > largest.abs() { value } else { largest });
    if largest < 0.0 {
        for value in &mut axis {
            *value = -*value;
        }
    }
    (axis, value)
}

/// Scales to length 1; false if there is no length.
fn normalize(axis: &mut [f64]) -> bool {
    let length = axis.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length < f64::MIN_POSITIVE {
        return false;
    }
    for value in axis {
        *value /= length;
    }
    true
}
