//! `RandPerson` (Wang et al., ACM MM 2020): rendered people, whole or as the published subset. Nothing to test on.

use std::collections::BTreeSet;
use std::path::Path;

use crate::dataset::{Record, Split};
use crate::datasets::images;
use crate::datasets::{Found, Splits};
use crate::spec::{CopySpec, Counts};
use crate::{DataError, Result};

/// Folders that archives unpack to.
const INNER: [&str; 4] = ["images", "subset", "randperson_subset", "."];

/// Pictures and people of the subset and of the whole.
const PUBLISHED: [(usize, usize); 2] = [(132_145, 8_000), (1_801_816, 8_000)];

/// Finds every picture below the spec's root.
pub(crate) fn find(spec: &CopySpec, base: &Path) -> Result<Found> {
    let given = base.join(&spec.root);
    let roots = INNER.map(|inner| if inner == "." { given.clone() } else { given.join(inner) });
    let root = roots.into_iter().find(|root| root.is_dir());
    let missing = || DataError::Missing {
        what: "folder of RandPerson".to_owned(),
        remedy: "the folder, or images or subset in it, must hold the unpacked pictures, in sub-folders or not; they \
                 come from the authors (VideoObjectSearch/RandPerson), and are never downloaded by this program"
            .to_owned(),
        path: given.clone(),
    };
    let root = root.ok_or_else(missing)?;
    let (paths, _) = images::paths(&root)?;
    if paths.is_empty() {
        return Err(missing());
    }
    let named: Vec<(String, (i64, u32, u32))> = paths
        .into_iter()
        .map(|path| {
            let facts = facts(&path).ok_or_else(|| DataError::Invalid {
                problem: format!("the name of {path} does not say person, scene and camera"),
                remedy: "name pictures as they were published, such as 000000_s00_c00_f000264.jpg".to_owned(),
                path: root.clone(),
            })?;
            Ok((path, facts))
        })
        .collect::<Result<_>>()?;
    // A camera belongs to a scene.
    let cameras: BTreeSet<(u32, u32)> = named.iter().map(|(_, (_, scene, camera))| (*scene, *camera)).collect();
    let cameras: Vec<(u32, u32)> = cameras.into_iter().collect();
    let camera = |scene, camera| cameras.binary_search(&(scene, camera)).unwrap_or(0) as u32;
    let records: Vec<Record> =
        named.into_iter().map(|(path, (pid, scene, at))| Record::new(path, pid + 1, camera(scene, at))).collect();
    let people = records.iter().map(|record| record.pid).collect::<BTreeSet<i64>>().len();
    let is_published = PUBLISHED.contains(&(records.len(), people));
    if !is_published && spec.counts != Counts::Any {
        return Err(DataError::Invalid {
            problem: format!(
                "not the published RandPerson: {} pictures of {people} people instead of 132145 (the subset) or \
                 1801816 of 8000",
                records.len()
            ),
            remedy: "unpack the archive again, or set `counts: any` if the folder holds a part of it".to_owned(),
            path: root,
        });
    }
    let splits = Splits::from([(Split::Train, records)]);
    Ok(Found::in_folder("rand_person", root, splits, vec!["nothing to test on".to_owned()]))
}

/// Person, scene and camera of a name; in old releases, the camera comes before the scene.
fn facts(path: &str) -> Option<(i64, u32, u32)> {
    let name = path.rsplit('/').next()?;
    let mut parts = name.split('_');
    let pid = parts.next()?.parse::<u32>().ok()?;
    let (first, second) = (parts.next()?, parts.next()?);
    let number = |part: &str, letter: char| part.strip_prefix(letter)?.parse::<u32>().ok();
    let (scene, camera) = match (number(first, 's'), number(second, 'c')) {
        (Some(scene), Some(camera)) => (scene, camera),
        _ => (number(second, 's')?, number(first, 'c')?),
    };
    Some((i64::from(pid), scene, camera))
}
