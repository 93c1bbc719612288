//! Claiming a stage, working on it, and committing it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::atomic::{is_missing, make_dir, sync_dir, write_atomic};
use super::error::{Result, StoreError, io_error, to_json};
use super::lease::{Heartbeat, LeaseInfo, State};
use super::stage::{Check, Found, KEY_FILE, StageDir, StageFile, StageManifest, is_artefact_name, look, seal};
use super::{SCHEMA_VERSION, StageKey, Store};
use crate::log::now_utc;

/// Answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The stage is finished.
    Done(StageDir),
    /// The stage is the caller's to compute.
    Mine(Lease),
    /// Another process, or another thread of this one, is computing it.
    Busy(LeaseInfo),
}

/// Rounds in which a claim may find that everything changed under its eyes. Each round somebody
/// else makes progress, so that a second one is rare.
const ROUNDS: u32 = 32;

impl Store {
    /// Claims a stage.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn claim(&self, key: &StageKey) -> Result<Claim> {
        self.claim_checked(key, Check::Sizes)
    }

    /// Claims a stage; a finished one is looked at as closely as asked. A damaged one is moved to
    /// `quarantine/`, and the caller gets the lease to compute it again ([`Lease::notices`]).
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn claim_checked(&self, key: &StageKey, check: Check) -> Result<Claim> {
        self.claim_wanted(key, Wanted { check, files: &[] })
    }

    /// Claims a stage that must have these files. A finished one that lacks some stays as it is, and the caller
    /// gets the lease to compute it again; the commit then adds what it lacks.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn claim_with(&self, key: &StageKey, files: &[String]) -> Result<Claim> {
        self.claim_wanted(key, Wanted { check: Check::Sizes, files })
    }

    fn claim_wanted(&self, key: &StageKey, wanted: Wanted) -> Result<Claim> {
        for _ in 0..ROUNDS {
            if let Found::Sound(stage) = look(&self.stage_path(key), key.hex(), wanted.check)?
                && stage.has(wanted.files)
            {
                return Ok(Claim::Done(*stage));
            }
            let seen = self.leases.generations(key.hex())?;
            let mut notices = Vec::new();
            if let Some(&latest) = seen.last() {
                match self.leases.state(key.hex(), latest)? {
                    State::Held(info) => return Ok(Claim::Busy(info)),
                    State::Gone => continue,
                    State::Abandoned(info, why) => {
                        notices.push(format!("stage {} taken over from {info}: {why}", key.short()));
                    }
                }
            }
            if let Some(claim) = self.take(key, wanted, &seen, notices)? {
                return Ok(claim);
            }
        }
        Err(StoreError::Invalid {
            problem: format!("stage {} changed hands {ROUNDS} times during one claim", key.short()),
            remedy: "run the same command again",
            path: self.leases.folder.clone(),
        })
    }

    /// Claims a stage that others may be computing, and looks again until it is free or finished.
    /// `None` if it is still busy when `waiting` says to stop.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn wait_or_skip(&self, key: &StageKey, waiting: Waiting<'_>) -> Result<Option<Claim>> {
        self.wait_or_skip_with(key, &[], waiting)
    }

    /// [`Self::wait_or_skip`] for a stage that must have these files, as in [`Self::claim_with`].
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn wait_or_skip_with(&self, key: &StageKey, files: &[String], waiting: Waiting<'_>) -> Result<Option<Claim>> {
        /// How often a request to stop is looked at.
        const NAP: Duration = Duration::from_millis(50);
        let Waiting { poll, patience, stop, on_holder } = waiting;
        let begun = Instant::now();
        let mut told = None;
        loop {
            let holder = match self.claim_with(key, files)? {
                Claim::Busy(holder) => holder,
                claim => return Ok(Some(claim)),
            };
            if told.as_ref() != Some(&holder) {
                on_holder(&holder);
                told = Some(holder);
            }
            let looked = Instant::now();
            while looked.elapsed() < poll {
                if stop() {
                    return Ok(None);
                }
                thread::sleep(NAP.min(poll));
            }
            if patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Ok(None);
            }
        }
    }

    /// Tries to create the lease after those that were `seen`; `None` if the world has changed.
    fn take(&self, key: &StageKey, wanted: Wanted, seen: &[u32], notices: Vec<String>) -> Result<Option<Claim>> {
        let generation = seen.last().map_or(1, |latest| latest.saturating_add(1));
        let info = LeaseInfo::new_attempt();
        let Some(file) = self.leases.create(key.hex(), generation, &info)? else { return Ok(None) };
        let heart =
            Heartbeat::start(self.leases.clone(), key.hex().to_owned(), generation, info.attempt.clone(), file)?;
        let dir = self.partial_home(key).join(&info.attempt);
        let mut lease =
            Lease { store: self.clone(), key: key.clone(), info, generation, dir, resumed: false, notices, heart };

        // What was seen may be old by now: the stage may have been finished, and its leases removed,
        // in between. From here on nobody else can do that.
        match look(&self.stage_path(key), key.hex(), wanted.check)? {
            Found::Sound(stage) if stage.has(wanted.files) => {
                self.leases.remove(key.hex(), &[generation]);
                return Ok(Some(Claim::Done(*stage)));
            }
            Found::Damaged(why) => {
                let aside = self.quarantine(key, &lease.info.attempt)?;
                lease.notices.push(format!(
                    "stage {} is damaged ({why}) and is computed again; moved aside: {}",
                    key.short(),
                    aside.display()
                ));
            }
            Found::Absent | Found::Sound(_) => {}
        }
        let now = self.leases.generations(key.hex())?;
        if now.strip_suffix(&[generation]) != Some(seen) {
            return Ok(None);
        }
        lease.adopt()?;
        self.leases.remove(key.hex(), seen);
        Ok(Some(Claim::Mine(lease)))
    }

    /// Moves a finished stage out of the way, to be computed again.
    ///
    /// # Errors
    /// When the folder cannot be moved.
    pub fn retire(&self, stage: &StageKey) -> Result<()> {
        self.quarantine(stage, &LeaseInfo::new_attempt().attempt).map(drop)
    }

    /// Moves a damaged stage out of the way.
    fn quarantine(&self, key: &StageKey, attempt: &str) -> Result<PathBuf> {
        let (from, to) = (self.stage_path(key), self.root.join("quarantine").join(format!("{key}-{attempt}")));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("moving a damaged stage aside", &from)(error))
            }
            _ => Ok(to),
        }
    }
}

