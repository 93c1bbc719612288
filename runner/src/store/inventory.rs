//! What a store holds, looked at without changing anything. Other processes may work on meanwhile: what has gone since
//! it was listed is left out.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::checkpoints::CheckpointStore;
use super::error::{Result, StoreError, io_error};
use super::lease::{LeaseInfo, State};
use super::stage::{Check, Found, StageDir, described, look};
use super::{Store, stage_path};

/// What lies where a finished stage belongs.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelved {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself; `None` where that cannot be read.
    pub stage: Option<StageDir>,
    /// What is wrong with it; `None` if nothing is.
    pub fault: Option<String>,
}

impl Shelved {
    /// The stage, if nothing is wrong with it.
    pub fn sound(&self) -> Option<&StageDir> {
        self.stage.as_ref().filter(|_| self.fault.is_none())
    }

    /// What determines its numbers, where that can be read.
    pub fn science(&self) -> Option<&Value> {
        self.stage.as_ref().map(StageDir::science)
    }
}

/// Work on a stage that is not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    /// Folder of its attempts.
    pub path: PathBuf,
    /// Optimizer steps of the newest checkpoint, sound or not.
    pub step: Option<u64>,
    /// How much it is, and since when nothing was added.
    pub extent: Extent,
}

/// The lease of a stage that counts, which is that of the highest generation.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingLease {
    /// Who has taken it.
    pub info: LeaseInfo,
    /// Why it may be taken over; `None` while its holder lives.
    pub abandoned: Option<&'static str>,
    /// Where it is.
    pub path: PathBuf,
}

/// How much lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of all files.
    pub bytes: u64,
    /// When anything of it was written last.
    pub written: SystemTime,
}

/// Measures a file, or a folder with all that is in it. Links count as themselves; what cannot be read counts nothing.
pub fn extent(path: &Path) -> Extent {
    let mut extent = Extent { bytes: 0, written: SystemTime::UNIX_EPOCH };
    let mut left = vec![path.to_owned()];
    while let Some(path) = left.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        extent.written = metadata.modified().map_or(extent.written, |written| extent.written.max(written));
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else {
            extent.bytes += metadata.len();
        }
    }
    extent
}

impl Store {
    /// What lies where the stage of a key's digits belongs, if anything does.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shelved(&self, hex: &str, check: Check) -> Result<Option<Shelved>> {
        let Some(path) = stage_path(&self.root, hex).filter(|_| is_key(hex)) else { return Ok(None) };
        let (stage, fault) = match look(&path, hex, check) {
            Ok(Found::Absent) => return Ok(None),
            Ok(Found::Sound(stage)) => (Some(*stage), None),
            Ok(Found::Damaged(why)) => (described(&path, hex), Some(why)),
            Err(StoreError::Newer { .. }) => (None, Some("a newer version of the program has written it".to_owned())),
            Err(error) => return Err(error),
        };
        Ok(Some(Shelved { path, stage, fault }))
    }

    /// Everything that lies where finished stages belong, by key. Sizes of files are compared, not their contents.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn shelf(&self) -> Result<BTreeMap<String, Shelved>> {
        let folder = self.root.join("stages");
        let mut shelf = BTreeMap::new();
        for prefix in names(&folder)?.into_iter().filter(|name| name.len() == 2) {
            for hex in names(&folder.join(&prefix))?.into_iter().filter(|name| name.starts_with(&prefix)) {
                if let Some(found) = self.shelved(&hex, Check::Sizes)? {
                    shelf.insert(hex, found);
                }
            }
        }
        Ok(shelf)
    }

    /// Work on stages that are not finished, by key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unfinished(&self) -> Result<BTreeMap<String, Unfinished>> {
        let folder = self.root.join("partial");
        let mut unfinished = BTreeMap::new();
        for hex in names(&folder)?.into_iter().filter(|name| is_key(name)) {
            let path = folder.join(&hex);
            // The next claim goes on with the latest attempt, and names of attempts sort by time.
            let Some(latest) = names(&path)?.pop() else { continue };
            let step = CheckpointStore::newest_in(&path.join(latest))?;
            let extent = extent(&path);
            unfinished.insert(hex, Unfinished { path, step, extent });
        }
        Ok(unfinished)
    }

    /// The leases that count, by the key of their stage. Ages are by the clock of this machine.
    ///
    /// # Errors
    /// When the leases cannot be read.
    pub fn standing_leases(&self) -> Result<BTreeMap<String, StandingLease>> {
        let mut latest: BTreeMap<String, u32> = BTreeMap::new();
        for name in names(&self.leases.folder)? {
            let Some((hex, generation)) = name.split_once('.') else { continue };
            let Ok(generation) = generation.parse::<u32>() else { continue };
            if is_key(hex) {
                let known = latest.entry(hex.to_owned()).or_default();
                *known = generation.max(*known);
            }
        }
        let mut standing = BTreeMap::new();
        for (hex, generation) in latest {
            let (info, abandoned) = match self.leases.state_at(&hex, generation, SystemTime::now)? {
                State::Held(info) => (info, None),
                State::Abandoned(info, why) => (info, Some(why)),
                State::Gone => continue,
            };
            let path = self.leases.path(&hex, generation);
            standing.insert(hex, StandingLease { info, abandoned, path });
        }
        Ok(standing)
    }

    /// Folders of stages that were moved aside.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn quarantined(&self) -> Result<Vec<PathBuf>> {
        let folder = self.root.join("quarantine");
        let is_of_stage = |name: &String| name.split_once('-').is_some_and(|(hex, _)| is_key(hex));
        Ok(names(&folder)?.into_iter().filter(is_of_stage).map(|name| folder.join(name)).collect())
    }
}

/// Whether a name is that of a stage: the digits of a key.
fn is_key(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Names in a folder, sorted; none where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = || io_error("reading the store", folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed()(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // The program writes no other names.
        names.extend(entry.map_err(failed())?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
