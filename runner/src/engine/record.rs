//! What stages leave on disk, and the result rows made of it. Rows are derived from committed stages
//! alone, so a crash between the two is repaired by the next run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reid_data::dataset::{Record, Split};
use reid_experiments::ResolvedRun;
use reid_experiments::spec::TakeSpec;
use reid_objectives::cost::{Cost, cost};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::evaluation::{self, Scores};
use reid_objectives::protocols::usl::REPORTED;
use reid_results::{QueryRow, RunRow, Scalar, Status, StepRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checkpoint::Recorded;
use super::plan::StageKind;
use super::{Engine, Plan, RunPlan, snapshots};
use crate::exit::RunError;
use crate::provenance::{Host, ProgramInfo, peak_rss_bytes};
use crate::store::atomic::write_atomic;
use crate::store::{StageDir, Store};

/// What the metrics of a source's model begin with: the direct transfer to the target.
const SOURCE_ONLY: &str = "source_only";
/// The training on a source among step metrics.
const SOURCE_STAGE: &str = "train_source";

/// Step metrics of a training stage.
#[derive(Serialize, Deserialize)]
pub(super) struct StepsFile {
    pub(super) steps: Vec<Recorded>,
}

impl StepsFile {
    pub(super) const NAME: &str = "steps.json";

    pub(super) fn write(&self, folder: &Path) -> Result<(), RunError> {
        write_json(&folder.join(Self::NAME), self)
    }
}

/// Metrics and per-query scores of an evaluation stage.
#[derive(Serialize, Deserialize)]
pub(super) struct EvaluationRecord {
    sets: Vec<QuerySet>,
}

#[derive(Serialize, Deserialize)]
struct QuerySet {
    split: String,
    metrics: BTreeMap<String, f64>,
    queries: Vec<QueryRecord>,
}

#[derive(Serialize, Deserialize)]
struct QueryRecord {
    record: u32,
    ap: f64,
    inp: f64,
    first_hit: u32,
    matches: u32,
}

impl EvaluationRecord {
    pub(super) const NAME: &str = "scores.json";

    pub(super) fn new(scores: &[Scores]) -> Self {
        let query = |q: &evaluation::ScoredQuery| QueryRecord {
            record: q.record,
            ap: q.score.ap,
            inp: q.score.inp,
            first_hit: q.score.first_hit,
            matches: q.score.matches,
        };
        let set = |scores: &Scores| QuerySet {
            split: split_name(scores.split).to_owned(),
            // A set of queries without any match has no mean; JSON has no NaN, so it is left out.
            metrics: scores
                .metrics
                .iter()
                .filter(|(_, v)| v.is_finite())
                .map(|(key, v)| (key.name().to_owned(), *v))
                .collect(),
            queries: scores.queries.iter().map(query).collect(),
        };
        Self { sets: scores.iter().map(set).collect() }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), RunError> {
        write_json(&folder.join(Self::NAME), self)
    }

    /// `test mAP 41.2 %, rank-1 55.0 %; validation mAP 40.3 %`, for the terminal: one line of it.
    pub(super) fn headline(&self) -> String {
        let text = |split: &str, metrics: &[(&str, &str)]| {
            let set = self.sets.iter().find(|set| set.split == split)?;
            let per_cent =
                |key: &str| set.metrics.get(key).map_or("undefined".to_owned(), |v| format!("{:.1} %", v * 100.0));
            let values: Vec<String> = metrics.iter().map(|(key, name)| format!("{name} {}", per_cent(key))).collect();
            Some(format!("{split} {}", values.join(", ")))
        };
        let parts = [text("test", &[("map", "mAP"), ("rank1", "rank-1")]), text("validation", &[("map", "mAP")])];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Name of a set of queries in rows.
fn split_name(split: Split) -> &'static str {
    match split {
        Split::ValidationQuery => "validation",
        Split::OccludedQuery => "occluded",
        _ => "test",
    }
}

/// The split that a name in rows stands for.
fn query_split(name: &str) -> Split {
    match name {
        "validation" => Split::ValidationQuery,
        "occluded" => Split::OccludedQuery,
        _ => Split::Query,
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let text =
        serde_json::to_string(value).map_err(|e| RunError::Unexpected(format!("writing {}: {e}", path.display())))?;
    Ok(write_atomic(path, text.as_bytes())?)
}

fn read_json<T: for<'a> Deserialize<'a>>(stage: &StageDir, name: &str) -> Result<T, RunError> {
    let path = stage.artefact(name)?;
    let bytes = std::fs::read(&path).map_err(crate::store::io_error("reading a stage", &path))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        RunError::Unexpected(format!("damaged stage ({e}); delete its folder and run again: {}", path.display()))
    })
}

/// What an earlier invocation recorded of a run.
pub(super) struct KnownRow {
    status: Status,
    pub(super) attempts: i64,
    pub(super) error: Option<String>,
    stage_evaluate: Option<String>,
    row: RunRow,
}

impl KnownRow {
    pub(super) fn is_failed(&self) -> bool {
        self.status == Status::Failed
    }
}

/// Rows in the store by run id.
pub(super) fn known_rows(store: &Store) -> Result<BTreeMap<String, KnownRow>, RunError> {
    let frames = reid_results::read(&store.results()).map_err(RunError::from)?;
    let rows = frames.rows().map_err(RunError::from)?;
    let known = |row: RunRow| {
        let (status, attempts, error, stage) =
            (row.status, row.attempts, row.error.clone(), row.stage_evaluate.clone());
        (row.run_id.clone(), KnownRow { status, attempts, error, stage_evaluate: stage, row })
    };
    Ok(rows.into_iter().map(known).collect())
}

/// Where a run's row lies.
pub(super) fn row_path(store: &Store, run_id: &str) -> PathBuf {
    store.results().join("runs").join(format!("{run_id}.parquet"))
}

/// What a row needs besides the run.
pub(super) struct RowContext<'a> {
    pub(super) engine: &'a Engine,
    pub(super) program: &'a ProgramInfo,
    pub(super) host: &'a Host,
    /// Microseconds since 1970, UTC.
    pub(super) started: i64,
    pub(super) seconds: Duration,
    pub(super) before: Option<&'a KnownRow>,
}

