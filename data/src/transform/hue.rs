//! Turning the hue, through PIL's 8-bit HSV.
//!
//! PIL keeps hue, saturation and value in 8 bits each, so that a turn by 0 is already lossy; that loss
//! is reproduced, and so is the mixture of f32 and f64 in which C evaluates the conversion.

use super::simd::vectorized;
use crate::image::Image;

/// Pixels that are turned side by side, without a branch.
const LANES: usize = 64;

/// A channel of some pixels.
type Lanes = [i32; LANES];

/// Adds a share of the full circle to every pixel's hue, in steps of 1 / 256 of it: `int(share * 255)`
/// steps, truncated towards 0 (torchvision's `adjust_hue` on PIL pictures). `share` lies in -0.5..=0.5.
pub fn adjust_hue(image: &mut Image, share: f64) {
    let steps = (share * 255.0) as i32;
    vectorized(
        #[inline(always)]
        || {
            for pixels in image.data.as_chunks_mut::<3>().0.chunks_mut(LANES) {
                let mut channels: [Lanes; 3] = [[0; LANES]; 3];
                for (at, pixel) in pixels.iter().enumerate() {
                    for (channel, &level) in channels.iter_mut().zip(pixel) {
                        channel[at] = i32::from(level);
                    }
                }
                turn(&mut channels, steps);
                for (at, pixel) in pixels.iter_mut().enumerate() {
                    *pixel = [channels[0][at] as u8, channels[1][at] as u8, channels[2][at] as u8];
                }
            }
        },
    );
}

#[inline(always)]
fn turn([red, green, blue]: &mut [Lanes; 3], steps: i32) {
    for ((r, g), b) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
        let (hue, saturation, value) = hsv(*r, *g, *b);
        // Two's complement: below 0 the circle goes on at its end.
        [*r, *g, *b] = rgb(hue.wrapping_add(steps) & 255, saturation, value);
    }
}

/// Hue, saturation and value in 0..=255. The hue of a grey means nothing, its saturation is 0.
#[inline(always)]
fn hsv(r: i32, g: i32, b: i32) -> (i32, i32, i32) {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    // A grey has no range; its hue is of no use, but must be a number.
    let range = max.wrapping_sub(min).max(1) as f32;
    let saturation = max.wrapping_sub(min) as f32 / max.max(1) as f32;
    let below = |channel: i32| max.wrapping_sub(channel) as f32 / range;
    let (red, green, blue) = (below(r), below(g), below(b));
    let of_red = blue - green;
    let of_green = (2.0 + f64::from(red) - f64::from(blue)) as f32;
    let of_blue = (4.0 + f64::from(green) - f64::from(red)) as f32;
    let other = if g == max { of_green } else { of_blue };
    let sixths = if r == max { of_red } else { other };
    // The first sector reaches below 0, hence the full turn that is added and taken off again.
    let turn = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turn >= 1.0 { turn - 1.0 } else { turn }) as f32;
    ((f64::from(hue) * 255.0) as i32, (f64::from(saturation) * 255.0) as i32, max)
}

#[inline(always)]
fn rgb(hue: i32, saturation: i32, value: i32) -> [i32; 3] {
    let place = f64::from(hue) * 6.0 / 255.0;
    let sector = place as i32;
    let place = (place - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    // Halves are rounded up; the truncating cast does so because nothing here is negative. Without saturation, all
    // three are the value.
    let level = |missing: f64| (f64::from(value) * (1.0 - missing) + 0.5) as i32;
    let low = level(f64::from(saturation));
    let falling = level(f64::from(saturation * place));
    let rising = level(f64::from(saturation) * (1.0 - f64::from(place)));
    // The end of the circle, hue 255, is its beginning.
    let sector = if sector == 6 { 0 } else { sector };
    let pick = |full: [i32; 2], falls: i32, rises: i32| {
        let rest = if sector == rises { rising } else { low };
        let rest = if sector == falls { falling } else { rest };
        if sector == full[0] || sector == full[1] { value } else { rest }
    };
    [pick([0, 5], 1, 4), pick([1, 2], 3, 0), pick([3, 4], 5, 2)]
}
