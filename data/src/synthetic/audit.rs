//! What a shortcut could see: features that tell whether the built-in data are hard for the right
//! reason and solvable at all.

use rayon::prelude::*;

use super::identity::{Cloth, HairStyle, Identity, LowerKind, Pattern, UpperKind};
use super::palette;
use super::world::{Shot, World};
use super::write::pool_of;
use crate::dataset::Split;
use crate::image::Image;
use crate::spec::SyntheticSpec;

/// Horizontal stripes of a histogram feature.
const STRIPES: usize = 6;

/// Bins to a channel of the joint color histogram.
const BINS: usize = 6;

/// What the audit knows about one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditFeature {
    /// Identity.
    pub pid: i64,
    /// Camera.
    pub camera: u32,
    /// [`stripe_histograms`] of the picture.
    pub histogram: Vec<f32>,
    /// The same of the picture without its person.
    pub without_person: Vec<f32>,
    /// [`attribute_vector`] of the person.
    pub oracle: Vec<f32>,
}

/// Features of the test split.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditFeatures {
    /// Queries.
    pub query: Vec<AuditFeature>,
    /// Gallery.
    pub gallery: Vec<AuditFeature>,
}

/// Renders the test split, with and without its people, on `threads` threads.
///
/// # Errors
/// If the threads cannot be started.
pub fn audit_features(spec: &SyntheticSpec, threads: usize) -> crate::Result<AuditFeatures> {
    let world = World::new(spec);
    let features = |split: Split| world.shots(split).par_iter().map(|shot| feature(&world, shot)).collect();
    pool_of(threads)?.install(|| Ok(AuditFeatures { query: features(Split::Query), gallery: features(Split::Gallery) }))
}

fn feature(world: &World, shot: &Shot) -> AuditFeature {
    AuditFeature {
        pid: shot.pid,
        camera: shot.camera,
        histogram: stripe_histograms(&world.render(shot).image),
        without_person: stripe_histograms(&world.render_without_person(shot)),
        oracle: attribute_vector(&world.identity(shot)),
    }
}

/// Joint RGB histograms of six horizontal stripes, `[6 * 216]`.
///
/// Each stripe sums to 1 before the square root is taken, so that the Euclidean distance of two
/// features is their Hellinger distance up to a constant.
pub fn stripe_histograms(image: &Image) -> Vec<f32> {
    let mut features = vec![0.0_f32; STRIPES * BINS * BINS * BINS];
    for (at, pixel) in image.data.chunks_exact(3).enumerate() {
        let stripe = at / image.width * STRIPES / image.height;
        let bin = pixel.iter().fold(0, |bin, &value| bin * BINS + usize::from(value) * BINS / 256);
        features[stripe * BINS * BINS * BINS + bin] += 1.0;
    }
    for stripe in features.chunks_exact_mut(BINS * BINS * BINS) {
        let total = stripe.iter().sum::<f32>().max(1.0);
        for count in stripe {
            *count = (*count / total).sqrt();
        }
    }
    features
}

/// The true attributes as numbers: body measures as they are, everything else one-hot.
pub fn attribute_vector(identity: &Identity) -> Vec<f32> {
    let mut vector = vec![identity.height, identity.girth, identity.limbs];
    let clothes = palette::CLOTHES.len();
    one_hot(&mut vector, palette::SKIN.len(), Some(identity.skin.into()));
    let hair = match identity.hair {
        HairStyle::Bald => 0,
        HairStyle::Short => 1,
        HairStyle::Long => 2,
        HairStyle::Ponytail => 3,
        HairStyle::Bun => 4,
    };
    one_hot(&mut vector, 5, Some(hair));
    one_hot(&mut vector, palette::HAIR.len(), Some(identity.hair_color.into()));
    let upper = match identity.upper {
        UpperKind::LongSleeve => 0,
        UpperKind::ShortSleeve => 1,
        UpperKind::Coat => 2,
    };
    one_hot(&mut vector, 3, Some(upper));
    push_cloth(&mut vector, identity.upper_cloth);
    one_hot(&mut vector, 4, identity.logo.map(|logo| logo.shape as usize));
    one_hot(&mut vector, clothes, identity.logo.map(|logo| logo.color.into()));
    one_hot(&mut vector, 3, identity.logo.map(|logo| (logo.place + 1) as usize));
    let lower = match identity.lower {
        LowerKind::Trousers => 0,
        LowerKind::Shorts => 1,
        LowerKind::Skirt => 2,
    };
    one_hot(&mut vector, 3, Some(lower));
    push_cloth(&mut vector, identity.lower_cloth);
    one_hot(&mut vector, clothes, Some(identity.shoes.into()));
    one_hot(&mut vector, 3, identity.bag.map(|(kind, _)| kind as usize));
    one_hot(&mut vector, clothes, identity.bag.map(|(_, color)| color.into()));
    one_hot(&mut vector, 2, identity.hat.map(|(kind, _)| kind as usize));
    one_hot(&mut vector, clothes, identity.hat.map(|(_, color)| color.into()));
    vector
}

fn push_cloth(vector: &mut Vec<f32>, cloth: Cloth) {
    let kind = cloth.pattern.map(|(pattern, _)| match pattern {
        Pattern::HorizontalStripes => 0,
        Pattern::VerticalStripes => 1,
        Pattern::Checks => 2,
        Pattern::Dots => 3,
        Pattern::ColorBlock => 4,
    });
    one_hot(vector, palette::CLOTHES.len(), Some(cloth.base.into()));
    one_hot(vector, 5, kind);
    one_hot(vector, palette::CLOTHES.len(), cloth.pattern.map(|(_, color)| color.into()));
}

fn one_hot(vector: &mut Vec<f32>, length: usize, at: Option<usize>) {
    vector.extend((0..length).map(|index| f32::from(u8::from(at == Some(index)))));
}

/// Expected mean average precision of a random ranking: exact, over the queries that have a match.
///
/// Each item is (identity, camera); gallery pictures of the query's identity and camera are left
/// out, as in the Market-1501 protocol. With m matches among n pictures, the match at rank r has
/// expected precision (1 + (m - 1) (r - 1) / (n - 1)) / r, and r is uniform on 1..=n, so that
/// E\[AP\] = (m - 1) / (n - 1) + (n - m) / (n - 1) * H(n) / n, where H(n) is the harmonic number.
pub fn chance_map(queries: &[(i64, u32)], gallery: &[(i64, u32)]) -> f64 {
    let (mut sum, mut valid) = (0.0, 0);
    for &(pid, camera) in queries {
        let matches = gallery.iter().filter(|item| item.0 == pid && item.1 != camera).count();
        let junk = gallery.iter().filter(|&&item| item == (pid, camera)).count();
        if matches == 0 {
            continue;
        }
        valid += 1;
        let n = gallery.len() - junk;
        let harmonic: f64 = (1..=n).map(|rank| 1.0 / rank as f64).sum();
        let others = (n as f64 - 1.0).max(1.0);
        sum += ((matches as f64 - 1.0) + (n - matches) as f64 * harmonic / n as f64) / others;
        if n == 1 {
            sum += 1.0;
        }
    }
    if valid == 0 { 0.0 } else { sum / f64::from(valid) }
}