/// What a finished stage must be to be done.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    check: Check,
    files: &'a [String],
}

/// How to wait for a stage that others compute.
pub struct Waiting<'a> {
    /// Time between two looks.
    pub poll: Duration,
    /// When to give up; `None` waits for as long as it takes.
    pub patience: Option<Duration>,
    /// Whether to stop now, such as [`crate::signals::Interrupt::requested`].
    pub stop: &'a dyn Fn() -> bool,
    /// Told once of each holder that is waited for.
    pub on_holder: &'a mut dyn FnMut(&LeaseInfo),
}

/// The right, and the duty, to compute a stage. Dropping it gives the stage back; what is in
/// [`Lease::dir`] stays for the next attempt.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    key: StageKey,
    info: LeaseInfo,
    generation: u32,
    dir: PathBuf,
    resumed: bool,
    notices: Vec<String>,
    heart: Heartbeat,
}

impl Lease {
    /// Folder for the work in progress: checkpoints, and the artefacts that will be committed.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The stage's key.
    pub fn key(&self) -> &StageKey {
        &self.key
    }

    /// Who holds the lease: this attempt.
    pub fn info(&self) -> &LeaseInfo {
        &self.info
    }

    /// Whether an earlier attempt has left work in [`Lease::dir`].
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// What the user should know of how the lease came about: whom it was taken from, what was
    /// damaged.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Throws the earlier attempts' work away, such as that of another device class.
    ///
    /// # Errors
    /// When the folder cannot be emptied.
    pub fn reset(&mut self) -> Result<()> {
        self.ensure_held()?;
        fs::remove_dir_all(&self.dir).map_err(io_error("emptying the folder of an unfinished stage", &self.dir))?;
        make_dir(&self.dir)?;
        self.resumed = false;
        Ok(())
    }

    /// Checks that no other process has taken the stage over.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] if one has.
    pub fn ensure_held(&self) -> Result<()> {
        let usurper = self.store.leases.usurper(self.key.hex(), self.generation, &self.info.attempt)?;
        match usurper {
            None if !self.heart.lost() => Ok(()),
            usurper => Err(self.lost_to(usurper.as_ref())),
        }
    }

    /// Explains an error that work in [`Lease::dir`] met: if the stage was taken over meanwhile, the
    /// folder has moved, and that is the reason to report.
    pub fn explain(&self, error: StoreError) -> StoreError {
        match self.ensure_held() {
            Err(lost @ StoreError::LeaseLost { .. }) => lost,
            _ => error,
        }
    }

