//! Gaussian blur, as PIL approximates it: three passes of an extended box filter along each axis.
//!
//! A pass averages `2 r + 1` samples of full weight and the two beyond them with the fraction that the
//! box's real radius leaves over (Gwosdek et al., "Theoretical Foundations of Gaussian Convolution by
//! Extended Box Filtering", SSVM 2011). Weights are 24-bit fixed-point numbers, every pass is rounded
//! half up to 8 bits, and samples beyond the border repeat the border's.

use super::sideways::{Column, Sideways};
use crate::image::Image;
use crate::simd::vectorized;

/// Passes along each axis.
const PASSES: u8 = 3;

/// Fractional bits of a weight.
const PRECISION: u32 = 24;

/// One half in fixed point: what makes the shift round.
const HALF: u32 = 1 << (PRECISION - 1);

/// Blurs with a standard deviation of `radius` pixels (PIL's `ImageFilter.GaussianBlur(radius)`).
///
/// # Panics
/// If `radius` is negative or no number.
pub fn gaussian_blur(image: &mut Image, radius: f64) {
    assert!(radius >= 0.0, "blur of radius {radius}");
    let filter = BoxFilter::of_gaussian(radius as f32);
    if filter.is_identity() || image.data.is_empty() {
        return;
    }
    let (height, width) = (image.height, image.width);
    let mut other = Vec::new();
    let row = |y: usize| &image.data[y * width * 3..][..width * 3];
    Sideways::default().each_band(row, height, width, &mut other, |before, after| {
        let (before, after) = (before.as_flattened_mut(), after.as_flattened_mut());
        filter.passes(before.as_flattened_mut(), after.as_flattened_mut(), size_of::<Column>());
    });
    other.truncate(image.data.len());
    filter.passes(&mut other, &mut image.data, width * 3);
}

/// A box of real radius along one axis.
#[derive(Clone, Copy)]
struct BoxFilter {
    /// Samples of full weight on each side of the center.
    radius: usize,
    /// Weight of each of them, and of the center.
    full: u32,
    /// Weight of the two samples beyond.
    far: u32,
}

impl BoxFilter {
    /// The box whose three-fold application has the variance of a Gaussian. All in f32, as in PIL.
    fn of_gaussian(sigma: f32) -> Self {
        let variance = sigma * sigma / f32::from(PASSES);
        // Length of a box of this variance; its whole part on each side, then the fraction that makes
        // the variance exact.
        let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
        let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
        let next = whole + 1.0;
        let fraction = (2.0 * whole + 1.0) * (whole * next - 3.0 * variance) / (6.0 * (variance - next * next));
        let real = whole + fraction;
        let radius = real as usize;
        let full = ((1_u32 << PRECISION) as f32 / (real * 2.0 + 1.0)) as u32;
        let far = ((1 << PRECISION) - (2 * radius as u32 + 1) * full) / 2;
        Self { radius, full, far }
    }

    fn is_identity(self) -> bool {
        self.radius == 0 && self.far == 0
    }

    /// All passes over rows of `stride` bytes, from `data`, which is spoiled, to `out` of equal length.
    fn passes(self, data: &mut [u8], out: &mut [u8], stride: usize) {
        let mut sums = vec![0; stride];
        // There and back again; the last of an odd number ends there.
        const { assert!(PASSES % 2 == 1) };
        for pass in 0..PASSES {
            let (from, to) = if pass % 2 == 0 { (&mut *data, &mut *out) } else { (&mut *out, &mut *data) };
            self.pass(from, to, stride, &mut sums);
        }
    }

    /// Makes every row of `out` the weighted mean of the rows of `data` around it.
    fn pass(self, data: &[u8], out: &mut [u8], stride: usize, sums: &mut [u32]) {
        vectorized(
            #[inline(always)]
            || {
                let last = data.len() / stride - 1;
                let row = |at: isize| &data[at.clamp(0, last as isize) as usize * stride..][..stride];
                let radius = self.radius as isize;
                sums.fill(0);
                for at in -radius..=radius {
                    for (sum, &sample) in sums.iter_mut().zip(row(at)) {
                        *sum = sum.wrapping_add(u32::from(sample));
                    }
                }
                for (at, out) in out.chunks_exact_mut(stride).enumerate() {
                    let at = at as isize;
                    let (before, after) = (row(at - radius - 1), row(at + radius + 1));
                    let leaving = row(at - radius);
                    let samples = before.iter().zip(leaving).zip(after);
                    for ((out, sum), ((&before, &leaving), &after)) in out.iter_mut().zip(sums.iter_mut()).zip(samples)
                    {
                        let far = (u32::from(before) + u32::from(after)).wrapping_mul(self.far);
                        // The weights add up to at most one, so that 8 bits more than a weight's 24 suffice; the
                        // wrapping forms only spare the hot loop its overflow checks.
                        let mean = sum.wrapping_mul(self.full).wrapping_add(far).wrapping_add(HALF) >> PRECISION;
                        *out = mean as u8;
                        *sum = sum.wrapping_add(u32::from(after)).wrapping_sub(u32::from(leaving));
                    }
                }
            },
        );
    }
}