impl RowContext<'_> {
    /// Writes the row of a finished run, unless it is there already.
    pub(super) fn write_ok(&self, plan: &Plan, run: &RunPlan, stages: &[StageDir]) -> Result<(), RunError> {
        let Some(evaluated) = stages.last() else {
            return Err(RunError::Unexpected("a run without stages".to_owned()));
        };
        let scores: EvaluationRecord = read_json(evaluated, EvaluationRecord::NAME)?;
        let mut row = RunRow { seconds: 0.0, ..self.base(plan, run)? };
        row.computed_commit.clone_from(&evaluated.manifest().program.commit);
        row.device.clone_from(&evaluated.manifest().device);
        row.instruction_set.clone_from(&evaluated.manifest().instruction_set);
        row.host.clone_from(&evaluated.manifest().host);
        let mut steps = Vec::new();
        let (mut images, mut tokens) = (0, 0);
        let cost = cost_of(run);
        let pretrain = &run.run.spec.pretrain;
        if pretrain.objective.algorithm().is_none() && cost.is_some() {
            (row.images_pretrain, row.tokens_pretrain) = (Some(0), Some(0));
            (row.flops_pretrain, row.seconds_pretrain) = (Some(0.0), Some(0.0));
        }
        for (&index, dir) in run.stages.iter().zip(stages) {
            let kind = plan.stages[index].kind;
            let spent = snapshots::spent(pretrain, dir).filter(|_| kind == StageKind::Pretrain);
            let seconds = spent.map_or(dir.manifest().seconds, |spent| spent.seconds);
            row.seconds += seconds;
            let key = Some(dir.key().to_owned());
            let note = |name: &str| dir.manifest().notes.get(name);
            let number = |name: &str| note(name).and_then(Value::as_i64);
            // Of an encoder that was taken earlier, what had been spent by then.
            let stage_images = spent.map_or_else(|| number("images"), |spent| Some(spent.images as i64));
            let stage_tokens = spent.map_or_else(|| number("tokens"), |spent| Some(spent.tokens as i64));
            let of_source = run.of_source.is_some_and(|(train, evaluate)| [train, evaluate].contains(&index));
            match kind {
                StageKind::Train if of_source => row.seconds_train = Some(seconds),
                StageKind::Evaluate if of_source => {
                    row.metrics.extend(direct_transfer(&read_json(dir, EvaluationRecord::NAME)?));
                }
                StageKind::Pretrain => {
                    row.stage_pretrain = key;
                    row.seconds_pretrain = Some(seconds);
                    (row.images_pretrain, row.tokens_pretrain) = (stage_images, stage_tokens);
                    row.flops_pretrain = stage_images.zip(cost).map(|(images, cost)| images as f64 * cost.flops);
                }
                StageKind::Train => {
                    row.stage_train = key;
                    row.seconds_train = Some(row.seconds_train.unwrap_or(0.0) + seconds);
                    row.labelled_identities = number("labelled_identities");
                    row.labelled_images = number("labelled_images");
                }
                StageKind::Evaluate => row.stage_evaluate = key,
            }
            images += stage_images.unwrap_or(0);
            tokens += stage_tokens.unwrap_or(0);
            let marks = note("marks").and_then(Value::as_array).into_iter().flatten();
            row.marks.extend(marks.filter_map(|mark| Some(mark.as_str()?.to_owned())));
            if kind != StageKind::Evaluate {
                let file: StepsFile = read_json(dir, StepsFile::NAME)?;
                if kind == StageKind::Train && !of_source {
                    row.metrics.extend(ends_of_clustering(&file));
                }
                // What came after the encoder was taken is no part of the run.
                let taken = match pretrain.take {
                    TakeSpec::Epoch(epoch) if kind == StageKind::Pretrain => epoch,
                    _ => usize::MAX,
                };
                let recorded = file.steps.into_iter().filter(|recorded| recorded.epoch < taken);
                steps.extend(recorded.map(|r| StepRow {
                    stage_key: dir.key().to_owned(),
                    stage: if of_source { SOURCE_STAGE } else { kind.name() }.to_owned(),
                    epoch: r.epoch as i64,
                    step: r.step as i64,
                    metric: r.metric,
                    value: r.value,
                    at: r.at,
                }));
            }
        }
        row.images_seen = Some(images);
        row.tokens_seen = Some(tokens);
        let mut queries = Vec::new();
        for set in &scores.sets {
            row.metrics.extend(set.metrics.iter().map(|(name, &value)| (format!("{}.{name}", set.split), value)));
            let records = run.data.dataset.split(query_split(&set.split));
            queries.extend(
                set.queries
                    .iter()
                    .filter_map(|query| Some(query_row(&set.split, query, records.get(query.record as usize)?))),
            );
        }
        let same = |known: &KnownRow| {
            !known.is_failed()
                && known.stage_evaluate == row.stage_evaluate
                && known.row.computed_commit == row.computed_commit
                && known.row.flops_pretrain == row.flops_pretrain
                && known.row.marks == row.marks
        };
        let has_queries = self.engine.store.results().join("queries").join(format!("{}.parquet", run.id)).exists();
        // Scores that were pruned come back, as everything that is derived from stages.
        let is_there = self.before.is_some_and(same) || self.written_by_another(&run.id)?.as_ref().is_some_and(same);
        if is_there && has_queries {
            return Ok(());
        }
        Ok(reid_results::write_run(&self.engine.store.results(), &row, &steps, &queries)?)
    }

    /// Writes the row of a failed run. An earlier result of the run stays.
    pub(super) fn write_failed(&self, plan: &Plan, run: &RunPlan, stage: &str, reason: &str) -> Result<(), RunError> {
        if self.before.is_some_and(|known| !known.is_failed()) {
            self.engine.progress.warn(format_args!("{}: its earlier result is kept", run.id));
            return Ok(());
        }
        let mut row = self.base(plan, run)?;
        row.status = Status::Failed;
        row.failed_stage = Some(stage.to_owned());
        row.error = Some(reason.to_owned());
        Ok(reid_results::write_run(&self.engine.store.results(), &row, &[], &[])?)
    }

    /// A row that was not there when this invocation began.
    fn written_by_another(&self, run_id: &str) -> Result<Option<KnownRow>, RunError> {
        let store = &self.engine.store;
        if self.before.is_some() || !row_path(store, run_id).exists() {
            return Ok(None);
        }
        Ok(known_rows(store)?.remove(run_id))
    }

    fn base(&self, plan: &Plan, run: &RunPlan) -> Result<RunRow, RunError> {
        let ResolvedRun { spec, seeds, point, label, varied, tuned, trial, marks } = &run.run;
        let dataset = &run.data.dataset;
        let source = self.engine.source.state.as_ref();
        let config = serde_json::to_string(spec).map_err(|e| RunError::Unexpected(e.to_string()))?;
        let precision = serde_json::to_value(spec.precision).ok().and_then(|v| v.as_str().map(str::to_owned));
        Ok(RunRow {
            run_id: run.id.clone(),
            experiment: plan.experiment.clone(),
            label: label.clone(),
            point: *point as i64,
            seed_pretrain: seeds.pretrain as i64,
            seed_downstream: seeds.downstream as i64,
            status: Status::Ok,
            error: None,
            failed_stage: None,
            stage_pretrain: None,
            stage_train: None,
            stage_evaluate: None,
            spec_commit: source.map(|s| s.commit.clone()),
            spec_dirty: source.map(|s| s.dirty),
            spec_diff_hash: source.and_then(|s| s.diff_hash.clone()),
            program_commit: self.program.commit.clone(),
            program_dirty: self.program.dirty,
            computed_commit: None,
            program_version: self.program.version.clone(),
            dataset: run.names.clone(),
            dataset_fingerprint: dataset.fingerprint.clone(),
            synthetic: run.synthetic,
            corrupt_images: dataset.corrupt() as i64,
            protocol: evaluation::description(&spec.protocol),
            host: self.host.name.clone(),
            device: self.engine.machine.class.to_owned(),
            instruction_set: self.host.instruction_set.clone(),
            precision: precision.unwrap_or_default(),
            started_at: self.started,
            seconds: self.seconds.as_secs_f64(),
            seconds_pretrain: None,
            seconds_train: None,
            images_pretrain: None,
            tokens_pretrain: None,
            flops_pretrain: None,
            peak_rss_bytes: peak_rss_bytes().map(|bytes| bytes as i64),
            images_seen: None,
            tokens_seen: None,
            labelled_identities: None,
            labelled_images: None,
            overrides: self.engine.overrides.clone(),
            attempts: self.before.filter(|row| row.is_failed()).map_or(0, |row| row.attempts) + 1,
            trial: trial.map(|candidate| candidate as i64),
            marks: marks.clone(),
            config_json: config,
            varied: varied.iter().map(|(path, value)| (path.clone(), to_scalar(value))).collect(),
            tuned: tuned.iter().map(|(path, value)| (path.clone(), to_scalar(value))).collect(),
            metrics: BTreeMap::new(),
        })
    }
}

