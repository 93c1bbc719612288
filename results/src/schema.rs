//! The results schema: every column with its type, unit, direction and meaning.
//!
//! Beside the columns listed here a `runs` file has `cfg.<dotted path>` for each field that varies in the sweep,
//! `tuned.<dotted path>` for each field that was chosen on validation, or is tried for that (both bool, int, float or
//! text), and `metric.<split>.<name>` (float; split `test`, `validation` or `occluded`; `start` or `end` of a training) for
//! each final metric. Null means "not computed", NaN "computed and undefined". Fractions are stored in [0, 1];
//! per cent exist only in rendered tables. Within a version columns may be added; a change of meaning raises
//! [`SCHEMA_VERSION`] and adds a step to [`crate::migrations`].

use polars::prelude::{DataType, TimeUnit, TimeZone};

/// Version of the files' layout and meaning.
pub const SCHEMA_VERSION: i64 = 2;

/// File metadata: [`SCHEMA_VERSION`] of the writer.
pub const KEY_VERSION: &str = "reid_run.schema_version";
/// File metadata: [`Part::folder`] of the file.
pub const KEY_PART: &str = "reid_run.part";
/// File metadata: commit of the program that asked for the run; empty when unknown.
pub const KEY_COMMIT: &str = "reid_run.commit";
/// File metadata: commit of the repository that holds the spec; empty when unknown.
pub const KEY_SPEC_COMMIT: &str = "reid_run.spec_commit";
/// File metadata: checksum of the file, 16 hexadecimal digits; how it is formed stands in `checksum.rs`.
pub const KEY_CHECKSUM: &str = "reid_run.checksum";
/// File metadata: JSON object, column (or metric, in `metrics`) to `{unit, direction, doc}`.
pub const KEY_UNITS: &str = "reid_run.units";

/// Prefix of the columns of swept fields.
pub const CFG: &str = "cfg.";
/// Prefix of the columns of tuned fields.
pub const TUNED: &str = "tuned.";
/// Prefix of the columns of final metrics.
pub const METRIC: &str = "metric.";

/// Whether a column holds a field of the spec.
pub(crate) fn is_setting(column: &str) -> bool {
    column.starts_with(CFG) || column.starts_with(TUNED)
}

/// The three files of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One row: configuration, provenance, final metrics.
    Runs,
    /// Long table of step metrics.
    Metrics,
    /// One row per query.
    Queries,
}

impl Part {
    /// Sub-folder of the results folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Metrics => "metrics",
            Self::Queries => "queries",
        }
    }

    /// Columns that every such file has.
    pub fn columns(self) -> &'static [ColumnDef] {
        match self {
            Self::Runs => RUN_COLUMNS,
            Self::Metrics => STEP_COLUMNS,
            Self::Queries => QUERY_COLUMNS,
        }
    }
}

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text, dictionary-encoded.
    Text,
    /// List of texts.
    Texts,
    /// 64-bit signed integer.
    Int,
    /// 64-bit float.
    Float,
    /// Boolean.
    Bool,
    /// Timestamp in microseconds, UTC.
    Time,
}

impl Kind {
    /// Name in error messages and docs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Texts => "list of texts",
            Self::Int => "int64",
            Self::Float => "float64",
            Self::Bool => "bool",
            Self::Time => "timestamp[us, UTC]",
        }
    }

    /// Type in data frames.
    pub(crate) fn dtype(self) -> DataType {
        match self {
            Self::Text => DataType::String,
            Self::Texts => DataType::List(Box::new(DataType::String)),
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
        }
    }
}

/// Unit of a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Fraction in [0, 1]; shown in per cent.
    Fraction,
    /// A loss or another number without a unit; also of columns that are no quantity.
    Plain,
    /// Seconds.
    Seconds,
    /// A count.
    Count,
    /// Bytes.
    Bytes,
    /// Floating-point operations.
    Flops,
}

impl Unit {
    /// Name in file metadata and exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fraction => "fraction",
            Self::Plain => "plain",
            Self::Seconds => "seconds",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Flops => "flops",
        }
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
    /// Neither.
    None,
}

impl Direction {
    /// Name in file metadata and exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::None => "none",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct ColumnDef {
    /// Name in the file.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Unit of numbers.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Meaning.
    pub doc: &'static str,
}

/// A column that is no measurement.
const fn column(name: &'static str, kind: Kind, doc: &'static str) -> ColumnDef {
    ColumnDef { name, kind, unit: Unit::Plain, direction: Direction::None, doc }
}

