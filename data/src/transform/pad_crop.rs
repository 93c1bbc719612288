//! Padding with black and cutting a window of the old size: the supervised protocols' crop.

use crate::draws::Draws;
use crate::image::Image;

/// Pads the picture with `border` black pixels on every side and cuts a window of its old size out of it.
///
/// # Panics
/// If the window leaves the padded picture: `top` or `left` is more than twice the border.
pub fn pad_crop(image: &Image, border: usize, (top, left): (usize, usize)) -> Image {
    assert!(top.max(left) <= 2 * border, "a window at {top}, {left} of a border of {border}");
    let mut cut = Image::black(image.height, image.width);
    let stride = image.width * 3;
    // Where the part that both show begins: in the picture, and in the window.
    let (down, right) = (top.saturating_sub(border), left.saturating_sub(border));
    let (below, beside) = (border.saturating_sub(top), border.saturating_sub(left));
    let shared = image.width.saturating_sub(right + beside) * 3;
    if shared > 0 {
        let from = image.data.chunks_exact(stride).skip(down);
        for (to, from) in cut.data.chunks_exact_mut(stride).skip(below).zip(from) {
            to[beside * 3..][..shared].copy_from_slice(&from[right * 3..][..shared]);
        }
    }
    cut
}

/// Top and left of the window in the padded picture, uniform over all places.
pub fn pad_crop_offset(border: usize, draws: &mut impl Draws) -> (usize, usize) {
    (draws.integer(0, 2 * border), draws.integer(0, 2 * border))
}
