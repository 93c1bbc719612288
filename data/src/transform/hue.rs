//! Turning the hue, through PIL's 8-bit HSV.
//!
//! PIL keeps hue, saturation and value in 8 bits each, so that a turn by 0 is already lossy; that loss is reproduced. C
//! evaluates the conversion in a mixture of f32 and f64. Here all is f32, which gives the same bytes for each of the 2^24
//! colors: the tests turn every one of them, by three turns.

use super::channels::{self, byte};
use crate::image::Image;
use crate::simd::vectorized;

/// Adds a share of the full circle to every pixel's hue, in steps of 1 / 256 of it: `int(share * 255)`
/// steps, truncated towards 0 (torchvision's `adjust_hue` on PIL pictures). `share` lies in -0.5..=0.5.
pub fn adjust_hue(image: &mut Image, share: f64) {
    // Two's complement: below 0 the circle goes on at its end.
    let steps = (share * 255.0) as i32 as u8;
    vectorized(
        #[inline(always)]
        || {
            channels::change(
                image.data.as_chunks_mut().0,
                #[inline(always)]
                |[red, green, blue]| {
                    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                        let (hue, saturation, value) = hsv([*r, *g, *b]);
                        [*r, *g, *b] = rgb(hue.wrapping_add(steps), saturation, value);
                    }
                },
            );
        },
    );
}

/// Hue, saturation and value. The hue of a grey means nothing, its saturation is 0.
#[inline(always)]
fn hsv([r, g, b]: [u8; 3]) -> (u8, u8, u8) {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let range = f32::from(max) - f32::from(min);
    let middle = f32::from(r) + f32::from(g) + f32::from(b) - f32::from(max) - f32::from(min);
    // Without a range there is no hue, and without a maximum no saturation, but both must be numbers.
    let below = (f32::from(max) - middle) / range.max(1.0);
    let saturation = range / f32::from(max).max(1.0);
    // The six sectors of the circle: which channel is the largest, and which the smallest.
    let of_blue = if r == min { 3.0 + below } else { 5.0 - below };
    let of_green = if r == min { 3.0 - below } else { 1.0 + below };
    let of_red = if b == min { 1.0 - below } else { below - 1.0 };
    let other = if g == max { of_green } else { of_blue };
    let sixths = if r == max { of_red } else { other };
    let hue = sixths / 6.0;
    // The first sector reaches below 0.
    let hue = if hue < 0.0 { hue + 1.0 } else { hue };
    (byte(hue * 255.0), byte(saturation * 255.0), max)
}

#[inline(always)]
fn rgb(hue: u8, saturation: u8, value: u8) -> [u8; 3] {
    let sixths = i32::from(hue) * 6;
    let sector = sixths / 255;
    let place = (sixths - sector * 255) as f32 / 255.0;
    let (saturation, full) = (f32::from(saturation) / 255.0, f32::from(value));
    // Halves are rounded up; the truncating cast does so because nothing here is negative. Without saturation, all
    // three are the value.
    let level = |missing: f32| byte(full - full * missing + 0.5);
    let (low, falling, rising) = (level(saturation), level(saturation * place), level(saturation * (1.0 - place)));
    // The end of the circle, hue 255, is its beginning.
    let sector = if sector == 6 { 0 } else { sector };
    let pick = |most: [i32; 2], falls: i32, rises: i32| {
        let rest = if sector == rises { rising } else { low };
        let rest = if sector == falls { falling } else { rest };
        if sector == most[0] || sector == most[1] { value } else { rest }
    };
    [pick([0, 5], 1, 4), pick([1, 2], 3, 0), pick([3, 4], 5, 2)]
}
