//! Litter that crashes leave behind.

use std::fs;
use std::time::{Duration, SystemTime};

use super::atomic::TEMPORARY_PREFIX;
use super::error::{Result, io_error};
use super::lease::State;
use super::stage::{Check, Found, look};
use super::{Store, stage_path};

/// Age from which a temporary file is litter; writing one takes seconds.
const LITTER_AFTER: Duration = Duration::from_hours(24);

impl Store {
    /// Removes abandoned leases and empty work folders of finished stages, and old temporary files.
    /// Unfinished work stays. Worth calling once at the start of a run; other processes may work on.
    ///
    /// # Errors
    /// When the leases cannot be read.
    pub fn tidy(&self) -> Result<()> {
        let failed = || io_error("reading the leases", &self.leases.folder);
        for entry in fs::read_dir(&self.leases.folder).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(TEMPORARY_PREFIX) {
                let written = entry.metadata().and_then(|metadata| metadata.modified());
                let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
                if age.is_some_and(|age| age > LITTER_AFTER) {
                    let _ = fs::remove_file(entry.path());
                }
            } else if let Some((key, generation)) = name.split_once('.')
                && let Ok(generation) = generation.parse()
            {
                self.tidy_lease(key, generation)?;
            }
        }
        Ok(())
    }

    /// Removes a lease that a crash between a stage's commit and its end has left.
    fn tidy_lease(&self, key: &str, generation: u32) -> Result<()> {
        let Some(path) = stage_path(&self.root, key) else { return Ok(()) };
        let finished = matches!(look(&path, key, Check::Sizes)?, Found::Sound(_));
        if finished && matches!(self.leases.state(key, generation)?, State::Abandoned(..)) {
            self.leases.remove(key, &[generation]);
            // Fails, as it should, if there is work in it.
            let _ = fs::remove_dir(self.root.join("partial").join(key));
        }
        Ok(())
    }
}