/// A measurement with a unit.
const fn quantity(name: &'static str, kind: Kind, unit: Unit, direction: Direction, doc: &'static str) -> ColumnDef {
    ColumnDef { name, kind, unit, direction, doc }
}

/// Columns of `runs/<run_id>.parquet`, in file order; `cfg.*` and `metric.*` follow.
pub const RUN_COLUMNS: &[ColumnDef] = &[
    column("run_id", Kind::Text, "identity of the run and name of its files"),
    column("experiment", Kind::Text, "name of the experiment"),
    column("label", Kind::Text, "preset or name under which tables show the sweep point"),
    column("point", Kind::Int, "index of the sweep point"),
    column("seed_pretrain", Kind::Int, "seed of the pre-training"),
    column("seed_downstream", Kind::Int, "seed of the downstream training"),
    column("status", Kind::Text, "ok or failed"),
    column("error", Kind::Text, "why the run failed"),
    column("failed_stage", Kind::Text, "stage that failed"),
    column("stage_pretrain", Kind::Text, "key of the pre-training stage"),
    column("stage_train", Kind::Text, "key of the training stage"),
    column("stage_evaluate", Kind::Text, "key of the evaluation stage"),
    column("spec_commit", Kind::Text, "commit of the repository that holds the spec"),
    column("spec_dirty", Kind::Bool, "whether that repository had uncommitted changes"),
    column("spec_diff_hash", Kind::Text, "hash of these changes"),
    column("program_commit", Kind::Text, "commit of the program that asked for the run"),
    column("program_dirty", Kind::Bool, "whether the program was built with uncommitted changes"),
    column("computed_commit", Kind::Text, "commit of the program that computed the evaluation"),
    column("program_version", Kind::Text, "version of the program"),
    column("dataset", Kind::Text, "name of the data set"),
    column("dataset_fingerprint", Kind::Text, "hash of the data set's content"),
    column("synthetic", Kind::Bool, "whether the data are the built-in synthetic ones"),
    quantity("corrupt_images", Kind::Int, Unit::Count, Direction::Lower, "pictures skipped because they are corrupt"),
    column("protocol", Kind::Text, "canonical description of the evaluation"),
    column("host", Kind::Text, "machine"),
    column("device", Kind::Text, "device of the computation"),
    column("instruction_set", Kind::Text, "instruction set that the kernels chose"),
    column("precision", Kind::Text, "number format of the computation"),
    column("started_at", Kind::Time, "start of the run"),
    quantity("seconds", Kind::Float, Unit::Seconds, Direction::Lower, "wall time of the run"),
    quantity(
        "seconds_pretrain",
        Kind::Float,
        Unit::Seconds,
        Direction::Lower,
        "wall time of the pre-training; 0 without",
    ),
    quantity("seconds_train", Kind::Float, Unit::Seconds, Direction::Lower, "wall time of the protocol's training"),
    quantity("images_pretrain", Kind::Int, Unit::Count, Direction::None, "pictures drawn in pre-training"),
    quantity("tokens_pretrain", Kind::Int, Unit::Count, Direction::None, "encoder tokens of the pre-training"),
    quantity("flops_pretrain", Kind::Float, Unit::Flops, Direction::None, "operations of the pre-training, by formula"),
    quantity("peak_rss_bytes", Kind::Int, Unit::Bytes, Direction::Lower, "peak resident memory of the process"),
    quantity("images_seen", Kind::Int, Unit::Count, Direction::None, "pictures that went through training"),
    quantity("tokens_seen", Kind::Int, Unit::Count, Direction::None, "tokens that went through the encoder"),
    quantity("labelled_identities", Kind::Int, Unit::Count, Direction::None, "identities with labels in training"),
    quantity("labelled_images", Kind::Int, Unit::Count, Direction::None, "pictures with labels in training"),
    column("overrides", Kind::Text, "overrides of the command line, verbatim"),
    quantity("attempts", Kind::Int, Unit::Count, Direction::None, "how often the run was tried"),
    column("trial", Kind::Int, "candidate, from 0, that a run tries which only serves to choose settings; else null"),
    column("marks", Kind::Texts, "remarks on the run"),
    column("config_json", Kind::Text, "resolved spec of the run"),
];

