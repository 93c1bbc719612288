//! Random erasing: which box, and what fills it.

use crate::draws::Draws;
use crate::spec::{ErasingFill, ErasingLaw, ErasingSpec};
use crate::transform::Region;

/// `ImageNet`'s mean of each channel.
const RAW_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Smallest and largest height / width of a box.
const ASPECT: [f64; 2] = [0.3, 1.0 / 0.3];

impl ErasingSpec {
    /// The box to erase in a picture of `height` x `width` pixels, if any. It is strictly smaller
    /// than the picture in both directions.
    pub fn region(&self, height: usize, width: usize, draws: &mut impl Draws) -> Option<Region> {
        if draws.between(0.0, 1.0) >= self.probability {
            return None;
        }
        let tries = match self.law {
            ErasingLaw::Timm => 10,
            ErasingLaw::Zhong => 100,
        };
        for _ in 0..tries {
            let area = draws.between(self.area[0], self.area[1]) * (height * width) as f64;
            let [narrow, tall] = ASPECT;
            let aspect = match self.law {
                ErasingLaw::Timm => draws.between(narrow.ln(), tall.ln()).exp(),
                ErasingLaw::Zhong => draws.between(narrow, tall),
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
    /// - `pixels`: `[3, h, w]`, normalized
    pub fn erase(&self, pixels: &mut [f32], height: usize, width: usize, draws: &mut impl Draws) {
        let Some(region) = self.region(height, width, draws) else { return };
        for (plane, mean) in pixels.chunks_exact_mut(height * width).zip(RAW_MEAN) {
            for row in plane.chunks_exact_mut(width).skip(region.top).take(region.height) {
                let values = &mut row[region.left..][..region.width];
                match self.fill {
                    ErasingFill::Noise => values.fill_with(|| draws.gaussian() as f32),
                    ErasingFill::Zero => values.fill(0.0),
                    ErasingFill::RawMean => values.fill(mean),
                }
            }
        }
    }
}
