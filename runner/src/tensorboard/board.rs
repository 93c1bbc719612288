//! Curves of trainings under way: a folder for each stage, with one event file that grows.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::event::Event;
use super::{Scalar, elsewhere, file_name, push, push_points, remove, safe};
use crate::progress::Progress;
use crate::store::process::host_name;
use crate::store::{Lease, Result, StoreError, io_error};

/// What to do where curves cannot be written. It is no reason to stop a training.
const REMEDY: &str = "no curve is drawn there, all else goes on; choose another folder with `--tensorboard`";

/// The folder that `--tensorboard` names.
pub struct Board {
    folder: PathBuf,
    progress: Progress,
    /// Whether the user has been told that something cannot be written.
    told: AtomicBool,
}

impl Board {
    /// Curves below a folder, which is made when the first of them begins.
    pub fn new(folder: &Path, progress: &Progress) -> Self {
        Self { folder: folder.to_owned(), progress: progress.clone(), told: AtomicBool::new(false) }
    }

    /// Begins the curves of a stage with what is known of them: all up to the checkpoint that the attempt starts from.
    /// The new file takes the place of those of earlier attempts, which may know steps that are done once more.
    pub(crate) fn begin(&self, label: &str, lease: &Lease, known: &[Scalar]) -> Curves<'_> {
        let file = self.begun(label, lease, known);
        Curves { board: self, file: file.map_err(|error| self.tell(error)).ok() }
    }

    fn begun(&self, label: &str, lease: &Lease, known: &[Scalar]) -> Result<(File, PathBuf)> {
        let folder = self.folder.join(safe(label));
        fs::create_dir_all(&folder).map_err(io_error("making a folder of event files", &folder))?;
        // Another spec may have a stage of that label, whose files are not ours to remove.
        let stage = lease.key().short();
        remove(&folder, stage, None)?;
        let now = Timestamp::now().as_microsecond();
        let mut bytes = Vec::new();
        push(&mut bytes, &Event::version(now));
        // For a reader that has seen a file of an earlier attempt.
        push(&mut bytes, &Event::restart(now));
        push_points(&mut bytes, known);
        // Attempts' names sort by time, so readers take the file for the latest also within a second.
        let path = folder.join(file_name(now, &host_name(), &format!("{}.{stage}", lease.info().attempt)));
        let file = File::create(&path).and_then(|mut file| file.write_all(&bytes).map(|()| file));
        Ok((file.map_err(io_error("writing an event file", &path))?, path))
    }

    /// Tells the user once.
    fn tell(&self, error: StoreError) {
        if !self.told.swap(true, Ordering::Relaxed) {
            self.progress.warn(elsewhere(error, REMEDY));
        }
    }
}

/// The curves of one stage.
pub(crate) struct Curves<'a> {
    board: &'a Board,
    /// Its file; none once something could not be written.
    file: Option<(File, PathBuf)>,
}

impl Curves<'_> {
    /// Adds points.
    pub(crate) fn append(&mut self, scalars: &[Scalar]) {
        let Some((file, path)) = &mut self.file else { return };
        let mut bytes = Vec::new();
        push_points(&mut bytes, scalars);
        if let Err(error) = file.write_all(&bytes) {
            self.board.tell(io_error("writing an event file", path)(error));
            // What follows half a record cannot be read.
            self.file = None;
        }
    }
}
