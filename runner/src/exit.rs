//! Exit codes, and the errors that lead to them.

use std::process::ExitCode as ProcessExitCode;

use reid_data::error::DataError;

use reid_results::ResultsError;

use crate::store::StoreError;

/// Every exit code of the program. The list is the documentation; nothing else calls `exit`.
///
/// 101 (a Rust panic) and 126 to 128 (the shell's own) are never used on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitCode {
    /// All selected work is done.
    Done,
    /// An error that the program did not foresee.
    Unexpected,
    /// The command line is wrong (clap's own code).
    Usage,
    /// The spec is invalid.
    Spec,
    /// Nothing was selected.
    NothingSelected,
    /// The data is invalid.
    Data,
    /// The store cannot be used: not writable, full, locked by others, or of a newer version.
    Store,
    /// Stopped early and resumable (`EX_TEMPFAIL`): a job script requeues on it.
    Interrupted,
    /// Some runs failed; they and all others are recorded.
    SomeFailed,
    /// Stopped at once by a second Ctrl-C.
    Killed,
}

impl ExitCode {
    /// Every code, in ascending order.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Unexpected,
        Self::Usage,
        Self::Spec,
        Self::NothingSelected,
        Self::Data,
        Self::Store,
        Self::Interrupted,
        Self::SomeFailed,
        Self::Killed,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unexpected => 1,
            Self::Usage => 2,
            Self::Spec => 3,
            Self::NothingSelected => 4,
            Self::Data => 5,
            Self::Store => 6,
            Self::Interrupted => 75,
            Self::SomeFailed => 100,
            Self::Killed => 130,
        }
    }

    /// One line for `--help`.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Done => "all selected work is done",
            Self::Unexpected => "unexpected error",
            Self::Usage => "bad usage",
            Self::Spec => "the spec is invalid",
            Self::NothingSelected => "nothing was selected",
            Self::Data => "the data is invalid",
            Self::Store => "the store is not writable, full, locked, or of a newer version",
            Self::Interrupted => "stopped early; the same command resumes",
            Self::SomeFailed => "some runs failed, the others are recorded",
            Self::Killed => "stopped at once by a second Ctrl-C",
        }
    }
}

impl From<ExitCode> for ProcessExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}

/// Why a command did not do all that was asked. [`RunError::exit_code`] gives each its code.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The command line asks for something that does not exist or does not fit together.
    #[error("{0}")]
    Usage(String),
    /// The spec is invalid; the text is the rendered list of its mistakes.
    #[error("{0}")]
    Spec(String),
    /// A selection left nothing to do.
    #[error("{0}")]
    NothingSelected(String),
    /// The data is invalid or unreachable.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Weights from a file cannot be read, do not fit, or have changed.
    #[error("{0}")]
    Weights(String),
    /// `data verify` found what makes results wrong.
    #[error("the data have {}: see above, and mend the copy", kinds(*.0))]
    Unsound(usize),
    /// The built-in data break rules of their audit.
    #[error("the data break {} of the audit: see VIOLATED above, and take more identities or the shipped sizes", rules(*.0))]
    Audit(usize),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Results cannot be written, read or tabulated.
    #[error(transparent)]
    Results(#[from] ResultsError),
    /// A signal stopped the work; a training has left a checkpoint.
    #[error("stopped by {cause}; what was done is kept, run the same command again to resume")]
    Interrupted {
        /// The signal's name.
        cause: &'static str,
    },
    /// Some runs failed and are recorded as failed.
    #[error("{failed} of {total} runs failed; {}", retry(*failed, *given_up))]
    SomeFailed {
        /// Runs that failed.
        failed: usize,
        /// Those of them that have been tried often enough.
        given_up: usize,
        /// Runs that were selected.
        total: usize,
    },
    /// Anything else: most likely a fault of the program.
    #[error("{0}")]
    Unexpected(String),
}

/// Results live in the store; what cannot be tabulated was asked for wrongly.
fn of_results(error: &ResultsError) -> ExitCode {
    use ResultsError as E;
    match error {
        E::Io { .. } | E::NewerSchema { .. } | E::Unreadable { .. } | E::Foreign { .. } | E::ColumnType { .. } => {
            ExitCode::Store
        }
        E::NoRuns { .. } => ExitCode::NothingSelected,
        E::Field { .. }
        | E::UnknownMetric { .. }
        | E::Baseline { .. }
        | E::Setting { .. }
        | E::Condition { .. }
        | E::Incomparable { .. }
        | E::UnknownFormat { .. }
        | E::MixedProtocols { .. }
        | E::MixedCell { .. } => ExitCode::Usage,
        E::InvalidRow { .. } | E::Internal { .. } => ExitCode::Unexpected,
    }
}

fn kinds(number: usize) -> String {
    format!("{number} kind{} of error", if number == 1 { "" } else { "s" })
}

fn rules(number: usize) -> String {
    format!("{number} rule{}", if number == 1 { "" } else { "s" })
}

/// What the user can do about failed runs.
fn retry(failed: usize, given_up: usize) -> &'static str {
    match (failed - given_up, given_up) {
        (_, 0) => "run the same command again to retry them",
        (0, _) => "they have been retried, and are not tried again",
        _ => "run the same command again to retry those that have failed once",
    }
}

impl RunError {
    /// The exit code that the error leads to.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::Usage,
            Self::Spec(_) => ExitCode::Spec,
            Self::NothingSelected(_) => ExitCode::NothingSelected,
            Self::Data(_) | Self::Weights(_) | Self::Audit(_) | Self::Unsound(_) => ExitCode::Data,
            Self::Store(_) => ExitCode::Store,
            Self::Results(error) => of_results(error),
            Self::Interrupted { .. } => ExitCode::Interrupted,
            Self::SomeFailed { .. } => ExitCode::SomeFailed,
            Self::Unexpected(_) => ExitCode::Unexpected,
        }
    }
}
