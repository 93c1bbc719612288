//! Batches of P identities with K pictures each, of as many cameras as can be.

use crate::dataset::Record;
use crate::plan::{Draw, EpochPlan};
use crate::rng::Rng;
use crate::sampler::{PkSettings, plan_rng};
use crate::spec::Singleton;
use crate::{DataError, Result};

/// P x K batches in which an identity's further pictures come from other cameras than its first one; a picture without
/// a label is never drawn.
///
/// As cluster contrast's `RandomMultipleGallerySampler` and fast-reid's `BalancedIdentitySampler`: every identity once,
/// in random order, with a random picture and K - 1 others of other cameras; with replacement where fewer than K are
/// there. Where one camera has seen the identity, the others are any others. An identity of one picture is drawn as
/// `singleton` says. The draws are then cut into batches of P x K, so that with [`Singleton::Once`] an identity may be
/// spread over two of them; the rest is left out. Where
/// a number of steps is asked for, this is done again and again until there are so many batches.
///
/// # Errors
/// [`DataError::TooFewIdentities`] if there are fewer than P different labels, or too few pictures for one batch of
/// the asked number.
///
/// # Panics
/// If P or K is 0.
pub fn multi_gallery(
    records: &[Record],
    labels: &[Option<u32>],
    settings: PkSettings,
    singleton: Singleton,
    steps: Option<usize>,
    (seed, epoch): (u64, u32),
) -> Result<EpochPlan> {
    let PkSettings { identities, images } = settings;
    assert!(identities > 0 && images > 0, "a batch of {identities} x {images} pictures");
    let mut rng = plan_rng(seed, epoch);
    let mut drawn: Vec<Draw> =
        (0..).zip(labels).filter_map(|(image, label)| label.map(|label| Draw { image, label })).collect();
    drawn.sort_by_key(|draw| draw.label);
    let mut people: Vec<&[Draw]> = drawn.chunk_by(|a, b| a.label == b.label).collect();
    if people.len() < identities {
        return Err(DataError::TooFewIdentities { found: people.len(), needed: identities });
    }
    let batch = identities * images;
    let mut draws = Vec::with_capacity(steps.map_or(people.len() * images, |steps| steps * batch));
    loop {
        let before = draws.len();
        rng.shuffle(&mut people);
        for own in &people {
            draw(own, records, images, singleton, &mut rng, &mut draws);
        }
        draws.truncate(draws.len() / batch * batch);
        match steps {
            Some(_) if draws.len() == before => {
                return Err(DataError::TooFewIdentities { found: people.len(), needed: identities });
            }
            Some(steps) if draws.len() < steps * batch => {}
            Some(steps) => {
                draws.truncate(steps * batch);
                break;
            }
            None => break,
        }
    }
    Ok(EpochPlan { draws, batch })
}

/// A random picture of an identity, and others.
fn draw(own: &[Draw], records: &[Record], images: usize, singleton: Singleton, rng: &mut Rng, draws: &mut Vec<Draw>) {
    let anchor = own[rng.below(own.len())];
    draws.push(anchor);
    let camera = |draw: &Draw| records[draw.image as usize].camera;
    let mut others: Vec<Draw> = own.iter().copied().filter(|draw| camera(draw) != camera(&anchor)).collect();
    if others.is_empty() {
        others = own.iter().copied().filter(|draw| draw.image != anchor.image).collect();
    }
    match (others.is_empty(), singleton) {
        (false, _) => draws.extend(several(&mut others, images, rng)),
        (true, Singleton::Once) => {}
        (true, Singleton::Repeated) => draws.extend(std::iter::repeat_n(anchor, images - 1)),
    }
}

/// K - 1 of the candidates, different ones where there are at least K.
fn several(candidates: &mut [Draw], k: usize, rng: &mut Rng) -> Vec<Draw> {
    if candidates.len() < k {
        return (1..k).map(|_| candidates[rng.below(candidates.len())]).collect();
    }
    for place in 0..k - 1 {
        let other = place + rng.below(candidates.len() - place);
        candidates.swap(place, other);
    }
    candidates[..k - 1].to_vec()
}
