//! Turning the hue, through PIL's 8-bit HSV.
//!
//! PIL keeps hue, saturation and value in 8 bits each, so that a turn by 0 is already lossy; that loss
//! is reproduced, and so is the mixture of f32 and f64 in which C evaluates the conversion.

use crate::image::Image;

/// Adds a share of the full circle to every pixel's hue, in steps of 1 / 256 of it: `int(share * 255)`
/// steps, truncated towards 0 (torchvision's `adjust_hue` on PIL pictures). `share` lies in -0.5..=0.5.
pub fn adjust_hue(image: &mut Image, share: f64) {
    let steps = (share * 255.0) as i32;
    // Sector of the color circle and place in it, for every hue after the turn.
    let sectors: [(u8, f32); 256] = std::array::from_fn(|hue| {
        let turned = (hue as i32 + steps).rem_euclid(256);
        let place = f64::from(turned) * 6.0 / 255.0;
        (place as u8, (place - place.floor()) as f32)
    });
    for pixel in image.data.as_chunks_mut::<3>().0 {
        let (hue, saturation) = hue_and_saturation(*pixel);
        *pixel = from_sector(sectors[usize::from(hue)], saturation, largest(*pixel));
    }
}

fn largest([r, g, b]: [u8; 3]) -> u8 {
    r.max(g).max(b)
}

/// Hue and saturation in 0..=255; a grey has neither.
fn hue_and_saturation([r, g, b]: [u8; 3]) -> (u8, u8) {
    let (max, min) = (largest([r, g, b]), r.min(g).min(b));
    if max == min {
        return (0, 0);
    }
    let range = f32::from(max - min);
    let saturation = range / f32::from(max);
    let below = |channel: u8| f32::from(max - channel) / range;
    let sixths = if r == max {
        below(b) - below(g)
    } else if g == max {
        (2.0 + f64::from(below(r)) - f64::from(below(b))) as f32
    } else {
        (4.0 + f64::from(below(g)) - f64::from(below(r))) as f32
    };
    // The first sector reaches below 0, hence the full turn that is added and taken off again.
    let turn = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turn >= 1.0 { turn - 1.0 } else { turn }) as f32;
    ((f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8)
}

fn from_sector((sector, place): (u8, f32), saturation: u8, value: u8) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let saturation = (f64::from(saturation) / 255.0) as f32;
    // Halves are rounded up; the truncating cast does so because nothing here is negative.
    let level = |missing: f64| (f64::from(value) * (1.0 - missing) + 0.5) as u8;
    let low = level(f64::from(saturation));
    let falling = level(f64::from(saturation * place));
    let rising = level(f64::from(saturation) * (1.0 - f64::from(place)));
    match sector % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
