//! Inverting what is bright.

use super::lookup;
use crate::image::Image;

/// Inverts the values from `threshold` on: `255 - x` where `x >= threshold` (PIL's `ImageOps.solarize`).
pub fn solarise(image: &mut Image, threshold: u8) {
    lookup(image, |level| if level < threshold { level } else { 255 - level });
}
