//! Antialiased resizing of 8-bit pictures, bit for bit as PIL 10 does it.
//!
//! Separable, columns first, then rows. Each output sample is a weighted sum of the input samples
//! under a kernel that is stretched by the factor of reduction; weights are 22-bit fixed-point
//! numbers, and both passes round half up and clip to 8 bits. The clip between the passes is visible
//! (overshoot of the first is lost), so the passes cannot be merged or exchanged. A pass that keeps
//! its size is left out.

use std::collections::HashMap;
use std::sync::Arc;

use crate::image::Image;
use crate::simd::vectorized;
use crate::spec::{Filter, Size};
use crate::transform::Region;
use crate::transform::sideways::{BAND, Column, Sideways};

/// Fractional bits of a weight: 32 less 8 for the sample and 2 for the overshoot of negative lobes.
const PRECISION: u32 = 32 - 8 - 2;

/// One half in fixed point: what makes the shift round.
const HALF: i32 = 1 << (PRECISION - 1);

/// Weight tables kept by one [`Resizer`]. Random crops ask for many lengths; beyond this number the
/// tables are dropped and made anew.
const MAX_TABLES: usize = 512;

/// Resizes pictures and keeps the weight tables of the lengths it has met. Not shared between
/// threads; its memory never changes a result.
#[derive(Default)]
pub struct Resizer {
    tables: HashMap<(usize, usize, Filter), Arc<Weights>>,
    sideways: Sideways,
    /// What the first pass makes of a picture.
    wide: Vec<u8>,
}

impl Resizer {
    /// A resizer that has met no length yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts `region` out of `image` and resizes it: pixels outside the region have no influence.
    ///
    /// # Panics
    /// If the region is empty or leaves the picture, or if `size` is empty.
    pub fn resize(&mut self, image: &Image, region: Region, size: Size, filter: Filter) -> Image {
        let Size(height, width) = size;
        assert!(region.fits(image.height, image.width), "{region:?} of {}x{} pixels", image.height, image.width);
        assert!(height > 0 && width > 0, "resize to {height}x{width}");
        let stride = image.width * 3;
        let row = |y: usize| &image.data[(region.top + y) * stride..][region.left * 3..][..region.width * 3];
        let mut wide = std::mem::take(&mut self.wide);
        if width == region.width {
            wide.clear();
            (0..region.height).for_each(|y| wide.extend_from_slice(row(y)));
        } else {
            let weights = self.weights(region.width, width, filter);
            self.sideways
                .each_band(row, region.height, width, &mut wide, |before, after| resize_band(before, &weights, after));
        }
        let data = if height == region.height {
            wide.truncate(height * width * 3);
            std::mem::take(&mut wide)
        } else {
            let weights = self.weights(region.height, height, filter);
            resize_rows(&wide, width * 3, &weights)
        };
        self.wide = wide;
        Image::new(height, width, data)
    }

    fn weights(&mut self, input: usize, output: usize, filter: Filter) -> Arc<Weights> {
        if self.tables.len() >= MAX_TABLES {
            self.tables.clear();
        }
        let table = self.tables.entry((input, output, filter));
        Arc::clone(table.or_insert_with(|| Arc::new(Weights::new(input, output, filter))))
    }
}

/// Fixed-point weights of every output sample along one axis.
struct Weights {
    /// First input sample of each output sample, and the range of its weights in `values`.
    taps: Vec<(usize, std::ops::Range<usize>)>,
    values: Vec<i32>,
}

impl Weights {
    fn new(input: usize, output: usize, filter: Filter) -> Self {
        let scale = input as f64 / output as f64;
        // The kernel never gets narrower than its own support: enlarging interpolates.
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let squeeze = 1.0 / stretch;
        let mut taps = Vec::with_capacity(output);
        let mut values = Vec::new();
        for place in 0..output {
            let center = (place as f64 + 0.5) * scale;
            // Casts of the halves' sums truncate, as in C; the lower one saturates at the border.
            let first = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let kernel = |x: usize| filter.kernel((x as f64 - center + 0.5) * squeeze);
            let total: f64 = (first..end).map(kernel).sum();
            let from = values.len();
            values.extend((first..end).map(|x| fixed_point(kernel(x) / total)));
            taps.push((first, from..values.len()));
        }
        Self { taps, values }
    }

    /// First input sample and weights of each output sample, in order.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.taps.iter().map(|(first, range)| (*first, &self.values[range.clone()]))
    }
}

/// Nearest fixed-point number, halves away from zero.
fn fixed_point(weight: f64) -> i32 {
    (weight * f64::from(1 << PRECISION)).round() as i32
}

impl Filter {
    /// Half-width of the kernel in input samples.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn kernel(self, x: f64) -> f64 {
        /// Keys' parameter as PIL has it.
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Makes every output column as a weighted sum of input columns.
fn resize_band(before: &[Column], weights: &Weights, after: &mut [Column]) {
    vectorized(
        #[inline(always)]
        || {
            for ((first, taps), after) in weights.iter().zip(after.iter_mut()) {
                // One by one, so that they are kept in registers.
                let [mut x, mut y, mut z] = [[HALF; BAND]; 3];
                for ([a, b, c], &weight) in before[first..].iter().zip(taps) {
                    add(&mut x, a, weight);
                    add(&mut y, b, weight);
                    add(&mut z, c, weight);
                }
                *after = [x.map(clip), y.map(clip), z.map(clip)];
            }
        },
    );
}

#[inline(always)]
fn add(sums: &mut [i32; BAND], samples: &[u8; BAND], weight: i32) {
    for (sum, &sample) in sums.iter_mut().zip(samples) {
        *sum = accumulate(*sum, sample, weight);
    }
}

/// Makes every output row as a weighted sum of input rows.
fn resize_rows(data: &[u8], stride: usize, weights: &Weights) -> Vec<u8> {
    let mut out = vec![0; weights.taps.len() * stride];
    let mut sums = vec![HALF; stride];
    vectorized(
        #[inline(always)]
        || {
            for ((first, taps), out) in weights.iter().zip(out.chunks_exact_mut(stride)) {
                sums.fill(HALF);
                for (row, &weight) in data[first * stride..].chunks_exact(stride).zip(taps) {
                    for (sum, &sample) in sums.iter_mut().zip(row) {
                        *sum = accumulate(*sum, sample, weight);
                    }
                }
                for (out, &sum) in out.iter_mut().zip(&sums) {
                    *out = clip(sum);
                }
            }
        },
    );
    out
}

/// Weights sum to one and overshoot less than two bits, so nothing wraps; the wrapping forms only
/// spare the hot loop its overflow checks.
#[inline(always)]
fn accumulate(sum: i32, sample: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(sample).wrapping_mul(weight))
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
