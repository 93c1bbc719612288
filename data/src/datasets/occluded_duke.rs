//! Occluded-Duke (Miao et al., ICCV 2019) by its authors' lists over the pictures of DukeMTMC-reID.

use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::folder::parse_name;
use crate::datasets::listed::inside;
use crate::datasets::market_like::{DUKE_MTMC, FOLDERS, OCCLUDED_DUKE};
use crate::datasets::{Found, Splits};
use crate::spec::Counts;
use crate::{DataError, Result};

/// Lists of the three splits.
const LISTS: [(&str, Split); 3] =
    [("train.list", Split::Train), ("query.list", Split::Query), ("gallery.list", Split::Gallery)];

/// Where a listed picture lies that its own folder does not have (the authors' converter).
const FALLBACK: &str = "bounding_box_test";

/// Reads the lists in the folder `lists`.
pub(crate) fn find(root: &str, lists: &str, counts: Counts, base: &Path) -> Result<Found> {
    let given = base.join(root);
    let root = DUKE_MTMC.locate(&given)?;
    let mut splits = Splits::new();
    let mut files = Vec::new();
    for (list, split) in LISTS {
        let list = base.join(lists).join(list);
        if !list.is_file() {
            return Err(DataError::Missing {
                what: "list of Occluded-Duke".to_owned(),
                remedy: "the folder must hold train.list, query.list and gallery.list of \
                         lightas/Occluded-DukeMTMC-Dataset, which are never downloaded by this program"
                    .to_owned(),
                path: list,
            });
        }
        let folder = FOLDERS.iter().find(|(_, of)| *of == split).map_or(FALLBACK, |(folder, _)| folder);
        splits.insert(split, read(&list, folder, &root)?);
        files.push(list);
    }
    let notes = vec!["by lists over DukeMTMC-reID".to_owned()];
    let found = OCCLUDED_DUKE.found(splits, notes, counts, (given, root))?;
    Ok(Found { lists: files, ..found })
}

/// A list: a picture's name in each line.
fn read(list: &Path, folder: &str, root: &Path) -> Result<Vec<Record>> {
    let unreadable = |source| DataError::Io { action: "reading a list of pictures", source, path: PathBuf::from(list) };
    let text = std::fs::read_to_string(list).map_err(unreadable)?;
    let lines = text.lines().enumerate().map(|(at, line)| (at, line.trim())).filter(|(_, line)| !line.is_empty());
    let record = |(at, line): (usize, &str)| {
        let invalid = || DataError::Invalid {
            problem: format!("line {} is no picture's name: {line:?}", at + 1),
            remedy: "copy the list again; a line looks like 0002_c1_f0044158.jpg".to_owned(),
            path: list.to_path_buf(),
        };
        let name = inside(line).filter(|name| !name.contains('/')).ok_or_else(invalid)?;
        let (pid, camera) = parse_name(&name).ok_or_else(invalid)?;
        let folder = [folder, FALLBACK].into_iter().find(|folder| root.join(folder).join(&name).exists());
        let folder = folder.ok_or_else(|| DataError::Missing {
            what: format!("picture {name} (line {})", at + 1),
            remedy: format!("DukeMTMC-reID must be whole; it is listed in {}", list.display()),
            path: root.to_path_buf(),
        })?;
        Ok(Record::new(format!("{folder}/{name}"), pid, camera))
    };
    let mut records: Vec<Record> = lines.map(record).collect::<Result<_>>()?;
    records.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(records)
}
