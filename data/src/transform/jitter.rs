//! Color jitter: brightness, contrast, saturation and hue by random factors in random order.

use super::{adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation};
use crate::draws::Draws;
use crate::image::Image;
use crate::spec::JitterSpec;

/// One adjustment: how it is made, and the range of its factor.
type Adjustment = (fn(&mut Image, f64), [f64; 2]);

/// Jitters as torchvision's `ColorJitter` does, whether or not `spec.probability` would: every order of
/// the four adjustments is equally likely, a factor is uniform in `1 - x ..= 1 + x` but never negative,
/// and the hue's share of the circle in `-x ..= x`. An adjustment of 0 is left out and draws no factor.
pub fn color_jitter(image: &mut Image, spec: &JitterSpec, draws: &mut impl Draws) {
    let around_one = |x: f64| [(1.0 - x).max(0.0), 1.0 + x];
    let mut adjustments: [(f64, Adjustment); 4] = [
        (spec.brightness, (adjust_brightness, around_one(spec.brightness))),
        (spec.contrast, (adjust_contrast, around_one(spec.contrast))),
        (spec.saturation, (adjust_saturation, around_one(spec.saturation))),
        (spec.hue, (adjust_hue, [-spec.hue, spec.hue])),
    ];
    for last in (1..adjustments.len()).rev() {
        adjustments.swap(last, draws.integer(0, last));
    }
    for (amount, (adjust, [low, high])) in adjustments {
        if amount > 0.0 {
            adjust(image, draws.between(low, high));
        }
    }
}
