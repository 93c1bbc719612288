//! The photometric operations of a view, in DINO's order.

use super::{color_jitter, gaussian_blur, grayscale, solarise};
use crate::draws::Draws;
use crate::image::Image;
use crate::spec::PhotometricSpec;

/// Jitters, greys, blurs and solarises, each with its probability (the order of DINO, iBOT and
/// MoCo v3). What has probability 0 draws no number.
pub fn photometric(image: &mut Image, spec: &PhotometricSpec, draws: &mut impl Draws) {
    if happens(spec.jitter.probability, draws) {
        color_jitter(image, &spec.jitter, draws);
    }
    if happens(spec.grayscale, draws) {
        grayscale(image);
    }
    if happens(spec.blur.probability, draws) {
        let [low, high] = spec.blur.radius;
        gaussian_blur(image, draws.between(low, high));
    }
    if happens(spec.solarise, draws) {
        solarise(image, spec.solarise_threshold);
    }
}

fn happens(probability: f64, draws: &mut impl Draws) -> bool {
    probability > 0.0 && draws.between(0.0, 1.0) < probability
}
