//! What a table shows and how.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::Condition;
use crate::ResultsError;
use crate::schema::{CFG, TUNED};

/// Output format of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text for a terminal.
    #[default]
    Terminal,
    /// GitHub-flavored Markdown.
    Markdown,
    /// Comma-separated values (RFC 4180) below comment lines; stored values, not per cent.
    Csv,
    /// LaTeX with booktabs.
    Latex,
    /// JSON; stored values, not per cent.
    Json,
    /// Parquet; stored values, not per cent.
    Parquet,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Terminal, Self::Markdown, Self::Csv, Self::Latex, Self::Json, Self::Parquet];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "table",
            Self::Markdown => "md",
            Self::Csv => "csv",
            Self::Latex => "latex",
            Self::Json => "json",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = ResultsError;

    fn from_str(name: &str) -> Result<Self, ResultsError> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| ResultsError::UnknownFormat {
            name: name.to_owned(),
            choices: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// On which split the best row of a sweep is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChooseOn {
    /// On held-out training identities: the test value of the picked row is honest.
    #[default]
    Validation,
    /// On the test set itself; the table says so.
    Test,
}

/// Whether a table shows what its pre-trainings have cost: pictures, tokens, operations and seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Costs {
    /// Only what is asked for by name.
    #[default]
    Never,
    /// If pre-trainings of different cost stand beside each other.
    WhereTheyDiffer,
    /// In any case.
    Always,
}

/// What a table shows and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TableOptions {
    /// Only runs of this experiment.
    pub experiment: Option<String>,
    /// Only runs with these ids: the plan's, at the end of a run.
    pub runs: Option<BTreeSet<String>>,
    /// Only runs that meet all of these.
    pub conditions: Vec<Condition>,
    /// Metrics by bare name (`map`), with a split (`occluded.map`), or quantities of a run (`seconds`).
    pub metrics: Vec<String>,
    /// Split of metrics without one: `test`, `validation` or `occluded`.
    pub split: String,
    /// Whether columns of what the pre-trainings have cost follow the metrics.
    pub costs: Costs,
    /// Label of the rows that all others are compared with, seed by seed.
    pub against: Option<String>,
    /// The trials that settings were chosen by, instead of the runs that stand for a setting.
    pub trials: bool,
    /// Fields that name the rows; by default the label and all swept fields that vary and that it does not tell.
    pub rows: Option<Vec<String>>,
    /// Field whose values are spread over columns.
    pub cols: Option<String>,
    /// Output format.
    pub format: Format,
    /// Width of a terminal table in characters; 80 when unknown.
    pub width: Option<usize>,
    /// Whether a terminal table may use escape codes.
    pub color: bool,
    /// Whether to keep to ASCII in terminal tables, as where the locale is not UTF-8.
    pub ascii: bool,
    /// On which split the best row is picked.
    pub choose_on: ChooseOn,
    /// Command line, for the header of exports.
    pub command: Option<String>,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            experiment: None,
            runs: None,
            conditions: Vec::new(),
            metrics: ["map", "rank1"].map(str::to_owned).to_vec(),
            split: "test".to_owned(),
            costs: Costs::Never,
            against: None,
            trials: false,
            rows: None,
            cols: None,
            format: Format::Terminal,
            width: None,
            color: false,
            ascii: false,
            choose_on: ChooseOn::Validation,
            command: None,
        }
    }
}

impl TableOptions {
    /// Whether a column of `runs` tells one setting from another. What was chosen by trials does not, where the
    /// choice itself is what a row stands for.
    pub(crate) fn tells_apart(&self, column: &str) -> bool {
        column.starts_with(CFG) || (self.trials && column.starts_with(TUNED))
    }
}
