//! Elementary functions from `+ - * /` and `sqrt` alone.
//!
//! IEEE 754 fixes those five to the last bit; `sin`, `exp` and `powf` of the standard library are
//! the platform's, and the renderer's fingerprint is committed.

/// Linear interpolation: `a` at 0, `b` at 1.
pub(super) fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// Hermite step from 0 at `low` to 1 at `high`.
pub(super) fn smooth_step(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Sine and cosine of an angle in turns (1 is the full circle); error below 1e-6.
pub(super) fn sin_cos(turns: f32) -> (f32, f32) {
    let turns = turns - turns.floor();
    let quarter = (turns * 4.0).floor();
    let x = (turns - quarter * 0.25) * std::f32::consts::TAU; // 0..pi/2
    let y = x * x;
    // Taylor series, degrees 11 and 12; the next terms are below 6e-8 and 7e-9 at pi/2.
    let sin = x * (1.0 - y / 6.0 * (1.0 - y / 20.0 * (1.0 - y / 42.0 * (1.0 - y / 72.0 * (1.0 - y / 110.0)))));
    let cos =
        1.0 - y / 2.0 * (1.0 - y / 12.0 * (1.0 - y / 30.0 * (1.0 - y / 56.0 * (1.0 - y / 90.0 * (1.0 - y / 132.0)))));
    match quarter as u32 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Arc sine in turns (-1/4..1/4) of a value in [-1, 1]; error below 1e-5
/// (Abramowitz and Stegun, 4.4.45).
pub(super) fn asin(x: f32) -> f32 {
    let a = x.abs().min(1.0);
    let poly = 1.570_728_8 + a * (-0.212_114_4 + a * (0.074_261 - a * 0.018_729_3));
    let angle = std::f32::consts::FRAC_PI_2 - (1.0 - a).sqrt() * poly;
    let turns = angle / std::f32::consts::TAU;
    if x < 0.0 { -turns } else { turns }
}

/// `base^exponent` for a base in [0, 1]; 0 for a base of 0.
pub(super) fn power(base: f64, exponent: f64) -> f64 {
    if base <= 0.0 { 0.0 } else { exp(exponent * ln(base)) }
}

/// Natural logarithm of a positive value of at most 1.
fn ln(x: f64) -> f64 {
    let (mut mantissa, mut halvings) = (x, 0.0);
    while mantissa < 0.75 {
        mantissa *= 2.0;
        halvings += 1.0;
    }
    // ln(m) = 2 artanh((m - 1) / (m + 1)); |z| <= 1/7, so that nine terms reach 1e-16.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let series = (0..9).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    2.0 * z * series - halvings * std::f64::consts::LN_2
}

/// Exponential of a value in about -60..1.
fn exp(x: f64) -> f64 {
    // exp(x) = exp(x / 64)^64; fourteen terms are exact to rounding for |x / 64| < 1.
    let part = x / 64.0;
    let mut value = (1..15).rev().fold(1.0, |sum, k| 1.0 + part / f64::from(k) * sum);
    for _ in 0..6 {
        value *= value;
    }
    value
}

/// Uniform in [0, 1) from two lattice coordinates; the texture of walls and leaves.
pub(super) fn lattice(x: i32, y: i32, seed: u32) -> f32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1) ^ (y as u32).wrapping_mul(0x85EB_CA77) ^ seed;
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    ((h ^ (h >> 15)) >> 8) as f32 / (1_u32 << 24) as f32
}

/// [`lattice`] blended between its points: smooth blotches of size 1.
pub(super) fn blotches(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let (right, down) = (smooth_step(0.0, 1.0, x - column), smooth_step(0.0, 1.0, y - row));
    let (column, row) = (column as i32, row as i32);
    let top = lerp(lattice(column, row, seed), lattice(column + 1, row, seed), right);
    let bottom = lerp(lattice(column, row + 1, seed), lattice(column + 1, row + 1, seed), right);
    lerp(top, bottom, down)
}
