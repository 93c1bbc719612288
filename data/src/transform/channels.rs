//! Work on colors, done in vectors: the three bytes of a pixel are no vector, but a channel of many pixels is.

/// Pixels that are worked on together.
const LANES: usize = 64;

/// A channel of as many pixels.
type Lanes = [u8; LANES];

/// Changes pixels, [`LANES`] at a time.
#[inline(always)]
pub(super) fn change(pixels: &mut [[u8; 3]], work: impl Fn(&mut [Lanes; 3])) {
    let (whole, rest) = pixels.as_chunks_mut();
    for pixels in whole {
        change_lanes(pixels, &work);
    }
    if !rest.is_empty() {
        let mut last = [[0; 3]; LANES];
        last[..rest.len()].copy_from_slice(rest);
        change_lanes(&mut last, &work);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[inline(always)]
fn change_lanes(pixels: &mut [[u8; 3]; LANES], work: &impl Fn(&mut [Lanes; 3])) {
    let mut channels = apart(pixels);
    work(&mut channels);
    together(&channels, pixels);
}

#[inline(always)]
fn apart(pixels: &[[u8; 3]; LANES]) -> [Lanes; 3] {
    let mut channels = [[0; LANES]; 3];
    for at in 0..LANES {
        channels[0][at] = pixels[at][0];
        channels[1][at] = pixels[at][1];
        channels[2][at] = pixels[at][2];
    }
    channels
}

#[inline(always)]
fn together(channels: &[Lanes; 3], pixels: &mut [[u8; 3]; LANES]) {
    for at in 0..LANES {
        pixels[at] = [channels[0][at], channels[1][at], channels[2][at]];
    }
}

/// Truncates a number in 0..=255. A cast is not made of vector instructions, since it looks for numbers that do not fit;
/// from 2^23 on a float has no fraction, and its lowest bits are the number.
#[inline(always)]
pub(super) fn byte(level: f32) -> u8 {
    const NO_FRACTION: f32 = (1 << 23) as f32;
    (level.trunc() + NO_FRACTION).to_bits() as u8
}