/// Columns of `metrics/<run_id>.parquet`.
pub const STEP_COLUMNS: &[ColumnDef] = &[
    column("run_id", Kind::Text, "run that the stage belongs to"),
    column("stage_key", Kind::Text, "key of the stage"),
    column("stage", Kind::Text, "kind of the stage"),
    column("epoch", Kind::Int, "epoch, from 0"),
    column("step", Kind::Int, "optimizer step, from 0"),
    column("metric", Kind::Text, "name of the metric; its unit stands in the file metadata"),
    column("value", Kind::Float, "value of the metric"),
    column("at", Kind::Time, "when it was logged"),
    column("spec_commit", Kind::Text, "commit of the repository that holds the spec"),
    column("program_commit", Kind::Text, "commit of the program that asked for the run"),
];

/// Columns of `queries/<run_id>.parquet`.
pub const QUERY_COLUMNS: &[ColumnDef] = &[
    column("run_id", Kind::Text, "run that was evaluated"),
    column("split", Kind::Text, "test, validation or occluded"),
    column("query", Kind::Int, "index of the query in its split"),
    column("path", Kind::Text, "picture, relative to the data set's folder"),
    column("pid", Kind::Int, "person"),
    column("camera", Kind::Int, "camera"),
    quantity("hidden", Kind::Float, Unit::Fraction, Direction::None, "hidden share of the person, where known"),
    quantity("ap", Kind::Float, Unit::Fraction, Direction::Higher, "average precision; NaN without a match"),
    quantity("inp", Kind::Float, Unit::Fraction, Direction::Higher, "inverse negative penalty; NaN without a match"),
    quantity("first_hit", Kind::Int, Unit::Count, Direction::Lower, "rank of the first match, from 1; 0 without one"),
    quantity("matches", Kind::Int, Unit::Count, Direction::None, "matches in the gallery after removal"),
    column("spec_commit", Kind::Text, "commit of the repository that holds the spec"),
    column("program_commit", Kind::Text, "commit of the program that asked for the run"),
];

/// One metric: its unit and direction hold for every split and for step rows.
#[derive(Clone, Copy, Debug)]
pub struct MetricDef {
    /// Name in columns, specs and docs.
    pub name: &'static str,
    /// Name in tables for people.
    pub title: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// Meaning.
    pub doc: &'static str,
}

const fn metric(
    name: &'static str,
    title: &'static str,
    unit: Unit,
    direction: Direction,
    doc: &'static str,
) -> MetricDef {
    MetricDef { name, title, unit, direction, doc }
}

