//! Operations on pictures, one per file. Randomness comes in as an argument.

mod blend;
mod blur;
mod channels;
mod erasing;
mod flip;
mod grayscale;
mod hue;
mod jitter;
mod normalise;
mod pad_crop;
mod photometric;
mod random_resized_crop;
mod resize;
mod sideways;
mod solarise;

pub use blend::{adjust_brightness, adjust_contrast, adjust_saturation};
pub use blur::gaussian_blur;

pub use flip::flip;
pub use grayscale::grayscale;
pub use hue::adjust_hue;
pub use jitter::color_jitter;
pub use normalise::normalise;
pub use pad_crop::{pad_crop, pad_crop_offset};
pub use photometric::photometric;
pub use random_resized_crop::random_resized_crop;
pub use resize::Resizer;
pub use solarise::solarise;

use crate::image::Image;

/// Rectangle of whole pixels in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// Columns, at least 1.
    pub width: usize,
}

impl Region {
    /// All of a picture.
    pub fn whole(image: &Image) -> Self {
        Self { top: 0, left: 0, height: image.height, width: image.width }
    }

    /// Whether the region has pixels and all of them lie in a picture of this size.
    pub fn fits(&self, height: usize, width: usize) -> bool {
        self.height > 0 && self.width > 0 && self.top + self.height <= height && self.left + self.width <= width
    }
}

/// Replaces every value by a function of it alone, which is asked once for each of the 256 values.
fn lookup(image: &mut Image, function: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|level| function(level as u8));
    for value in &mut image.data {
        *value = table[usize::from(*value)];
    }
}
