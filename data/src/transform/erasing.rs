//! Random erasing: which box, and what fills it.

use crate::draws::Draws;
use crate::spec::{ErasingFill, ErasingSpec};
use crate::transform::Region;

/// How the aspect (height / width) of the erased box is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// Its logarithm is uniform (timm).
    LogUniform,
    /// It is uniform itself (Zhong et al., arXiv 1708.04896).
    Uniform,
}

/// Law of the erased box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErasingLaw {
    /// Probability that a picture is erased at all.
    pub probability: f64,
    /// Smallest and largest erased share of the area.
    pub area: [f64; 2],
    /// Smallest and largest height / width.
    pub aspect: [f64; 2],
    /// How the aspect is drawn between them.
    pub aspect_law: Aspect,
    /// Tries before the picture is left as it is.
    pub tries: usize,
    /// What the box is filled with.
    pub fill: ErasingFill,
}

impl From<ErasingSpec> for ErasingLaw {
    /// The law of timm's `RandomErasing` with one box: aspect log-uniform in 0.3..1/0.3, ten tries.
    fn from(spec: ErasingSpec) -> Self {
        Self {
            probability: spec.probability,
            area: spec.area,
            aspect: [0.3, 1.0 / 0.3],
            aspect_law: Aspect::LogUniform,
            tries: 10,
            fill: spec.fill,
        }
    }
}

impl ErasingLaw {
    /// The box to erase in a picture of `height` x `width` pixels, if any. It is strictly smaller
    /// than the picture in both directions.
    pub fn region(&self, height: usize, width: usize, draws: &mut impl Draws) -> Option<Region> {
        if draws.between(0.0, 1.0) >= self.probability {
            return None;
        }
        for _ in 0..self.tries {
            let area = draws.between(self.area[0], self.area[1]) * (height * width) as f64;
            let [narrow, tall] = self.aspect;
            let aspect = match self.aspect_law {
                Aspect::LogUniform => draws.between(narrow.ln(), tall.ln()).exp(),
                Aspect::Uniform => draws.between(narrow, tall),
            };
            let h = (area * aspect).sqrt().round_ties_even() as usize;
            let w = (area / aspect).sqrt().round_ties_even() as usize;
            if h < height && w < width {
                let top = draws.integer(0, height - h);
                let left = draws.integer(0, width - w);
                return Some(Region { top, left, height: h, width: w });
            }
        }
        None
    }

    /// Draws a box and fills it: noise is standard normal, a number for every value.
    ///
    /// # Shapes
    /// - `pixels`: `[c, h, w]`, normalized
    pub fn erase(&self, pixels: &mut [f32], height: usize, width: usize, draws: &mut impl Draws) {
        let Some(region) = self.region(height, width, draws) else { return };
        for plane in pixels.chunks_exact_mut(height * width) {
            for row in plane.chunks_exact_mut(width).skip(region.top).take(region.height) {
                let values = &mut row[region.left..][..region.width];
                match self.fill {
                    ErasingFill::Noise => values.fill_with(|| draws.gaussian() as f32),
                    ErasingFill::Zero => values.fill(0.0),
                }
            }
        }
    }
}
