//! Brightness, contrast and saturation, as PIL's `ImageEnhance` computes them: each blends the picture
//! with a degenerate of it, `degenerate + factor * (picture - degenerate)` in f32, clipped to 8 bits
//! and truncated. A factor of 1 is the picture itself, 0 the degenerate.

use super::channels::{self, byte};
use super::grayscale::luma;
use super::lookup;
use crate::image::Image;
use crate::simd::vectorized;

#[inline(always)]
fn blend(degenerate: f32, level: u8, factor: f32) -> u8 {
    byte((degenerate + factor * (f32::from(level) - degenerate)).clamp(0.0, 255.0))
}

/// Blends with black.
pub fn adjust_brightness(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    lookup(image, |level| blend(0.0, level, factor));
}

/// Blends with the even grey of the picture's mean luma, rounded half up.
pub fn adjust_contrast(image: &mut Image, factor: f64) {
    let (pixels, _) = image.data.as_chunks::<3>();
    let total: u64 = vectorized(
        #[inline(always)]
        || pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum(),
    );
    // A picture without pixels has no mean, and nothing to adjust.
    let mean = (total as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    let factor = factor as f32;
    lookup(image, |level| blend(f32::from(mean), level, factor));
}

/// Blends each pixel with its own luma.
pub fn adjust_saturation(image: &mut Image, factor: f64) {
    let factor = factor as f32;
    vectorized(
        #[inline(always)]
        || {
            channels::change(
                image.data.as_chunks_mut().0,
                #[inline(always)]
                |[red, green, blue]| {
                    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                        let grey = f32::from(luma([*r, *g, *b]));
                        [*r, *g, *b] = [blend(grey, *r, factor), blend(grey, *g, factor), blend(grey, *b, factor)];
                    }
                },
            );
        },
    );
}
