//! Colors to greys.

use super::channels;
use crate::image::Image;
use crate::simd::vectorized;

/// Brightness of a pixel as PIL's mode `L` has it: ITU-R 601-2 luma with 16-bit fixed-point weights,
/// rounded half up.
#[inline(always)]
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19_595 + u32::from(g) * 38_470 + u32::from(b) * 7_471 + (1 << 15)) >> 16) as u8
}

/// Gives every channel the pixel's luma (torchvision's `rgb_to_grayscale` with three output channels).
pub fn grayscale(image: &mut Image) {
    vectorized(
        #[inline(always)]
        || {
            channels::change(
                image.data.as_chunks_mut().0,
                #[inline(always)]
                |[red, green, blue]| {
                    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                        let grey = luma([*r, *g, *b]);
                        [*r, *g, *b] = [grey; 3];
                    }
                },
            );
        },
    );
}
