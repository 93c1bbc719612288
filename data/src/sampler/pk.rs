//! Batches of P identities with K pictures each.

use crate::dataset::Record;
use crate::plan::{Draw, EpochPlan};
use crate::rng::Rng;
use crate::sampler::{Labels, plan_rng};
use crate::spec::LabelsSpec;
use crate::{DataError, Result};

/// Composition of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PkSettings {
    /// P, identities in a batch; at least 1.
    pub identities: usize,
    /// K, pictures of each; at least 1.
    pub images: usize,
}

/// P x K batches of a labelled split. A label is the place of the identity among the sorted
/// identities of all records, so that it does not depend on which pictures can be decoded.
///
/// # Errors
/// [`DataError::TooFewIdentities`] if fewer than P identities have a usable picture.
///
/// # Panics
/// If P or K is 0.
pub fn pk(records: &[Record], settings: PkSettings, seed: u64, epoch: u32) -> Result<EpochPlan> {
    let labels = Labels::of(records, LabelsSpec::default()).of_records;
    pk_labels(&labels, settings, seed, epoch)
}

/// P x K batches of pictures with given labels; a picture without a label is never drawn.
///
/// As `TransReID`'s `RandomIdentitySampler`: each identity's pictures are shuffled (K are drawn with
/// replacement where there are fewer) and cut into groups of K, the rest of them left out; then P
/// different identities at a time give one group each, until fewer than P have any left.
///
/// # Errors
/// [`DataError::TooFewIdentities`] if there are fewer than P different labels.
///
/// # Panics
/// If P or K is 0.
pub fn pk_labels(labels: &[Option<u32>], settings: PkSettings, seed: u64, epoch: u32) -> Result<EpochPlan> {
    let PkSettings { identities, images } = settings;
    assert!(identities > 0 && images > 0, "a batch of {identities} x {images} pictures");
    let mut rng = plan_rng(seed, epoch);
    let mut waiting = grouped(labels, images, &mut rng);
    if waiting.len() < identities {
        return Err(DataError::TooFewIdentities { found: waiting.len(), needed: identities });
    }
    let mut draws = Vec::new();
    while waiting.len() >= identities {
        // The first P places of a partial Fisher-Yates shuffle: P different identities.
        for place in 0..identities {
            let other = place + rng.below(waiting.len() - place);
            waiting.swap(place, other);
            draws.extend(waiting[place].pop().into_iter().flatten());
        }
        waiting.retain(|groups| !groups.is_empty());
    }
    Ok(EpochPlan { draws, batch: identities * images })
}

/// For each label in ascending order, its groups of K draws; no list is empty.
fn grouped(labels: &[Option<u32>], k: usize, rng: &mut Rng) -> Vec<Vec<Vec<Draw>>> {
    let mut draws: Vec<Draw> =
        (0..).zip(labels).filter_map(|(image, label)| label.map(|label| Draw { image, label })).collect();
    draws.sort_by_key(|draw| draw.label);
    let groups = draws.chunk_by(|a, b| a.label == b.label).map(|own| {
        let mut own = own.to_vec();
        if own.len() < k {
            own = (0..k).map(|_| own[rng.below(own.len())]).collect();
        } else {
            rng.shuffle(&mut own);
        }
        own.chunks_exact(k).map(<[Draw]>::to_vec).collect()
    });
    groups.collect()
}
