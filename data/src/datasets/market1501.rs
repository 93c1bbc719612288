//! The layout of Market-1501 (Zheng et al., ICCV 2015), which many other sets copy.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dataset::Split;
use crate::datasets::folder::{Naming, Scan};
use crate::datasets::{Found, Splits};
use crate::spec::{Counts, Market1501Spec};
use crate::{DataError, Result};

/// Sub-folders of the layout.
pub(crate) const FOLDERS: [(&str, Split); 3] =
    [("bounding_box_train", Split::Train), ("bounding_box_test", Split::Gallery), ("query", Split::Query)];

/// Folder that the published archive unpacks to.
const INNER: &str = "Market-1501-v15.09.15";

/// Name of the published set in tables.
const NAME: &str = "market1501";

/// Pictures and identities of the published set, junk left out, distractors (identity 0) counted as
/// one identity: the counts that `TransReID` and torchreid print.
const PUBLISHED: [(Split, usize, usize); 3] =
    [(Split::Train, 12_936, 751), (Split::Query, 3_368, 750), (Split::Gallery, 15_913, 751)];

/// Cameras of the published set.
const PUBLISHED_CAMERAS: usize = 6;

const LAYOUT: &str = "the folder, or its sub-folder Market-1501-v15.09.15, must hold bounding_box_train, \
                      bounding_box_test and query with the pictures in them; the data come from their \
                      authors (Zheng et al., ICCV 2015) and are never downloaded by this program";

/// Finds the three splits below the spec's root.
pub(crate) fn find(spec: &Market1501Spec, base: &Path) -> Result<Found> {
    let given = base.join(&spec.root);
    let root = locate(&given)?;
    let mut scan = Scan::new(&root);
    for (folder, split) in FOLDERS {
        scan.add(folder, split, Naming::Labelled)?;
    }
    let (splits, mut notes) = scan.finish(&FOLDERS.map(|(_, split)| split))?;

    let mismatches = compare(&splits);
    let says_published = [&given, &root].iter().any(|path| path.file_name().is_some_and(|n| n == INNER || n == NAME));
    let must_hold = match spec.counts {
        Counts::Auto => says_published,
        Counts::Published => true,
        Counts::Any => false,
    };
    if must_hold && !mismatches.is_empty() {
        return Err(DataError::Invalid {
            problem: format!("not the published Market-1501: {}", mismatches.join(", ")),
            remedy: "unpack the archive again, or set `counts: any` if the folder holds other data".to_owned(),
            path: root,
        });
    }
    let name = if mismatches.is_empty() {
        notes.push("the counts are those of the published Market-1501".to_owned());
        NAME.to_owned()
    } else {
        let own = given.file_name().unwrap_or(given.as_os_str());
        own.to_string_lossy().into_owned()
    };
    Ok(Found { name, root, synthetic: false, splits, notes })
}

/// The folder that holds the three sub-folders: the given one or its inner one.
fn locate(given: &Path) -> Result<PathBuf> {
    let missing = |what: &str, path: &Path| DataError::Missing {
        what: what.to_owned(),
        remedy: LAYOUT.to_owned(),
        path: path.to_path_buf(),
    };
    if !given.is_dir() {
        return Err(missing("folder in Market-1501 layout", given));
    }
    let inner = given.join(INNER);
    let root = if !given.join(FOLDERS[0].0).is_dir() && inner.is_dir() { inner } else { given.to_path_buf() };
    let absent: Vec<&str> =
        FOLDERS.iter().map(|(folder, _)| *folder).filter(|folder| !root.join(folder).is_dir()).collect();
    if absent.is_empty() { Ok(root) } else { Err(missing(&format!("sub-folder {}", absent.join(", ")), &root)) }
}

/// How the splits differ from the published counts.
fn compare(splits: &Splits) -> Vec<String> {
    let mut differences = Vec::new();
    let mut cameras = BTreeSet::new();
    for (split, pictures, identities) in PUBLISHED {
        let records = splits.get(&split).map_or(&[][..], Vec::as_slice);
        let pids: BTreeSet<i64> = records.iter().map(|record| record.pid).collect();
        cameras.extend(records.iter().map(|record| record.camera));
        if (records.len(), pids.len()) != (pictures, identities) {
            differences.push(format!(
                "{} has {} pictures of {} identities instead of {pictures} of {identities}",
                split.name(),
                records.len(),
                pids.len()
            ));
        }
    }
    if cameras.len() != PUBLISHED_CAMERAS {
        differences.push(format!("{} cameras instead of {PUBLISHED_CAMERAS}", cameras.len()));
    }
    differences
}
