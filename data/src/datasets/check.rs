//! Whether a data set can be trained and evaluated on, and its counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::dataset::{Record, Split};
use crate::datasets::Splits;
use crate::spec::ValidationSpec;
use crate::{DataError, Result};

/// Checks that queries have matches. Returns what a reader should know of that, and the queries none of which has a
/// match by another camera.
pub(crate) fn check(splits: &Splits, validation: ValidationSpec, root: &Path) -> Result<(Vec<String>, Option<Split>)> {
    let (mut notes, mut of_one_camera) = (Vec::new(), None);
    let pairs = [
        (Split::Query, Split::Gallery, true),
        (Split::OccludedQuery, Split::Gallery, false),
        (Split::ValidationQuery, Split::ValidationGallery, validation.identities > 0.0),
    ];
    for (queries, gallery, required) in pairs {
        let Some((split, records)) = splits.get(&queries).map(|records| (queries, records)) else { continue };
        let (all, gallery) = (split.name(), splits.get(&gallery).map_or(&[][..], Vec::as_slice));
        let (matched, usable) = matched(records, gallery);
        if required && matched == 0 {
            let pids: BTreeSet<i64> = gallery.iter().filter(|record| record.usable).map(|record| record.pid).collect();
            if !records.iter().any(|record| record.usable && pids.contains(&record.pid)) {
                return Err(DataError::Invalid {
                    problem: format!("no {all} picture has a match (the same identity) in its gallery"),
                    remedy: "check that query and gallery belong together".to_owned(),
                    path: root.to_path_buf(),
                });
            }
            of_one_camera = of_one_camera.or(Some(split));
        }
        if matched < usable {
            notes.push(format!(
                "{} of {usable} {all} pictures have no match by another camera, without which they are not scored",
                usable - matched
            ));
        }
    }
    notes.extend(shared_identities(splits));
    Ok((notes, of_one_camera))
}

/// Pictures, identities and cameras of a split.
pub(crate) fn counts(split: Split, records: &[Record]) -> String {
    let pids: BTreeSet<i64> = records.iter().map(|record| record.pid).collect();
    let cameras: BTreeSet<u32> = records.iter().map(|record| record.camera).collect();
    let distractors = records.iter().filter(|record| record.pid == 0).count();
    let who = if split == Split::Pool { String::new() } else { format!(" of {} identities", pids.len()) };
    let rest =
        if distractors > 0 { format!(", {distractors} of them distractors (identity 0)") } else { String::new() };
    // A pool that names no cameras has number 0 throughout.
    let is_unnamed = split == Split::Pool && cameras.iter().all(|&camera| camera == 0);
    let seen_by = if is_unnamed { String::new() } else { format!(" from {} cameras", cameras.len()) };
    format!("{}: {} pictures{who}{seen_by}{rest}", split.name(), records.len())
}

/// Usable queries with a usable match, and all usable queries.
fn matched(queries: &[Record], gallery: &[Record]) -> (usize, usize) {
    let mut cameras: BTreeMap<i64, BTreeSet<u32>> = BTreeMap::new();
    for record in gallery.iter().filter(|record| record.usable) {
        cameras.entry(record.pid).or_default().insert(record.camera);
    }
    let usable = queries.iter().filter(|query| query.usable);
    let has_match = |query: &&Record| {
        cameras.get(&query.pid).is_some_and(|seen_by| seen_by.iter().any(|&camera| camera != query.camera))
    };
    (usable.clone().filter(has_match).count(), usable.count())
}

/// Identities that are trained on and tested on flatter every result.
fn shared_identities(splits: &Splits) -> Option<String> {
    let pids = |split| splits.get(&split).into_iter().flatten().map(|record: &Record| record.pid);
    let train: BTreeSet<i64> = pids(Split::Train).collect();
    let shared = pids(Split::Query).collect::<BTreeSet<i64>>().intersection(&train).count();
    (shared > 0).then(|| format!("{shared} identities have the same number in the training and the query split"))
}
