//! Operations on pictures, one per file. Randomness comes in as an argument.

mod erasing;
mod flip;
mod normalise;
mod pad_crop;
mod random_resized_crop;
mod resize;

pub use erasing::{Aspect, ErasingLaw};
pub use flip::flip;
pub use normalise::normalise;
pub use pad_crop::{crop, pad, pad_crop_offset};
pub use random_resized_crop::random_resized_crop;
pub use resize::Resizer;

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
