//! What can be wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A fault of the store, or in reaching it. Each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{action}: {source}; {}: {}", remedy(source), path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
        /// Where.
        path: PathBuf,
    },
    /// A newer program has written the store.
    #[error(
        "the store has schema {found}, written by version {written_by}, and this program knows schema {known} at most; \
         use that version or a newer one, or another store with `--out`: {}",
        path.display()
    )]
    Newer {
        /// The store's schema version.
        found: u32,
        /// The newest schema version that this program knows.
        known: u32,
        /// Version of the program that made it.
        written_by: String,
        /// Where.
        path: PathBuf,
    },
    /// Something in the store breaks its rules.
    #[error("{problem}; {remedy}: {}", path.display())]
    Invalid {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Another process has taken the stage over, so this one may no longer commit it.
    #[error(
        "stage {stage} was taken over by {by}, since this process had shown no sign of life; run the same command again \
         to use what is finished there: {}",
        path.display()
    )]
    LeaseLost {
        /// Short key of the stage.
        stage: String,
        /// Who has it now.
        by: String,
        /// The lease.
        path: PathBuf,
    },
}

/// Result of anything that touches the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Turns the system's answer into an error that names the attempt and the place.
pub fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { action, source, path }
}

/// A description as JSON that people can read.
pub(super) fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(io::Error::from).map_err(io_error("describing for a file", path))
}

/// What the user can do about an answer of the operating system.
fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => "free some space and run the same command again, finished stages are kept",
        PermissionDenied | ReadOnlyFilesystem => "make the folder writable, or choose another with `--out`",
        NotADirectory | AlreadyExists => {
            "a file stands where a folder is needed; move it, or choose another with `--out`"
        }
        _ => "run the same command again once the cause is mended, finished stages are kept",
    }
}
