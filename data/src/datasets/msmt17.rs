//! MSMT17 (Wei et al., CVPR 2018): two folders of pictures and four lists that say whose they are.

use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::listed::inside;
use crate::datasets::market_like::{differences, judge};
use crate::datasets::{Found, Splits};
use crate::spec::{Counts, Msmt17Spec, Msmt17Val};
use crate::{DataError, Result};

/// Folders that archives unpack to, below the one that is given; the last is the given one itself.
const INNER: [&str; 4] = ["MSMT17_V1", "MSMT17_V2", "MSMT17", "."];

/// Folders of training and of test pictures, by version. In the second one, faces are blurred.
const VERSIONS: [(&str, &str, &str); 2] = [("V1", "train", "test"), ("V2", "mask_train_v2", "mask_test_v2")];

/// Lists, whether their pictures are training pictures, and what they are for.
const LISTS: [(&str, bool, Split); 4] = [
    ("list_train.txt", true, Split::Train),
    ("list_val.txt", true, Split::Train),
    ("list_query.txt", false, Split::Query),
    ("list_gallery.txt", false, Split::Gallery),
];

/// Training and validation list together, as `TransReID` trains on them.
const PUBLISHED: [(Split, usize, Option<usize>); 3] =
    [(Split::Train, 32_621, Some(1_041)), (Split::Query, 11_659, Some(3_060)), (Split::Gallery, 82_161, Some(3_060))];

const CAMERAS: usize = 15;

const LAYOUT: &str = "the folder, or MSMT17_V1 or MSMT17_V2 in it, must hold list_train.txt, list_val.txt, \
                      list_query.txt and list_gallery.txt beside train and test (or mask_train_v2 and mask_test_v2); \
                      the data come from their authors (Wei et al., CVPR 2018), and are never downloaded by this program";

/// Reads the lists below the spec's root.
pub(crate) fn find(spec: &Msmt17Spec, base: &Path) -> Result<Found> {
    let given = base.join(&spec.root);
    let missing = |what: String| DataError::Missing { what, remedy: LAYOUT.to_owned(), path: given.clone() };
    let roots = INNER.map(|inner| if inner == "." { given.clone() } else { given.join(inner) });
    let root = roots.into_iter().find(|root| root.join(LISTS[0].0).is_file());
    let root = root.ok_or_else(|| missing("MSMT17's lists".to_owned()))?;
    let version = VERSIONS.iter().find(|(_, train, test)| root.join(train).is_dir() && root.join(test).is_dir());
    let &(version, train, test) = version.ok_or_else(|| missing("MSMT17's pictures".to_owned()))?;

    let mut splits = Splits::new();
    let mut counts = Vec::new();
    for (list, is_train, split) in LISTS {
        let records = read(&root.join(list), if is_train { train } else { test })?;
        counts.push(records.len());
        splits.entry(split).or_default().extend(records);
    }
    // Identities count from 0 on both sides: the test's follow the training's, and 0, which means something else
    // elsewhere, is left out.
    let trained = splits.get(&Split::Train).into_iter().flatten().map(|record| record.pid + 1).max().unwrap_or(0);
    for (split, records) in &mut splits {
        let first = if *split == Split::Train { 1 } else { trained + 1 };
        for record in records {
            record.pid += first;
        }
    }
    let differences = differences(&splits, &PUBLISHED, CAMERAS);
    let mut notes = vec![format!("version {version}")];
    notes.extend(judge("MSMT17", &differences, spec.counts != Counts::Any, &root)?);
    notes.push(match spec.val {
        Msmt17Val::Train => format!("training on list_train and list_val: {} + {} pictures", counts[0], counts[1]),
        Msmt17Val::Unused => {
            if let Some(records) = splits.get_mut(&Split::Train) {
                records.truncate(counts[0]);
            }
            format!("training on list_train alone: {} pictures; the {} of list_val are unused", counts[0], counts[1])
        }
    });
    for records in splits.values_mut() {
        records.sort_by(|a, b| a.path.cmp(&b.path));
    }
    let lists = LISTS.map(|(list, ..)| root.join(list)).to_vec();
    Ok(Found { lists, ..Found::in_folder("msmt17", root, splits, notes) })
}

/// A list: lines of a path, a space and an identity.
fn read(list: &Path, folder: &str) -> Result<Vec<Record>> {
    let unreadable = |source| DataError::Io { action: "reading a list of pictures", source, path: PathBuf::from(list) };
    let text = std::fs::read_to_string(list).map_err(unreadable)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let invalid = || DataError::Invalid {
                problem: format!("line {} is not a picture and its identity: {line:?}", at + 1),
                remedy: "copy the list again; a line looks like 0000/0000_000_01_0303morning_0008_0.jpg 0".to_owned(),
                path: list.to_path_buf(),
            };
            let (path, pid) = line.trim_end().rsplit_once(' ').ok_or_else(invalid)?;
            let pid = pid.parse().ok().filter(|&pid: &i64| pid >= 0).ok_or_else(invalid)?;
            let camera = camera(path).filter(|_| inside(path).is_some()).ok_or_else(invalid)?;
            Ok(Record::new(format!("{folder}/{path}"), pid, camera))
        })
        .collect()
}

/// The camera, counted from 0, is the third part of the whole path between underscores.
fn camera(path: &str) -> Option<u32> {
    path.split('_').nth(2)?.parse::<u32>().ok()?.checked_sub(1)
}
