//! The window law of the random-resized crop.

use crate::draws::Draws;
use crate::transform::Region;

/// Tries before the centered fall-back (torchvision's `RandomResizedCrop.get_params`).
const TRIES: usize = 10;

/// Draws a window as torchvision does: area share uniform in `scale`, width / height log-uniform in
/// `ratio`, place uniform; if no try fits, the largest centered window whose aspect lies in `ratio`.
///
/// # Panics
/// If the picture is empty.
pub fn random_resized_crop(
    (height, width): (usize, usize),
    scale: [f64; 2],
    ratio: [f64; 2],
    draws: &mut impl Draws,
) -> Region {
    assert!(height > 0 && width > 0, "window of an empty picture");
    let area = (height * width) as f64;
    for _ in 0..TRIES {
        let target = area * draws.between(scale[0], scale[1]);
        let aspect = draws.between(ratio[0].ln(), ratio[1].ln()).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = draws.integer(0, height - h);
            let left = draws.integer(0, width - w);
            return Region { top, left, height: h, width: w };
        }
    }
    centered(height, width, ratio)
}

/// Largest centered window whose width / height lies in `ratio`.
fn centered(height: usize, width: usize, ratio: [f64; 2]) -> Region {
    let aspect = width as f64 / height as f64;
    let (h, w) = if aspect < ratio[0] {
        ((width as f64 / ratio[0]).round_ties_even() as usize, width)
    } else if aspect > ratio[1] {
        (height, (height as f64 * ratio[1]).round_ties_even() as usize)
    } else {
        (height, width)
    };
    // Rounding may reach 0 where a side of the picture is a few pixels only.
    let (h, w) = (h.clamp(1, height), w.clamp(1, width));
    Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}
