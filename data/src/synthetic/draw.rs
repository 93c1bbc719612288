//! Where the renderer's random numbers come from.
//!
//! Each purpose has its own stream, and a picture's camera, scene, pose, crop and occluder are
//! keyed by the picture, never by who is in it: they are independent of identity by construction.

use crate::rng::{Key, Rng, Stream};
use crate::spec::{SyntheticDomain, SyntheticSpec};

/// What a random number decides. The numbers are part of the renderer's version.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Purpose {
    /// Attributes of an identity.
    Identity = 1,
    /// How a look-alike differs from its twin.
    LookAlike = 2,
    /// Viewpoint, light and sensor of a camera.
    Camera = 3,
    /// A camera's scenes.
    Scene = 4,
    /// Which cameras see an identity.
    Sighting = 5,
    /// Scene of a picture, and the place in it.
    Place = 6,
    /// Gait, heading.
    Pose = 7,
    /// Misalignment of the detector's box.
    Crop = 8,
    /// Occluder.
    Occluder = 9,
    /// Exposure and noise of a picture.
    Sensor = 10,
}

/// A set of pictures or people with its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(super) enum Group {
    /// Unlabelled pool.
    Pool = 0,
    /// Training.
    Train = 1,
    /// Validation.
    Validation = 2,
    /// Test, queries and gallery.
    Test = 3,
    /// Further pictures of the test identities, all occluded.
    Occluded = 4,
    /// People who only ever stand in front of others.
    Passer = 5,
}

/// A rendered world's random numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    seed: u64,
}

impl Draws {
    /// Numbers of the spec's world; the two domains of a seed have nothing in common.
    pub(super) fn new(spec: &SyntheticSpec) -> Self {
        let domain: u64 = match spec.domain {
            SyntheticDomain::First => 0x5D58_8B65_6C07_8965,
            SyntheticDomain::Second => 0xA24B_AED4_963E_E407,
        };
        Self { seed: spec.seed ^ domain }
    }

    /// The stream of one purpose at one place.
    pub(super) fn stream(self, purpose: Purpose, group: Group, index: u32) -> Rng {
        let epoch = (purpose as u32) << 8 | group as u32;
        Rng::new(Key { seed: self.seed, stream: Stream::Render, epoch, draw: index, view: 0 })
    }
}

/// Uniform in [low, high) as f32.
pub(super) fn uniform(rng: &mut Rng, low: f32, high: f32) -> f32 {
    rng.range(f64::from(low), f64::from(high)) as f32
}

/// One of `options`.
pub(super) fn pick<T: Copy>(rng: &mut Rng, options: &[T]) -> T {
    options[rng.below(options.len())]
}

/// An index, with probability proportional to its weight.
pub(super) fn pick_weighted(rng: &mut Rng, weights: &[f64]) -> usize {
    let mut at = rng.uniform() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        at -= weight;
        if at < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}
