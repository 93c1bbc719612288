//! Leases: who works on a stage, and whether he still lives.
//!
//! The leases of a stage are files `leases/<key>.<generation>`; the highest generation counts.
//! - Taking a stage, or taking it over, is one exclusive creation of the next generation: of any
//!   number of processes that see the same stale lease, one gets it. No file is ever replaced, so
//!   nobody can push a live lease away by acting late on what he saw earlier.
//! - The heartbeat is the file's time stamp, set through the holder's open file. A holder who wakes
//!   up late touches his own file, never his successor's.
//! - A lease that is given back has its time stamp at the epoch.
//! - Ages are differences between time stamps of the same file system, so that machines whose
//!   clocks differ may share a store.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use serde::{Deserialize, Serialize};

use super::atomic::{TEMPORARY_PREFIX, create_new};
use super::error::{Result, io_error, to_json};
use super::process::{attempt_id, is_alive, this_process};
use crate::log::now_utc;

/// Periods of the leases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Time between two heartbeats.
    pub heartbeat: Duration,
    /// Age of the last heartbeat from which a lease counts as abandoned.
    pub stale_after: Duration,
}

impl Default for Timing {
    /// A heartbeat every 5 s, abandoned after 60 s: twelve missed ones.
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(5), stale_after: Duration::from_mins(1) }
    }
}

/// Why a lease is free that its holder has not lost: nothing that anybody need worry about.
pub const GIVEN_BACK: &str = "it was given back";

/// Heartbeats that a lease of an earlier start of the same machine must have missed. One of a live
/// process would miss none; the rule only guards against two machines of the same name.
const MISSED_BEFORE_REBOOT: u32 = 3;

/// Content of a lease: who holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Name of the machine.
    pub host: String,
    /// Changes whenever that machine starts.
    pub boot_id: Option<String>,
    /// Namespace in which `pid` has a meaning.
    pub pid_namespace: Option<String>,
    /// Number of the process.
    pub pid: u32,
    /// Clock ticks from the machine's start to the process's.
    pub process_started: Option<u64>,
    /// Unique name of the attempt at the stage.
    pub attempt: String,
    /// When it was taken, UTC.
    pub taken_at: String,
}

impl LeaseInfo {
    /// A new attempt of this process.
    pub fn new_attempt() -> Self {
        let process = this_process();
        Self {
            host: process.host.clone(),
            boot_id: process.boot_id.clone(),
            pid_namespace: process.pid_namespace.clone(),
            pid: process.pid,
            process_started: process.started,
            attempt: attempt_id(),
            taken_at: now_utc(),
        }
    }

    /// Stands for the holder of a lease that cannot be read.
    fn unreadable() -> Self {
        Self {
            host: "an unknown machine".to_owned(),
            boot_id: None,
            pid_namespace: None,
            pid: 0,
            process_started: None,
            attempt: String::new(),
            taken_at: "an unknown time".to_owned(),
        }
    }

    /// Why a lease with a heartbeat of this age is abandoned; `None` if it is not.
    fn abandoned(&self, age: Duration, timing: Timing) -> Option<&'static str> {
        let here = this_process();
        if age >= timing.stale_after {
            return Some("its heartbeat stopped");
        }
        if self.host != here.host || self.boot_id.is_none() || here.boot_id.is_none() {
            return None;
        }
        if self.boot_id != here.boot_id {
            let missed = age >= timing.heartbeat * MISSED_BEFORE_REBOOT;
            return missed.then_some("its machine has started anew");
        }
        let same_numbers = self.pid_namespace.is_some() && self.pid_namespace == here.pid_namespace;
        (same_numbers && !is_alive(self.pid, self.process_started)).then_some("its process is gone")
    }
}

impl fmt::Display for LeaseInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {} since {}", self.pid, self.host, self.taken_at)
    }
}

/// State of one lease.
#[derive(Debug)]
pub(super) enum State {
    /// Its holder lives.
    Held(LeaseInfo),
    /// It may be taken over, for this reason.
    Abandoned(LeaseInfo, &'static str),
    /// The file has vanished since it was listed.
    Gone,
}

/// The folder of all leases.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    pub(super) folder: PathBuf,
    pub(super) timing: Timing,
}

impl Leases {
    /// Where a generation's lease is.
    pub(super) fn path(&self, key: &str, generation: u32) -> PathBuf {
        self.folder.join(format!("{key}.{generation}"))
    }

