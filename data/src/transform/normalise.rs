//! Bytes to standardized floats.

use crate::image::Image;
use crate::spec::Normalisation;

/// Writes `(x / 255 - mean) / std` of each channel, in f32 as torchvision computes it.
///
/// # Shapes
/// - `image`: `[h, w, 3]` bytes; `out`: `[3, h, w]`
///
/// # Panics
/// If `out` does not hold `3 * h * w` values.
pub fn normalise(image: &Image, normalisation: Normalisation, out: &mut [f32]) {
    let area = image.height * image.width;
    assert_eq!(out.len(), 3 * area, "output of normalise for {}x{} pixels", image.height, image.width);
    let (mean, std) = normalisation.mean_std();
    for (channel, plane) in out.chunks_exact_mut(area).enumerate() {
        // 256 possible results: looking them up is exact and saves the divisions.
        let table: [f32; 256] = std::array::from_fn(|level| (level as f32 / 255.0 - mean[channel]) / std[channel]);
        for (value, pixel) in plane.iter_mut().zip(image.data.as_chunks::<3>().0) {
            *value = table[usize::from(pixel[channel])];
        }
    }
}
