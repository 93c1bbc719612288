//! From samples to an 8-bit picture: light, blur, color cast, noise.

use super::camera::Camera;
use super::canvas::Canvas;
use super::draw::uniform;
use super::palette::Rgb;
use crate::image::Image;
use crate::rng::Rng;

/// Picture height that a camera's blur refers to.
const BLUR_HEIGHT: f32 = 128.0;

/// Exposes the canvas. `light(x, y)` is the share of light at a point given in samples.
pub(super) fn expose(
    canvas: &Canvas,
    factor: usize,
    camera: &Camera,
    rng: &mut Rng,
    light: impl Fn(f32, f32) -> f32,
) -> Image {
    let (height, width) = (canvas.height / factor, canvas.width / factor);
    // Automatic exposure and white balance: neither is ever quite right.
    let exposure = camera.brightness * uniform(rng, 0.9, 1.1);
    let balance = [uniform(rng, 0.95, 1.05), 1.0, uniform(rng, 0.95, 1.05)];
    let mut pixels = averaged(canvas, factor);
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((at % width) as f32 + 0.5, (at / width) as f32 + 0.5);
        let slope = camera.gradient[0] * (x / width as f32 - 0.5) + camera.gradient[1] * (y / height as f32 - 0.5);
        let strength = exposure * (1.0 + slope) * light(x * factor as f32, y * factor as f32);
        *pixel = [0, 1, 2].map(|channel| pixel[channel] * strength * balance[channel]);
    }
    blur(&mut pixels, height, width, camera.blur * height as f32 / BLUR_HEIGHT);

    let mut image = Image::black(height, width);
    for (pixel, bytes) in pixels.iter().zip(image.data.chunks_exact_mut(3)) {
        for (channel, byte) in bytes.iter_mut().enumerate() {
            let value = camera.tone(channel, pixel[channel]) + camera.noise * unit_noise(rng);
            *byte = (value + 0.5).clamp(0.0, 255.0) as u8;
        }
    }
    image
}

/// Mean of each pixel's samples.
fn averaged(canvas: &Canvas, factor: usize) -> Vec<Rgb> {
    let (height, width) = (canvas.height / factor, canvas.width / factor);
    let weight = 1.0 / (factor * factor) as f32;
    let mut pixels = vec![[0.0; 3]; height * width];
    for (row, samples) in canvas.color.chunks_exact(canvas.width).enumerate() {
        let line = &mut pixels[row / factor * width..][..width];
        for (pixel, group) in line.iter_mut().zip(samples.chunks_exact(factor)) {
            for sample in group {
                for channel in 0..3 {
                    pixel[channel] += sample[channel] * weight;
                }
            }
        }
    }
    pixels
}

/// Gaussian blur of standard deviation `sigma` by repeated three-tap passes, edges repeated.
fn blur(pixels: &mut [Rgb], height: usize, width: usize, sigma: f32) {
    let variance = sigma * sigma;
    // A pass [w, 1 - 2w, w] adds variance 2w, at most 1/2 for w = 1/4.
    let passes = (variance / 0.5).ceil() as usize;
    if passes == 0 {
        return;
    }
    let w = variance / passes as f32 / 2.0;
    for _ in 0..passes {
        for row in 0..height {
            smooth(pixels, row * width, 1, width, w);
        }
        for column in 0..width {
            smooth(pixels, column, width, height, w);
        }
    }
}

fn smooth(pixels: &mut [Rgb], start: usize, stride: usize, count: usize, w: f32) {
    let mut before = pixels[start];
    for step in 0..count {
        let at = start + step * stride;
        let here = pixels[at];
        let after = if step + 1 < count { pixels[at + stride] } else { here };
        for channel in 0..3 {
            pixels[at][channel] = here[channel] + w * (before[channel] + after[channel] - 2.0 * here[channel]);
        }
        before = here;
    }
}

/// Noise of mean 0 and variance 1, nearly normal: the sum of four bytes, whose mean is 510 and
/// variance 4 (256^2 - 1) / 12.
fn unit_noise(rng: &mut Rng) -> f32 {
    let sum: u16 = rng.next_u32().to_le_bytes().iter().map(|&byte| u16::from(byte)).sum();
    (f32::from(sum) - 510.0) / 147.8
}
