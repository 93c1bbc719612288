//! What can be wrong with data.

use std::path::PathBuf;

/// A fault in the user's data, or in reaching it. Each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A folder or file that must exist does not.
    #[error("{what} not found; {remedy}: {}", path.display())]
    Missing {
        /// What was looked for.
        what: String,
        /// What to do.
        remedy: String,
        /// Where.
        path: PathBuf,
    },
    /// A data set's content breaks a rule.
    #[error("{problem}; {remedy}: {}", path.display())]
    Invalid {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
        /// Where.
        path: PathBuf,
    },
    /// Pictures that cannot be decoded, found before training starts.
    #[error(
        "{count} corrupt picture(s); mend or remove them, or set `on_corrupt: skip` (`--skip-corrupt` of `embed` and `rank`); first: {first}"
    )]
    Corrupt {
        /// How many.
        count: usize,
        /// Paths and reasons of the first ones.
        first: String,
    },
    /// A picture that was sound when the set was opened cannot be read now.
    #[error("picture changed or vanished during the run ({reason}); restore it and run again: {}", path.display())]
    Changed {
        /// What the decoder said.
        reason: String,
        /// Which.
        path: PathBuf,
    },
    /// A sampler needs more identities than the training split has.
    #[error(
        "{found} training identities with usable pictures, but a batch takes {needed}; take fewer identities a batch or more data"
    )]
    TooFewIdentities {
        /// How many there are.
        found: usize,
        /// How many a batch takes.
        needed: usize,
    },
    /// The operating system refused.
    #[error("{action}: {source}: {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
        /// Where.
        path: PathBuf,
    },
}

/// Result of anything that touches data.
pub type Result<T> = std::result::Result<T, DataError>;
