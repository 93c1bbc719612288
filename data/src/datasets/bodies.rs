//! Occluded-REID (Zhuo et al., ICME 2018) and Partial-REID (Zheng et al., ICCV 2015): a folder of bodies that are partly
//! hidden or cut off, and one of whole bodies, with a folder for each person in both. Nothing to train on.

use std::path::Path;

use crate::dataset::{Record, Split};
use crate::datasets::folder::is_picture;
use crate::datasets::images;
use crate::datasets::market_like::{differences, judge};
use crate::datasets::{Found, Splits};
use crate::spec::{CopySpec, Counts};
use crate::{DataError, Result};

/// One of the two sets.
pub(crate) struct Bodies {
    name: &'static str,
    title: &'static str,
    /// Folder that archives unpack to.
    inner: &'static [&'static str],
    /// Folder of the queries, as archives or other programs name it.
    queries: &'static [&'static str],
    published: [(Split, usize, Option<usize>); 2],
}

/// Folder of the gallery.
const WHOLE: &str = "whole_body_images";

/// Cameras that the sets do not name: all queries are of one, the whole gallery is of another, so that no match is
/// left out.
const CAMERAS: usize = 2;

pub(crate) const OCCLUDED: Bodies = Bodies {
    name: "occluded_reid",
    title: "Occluded-REID",
    inner: &["Occluded_REID", "Occluded-REID", "OccludedREID"],
    queries: &["occluded_body_images"],
    published: [(Split::Query, 1_000, Some(200)), (Split::Gallery, 1_000, Some(200))],
};

pub(crate) const PARTIAL: Bodies = Bodies {
    name: "partial_reid",
    title: "Partial-REID",
    inner: &["Partial_REID", "Partial-REID", "PartialREID"],
    queries: &["partial_body_images", "occluded_body_images"],
    published: [(Split::Query, 300, Some(60)), (Split::Gallery, 300, Some(60))],
};

/// Finds queries and gallery below the spec's root.
pub(crate) fn find(set: &Bodies, spec: &CopySpec, base: &Path) -> Result<Found> {
    let given = base.join(&spec.root);
    let missing = |what: String| DataError::Missing {
        what,
        remedy: format!(
            "the folder, or its sub-folder {}, must hold {} and {WHOLE} with a folder for each person in them; the data \
             come from their authors, and are never downloaded by this program",
            set.inner[0], set.queries[0]
        ),
        path: given.clone(),
    };
    let inner = set.inner.iter().map(|inner| given.join(inner));
    let root = std::iter::once(given.clone()).chain(inner).find(|root| root.join(WHOLE).is_dir());
    let root = root.ok_or_else(|| missing(format!("folder of {}", set.title)))?;
    let queries = set.queries.iter().find(|folder| root.join(folder).is_dir());
    let queries = queries.ok_or_else(|| missing(format!("sub-folder {}", set.queries[0])))?;
    let mut splits = Splits::new();
    for (folder, split, camera) in [(*queries, Split::Query, 0), (WHOLE, Split::Gallery, 1)] {
        let (paths, _) = images::paths(&root.join(folder))?;
        let record = |path: String| {
            let pid = pid(&path).ok_or_else(|| DataError::Invalid {
                problem: format!("the name of {folder}/{path} does not begin with a person's number"),
                remedy: "name pictures PERSON/PERSON_NUMBER, such as 001/001_01.tif".to_owned(),
                path: root.clone(),
            })?;
            Ok(Record::new(format!("{folder}/{path}"), pid, camera))
        };
        splits.insert(split, paths.into_iter().map(record).collect::<Result<_>>()?);
    }
    let differences = differences(&splits, &set.published, CAMERAS);
    let mut notes = vec!["the set names no cameras: no match is left out".to_owned()];
    notes.extend(judge(set.title, &differences, spec.counts != Counts::Any, &root)?);
    Ok(Found::in_folder(set.name, root, splits, notes))
}

/// The digits before the first underscore of the file's name. One more, as 0 means something else elsewhere.
fn pid(path: &str) -> Option<i64> {
    let name = path.rsplit('/').next().filter(|name| is_picture(name.as_ref()))?;
    name.split_once('_')?.0.parse::<u32>().ok().map(|pid| i64::from(pid) + 1)
}
