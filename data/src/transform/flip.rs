//! Mirroring.

use crate::image::Image;

/// Turns the order of the picture's columns round.
pub fn flip(image: &mut Image) {
    for row in image.data.chunks_exact_mut(image.width.max(1) * 3) {
        row.as_chunks_mut::<3>().0.reverse();
    }
}
