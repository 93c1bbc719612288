//! Validation identities held out of the training split.

use std::collections::BTreeSet;
use std::path::Path;

use crate::dataset::{Record, Split};
use crate::datasets::Splits;
use crate::rng::{Key, Rng, Stream};
use crate::spec::ValidationSpec;
use crate::{DataError, Result};

/// Fewest identities that can be told apart, on either side of the holdout.
const MIN_IDENTITIES: usize = 2;

/// Moves a share of the training identities into the validation splits, replacing those that the
/// set has of its own: per identity and camera the first picture becomes a query, the others the
/// gallery. Which identities depends on their numbers alone, never on a run's seed or the order of
/// files. Returns what a reader should know.
pub(crate) fn hold_out(splits: &mut Splits, validation: ValidationSpec, root: &Path) -> Result<Option<String>> {
    if validation.identities <= 0.0 {
        return Ok(None);
    }
    let train = splits.remove(&Split::Train).unwrap_or_default();
    let mut pids: Vec<i64> = train.iter().map(|record| record.pid).collect::<BTreeSet<_>>().into_iter().collect();
    let all = pids.len();
    let held = ((validation.identities * all as f64).round() as usize).max(MIN_IDENTITIES);
    if held + MIN_IDENTITIES > all {
        return Err(DataError::Invalid {
            problem: format!("holding out {held} of {all} training identities leaves too few to train on"),
            remedy: "lower `validation.identities`, or use more data".to_owned(),
            path: root.to_path_buf(),
        });
    }
    pids.sort_by_key(|&pid| (hash(pid), pid));
    let chosen: BTreeSet<i64> = pids.into_iter().take(held).collect();
    let (validation, train): (Vec<Record>, Vec<Record>) =
        train.into_iter().partition(|record| chosen.contains(&record.pid));
    let mut seen = BTreeSet::new();
    // Records are in path order, so that the first of an identity and camera is the first path.
    let (queries, gallery) = validation.into_iter().partition(|record| seen.insert((record.pid, record.camera)));
    splits.insert(Split::Train, train);
    splits.insert(Split::ValidationQuery, queries);
    splits.insert(Split::ValidationGallery, gallery);
    Ok(Some(format!("{held} of {all} training identities are held out for validation")))
}

fn hash(pid: i64) -> u64 {
    let (high, low) = ((pid >> 32) as u32, pid as u32);
    Rng::new(Key { seed: 0, stream: Stream::Holdout, epoch: high, draw: low, view: 0 }).next_u64()
}
