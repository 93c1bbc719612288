//! Checkpoints of a stage in progress: the last two, each with a checksum.
//!
//! A checkpoint is `ckpt-<step>.safetensors` and, written after it, `ckpt-<step>.safetensors.b3` in
//! the format of `b3sum`. It counts only if the two agree, so a file that was cut short, or damaged
//! later, makes the run go on from the one before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic::{TEMPORARY_PREFIX, is_missing, make_dir, sync_dir, sync_file, write_atomic};
use super::error::{Result, io_error};
use super::stage::hash_file;

/// Checkpoints that are kept.
const KEPT: usize = 2;

/// Folder of the checkpoints within that of the attempt.
const FOLDER: &str = "checkpoints";

const PREFIX: &str = "ckpt-";
const SUFFIX: &str = ".safetensors";

/// The checkpoints of one attempt.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    folder: PathBuf,
}

/// The newest checkpoint that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// What is there to resume from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// The newest sound checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that are damaged, in words.
    pub damaged: Vec<String>,
}

impl CheckpointStore {
    /// The checkpoints in a lease's folder.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(attempt: &Path) -> Result<Self> {
        let folder = attempt.join(FOLDER);
        make_dir(&folder)?;
        // The names of the folders above are made durable once; a checkpoint then has to flush its
        // own folder only. Three levels: attempt, key, all unfinished work.
        for above in attempt.ancestors().take(3).filter(|above| above.is_dir()) {
            sync_dir(above)?;
        }
        Ok(Self { folder })
    }

    /// Keeps these bytes as the checkpoint of a step, and forgets all but the one before.
    ///
    /// # Errors
    /// When the disk refuses; earlier checkpoints are then untouched.
    pub fn save(&self, step: u64, bytes: &[u8]) -> Result<PathBuf> {
        self.save_with(step, |path| fs::write(path, bytes).map_err(io_error("writing a checkpoint", path)))
    }

    /// Keeps what `write` puts into the file at the path it is given as the checkpoint of a step, and
    /// forgets all but the one before.
    ///
    /// # Errors
    /// Those of `write`, or when the disk refuses; earlier checkpoints are then untouched.
    pub fn save_with<E, F>(&self, step: u64, write: F) -> std::result::Result<PathBuf, E>
    where
        E: From<super::StoreError>,
        F: FnOnce(&Path) -> std::result::Result<(), E>,
    {
        let temporary = self.folder.join(format!("{TEMPORARY_PREFIX}{step}"));
        let written = write(&temporary).and_then(|()| Ok(self.keep(step, &temporary)?));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// The newest checkpoint whose checksum agrees. Reads all of it.
    ///
    /// # Errors
    /// When the folder or a file cannot be read.
    pub fn latest(&self) -> Result<Latest> {
        let mut latest = Latest::default();
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match fault(&path)? {
                None => {
                    latest.checkpoint = Some(Checkpoint { step, path });
                    break;
                }
                Some(why) => latest.damaged.push(format!("checkpoint of step {step} {why}: {}", path.display())),
            }
        }
        Ok(latest)
    }

    /// Moves a written file to its place, then its checksum, then removes old ones.
    fn keep(&self, step: u64, temporary: &Path) -> Result<PathBuf> {
        let path = self.path(step);
        sync_file(temporary)?;
        let line = format!("{}  {}\n", hash_file(temporary)?, name(step));
        // A checkpoint of this step may be there, damaged or from before a resume. Without its
        // checksum it does not count, so no crash can pair the new file with the old checksum.
        remove(&checksum(&path))?;
        fs::rename(temporary, &path).map_err(io_error("renaming a finished checkpoint", &path))?;
        write_atomic(&checksum(&path), line.as_bytes())?;
        self.prune(step)?;
        Ok(path)
    }

    /// Keeps the newest up to `step`. Anything beyond it was damaged, or the run would be further.
    fn prune(&self, step: u64) -> Result<()> {
        let steps = self.steps()?;
        let up_to = steps.iter().filter(|&&found| found <= step).count();
        let kept = up_to.saturating_sub(KEPT)..up_to;
        for (i, &old) in steps.iter().enumerate() {
            if !kept.contains(&i) {
                remove(&checksum(&self.path(old)))?;
                remove(&self.path(old))?;
            }
        }
        sync_dir(&self.folder)
    }

    /// Step of the newest checkpoint, sound or not.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest(&self) -> Result<Option<u64>> {
        Ok(self.steps()?.pop())
    }

    /// The same of the folder of an attempt, in which nothing is made.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn newest_in(attempt: &Path) -> Result<Option<u64>> {
        let checkpoints = Self { folder: attempt.join(FOLDER) };
        match checkpoints.newest() {
            Err(error) if is_missing(&error) => Ok(None),
            newest => newest,
        }
    }

    /// Steps of the checkpoints, in ascending order.
    fn steps(&self) -> Result<Vec<u64>> {
        let failed = || io_error("reading the checkpoints", &self.folder);
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let step =
                name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok());
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(name(step))
    }
}

/// What is wrong with a checkpoint; `None` if nothing is.
fn fault(path: &Path) -> Result<Option<&'static str>> {
    let line = match fs::read_to_string(checksum(path)) {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("has no checksum")),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Some("has a damaged checksum")),
        Err(error) => return Err(io_error("reading a checkpoint", path)(error)),
    };
    let recorded = line.split_ascii_whitespace().next();
    match hash_file(path) {
        Ok(hash) if recorded == Some(hash.as_str()) => Ok(None),
        Ok(_) => Ok(Some("does not agree with its checksum")),
        Err(error) if is_missing(&error) => Ok(Some("has vanished")),
        Err(error) => Err(error),
    }
}

/// Steps are padded, so that a listing is in their order.
fn name(step: u64) -> String {
    format!("{PREFIX}{step:09}{SUFFIX}")
}

fn checksum(path: &Path) -> PathBuf {
    path.with_added_extension("b3")
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("removing an old checkpoint", path)(error))
        }
        _ => Ok(()),
    }
}