    /// Generations that exist, in ascending order.
    pub(super) fn generations(&self, key: &str) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        let failed = || io_error("reading the leases", &self.folder);
        for entry in fs::read_dir(&self.folder).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let generation =
                name.to_str().and_then(|name| name.strip_prefix(key)?.strip_prefix('.')?.parse::<u32>().ok());
            found.extend(generation);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whether a lease's holder lives.
    pub(super) fn state(&self, key: &str, generation: u32) -> Result<State> {
        self.state_at(key, generation, || self.now())
    }

    /// The same by a clock of the caller's: to ask that of the file system takes a file.
    pub(super) fn state_at(&self, key: &str, generation: u32, now: impl FnOnce() -> SystemTime) -> Result<State> {
        let path = self.path(key, generation);
        let (info, beat) = match read(&path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Gone),
            Err(error) => return Err(io_error("reading a lease", &path)(error)),
        };
        if beat <= SystemTime::UNIX_EPOCH {
            return Ok(State::Abandoned(info, GIVEN_BACK));
        }
        let age = now().duration_since(beat).unwrap_or_default();
        Ok(match info.abandoned(age, self.timing) {
            Some(reason) => State::Abandoned(info, reason),
            None => State::Held(info),
        })
    }

    /// Creates a generation; `None` if somebody else has it.
    pub(super) fn create(&self, key: &str, generation: u32, info: &LeaseInfo) -> Result<Option<File>> {
        let path = self.path(key, generation);
        create_new(&path, &to_json(info, &path)?)
    }

    /// Who has an attempt's lease instead of it; `None` while the attempt itself has it.
    pub(super) fn usurper(&self, key: &str, generation: u32, attempt: &str) -> Result<Option<LeaseInfo>> {
        for (at, ours) in [(generation, true), (generation + 1, false)] {
            let path = self.path(key, at);
            match read(&path) {
                Ok((info, _)) if ours && info.attempt == attempt => {}
                Ok((info, _)) => return Ok(Some(info)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !ours => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(LeaseInfo::unreadable())),
                Err(error) => return Err(io_error("reading a lease", &path)(error)),
            }
        }
        Ok(None)
    }

    /// Removes the given generations. Litter that stays is harmless, so failures are no errors.
    pub(super) fn remove(&self, key: &str, generations: &[u32]) {
        for &generation in generations {
            let _ = fs::remove_file(self.path(key, generation));
        }
    }

    /// This instant by the clock of the file system.
    fn now(&self) -> SystemTime {
        let probe = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.folder);
        let stamp = probe.and_then(|probe| probe.as_file().metadata()?.modified());
        stamp.unwrap_or_else(|_| SystemTime::now())
    }
}

/// Content and heartbeat of a lease. Both come from one open file: opening asks a network file
/// system for fresh attributes.
fn read(path: &Path) -> io::Result<(LeaseInfo, SystemTime)> {
    let mut file = File::open(path)?;
    let beat = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok((serde_json::from_slice(&text).unwrap_or_else(|_| LeaseInfo::unreadable()), beat))
}

/// Renews a lease until it is dropped, which gives the lease back.
#[derive(Debug)]
pub(super) struct Heartbeat {
    file: Arc<File>,
    lost: Arc<AtomicBool>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Takes charge of a lease that was just created.
    pub(super) fn start(leases: Leases, key: String, generation: u32, attempt: String, file: File) -> Result<Self> {
        let file = Arc::new(file);
        let lost = Arc::new(AtomicBool::new(false));
        let (stop, stopped) = mpsc::channel::<()>();
        let beat = {
            let (file, lost) = (Arc::clone(&file), Arc::clone(&lost));
            let folder = leases.folder.clone();
            let work = move || {
                while stopped.recv_timeout(leases.timing.heartbeat) == Err(RecvTimeoutError::Timeout) {
                    // A beat that fails needs no report here: others will see the lease go stale,
                    // and the commit finds out.
                    let _ = touch(&file);
                    if matches!(leases.usurper(&key, generation, &attempt), Ok(Some(_))) {
                        lost.store(true, Ordering::Relaxed);
                    }
                }
            };
            let named = thread::Builder::new().name("lease-heartbeat".to_owned());
            named.spawn(work).map_err(io_error("starting the heartbeat of a lease", &folder))?
        };
        Ok(Self { file, lost, stop: Some(stop), thread: Some(beat) })
    }

    /// Whether another process has been seen to have taken the lease over.
    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // Should this fail, the lease goes stale by itself.
        let _ = self.file.set_modified(SystemTime::UNIX_EPOCH);
    }
}

/// Sets a file's time stamp to the file system's present.
fn touch(file: &File) -> io::Result<()> {
    let now = || Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(futimens(file, &Timestamps { last_access: now(), last_modification: now() })?)
}
