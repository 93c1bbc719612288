//! Mirroring.

use crate::image::Image;

/// The picture with its columns in reverse order.
pub fn flip(image: &Image) -> Image {
    let mut data = Vec::with_capacity(image.data.len());
    for row in image.data.chunks_exact(image.width * 3) {
        data.extend(row.as_chunks::<3>().0.iter().rev().flatten());
    }
    Image::new(image.height, image.width, data)
}
