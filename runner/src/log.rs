//! Event logs: one JSON object per line, flushed line by line.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::{StoreError, io_error};

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Detail for those who look for a fault.
    Debug,
    /// Normal course.
    Info,
    /// Something the user should know.
    Warn,
    /// Something failed.
    Error,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// UTC, with microseconds.
    pub at: String,
    /// How grave it is.
    pub level: Level,
    /// Label of the stage it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Optimizer steps done when it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What happened.
    pub message: String,
}

/// A log file. Clones write to the same file; a clone may carry a stage's label.
///
/// A log never stops the work it tells of: a line that cannot be written is dropped, and
/// [`EventLog::trouble`] says so at the end.
#[derive(Clone, Debug)]
pub struct EventLog {
    file: Arc<Mutex<LogFile>>,
    stage: Option<String>,
}

#[derive(Debug)]
struct LogFile {
    file: File,
    path: PathBuf,
    trouble: Option<String>,
}

impl EventLog {
    /// Opens `<folder>/<name>.jsonl` for appending, and makes the folder where it is missing.
    /// Characters of `name` other than letters, digits, `-`, `_` and `.` become `-`.
    ///
    /// # Errors
    /// When the folder or the file cannot be made.
    pub fn open(folder: &Path, name: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(io_error("making the folder of the logs", folder))?;
        let path = path_of(folder, name);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(io_error("opening the log", &path))?;
        Ok(Self { file: Arc::new(Mutex::new(LogFile { file, path, trouble: None })), stage: None })
    }

    /// The same log, whose events carry a stage's label.
    #[must_use]
    pub fn for_stage(&self, label: &str) -> Self {
        Self { file: Arc::clone(&self.file), stage: Some(label.to_owned()) }
    }

    /// Writes one event.
    pub fn event(&self, level: Level, step: Option<u64>, message: &str) {
        let event = Event { at: now_utc(), level, stage: self.stage.clone(), step, message: message.to_owned() };
        let mut log = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // The line goes out in one write, so that several processes may share a log.
        let written = serde_json::to_string(&event)
            .map_err(std::io::Error::from)
            .and_then(|line| log.file.write_all(format!("{line}\n").as_bytes()));
        if let Err(error) = written {
            let path = log.path.display().to_string();
            log.trouble.get_or_insert_with(|| format!("the log is incomplete ({error}): {path}"));
        }
    }

    /// Writes an event of the normal course.
    pub fn info(&self, message: &str) {
        self.event(Level::Info, None, message);
    }

    /// Writes a warning.
    pub fn warn(&self, message: &str) {
        self.event(Level::Warn, None, message);
    }

    /// Writes an error.
    pub fn error(&self, message: &str) {
        self.event(Level::Error, None, message);
    }

    /// Where the log is.
    pub fn path(&self) -> PathBuf {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).path.clone()
    }

    /// Why lines are missing, if any are.
    pub fn trouble(&self) -> Option<String> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }
}

/// Where the log of that name is.
pub(crate) fn path_of(folder: &Path, name: &str) -> PathBuf {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    folder.join(format!("{}.jsonl", name.chars().map(keep).collect::<String>()))
}

/// This instant as `2026-01-31T12:00:00.000001Z`.
pub fn now_utc() -> String {
    format!("{:.6}", Timestamp::now())
}
