//! Which pictures of a labelled split a training may know the labels of.

use std::collections::BTreeMap;

use crate::dataset::Record;
use crate::spec::LabelsSpec;

/// Fewest identities that can be told apart.
const FEWEST: usize = 2;

/// Labels of a split, or of the part of it that may be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// `[n]`, one entry per record: the place of its identity among the sorted chosen ones, or none where the
    /// picture is not chosen or cannot be decoded.
    pub of_records: Vec<Option<u32>>,
    /// Chosen identities.
    pub identities: usize,
    /// Chosen pictures.
    pub images: usize,
    /// Identities of the split.
    pub all_identities: usize,
    /// Pictures of the split that can be decoded.
    pub all_images: usize,
}

impl Labels {
    /// Chooses identities by a hash of their number, and pictures by a hash of their path: the same for every
    /// seed of a run, in any order of files. More of either contains less.
    ///
    /// A label does not depend on which pictures can be decoded.
    pub fn of(records: &[Record], spec: LabelsSpec) -> Self {
        let mut pids: Vec<i64> = records.iter().map(|record| record.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        let all_identities = pids.len();
        let count = (spec.identities * all_identities as f64).round() as usize;
        pids.sort_by_key(|&pid| (order("identity", &pid.to_string()), pid));
        pids.truncate(count.max(FEWEST));
        pids.sort_unstable();

        let mut chosen: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate().filter(|(_, record)| record.usable) {
            if let Ok(label) = pids.binary_search(&record.pid) {
                // The index tells pictures apart whose paths have the same hash.
                chosen.entry(label as u32).or_default().push((order("image", &record.path), index));
            }
        }
        let mut of_records = vec![None; records.len()];
        for (&label, images) in &mut chosen {
            images.sort_unstable();
            let most = if spec.images_per_identity == 0 { images.len() } else { spec.images_per_identity };
            for &(_, index) in images.iter().take(most) {
                of_records[index] = Some(label);
            }
        }
        let images = of_records.iter().flatten().count();
        let all_images = records.iter().filter(|record| record.usable).count();
        Self { of_records, identities: pids.len(), images, all_identities, all_images }
    }

    /// Whether something is left out.
    pub fn is_part(&self) -> bool {
        self.identities < self.all_identities || self.images < self.all_images
    }
}

/// A place in an order that has nothing to do with what is ordered: the first 64 bits of BLAKE3.
fn order(kind: &str, name: &str) -> u64 {
    let hash = blake3::hash(format!("{kind} {name}").as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}
