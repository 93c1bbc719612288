//! Cameras: where they hang, how their light falls, and what their sensors do to colors.

use super::draw::{Draws, Group, Purpose, uniform};
use super::math;
use super::scene::Scene;
use crate::spec::SyntheticDomain;

/// Scenes that a camera overlooks.
pub(super) const SCENES: u32 = 10;

/// Entries of a tone table.
const TONES: usize = 1024;

/// A camera. Ranges are moderate: a network of any size must be able to see through them.
#[derive(Clone, Debug)]
pub(super) struct Camera {
    /// Sine and cosine of the angle by which it looks down.
    pub(super) elevation: (f32, f32),
    /// Lean of upright lines, as a slope.
    pub(super) roll: f32,
    /// How much larger heads than feet appear.
    pub(super) perspective: f32,
    /// Height of an average person in picture heights.
    pub(super) zoom: f32,
    /// Overall light.
    pub(super) brightness: f32,
    /// Where the light comes from: -1 left, 1 right.
    pub(super) light_side: f32,
    /// Change of light across and down the picture.
    pub(super) gradient: [f32; 2],
    /// Standard deviation of the blur in pixels of a picture 128 high.
    pub(super) blur: f32,
    /// Standard deviation of the noise, of 255.
    pub(super) noise: f32,
    /// JPEG quality.
    pub(super) quality: u8,
    /// Gain and gamma per channel, tabulated over 0..1; output 0..255.
    tones: [Vec<f32>; 3],
    /// What it overlooks.
    pub(super) scenes: Vec<Scene>,
}

impl Camera {
    /// Camera `index` of the labelled parts or, in `Group::Pool`, of the pool.
    pub(super) fn of(draws: Draws, domain: SyntheticDomain, group: Group, index: u32) -> Self {
        let rng = &mut draws.stream(Purpose::Camera, group, index);
        // The second world is lit from lamps: darker, warmer or greener, and noisier.
        let (brightness, warmth, noise) = match domain {
            SyntheticDomain::First => ([0.88, 1.08], 0.0, [1.0, 5.0]),
            SyntheticDomain::Second => ([0.74, 0.98], 0.08, [3.0, 8.0]),
        };
        let gains = [
            f64::from(uniform(rng, 0.93, 1.07)) + warmth,
            f64::from(uniform(rng, 0.95, 1.05)) + warmth / 2.0,
            f64::from(uniform(rng, 0.93, 1.07)) - warmth,
        ];
        let gamma = rng.range(0.88, 1.14);
        let tones = gains.map(|gain| {
            let tone = |entry: usize| {
                let light = (entry as f64 / (TONES - 1) as f64 * gain).min(1.0);
                255.0 * math::power(light, gamma) as f32
            };
            (0..TONES).map(tone).collect()
        });
        Self {
            elevation: math::sin_cos(uniform(rng, 0.005, 0.075)),
            roll: uniform(rng, -0.05, 0.05),
            perspective: uniform(rng, 0.0, 0.16),
            zoom: uniform(rng, 0.80, 0.88),
            brightness: uniform(rng, brightness[0], brightness[1]),
            light_side: uniform(rng, -1.0, 1.0),
            gradient: [uniform(rng, -0.2, 0.2), uniform(rng, -0.2, 0.15)],
            blur: uniform(rng, 0.2, 0.9),
            noise: uniform(rng, noise[0], noise[1]),
            quality: 60 + rng.below(33) as u8,
            tones,
            scenes: (0..SCENES)
                .map(|scene| Scene::drawn(&mut draws.stream(Purpose::Scene, group, index * SCENES + scene), domain))
                .collect(),
        }
    }

    /// Where the camera hangs and how it is lit, as text.
    pub(super) fn viewpoint(&self) -> String {
        format!("{:?} {} {} {} {}", self.elevation, self.roll, self.perspective, self.zoom, self.brightness)
    }

    /// Sensor's answer (0..255) to light in one channel.
    pub(super) fn tone(&self, channel: usize, light: f32) -> f32 {
        let at = light.clamp(0.0, 1.0) * (TONES - 1) as f32;
        let entry = (at as usize).min(TONES - 2);
        math::lerp(self.tones[channel][entry], self.tones[channel][entry + 1], at - entry as f32)
    }
}
