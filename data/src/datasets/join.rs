//! Several data sets as one to train on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::dataset::{Dataset, Record, Split};
use crate::datasets::check::counts;
use crate::source::Source;

/// First bytes that are hashed into a joined set's fingerprint.
const FINGERPRINT_DOMAIN: &[u8] = b"reid_data joined 1\n";

/// The first set, whose training split and pool are followed by those of the others. A set without a pool gives its
/// training split to the joined pool; where no set has one, there is none. Identities and cameras of another set are
/// numbered after all that came before; everything that is tested on is the first set's.
///
/// # Panics
/// If there is no set.
pub fn join(sets: &[&Dataset]) -> Dataset {
    let (&first, others) = sets.split_first().unwrap_or_else(|| panic!("no data sets to join"));
    if others.is_empty() {
        return first.clone();
    }
    let mut joined = first.clone();
    let has_pool = sets.iter().any(|set| !set.split(Split::Pool).is_empty());
    let of_pool = |set: &Dataset| if set.split(Split::Pool).is_empty() { Split::Train } else { Split::Pool };
    let mut train = first.split(Split::Train).to_vec();
    let mut pool: Vec<Record> = Vec::new();
    if has_pool {
        pool.extend(first.split(of_pool(first)).iter().map(unlabelled));
    }
    let mut sources: Vec<Source> = first.sources.to_vec();
    let mut memories: Vec<PathBuf> = first.memories.to_vec();
    let mut hasher = blake3::Hasher::new();
    hasher.update(FINGERPRINT_DOMAIN).update(first.fingerprint.as_bytes());
    let (mut people, mut cameras) = ends(first);
    for &set in others {
        let moved = |record: &Record| Record {
            pid: if record.pid > 0 { record.pid + people } else { record.pid },
            camera: record.camera + cameras,
            source: record.source + sources.len() as u16,
            ..record.clone()
        };
        train.extend(set.split(Split::Train).iter().map(moved));
        if has_pool {
            pool.extend(set.split(of_pool(set)).iter().map(|record| unlabelled(&moved(record))));
        }
        let (more_people, more_cameras) = ends(set);
        people += more_people;
        cameras += more_cameras;
        sources.extend(set.sources.iter().cloned());
        memories.extend(set.memories.iter().cloned());
        hasher.update(set.fingerprint.as_bytes());
        joined.name = format!("{}+{}", joined.name, set.name);
        joined.synthetic |= set.synthetic;
        joined.notes.extend(set.notes.iter().map(|note| format!("{}: {note}", set.name)));
    }
    for (split, records) in [(Split::Train, train), (Split::Pool, pool)] {
        if !records.is_empty() {
            joined.splits.insert(split, Arc::new(records));
        }
    }
    joined.counts = joined.splits.iter().map(|(split, records)| counts(*split, records)).collect();
    joined.fingerprint = hasher.finalize().to_hex().to_string();
    (joined.sources, joined.memories) = (sources.into(), memories.into());
    joined
}

fn unlabelled(record: &Record) -> Record {
    Record { pid: -1, ..record.clone() }
}

/// The largest identity of a set, and the number of a camera that none of its pictures has.
fn ends(set: &Dataset) -> (i64, u32) {
    let records = || set.splits.values().flat_map(|records| records.iter());
    let people = records().map(|record| record.pid).max().unwrap_or(0).max(0);
    (people, records().map(|record| record.camera + 1).max().unwrap_or(0))
}
