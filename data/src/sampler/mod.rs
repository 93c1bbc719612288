//! Orders of an epoch: pure functions of the records, a seed and an epoch. Pictures that cannot be
//! decoded are never drawn, and leave every other picture's index as it is.

mod gallery;
mod labels;
mod pk;

pub use gallery::multi_gallery;
pub use labels::Labels;
pub use pk::{PkSettings, pk, pk_labels};

use crate::dataset::Record;
use crate::plan::{Draw, EpochPlan};
use crate::rng::{Key, Rng, Stream};

/// The random numbers of an epoch's order.
fn plan_rng(seed: u64, epoch: u32) -> Rng {
    Rng::new(Key { seed, stream: Stream::Plan, epoch, draw: 0, view: 0 })
}

fn usable(records: &[Record]) -> impl Iterator<Item = u32> {
    (0..).zip(records).filter(|(_, record)| record.usable).map(|(index, _)| index)
}

/// Every usable picture once, in random order, without labels. Pictures that would not fill a batch
/// are left out of this epoch; where there are fewer than a batch, the plan is empty.
///
/// # Panics
/// If `batch` is 0.
pub fn shuffle(records: &[Record], batch: usize, seed: u64, epoch: u32) -> EpochPlan {
    assert!(batch > 0, "a batch of no pictures");
    let mut draws: Vec<Draw> = usable(records).map(|image| Draw { image, label: 0 }).collect();
    plan_rng(seed, epoch).shuffle(&mut draws);
    draws.truncate(draws.len() / batch * batch);
    EpochPlan { draws, batch }
}

/// Every picture with a label once, in random order. Pictures that would not fill a batch are left out of this
/// epoch; where there are fewer than a batch, the plan is empty.
///
/// # Panics
/// If `batch` is 0.
pub fn shuffle_labels(labels: &[Option<u32>], batch: usize, seed: u64, epoch: u32) -> EpochPlan {
    assert!(batch > 0, "a batch of no pictures");
    let labelled = (0..).zip(labels).filter_map(|(image, label)| label.map(|label| Draw { image, label }));
    let mut draws: Vec<Draw> = labelled.collect();
    plan_rng(seed, epoch).shuffle(&mut draws);
    draws.truncate(draws.len() / batch * batch);
    EpochPlan { draws, batch }
}

/// Every usable picture once, in order, without labels, for extracting features. The last batch may
/// be smaller; a loader with [`crate::loader::Tail::Keep`] yields it.
///
/// # Panics
/// If `batch` is 0.
pub fn sequential(records: &[Record], batch: usize) -> EpochPlan {
    assert!(batch > 0, "a batch of no pictures");
    EpochPlan { draws: usable(records).map(|image| Draw { image, label: 0 }).collect(), batch }
}
