//! Folders of pictures whose names say who is seen by which camera.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::dataset::{Record, Split};
use crate::datasets::Splits;
use crate::{DataError, Result};

/// Identity of Market's junk: detections that are to be ignored, not even wrong answers.
const JUNK: i64 = -1;

/// Largest camera number that the name of a labelled picture may have.
const MAX_CAMERA: u32 = 99;

/// Unparsable names that an error message quotes.
const MAX_QUOTED: usize = 5;

/// Identity and 0-based camera from a name such as `0002_c1s1_000451_03.jpg`: everything that is not
/// identity or camera may be anything. Identities are -1, 0 or positive; cameras count from 1.
pub(crate) fn parse_name(name: &str) -> Option<(i64, u32)> {
    let (pid, rest) = name.split_at(name.find(|c: char| c != '-' && !c.is_ascii_digit())?);
    let pid: i64 = pid.parse().ok()?;
    let camera = leading_camera(rest.strip_prefix("_c")?)?;
    (pid >= JUNK && camera < MAX_CAMERA).then_some((pid, camera))
}

/// Identity -1 and the 0-based camera from a name such as `pool_c12s1_000451.jpg`.
fn parse_unlabelled(name: &str) -> Option<(i64, u32)> {
    let (_, rest) = name.split_once("_c")?;
    Some((-1, leading_camera(rest)?))
}

/// The number that the text begins with, counted from 0 instead of 1.
fn leading_camera(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse::<u32>().ok()?.checked_sub(1)
}

/// Collects the records of several sub-folders, and what is odd about them.
pub(crate) struct Scan {
    root: PathBuf,
    /// Records of every split, in path order.
    splits: Splits,
    junk: usize,
    others: usize,
    unparsable: Vec<String>,
}

/// What names say in a sub-folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Identity and camera; identity -1 is junk, which is dropped and counted.
    Labelled,
    /// The camera only, after the first `_c`; nobody knows the person, whose identity becomes -1.
    Unlabelled,
}

impl Scan {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), splits: BTreeMap::new(), junk: 0, others: 0, unparsable: Vec::new() }
    }

    /// Reads the names in a sub-folder into a split. Hidden files, sub-folders and files of other
    /// kinds are counted, not read; links are followed.
    pub(crate) fn add(&mut self, folder: &str, split: Split, naming: Naming) -> Result<()> {
        let path = self.root.join(folder);
        let unreadable = |source| DataError::Io { action: "listing a folder of pictures", source, path: path.clone() };
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let is_folder = entry.file_type().map_err(unreadable)?.is_dir();
            let name = entry.file_name();
            if is_folder || !is_picture(&name) {
                self.others += 1;
                continue;
            }
            let parse = match naming {
                Naming::Labelled => parse_name,
                Naming::Unlabelled => parse_unlabelled,
            };
            match name.to_str().map(|name| (name, parse(name))) {
                Some((_, Some((JUNK, _)))) if naming == Naming::Labelled => self.junk += 1,
                Some((name, Some((pid, camera)))) => {
                    records.push(Record::new(format!("{folder}/{name}"), pid, camera));
                }
                Some((name, None)) => self.unparsable.push(format!("{folder}/{name}")),
                None => self.unparsable.push(format!("{folder}/{} (not UTF-8)", name.to_string_lossy())),
            }
        }
        records.sort_by(|a, b| a.path.cmp(&b.path));
        self.splits.insert(split, records);
        Ok(())
    }

    /// Fails if names did not parse or a required split is empty; else says what was left out.
    pub(crate) fn finish(mut self, required: &[Split]) -> Result<(Splits, Vec<String>)> {
        if !self.unparsable.is_empty() {
            self.unparsable.sort();
            let quoted = self.unparsable.iter().take(MAX_QUOTED).map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(DataError::Invalid {
                problem: format!("{} file name(s) do not parse ({quoted})", self.unparsable.len()),
                remedy: "name pictures IDENTITY_cCAMERA..., such as 0002_c1s1_000451_03.jpg, or remove them".to_owned(),
                path: self.root,
            });
        }
        if let Some(empty) = required.iter().find(|split| self.splits.get(split).is_none_or(Vec::is_empty)) {
            return Err(DataError::Invalid {
                problem: format!("the {} split has no pictures", empty.name()),
                remedy: "copy its JPEG, PNG or TIFF files into the folder".to_owned(),
                path: self.root,
            });
        }
        let mut notes = Vec::new();
        if self.junk > 0 {
            notes.push(format!("dropped {} junk pictures (identity -1)", self.junk));
        }
        if self.others > 0 {
            notes.push(format!("ignored {} files that are no pictures", self.others));
        }
        Ok((self.splits, notes))
    }
}

/// Whether a file's name is that of a picture; names that begin with a dot are other programs' notes.
pub(crate) fn is_picture(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let suffix = Path::new(name.as_ref()).extension().map(|suffix| suffix.to_string_lossy().to_ascii_lowercase());
    !name.starts_with('.') && matches!(suffix.as_deref(), Some("jpg" | "jpeg" | "png" | "tif" | "tiff"))
}
