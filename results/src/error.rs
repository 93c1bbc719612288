//! What can be wrong with results.

use std::path::PathBuf;

/// A fault while results are written, read or tabulated. Each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The operating system refused: unwritable folder, full disk, no permission.
    #[error("{action}: {source}; nothing that was there before has changed; {remedy}: {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// What to do.
        remedy: &'static str,
        /// The system's answer.
        source: std::io::Error,
        /// Where.
        path: PathBuf,
    },
    /// A file of a later schema than this program knows.
    #[error(
        "results schema {found} is newer than schema {supported} of this program; use a newer reid-run, or another output folder: {}",
        path.display()
    )]
    NewerSchema {
        /// Version in the file.
        found: i64,
        /// Version of this program.
        supported: i64,
        /// Which file.
        path: PathBuf,
    },
    /// A file that is not whole Parquet.
    #[error(
        "not a readable Parquet file ({reason}); move it away and run again to write it anew: {}",
        path.display()
    )]
    Unreadable {
        /// What the decoder said.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// Parquet that this program did not write.
    #[error("not a results file of reid-run ({reason}); move it out of the results folder: {}", path.display())]
    Foreign {
        /// How it shows.
        reason: String,
        /// Which file.
        path: PathBuf,
    },
    /// A known column holds another type.
    #[error(
        "column `{column}` holds {found} where {expected} belongs; move the file away and run again to write it anew: {}",
        path.display()
    )]
    ColumnType {
        /// Which column.
        column: String,
        /// Type in the file.
        found: String,
        /// Type of the schema.
        expected: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// A row that breaks a rule of the schema.
    #[error("the row of run `{run_id}` is invalid: {problem}")]
    InvalidRow {
        /// The row's run.
        run_id: String,
        /// What is wrong.
        problem: String,
    },
    /// No run is left to tabulate.
    #[error("no runs to tabulate: {reason}")]
    NoRuns {
        /// Why, and what there is instead.
        reason: String,
    },
    /// A row or column field that no run has, or that names several.
    #[error("{problem} field `{name}`; fields: {choices}")]
    Field {
        /// `unknown` or `ambiguous`.
        problem: &'static str,
        /// What was asked.
        name: String,
        /// What could be asked.
        choices: String,
    },
    /// A metric that no run has.
    #[error("unknown metric `{name}`; metrics: {choices}")]
    UnknownMetric {
        /// What was asked.
        name: String,
        /// What could be asked.
        choices: String,
    },
    /// A row to compare with that is not there.
    #[error("no row is called `{name}`, to compare the others with; labels of the rows: {choices}")]
    Baseline {
        /// What was asked.
        name: String,
        /// What could be asked.
        choices: String,
    },
    /// A condition that cannot be read.
    #[error("`{text}` is no condition; write `field=value`, `field!=value`, or with `<`, `<=`, `>`, `>=` and a number")]
    Condition {
        /// What was written.
        text: String,
    },
    /// A name that no setting has, or several.
    #[error("{problem} `{name}`; settings: {choices}")]
    Setting {
        /// `no setting is called`, or `several settings are called`.
        problem: &'static str,
        /// What was asked.
        name: String,
        /// What could be asked.
        choices: String,
    },
    /// Two settings that cannot be compared query by query.
    #[error("`{first}` and `{other}` cannot be compared: {reason}")]
    Incomparable {
        /// One setting.
        first: String,
        /// The other.
        other: String,
        /// Why not.
        reason: String,
    },
    /// A format that does not exist.
    #[error("unknown format `{name}`; formats: {choices}")]
    UnknownFormat {
        /// What was asked.
        name: String,
        /// What could be asked.
        choices: String,
    },
    /// Numbers of two evaluation protocols in one table.
    #[error(
        "runs of different evaluation protocols cannot share a table; choose one experiment, or tabulate by `protocol`: `{first}` and `{second}`"
    )]
    MixedProtocols {
        /// One protocol.
        first: String,
        /// Another.
        second: String,
    },
    /// One cell would pool settings that differ.
    #[error("cell {cell} would pool settings that differ; add to the rows or columns: {missing}")]
    MixedCell {
        /// Row and column of the cell.
        cell: String,
        /// Fields that tell the settings apart.
        missing: String,
    },
    /// A library refused something that it must accept: a fault of this program.
    #[error("{action}: {source}; this is a fault of reid-run, please report it")]
    Internal {
        /// What was attempted.
        action: &'static str,
        /// The library's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ResultsError {
    /// Closure for `map_err` on calls of libraries that cannot fail on any input of the user.
    pub(crate) fn internal<E: std::error::Error + Send + Sync + 'static>(
        action: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Internal { action, source: Box::new(source) }
    }
}

/// Result of anything that touches results.
pub type Result<T> = std::result::Result<T, ResultsError>;