/// Known metrics. A metric that is not listed is stored all the same, as a plain number without a direction.
pub const METRICS: &[MetricDef] = &[
    metric("map", "mAP", Unit::Fraction, Direction::Higher, "mean average precision over valid queries"),
    metric("rank1", "rank-1", Unit::Fraction, Direction::Higher, "share of queries whose first item is a match"),
    metric("rank5", "rank-5", Unit::Fraction, Direction::Higher, "share of queries with a match in the first five"),
    metric("rank10", "rank-10", Unit::Fraction, Direction::Higher, "share of queries with a match in the first ten"),
    metric("rank20", "rank-20", Unit::Fraction, Direction::Higher, "share of queries with a match in the first twenty"),
    metric("rank50", "rank-50", Unit::Fraction, Direction::Higher, "share of queries with a match in the first fifty"),
    metric("minp", "mINP", Unit::Fraction, Direction::Higher, "mean inverse negative penalty"),
    metric("valid_queries", "valid queries", Unit::Count, Direction::None, "queries with at least one match"),
    metric(
        "map_hidden_low",
        "mAP, hidden to 1/3",
        Unit::Fraction,
        Direction::Higher,
        "mAP over queries of which less than a third is hidden",
    ),
    metric(
        "map_hidden_mid",
        "mAP, hidden from 1/3",
        Unit::Fraction,
        Direction::Higher,
        "mAP over queries of which a third or more is hidden, but less than a half",
    ),
    metric(
        "map_hidden_high",
        "mAP, hidden from 1/2",
        Unit::Fraction,
        Direction::Higher,
        "mAP over queries of which a half or more is hidden",
    ),
    metric(
        "roc_auc",
        "ROC area",
        Unit::Fraction,
        Direction::Higher,
        "area under the receiver operating characteristic of pairs",
    ),
    metric(
        "tpr_fpr_1e4",
        "TPR@FPR=1e-4",
        Unit::Fraction,
        Direction::Higher,
        "share of same pairs accepted with at most 1e-4 of the others",
    ),
    metric(
        "tpr_fpr_1e3",
        "TPR@FPR=1e-3",
        Unit::Fraction,
        Direction::Higher,
        "share of same pairs accepted with at most 1e-3 of the others",
    ),
    metric(
        "tpr_fpr_1e2",
        "TPR@FPR=1e-2",
        Unit::Fraction,
        Direction::Higher,
        "share of same pairs accepted with at most 1e-2 of the others",
    ),
    metric(
        "fast_reid_tpr_1e4",
        "fast-reid TPR 1e-4",
        Unit::Fraction,
        Direction::Higher,
        "fast-reid's TPR@FPR=1e-4, with different pairs as positives",
    ),
    metric(
        "fast_reid_tpr_1e3",
        "fast-reid TPR 1e-3",
        Unit::Fraction,
        Direction::Higher,
        "fast-reid's TPR@FPR=1e-3, with different pairs as positives",
    ),
    metric(
        "fast_reid_tpr_1e2",
        "fast-reid TPR 1e-2",
        Unit::Fraction,
        Direction::Higher,
        "fast-reid's TPR@FPR=1e-2, with different pairs as positives",
    ),
    metric("loss", "loss", Unit::Plain, Direction::Lower, "weighted sum that is minimized"),
    metric("loss_pixel", "pixel loss", Unit::Plain, Direction::Lower, "pixel reconstruction loss"),
    metric("loss_feature", "feature loss", Unit::Plain, Direction::Lower, "feature prediction loss"),
    metric("loss_contrast", "contrast loss", Unit::Plain, Direction::Lower, "contrast of views with other pictures"),
    metric(
        "loss_consistency",
        "consistency loss",
        Unit::Plain,
        Direction::Lower,
        "augmented against original pictures",
    ),
    metric("loss_strips", "strip loss", Unit::Plain, Direction::Lower, "contrast among the strips of a picture"),
    metric("contrast_accuracy", "contrast accuracy", Unit::Fraction, Direction::Higher, "own key is most similar"),
    metric("queue_age", "queue age", Unit::Count, Direction::None, "steps since the oldest key was written"),
    metric("loss_id", "identity loss", Unit::Plain, Direction::Lower, "identity loss"),
    metric("loss_triplet", "triplet loss", Unit::Plain, Direction::Lower, "triplet loss"),
    metric("train_accuracy", "training accuracy", Unit::Fraction, Direction::Higher, "training samples right"),
    metric("grad_norm", "gradient norm", Unit::Plain, Direction::None, "global norm of the gradient before clipping"),
    metric("lr", "learning rate", Unit::Plain, Direction::None, "peak learning rate over groups"),
    metric("feature_std", "feature std", Unit::Plain, Direction::None, "class token's std over a batch"),
    metric("effective_rank", "effective rank", Unit::Plain, Direction::None, "directions that a batch's features use"),
    metric("block_share", "block share", Unit::Fraction, Direction::None, "masked cells that came from blocks"),
    metric("loss_dino", "class-token loss", Unit::Plain, Direction::Lower, "self-distillation loss of class tokens"),
    metric("loss_mim", "masked-patch loss", Unit::Plain, Direction::Lower, "self-distillation loss of masked patches"),
    metric(
        "teacher_entropy",
        "teacher entropy",
        Unit::Plain,
        Direction::None,
        "entropy of the teacher's targets, nats",
    ),
    metric("center_norm", "center norm", Unit::Plain, Direction::None, "norm of the teacher's mean output"),
    metric("masked_share", "masked share", Unit::Fraction, Direction::None, "share of patches hidden from the student"),
    metric("loss_cluster", "cluster loss", Unit::Plain, Direction::Lower, "clusters by similarity to their centers"),
    metric("clusters", "clusters", Unit::Count, Direction::None, "clusters of an epoch"),
    metric("outliers", "outliers", Unit::Count, Direction::None, "pictures in no cluster of an epoch"),
    metric("cluster_ari", "ARI", Unit::Plain, Direction::Higher, "adjusted Rand index of clusters and identities"),
    metric("cluster_nmi", "NMI", Unit::Plain, Direction::Higher, "mutual information of the two, normalized"),
];

/// Definition of a metric by its bare name.
pub fn metric_def(name: &str) -> Option<&'static MetricDef> {
    METRICS.iter().find(|def| def.name == name)
}

/// Definition of a fixed column of `runs`.
pub fn run_column(name: &str) -> Option<&'static ColumnDef> {
    RUN_COLUMNS.iter().find(|def| def.name == name)
}