    /// Finishes the stage: flushes the named artefacts, writes `key.json`, removes everything else
    /// from the folder and renames it to its place. If the stage is there already, that one is kept
    /// and returned; artefacts that it lacks are added to it.
    ///
    /// # Errors
    /// When an artefact is missing, the lease was lost, or the disk refuses. The work stays in place
    /// then, and the stage is given back.
    ///
    /// # Panics
    /// When an artefact's name is not that of a plain, visible file, or the seconds are not finite.
    pub fn commit(self, manifest: &StageManifest, artefacts: &[&str]) -> Result<StageDir> {
        self.ensure_held()?;
        let file = self.sealed(manifest, artefacts).map_err(|error| self.explain(error))?;
        let key_path = self.dir.join(KEY_FILE);
        self.clear_all_but(artefacts)
            .and_then(|()| write_atomic(&key_path, &to_json(&file, &key_path)?))
            .map_err(|error| self.explain(error))?;
        self.ensure_held()?;
        self.publish(&file)?;

        let place = self.store.stage_path(&self.key);
        match look(&place, self.key.hex(), Check::Sizes)? {
            Found::Sound(stage) => {
                // The stage speaks for itself from now on; what is left behind is litter.
                let _ = fs::remove_dir_all(self.store.partial_home(&self.key));
                let generations = self.store.leases.generations(self.key.hex())?;
                self.store.leases.remove(self.key.hex(), &generations);
                Ok(*stage)
            }
            Found::Absent | Found::Damaged(_) => Err(StoreError::Invalid {
                problem: format!("stage {} vanished while it was committed", self.key.short()),
                remedy: "see that nothing else changes the store, and run the same command again",
                path: place,
            }),
        }
    }

    /// Makes the folder of this attempt, or takes the latest attempt's over by renaming it.
    fn adopt(&mut self) -> Result<()> {
        let home = self.store.partial_home(&self.key);
        make_dir(&home)?;
        let failed = || io_error("reading the folder of an unfinished stage", &home);
        let mut earlier = Vec::new();
        for entry in fs::read_dir(&home).map_err(failed())? {
            earlier.push(entry.map_err(failed())?.path());
        }
        // Names of attempts sort by time.
        earlier.sort_unstable();
        match earlier.pop() {
            Some(latest) => {
                fs::rename(&latest, &self.dir).map_err(io_error("taking over an unfinished stage", &latest))?;
                self.resumed = true;
            }
            None => make_dir(&self.dir)?,
        }
        for old in earlier {
            let _ = fs::remove_dir_all(old);
        }
        Ok(())
    }

    /// Flushes the artefacts and describes them.
    fn sealed(&self, manifest: &StageManifest, artefacts: &[&str]) -> Result<StageFile> {
        assert!(manifest.seconds.is_finite(), "a stage took {} seconds", manifest.seconds);
        let mut sealed = BTreeMap::new();
        for &name in artefacts {
            assert!(is_artefact_name(name), "`{name}` is not a plain file name");
            sealed.insert(name.to_owned(), seal(&self.dir.join(name))?);
        }
        Ok(StageFile {
            schema_version: SCHEMA_VERSION,
            key: self.key.hex().to_owned(),
            attempt: self.info.attempt.clone(),
            committed: now_utc(),
            manifest: manifest.clone(),
            artefacts: sealed,
            science: self.key.science().clone(),
        })
    }

    /// Removes checkpoints and litter.
    fn clear_all_but(&self, artefacts: &[&str]) -> Result<()> {
        let failed = || io_error("tidying a finished stage", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let path = entry.path();
            if entry.file_name().to_str().is_some_and(|name| artefacts.contains(&name)) {
                continue;
            }
            let is_dir = entry.file_type().map_err(failed())?.is_dir();
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(failed())?;
        }
        Ok(())
    }

    /// Renames the folder of the attempt to the stage's place.
    fn publish(&self, file: &StageFile) -> Result<()> {
        let place = self.store.stage_path(&self.key);
        let shelf = place.parent().expect("a stage's path has a parent");
        if !shelf.is_dir() {
            make_dir(shelf)?;
            sync_dir(&self.store.root.join("stages"))?;
        }
        match fs::rename(&self.dir, &place) {
            Ok(()) => {}
            // A rename cannot replace a folder that is not empty. Equal keys mean equal results, so a
            // sound stage stays; a damaged one makes way.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                if let Found::Sound(stage) = look(&place, self.key.hex(), Check::Sizes)? {
                    return stage.add(&self.dir, file);
                }
                self.store.quarantine(&self.key, &self.info.attempt)?;
                fs::rename(&self.dir, &place).map_err(io_error("committing a stage", &place))?;
            }
            Err(error) => {
                let error = io_error("committing a stage", &self.dir)(error);
                return Err(if is_missing(&error) { self.lost_to(None) } else { error });
            }
        }
        sync_dir(shelf)
    }

    fn lost_to(&self, usurper: Option<&LeaseInfo>) -> StoreError {
        StoreError::LeaseLost {
            stage: self.key.short().to_owned(),
            by: usurper.map_or_else(|| "another process".to_owned(), ToString::to_string),
            path: self.store.leases.path(self.key.hex(), self.generation),
        }
    }
}
