//! The store: stages named by what determines them, computed once by whoever claims them first.
//!
//! ```text
//! store.json            schema version and who made the store; never rewritten
//! stages/ab/<key>/      finished stages: artefacts and key.json
//! partial/<key>/<attempt>/  work in progress with its checkpoints; survives crashes
//! leases/<key>.<n>      who works on a stage
//! quarantine/           damaged stages, moved aside
//! results/              rows of the runs; written by the crate `results`
//! logs/                 one event log per process
//! ```
//!
//! Invariants: a folder under `stages` is complete from the instant it exists (it is renamed there
//! after everything in it was flushed); one process at a time works on a stage; a folder under
//! `partial` belongs to the attempt whose name it bears, and taking a stage over renames it, so
//! that a predecessor who wakes up late can write neither there nor into the finished stage.

pub mod atomic;
pub mod checkpoints;
mod claim;
mod error;
mod garbage;
mod inventory;
mod key;
mod lease;
pub(crate) mod process;
mod stage;
mod tidy;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use claim::{Claim, Lease, Waiting};
pub use error::{Result, StoreError, io_error};
pub use inventory::{Extent, Shelved, StandingLease, Unfinished, extent};
pub use key::StageKey;
pub use lease::{GIVEN_BACK, LeaseInfo, Timing};
pub use stage::{Artefact, Check, StageDir, StageManifest};

use crate::log::now_utc;
use lease::Leases;
use stage::Found;

/// Version of the store's layout. Raised when an older program could no longer use the store.
pub const SCHEMA_VERSION: u32 = 1;

/// Folders that can be computed again, and so need neither backup nor version control.
const CACHE_FOLDERS: [&str; 4] = ["stages", "partial", "leases", "quarantine"];

/// Folders to keep.
const KEPT_FOLDERS: [&str; 2] = ["results", "logs"];

/// The text that backup programs look for (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder holds results of reid-run that can be computed again.\n";

/// The store's own ignore file for git.
const GITIGNORE: &str = "# Everything here can be computed again.\n*\n";

/// Content of `store.json`.
#[derive(Debug, Serialize, Deserialize)]
struct StoreFile {
    schema_version: u32,
    program_version: String,
    created: String,
}

/// A store on disk. Clones are the same store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    leases: Leases,
}

impl Store {
    /// Opens the store in a folder, and makes whatever of it is missing. Nothing is written where
    /// nothing is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or a newer program has made the store.
    pub fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(io_error("making the store", root))?;
        let path = root.join("store.json");
        let is_new = !read_store_file(&path)?;
        if is_new {
            let file = StoreFile {
                schema_version: SCHEMA_VERSION,
                program_version: env!("CARGO_PKG_VERSION").to_owned(),
                created: now_utc(),
            };
            match atomic::create_new(&path, &error::to_json(&file, &path)?)? {
                Some(file) => file.sync_all().map_err(io_error("flushing a file to disk", &path))?,
                // Another process was faster, perhaps one of another version.
                None => _ = read_store_file(&path)?,
            }
        }
        for name in CACHE_FOLDERS.into_iter().chain(KEPT_FOLDERS) {
            atomic::make_dir(&root.join(name))?;
        }
        for name in CACHE_FOLDERS {
            for (file, text) in [("CACHEDIR.TAG", CACHEDIR_TAG), (".gitignore", GITIGNORE)] {
                let path = root.join(name).join(file);
                if !path.exists() {
                    atomic::create_new(&path, text.as_bytes())?;
                }
            }
        }
        if is_new {
            atomic::sync_dir(root)?;
        }
        Ok(Self::at(root))
    }

    /// Opens a store to read from it, and writes nothing; `None` where there is none.
    ///
    /// # Errors
    /// When the folder cannot be read, or a newer program has made the store.
    pub fn open_existing(root: &Path) -> Result<Option<Self>> {
        Ok(read_store_file(&root.join("store.json"))?.then(|| Self::at(root)))
    }

    /// The same store with other periods of the leases, for tests.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.leases.timing = timing;
        self
    }

    /// Fails early, before hours of work, where nothing can be written.
    ///
    /// # Errors
    /// When a file cannot be created in the store.
    pub fn ensure_writable(&self) -> Result<()> {
        let folder = self.root.join("partial");
        let probe = tempfile::Builder::new().prefix(atomic::TEMPORARY_PREFIX).tempfile_in(&folder);
        probe.and_then(tempfile::NamedTempFile::close).map_err(io_error("writing to the store", &folder))
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the runs' rows.
    pub fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// Folder of the event logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The finished stage of a key, if there is a sound one. Changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn stage(&self, key: &StageKey) -> Result<Option<StageDir>> {
        Ok(match stage::look(&self.stage_path(key), key.hex(), Check::Sizes)? {
            Found::Sound(stage) => Some(*stage),
            Found::Absent | Found::Damaged(_) => None,
        })
    }

    /// The finished stage that a result row names by its key's digits. Changes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn recorded(&self, hex: &str) -> Result<Option<StageDir>> {
        // A row may come from anywhere; a key is digits and no path.
        let is_key = hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        let Some(path) = stage_path(&self.root, hex).filter(|_| is_key) else { return Ok(None) };
        Ok(match stage::look(&path, hex, Check::Contents)? {
            Found::Sound(stage) => Some(*stage),
            Found::Absent | Found::Damaged(_) => None,
        })
    }

    /// Whether there is unfinished work on a stage that the next claim would go on with.
    pub fn is_begun(&self, key: &StageKey) -> bool {
        fs::read_dir(self.partial_home(key)).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Folder of the latest attempt at an unfinished stage, to which a process may be writing at this moment; `None` if
    /// nobody has begun it. Changes nothing.
    pub fn attempt(&self, key: &StageKey) -> Option<PathBuf> {
        // Names of attempts sort by time.
        fs::read_dir(self.partial_home(key)).ok()?.filter_map(|entry| Some(entry.ok()?.path())).max()
    }

    /// Where the lease of a generation is.
    pub fn lease_path(&self, key: &StageKey, generation: u32) -> PathBuf {
        self.leases.path(key.hex(), generation)
    }

    fn at(root: &Path) -> Self {
        // Absolute, so that a change of the working directory does not move the store.
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let leases = Leases { folder: root.join("leases"), timing: Timing::default() };
        Self { root, leases }
    }

    fn stage_path(&self, key: &StageKey) -> PathBuf {
        stage_path(&self.root, key.hex()).expect("a key has 64 digits")
    }

    fn partial_home(&self, key: &StageKey) -> PathBuf {
        self.root.join("partial").join(key.hex())
    }
}

/// Where a stage belongs; `None` if that cannot be the name of one.
fn stage_path(root: &Path, hex: &str) -> Option<PathBuf> {
    Some(root.join("stages").join(hex.get(..2)?).join(hex))
}

/// Checks `store.json`; `false` if there is none.
fn read_store_file(path: &Path) -> Result<bool> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("reading the store", path)(error)),
    };
    let file: StoreFile = serde_json::from_slice(&text).map_err(|error| StoreError::Invalid {
        problem: format!("this is not a store's description ({error})"),
        remedy: "restore it from a backup, or choose another store with `--out`",
        path: path.to_owned(),
    })?;
    if file.schema_version > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            found: file.schema_version,
            known: SCHEMA_VERSION,
            written_by: file.program_version,
            path: path.to_owned(),
        });
    }
    Ok(true)
}
