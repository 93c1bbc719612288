//! Removing what is no longer needed, beside processes that work on.
//!
//! What is removed first goes to `quarantine/`, in one rename under the lease of its stage. So nobody sees half of it,
//! nobody begins to work on the stage meanwhile, and what a crash leaves behind is found there the next time. A process
//! that has found a finished stage before may still want to read it: whether one does is for the caller to know.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::error::{Result, io_error};
use super::inventory::extent;
use super::lease::{LeaseInfo, State};
use super::{Store, stage_path};

/// The lease of a stage that is taken to remove something. Dropping it removes the stage's leases.
struct Seized<'a> {
    store: &'a Store,
    hex: String,
    generations: Vec<u32>,
    info: LeaseInfo,
}

impl Drop for Seized<'_> {
    fn drop(&mut self) {
        self.store.leases.remove(&self.hex, &self.generations);
    }
}

impl Store {
    /// Removes a finished stage, and says whether it did: not if somebody works on it, or has removed it.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn remove_stage(&self, hex: &str) -> Result<bool> {
        let Some(place) = stage_path(&self.root, hex) else { return Ok(false) };
        let Some(seized) = self.seize(hex)? else { return Ok(false) };
        self.take_away(&place, seized)
    }

    /// Removes unfinished work on a stage, and says whether it did: not if somebody is at it, or has been since
    /// `written`.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn remove_unfinished(&self, hex: &str, written: SystemTime) -> Result<bool> {
        let Some(seized) = self.seize(hex)? else { return Ok(false) };
        let place = self.root.join("partial").join(hex);
        if extent(&place).written > written {
            return Ok(false);
        }
        self.take_away(&place, seized)
    }

    /// Removes the leases of a stage, and says whether it did: not if somebody holds one.
    ///
    /// # Errors
    /// When the leases cannot be read or written.
    pub fn remove_leases(&self, hex: &str) -> Result<bool> {
        Ok(self.seize(hex)?.is_some())
    }

    /// Removes something that was moved aside before.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn remove_quarantined(&self, path: &Path) -> Result<()> {
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("removing what is not needed", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Moves a folder aside, gives the lease back, and removes the folder.
    fn take_away(&self, place: &Path, seized: Seized<'_>) -> Result<bool> {
        let aside = self.root.join("quarantine").join(format!("{}-{}", seized.hex, seized.info.attempt));
        match fs::rename(place, &aside) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io_error("moving aside what is not needed", place)(error)),
        }
        drop(seized);
        self.remove_quarantined(&aside)?;
        Ok(true)
    }

    /// Takes the lease of a stage as a claim does, by the exclusive creation of the next generation; `None` if somebody
    /// holds it, or is as fast.
    fn seize(&self, hex: &str) -> Result<Option<Seized<'_>>> {
        let mut generations = self.leases.generations(hex)?;
        let mut next = 1;
        if let Some(&latest) = generations.last() {
            match self.leases.state(hex, latest)? {
                State::Abandoned(..) => next = latest.saturating_add(1),
                State::Held(_) | State::Gone => return Ok(None),
            }
        }
        let info = LeaseInfo::new_attempt();
        if self.leases.create(hex, next, &info)?.is_none() {
            return Ok(None);
        }
        generations.push(next);
        // What was seen may be old by now: somebody may have taken the stage, and ended with it, in between.
        if self.leases.generations(hex)? != generations {
            self.leases.remove(hex, &[next]);
            return Ok(None);
        }
        Ok(Some(Seized { store: self, hex: hex.to_owned(), generations, info }))
    }
}
