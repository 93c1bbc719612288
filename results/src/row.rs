//! Rows as plain data: one per run, per logged step value, per query.

use std::collections::BTreeMap;
use std::fmt;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Evaluated to the end.
    Ok,
    /// Ended by an error, which the row names.
    Failed,
}

impl Status {
    /// Text in the `status` column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }

    /// Inverse of [`Status::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ok, Self::Failed].into_iter().find(|status| status.name() == name)
    }
}

/// A value of a swept field.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A name or another text.
    Text(String),
}

impl fmt::Display for Scalar {
    /// Shortest text that reads back as the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// Everything that is recorded of one run. The columns' meaning stands in [`crate::schema::RUN_COLUMNS`].
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Identity, from the key of the last stage; also the file's name.
    pub run_id: String,
    /// Name of the experiment.
    pub experiment: String,
    /// Preset or name under which tables show the sweep point.
    pub label: String,
    /// Index of the sweep point; orders the rows of tables.
    pub point: i64,
    /// Seed of the pre-training.
    pub seed_pretrain: i64,
    /// Seed of the downstream training.
    pub seed_downstream: i64,
    /// How the run ended.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// Stage that failed.
    pub failed_stage: Option<String>,
    /// Key of the pre-training stage; `None` without one.
    pub stage_pretrain: Option<String>,
    /// Key of the training stage; `None` without one.
    pub stage_train: Option<String>,
    /// Key of the evaluation stage.
    pub stage_evaluate: Option<String>,
    /// Commit of the repository that holds the spec; `None` outside a repository.
    pub spec_commit: Option<String>,
    /// Whether that repository had uncommitted changes.
    pub spec_dirty: Option<bool>,
    /// Hash of these changes.
    pub spec_diff_hash: Option<String>,
    /// Commit of the program that asked for the run.
    pub program_commit: Option<String>,
    /// Whether the program was built from a tree with uncommitted changes.
    pub program_dirty: Option<bool>,
    /// Commit of the program that computed the evaluation stage; differs from `program_commit` when cached.
    pub computed_commit: Option<String>,
    /// Version of the program.
    pub program_version: String,
    /// Name of the data set.
    pub dataset: String,
    /// Hash of the data set's content.
    pub dataset_fingerprint: String,
    /// Whether the data are the built-in synthetic ones.
    pub synthetic: bool,
    /// Pictures that could not be decoded and were skipped.
    pub corrupt_images: i64,
    /// Canonical description of the evaluation: distance, feature, same-camera removal, AP rule.
    pub protocol: String,
    /// Machine.
    pub host: String,
    /// Device, such as `cpu`.
    pub device: String,
    /// Instruction set that the kernels chose.
    pub instruction_set: String,
    /// Number format of the computation.
    pub precision: String,
    /// Start of the run, microseconds since 1970 in UTC.
    pub started_at: i64,
    /// Wall time of the run, seconds.
    pub seconds: f64,
    /// Wall time of the pre-training, seconds, also when it was cached; 0 without one.
    pub seconds_pretrain: Option<f64>,
    /// Wall time of the protocol's training, seconds; `None` without one.
    pub seconds_train: Option<f64>,
    /// Pictures drawn in pre-training.
    pub images_pretrain: Option<i64>,
    /// Tokens that went through the trained encoder in pre-training.
    pub tokens_pretrain: Option<i64>,
    /// Floating-point operations of the pre-training, by formula.
    pub flops_pretrain: Option<f64>,
    /// Peak resident memory of the process, bytes.
    pub peak_rss_bytes: Option<i64>,
    /// Pictures that went through training.
    pub images_seen: Option<i64>,
    /// Tokens that went through the encoder in training.
    pub tokens_seen: Option<i64>,
    /// Identities whose labels the protocol's training knew; `None` without one.
    pub labelled_identities: Option<i64>,
    /// Pictures whose labels the protocol's training knew; `None` without one.
    pub labelled_images: Option<i64>,
    /// Overrides of the command line, verbatim.
    pub overrides: String,
    /// How often the run was tried.
    pub attempts: i64,
    /// Which candidate, from 0, the run tries, if it only serves to choose settings: it enters no table of results.
    pub trial: Option<i64>,
    /// Remarks, such as "resumed on another instruction set".
    pub marks: Vec<String>,
    /// The resolved spec of the run.
    pub config_json: String,
    /// Fields that vary in the sweep, by dotted path; columns `cfg.<path>`.
    pub varied: BTreeMap<String, Scalar>,
    /// Fields that were chosen on validation, or are tried for that, by dotted path; columns `tuned.<path>`.
    pub tuned: BTreeMap<String, Scalar>,
    /// Final metrics by `<split>.<name>`, fractions where the unit is one; columns `metric.<split>.<name>`. An
    /// absent metric was not computed, NaN was computed and is undefined.
    pub metrics: BTreeMap<String, f64>,
}

/// One logged value of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    /// Key of the stage.
    pub stage_key: String,
    /// Kind of the stage, such as `pretrain`.
    pub stage: String,
    /// Epoch, from 0.
    pub epoch: i64,
    /// Optimizer step, from 0.
    pub step: i64,
    /// Name of the metric.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// When, microseconds since 1970 in UTC.
    pub at: i64,
}

/// One query of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRow {
    /// `test`, `validation` or `occluded`.
    pub split: String,
    /// Index of the query in its split.
    pub query: i64,
    /// Path of the picture, relative to the data set's folder.
    pub path: String,
    /// Person.
    pub pid: i64,
    /// Camera.
    pub camera: i64,
    /// Hidden share of the person, where known.
    pub hidden: Option<f64>,
    /// Average precision; NaN without a match.
    pub ap: f64,
    /// Inverse negative penalty; NaN without a match.
    pub inp: f64,
    /// Rank of the first match, from 1; 0 without a match.
    pub first_hit: i64,
    /// Matches in the gallery after removal.
    pub matches: i64,
}
