//! LUPerson (Fu et al., CVPR 2021) and LUPerson-NL (Fu et al., CVPR 2022): millions of pictures of people whom nobody
//! has named, as files or in a database, all of them or those of a list.

use std::path::{Path, PathBuf};

use crate::datasets::Found;
use crate::datasets::images::{database, keys, of_database, open, paths, pool};
use crate::datasets::listed::{inside, names};
use crate::spec::{Counts, LupersonList, LupersonSpec};
use crate::{DataError, Result};

/// Pictures of LUPerson, which HAP's loader insists on.
const PUBLISHED: usize = 4_180_243;

/// The list of a database's keys, as LUPerson's authors write it.
const KEYS: &str = "keys.pkl";

/// Sub-folder of the pictures.
const IMAGES: &str = "images";

/// Leading parts of a listed path that are tried without: lists name the folder that their authors kept the set in.
const LEADING: usize = 4;

const LAYOUT: &str = "the folder must hold images with the pictures in it, or the pictures, or the database data.mdb; \
                      LUPerson comes from its authors (Fu et al., CVPR 2021) and is never downloaded by this program";

/// Finds the pictures below the spec's root, in the order of their names.
pub(crate) fn find(spec: &LupersonSpec, base: &Path) -> Result<Found> {
    let root = base.join(&spec.root);
    let missing =
        |what: &str| DataError::Missing { what: what.to_owned(), remedy: LAYOUT.to_owned(), path: root.clone() };
    let file = match &spec.list {
        LupersonList::All => None,
        LupersonList::File(list) => Some(base.join(list)),
    };
    let mut found = if let Some(path) = database(&root) {
        let database = open(&path)?;
        let beside = [path.parent(), path.parent().and_then(Path::parent)];
        let beside = beside.into_iter().flatten().map(|folder| folder.join(KEYS)).find(|list| list.is_file());
        let list = file.or(beside);
        let all = match &list {
            Some(list) => distinct(names(list)?, list)?,
            None => keys(&database)?,
        };
        let found = of_database("luperson", database, all)?;
        Found { lists: list.into_iter().collect(), ..found }
    } else {
        if !root.is_dir() {
            return Err(missing("folder of LUPerson"));
        }
        let root = Some(root.join(IMAGES)).filter(|images| images.is_dir()).unwrap_or_else(|| root.clone());
        let all = match &file {
            Some(list) => listed(list, &root)?,
            None => paths(&root)?.0,
        };
        if all.is_empty() {
            return Err(missing("picture of LUPerson"));
        }
        Found { lists: file.into_iter().collect(), ..Found::in_folder("luperson", root, pool(all), Vec::new()) }
    };
    for records in found.splits.values_mut() {
        let all = records.len();
        let differs = format!("{all} pictures instead of LUPerson's published {PUBLISHED}");
        match spec.counts {
            _ if all == PUBLISHED => found.notes.push("the count is that of the published LUPerson".to_owned()),
            Counts::Published => {
                return Err(DataError::Invalid {
                    problem: differs,
                    remedy: "copy the set again, or set `counts: any`".to_owned(),
                    path: found.root,
                });
            }
            Counts::Auto => found.notes.push(differs),
            Counts::Any => {}
        }
        records.truncate(((all as f64 * spec.share).round() as usize).max(1));
        if records.len() < all {
            found.notes.push(format!("the first {} of {all} pictures", records.len()));
        }
        // Draws are of places in this order: it must not be that of a file system or of a list's scores.
        records.sort_by(|a, b| a.path.cmp(&b.path));
    }
    Ok(found)
}

/// The listed files below a folder, by the shortest cut of leading folders with which the first one is there.
fn listed(list: &Path, root: &Path) -> Result<Vec<String>> {
    let names = names(list)?;
    let first = names.first().map(String::as_str).unwrap_or_default();
    let cut = |name: &str, parts: usize| {
        let name = name.trim_start_matches('/').splitn(parts + 1, '/').nth(parts);
        name.and_then(inside)
    };
    let parts = (0..=LEADING).find(|&parts| cut(first, parts).is_some_and(|path| root.join(path).is_file()));
    let parts = parts.ok_or_else(|| DataError::Missing {
        what: format!("the first listed picture, {first:?}, of {}", list.display()),
        remedy: LAYOUT.to_owned(),
        path: root.to_path_buf(),
    })?;
    let path = |(at, name): (usize, &String)| {
        cut(name, parts).ok_or_else(|| DataError::Invalid {
            problem: format!("entry {at} of the list does not lead into the folder: {name:?}"),
            remedy: "copy the list again".to_owned(),
            path: list.to_path_buf(),
        })
    };
    distinct(names.iter().enumerate().map(path).collect::<Result<_>>()?, list)
}

/// The names, if none is there twice.
fn distinct(names: Vec<String>, list: &Path) -> Result<Vec<String>> {
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort_unstable();
    if let Some((twice, _)) = sorted.iter().zip(sorted.iter().skip(1)).find(|(name, next)| name == next) {
        return Err(DataError::Invalid {
            problem: format!("the list names {twice:?} twice"),
            remedy: "copy the list again".to_owned(),
            path: PathBuf::from(list),
        });
    }
    Ok(names)
}