/// What a run's pre-training costs for each picture.
fn cost_of(run: &RunPlan) -> Option<Cost> {
    cost(&run.run.spec.pretrain.objective, &run.run.spec.pretrained_vit())
}

/// How a source's model does on the target that it is then adapted to.
fn direct_transfer(scores: &EvaluationRecord) -> Vec<(String, f64)> {
    let tested = scores.sets.iter().find(|set| set.split == split_name(Split::Query));
    let metrics = tested.into_iter().flat_map(|set| &set.metrics);
    metrics.map(|(name, &value)| (format!("{SOURCE_ONLY}.{name}"), value)).collect()
}

/// How good the clusters were that a training has begun and ended with, if it has had any.
fn ends_of_clustering(file: &StepsFile) -> Vec<(String, f64)> {
    let of_metric = |name: &'static str| {
        let of = || file.steps.iter().filter(move |recorded| recorded.metric == name);
        let ends = [("start", of().next()), ("end", of().next_back())];
        ends.into_iter().filter_map(move |(end, recorded)| Some((format!("{end}.{name}"), recorded?.value)))
    };
    REPORTED.map(MetricKey::name).into_iter().flat_map(of_metric).collect()
}

fn query_row(split: &str, query: &QueryRecord, record: &Record) -> QueryRow {
    QueryRow {
        split: split.to_owned(),
        query: i64::from(query.record),
        path: record.path.clone(),
        pid: record.pid,
        camera: i64::from(record.camera),
        hidden: record.hidden.map(f64::from),
        ap: query.ap,
        inp: query.inp,
        first_hit: i64::from(query.first_hit),
        matches: i64::from(query.matches),
    }
}

fn to_scalar(value: &Value) -> Scalar {
    match value {
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Scalar::Float(number.as_f64().unwrap_or(f64::NAN)), Scalar::Int)
        }
        Value::String(text) => Scalar::Text(text.clone()),
        other => Scalar::Text(other.to_string()),
    }
}
