//! Padding with black and cutting a window of the old size: the supervised protocols' crop.

use crate::draws::Draws;
use crate::image::Image;
use crate::transform::Region;

/// The picture with `border` black pixels on every side.
pub fn pad(image: &Image, border: usize) -> Image {
    let mut padded = Image::black(image.height + 2 * border, image.width + 2 * border);
    let rows = padded.data.chunks_exact_mut(padded.width * 3).skip(border);
    for (to, from) in rows.zip(image.data.chunks_exact(image.width * 3)) {
        to[border * 3..][..from.len()].copy_from_slice(from);
    }
    padded
}

/// A part of the picture.
///
/// # Panics
/// If the region is empty or leaves the picture.
pub fn crop(image: &Image, region: Region) -> Image {
    assert!(region.fits(image.height, image.width), "{region:?} of {}x{} pixels", image.height, image.width);
    let mut data = Vec::with_capacity(region.height * region.width * 3);
    for row in image.data.chunks_exact(image.width * 3).skip(region.top).take(region.height) {
        data.extend_from_slice(&row[region.left * 3..][..region.width * 3]);
    }
    Image::new(region.height, region.width, data)
}

/// Top and left of the window in the padded picture, uniform over all places.
pub fn pad_crop_offset(border: usize, draws: &mut impl Draws) -> (usize, usize) {
    (draws.integer(0, 2 * border), draws.integer(0, 2 * border))
}
