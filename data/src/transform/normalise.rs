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
    // 256 possible results: looking them up is exact and saves the divisions.
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|level| (level as f32 / 255.0 - mean[channel]) / std[channel])
    });
    let (red, rest) = out.split_at_mut(area);
    let (green, blue) = rest.split_at_mut(area);
    let planes = red.iter_mut().zip(green).zip(blue);
    for (((red, green), blue), [r, g, b]) in planes.zip(image.data.as_chunks::<3>().0) {
        *red = tables[0][usize::from(*r)];
        *green = tables[1][usize::from(*g)];
        *blue = tables[2][usize::from(*b)];
    }
}
