//! `UnrealPerson` (Zhang et al., CVPR 2021): rendered people, told by a list. Nothing to test on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::listed::inside;
use crate::datasets::market_like::{differences, judge};
use crate::datasets::{Found, Splits};
use crate::spec::{CopySpec, Counts};
use crate::{DataError, Result};

/// Lists of path, person and camera; the first that is there is read.
pub(crate) const LISTS: [&str; 2] = ["list_unreal_train.txt", "unreal/list_unreal_train.txt"];

const PUBLISHED: [(Split, usize, Option<usize>); 1] = [(Split::Train, 120_000, Some(3_000))];

const CAMERAS: usize = 34;

/// Reads the list below the spec's root.
pub(crate) fn find(spec: &CopySpec, base: &Path) -> Result<Found> {
    let given = base.join(&spec.root);
    let list = LISTS.map(|list| given.join(list)).into_iter().find(|list| list.is_file());
    let list = list.ok_or_else(|| DataError::Missing {
        what: "list of UnrealPerson".to_owned(),
        remedy: "the folder must hold list_unreal_train.txt beside unreal_v1.1 to unreal_v4.3; the data come from \
                 their authors (Zhang et al., CVPR 2021), and are never downloaded by this program"
            .to_owned(),
        path: given.clone(),
    })?;
    let root = list.parent().unwrap_or(&given).to_path_buf();
    let mut records = read(&list)?;
    // Whatever the list counts cameras from.
    let cameras: Vec<u32> = records.iter().map(|record| record.camera).collect::<BTreeSet<u32>>().into_iter().collect();
    for record in &mut records {
        record.camera = cameras.binary_search(&record.camera).unwrap_or(0) as u32;
    }
    records.sort_by(|a, b| a.path.cmp(&b.path));
    let splits = Splits::from([(Split::Train, records)]);
    let differences = differences(&splits, &PUBLISHED, CAMERAS);
    let mut notes = vec!["nothing to test on".to_owned()];
    notes.extend(judge("UnrealPerson", &differences, spec.counts != Counts::Any, &root)?);
    Ok(Found { lists: vec![list], ..Found::in_folder("unreal_person", root, splits, notes) })
}

/// A list: lines of a path, a person and a camera.
fn read(list: &Path) -> Result<Vec<Record>> {
    let unreadable = |source| DataError::Io { action: "reading a list of pictures", source, path: PathBuf::from(list) };
    let text = std::fs::read_to_string(list).map_err(unreadable)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let record = |(at, line): (usize, &str)| {
        let mut parts = line.split_whitespace();
        let mut read = || {
            let path = inside(parts.next()?)?;
            let (pid, camera) = (parts.next()?.parse::<u32>().ok()?, parts.next()?.parse::<u32>().ok()?);
            // 0 means something else elsewhere.
            Some(Record::new(path, i64::from(pid) + 1, camera))
        };
        read().ok_or_else(|| DataError::Invalid {
            problem: format!("line {} is not a picture, its person and its camera: {line:?}", at + 1),
            remedy: "copy the list again; a line looks like unreal_v1.1/images/0_c0_1.jpg 0 0".to_owned(),
            path: list.to_path_buf(),
        })
    };
    lines.map(record).collect()
}
