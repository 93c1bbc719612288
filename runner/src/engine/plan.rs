//! What an experiment needs: a list of distinct stages, and which of them each run is made of.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_data::dataset::Split;
use reid_data::spec::{LabelsSpec, Normalisation, ValidationSpec};
use reid_experiments::spec::{PretrainData, PretrainImage, RunSpec, TakeSpec, TestData};
use reid_experiments::{Experiment, ResolvedRun};
use reid_objectives::budget::Length;
use reid_objectives::math::ranking::SameCamera;
use reid_objectives::protocols;
use reid_objectives::spec::{ObjectiveSpec, Pooling, ProtocolSpec, SideSpec, SupervisedSpec, TrainSpec};
use reid_objectives::task::pretraining_split;
use serde_json::{Value, json};

use super::imports::Import;
use super::science::{
    encoder_science, import_science, objective_science, protocol_science, remove, to_json, train_science,
};
use super::snapshots::{self, Snapshots};
use super::train;
use super::{Datasets, Imports, OpenData};
use crate::exit::RunError;
use crate::store::StageKey;

/// Kind of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageKind {
    /// Trains an encoder without labels.
    Pretrain,
    /// A protocol's training.
    Train,
    /// Features, ranking, metrics.
    Evaluate,
}

impl StageKind {
    /// Name in keys, rows and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// One distinct stage.
pub struct StageDef {
    /// Kind.
    pub kind: StageKind,
    /// Hash of everything that determines its numbers.
    pub key: StageKey,
    /// What it is, for messages.
    pub label: String,
    /// The stage whose artefact it starts from.
    pub input: Option<usize>,
    /// The run that it is part of, or that part of a run that needs no other.
    pub spec: Arc<RunSpec>,
    /// Seed of the pre-training, or of the random encoder in its place.
    pub pretrain_seed: u64,
    /// Architecture of its encoder.
    pub vit: VitSpec,
    /// Seed of its random numbers.
    pub seed: u64,
    /// Data it reads.
    pub data: Arc<OpenData>,
    /// Epochs and batch, for stages that train.
    pub train: Option<TrainSpec>,
    /// Optimizer steps, where a budget and not the number of epochs says when a training ends.
    pub steps: Option<usize>,
    /// Encoders that a pre-training leaves besides the last, for all runs that it serves.
    pub snapshots: Snapshots,
}

/// One run of the experiment.
pub struct RunPlan {
    /// The resolved run.
    pub run: ResolvedRun,
    /// Identity in results: label, data, seed and a hash of what decides its row.
    pub id: String,
    /// Its stages in order; the last is an evaluation.
    pub stages: Vec<usize>,
    /// Data that it is evaluated on.
    pub data: Arc<OpenData>,
    /// Names of the data that it is trained and evaluated on, in order.
    pub names: String,
    /// Whether any of them are synthetic.
    pub synthetic: bool,
    /// Training and evaluation of the source's model, where a run adapts one.
    pub of_source: Option<(usize, usize)>,
}

/// All runs and all distinct stages of an experiment.
pub struct Plan {
    /// Name of the experiment.
    pub experiment: String,
    /// Folder of the spec.
    pub base: PathBuf,
    /// Distinct stages, each after those it needs.
    pub stages: Vec<StageDef>,
    /// Runs in the experiment's order.
    pub runs: Vec<RunPlan>,
    /// Encoders that come from files.
    pub imports: Imports,
}

impl Plan {
    /// Plans an experiment; opens its data and the weights that it imports.
    ///
    /// # Errors
    /// If data cannot be opened, or weights do not fit.
    pub fn new(experiment: &Experiment, datasets: &mut Datasets) -> Result<Self, RunError> {
        let names = experiment.runs.iter().map(|run| distinctions(run, &experiment.runs)).collect();
        let imports = Imports::of(experiment)?;
        let mut planner = Planner { stages: Vec::new(), index: BTreeMap::new(), names, imports };
        let mut runs = Vec::with_capacity(experiment.runs.len());
        for (i, run) in experiment.runs.iter().enumerate() {
            runs.push(planner.run(i, run, &experiment.name, datasets)?);
        }
        let base = experiment.path.parent().map(std::path::Path::to_owned).unwrap_or_default();
        let Planner { stages, imports, .. } = planner;
        Ok(Self { experiment: experiment.name.clone(), base, stages, runs, imports })
    }
}

/// The ViT of a run.
pub(super) fn vit_spec(spec: &RunSpec) -> &VitSpec {
    let BackboneSpec::Vit(vit) = &spec.backbone;
    vit
}

/// The part of a run that trains on a source, in names of stages.
const SOURCE: &str = "source";

struct Planner {
    stages: Vec<StageDef>,
    index: BTreeMap<String, usize>,
    /// What tells each run from others of its label, in names of stages.
    names: Vec<Vec<(String, String)>>,
    imports: Imports,
}

/// Swept fields, and their values, in which a run differs from others of its label.
fn distinctions(run: &ResolvedRun, all: &[ResolvedRun]) -> Vec<(String, String)> {
    let differs = |(path, value): &(&String, &Value)| {
        let of = |other: &ResolvedRun| other.varied.get(*path).or_else(|| other.tuned.get(*path)) != Some(value);
        all.iter().any(|other| other.label == run.label && of(other))
    };
    let settings: Vec<(&String, &Value)> = run.varied.iter().chain(&run.tuned).filter(differs).collect();
    let text = |&(path, value): &(&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let is_told = |tail: &str| !settings.iter().any(|(other, _)| *other != path && other.ends_with(tail));
        let tails = path.rmatch_indices('.').map(|(dot, _)| &path[dot..]);
        let name = tails.into_iter().find(|tail| is_told(tail)).map_or(path.as_str(), |tail| &tail[1..]);
        (path.clone(), format!("{name}={value}"))
    };
    settings.iter().map(text).collect()
}

/// What a stage is made of, before its key.
struct Draft {
    kind: StageKind,
    algorithms: Value,
    science: Value,
    seed: u64,
    input: Value,
}

/// What the next stage of a run starts from.
struct From {
    /// As its key names it.
    input: Value,
    /// The stage that leaves it, if one does.
    stage: Option<usize>,
}

impl Planner {
    fn run(
        &mut self,
        i: usize,
        run: &ResolvedRun,
        experiment: &str,
        datasets: &mut Datasets,
    ) -> Result<RunPlan, RunError> {
        let (source, spec) = run.spec.legs();
        let (source, spec) = (source.map(Arc::new), Arc::new(spec));
        let data = datasets.open_joined(&spec.data, &spec.train_with, spec.validation, spec.reading())?;
        let mut stages = Vec::new();
        let mut from = self.pretraining((i, run), &spec, &data, datasets, &mut stages)?;
        let mut of_source = None;
        if let Some(source) = &source {
            from = self.training((i, run, SOURCE), source, from, datasets, &mut stages)?;
            let (stage, _) = self.evaluation((i, run, SOURCE), source, &from, datasets, &mut stages)?;
            of_source = from.stage.map(|train| (train, stage));
        }
        from = self.training((i, run, ""), &spec, from, datasets, &mut stages)?;
        let (stage, tested) = self.evaluation((i, run, ""), &spec, &from, datasets, &mut stages)?;
        let mut names = vec![data.dataset.name.as_str()];
        let source_data = source.map(|source| datasets.open(&source.data, source.validation, source.reading()));
        let source_data = source_data.transpose()?;
        names.splice(0..0, source_data.iter().map(|source| source.dataset.name.as_str()));
        if !Arc::ptr_eq(&data, &tested) {
            names.push(&tested.dataset.name);
        }
        let names = names.join(" to ");
        let synthetic = [Some(&data), Some(&tested), source_data.as_ref()];
        let synthetic = synthetic.into_iter().flatten().any(|data| data.dataset.synthetic);
        let id = run_id(experiment, run, &names, self.stages[stage].key.hex());
        Ok(RunPlan { run: run.clone(), id, stages, of_source, data: tested, names, synthetic })
    }

    /// Pre-training, or the random initialisation it would start from.
    fn pretraining(
        &mut self,
        (i, run): (usize, &ResolvedRun),
        spec: &Arc<RunSpec>,
        data: &Arc<OpenData>,
        datasets: &mut Datasets,
        stages: &mut Vec<usize>,
    ) -> Result<From, RunError> {
        let seed = run.seeds.pretrain;
        if let ObjectiveSpec::Imported(imported) = &spec.pretrain.objective {
            let file = self.imports.hash(Import::Encoder(imported, vit_spec(spec)))?;
            let mut input =
                json!({ "file": file, "imported": import_science(imported)?, "backbone": encoder_science(spec)? });
            // What a lenient import leaves out keeps its random start.
            if !imported.strict {
                input["init"] = json!(seed);
            }
            return Ok(From { input, stage: None });
        }
        let Some((objective, version)) = spec.pretrain.objective.algorithm() else {
            return Ok(From { input: json!({ "init": seed, "backbone": encoder_science(spec)? }), stage: None });
        };
        let data = match &spec.pretrain.data {
            PretrainData::Same => Arc::clone(data),
            // Nothing is held out of data that are only pre-trained on.
            PretrainData::Other(other) => datasets.open(other, ValidationSpec::default(), spec.reading())?,
            PretrainData::Joined(sets) => {
                let (first, others) = sets.split_first().ok_or_else(|| {
                    RunError::Unexpected("`pretrain.data.joined` is empty after its check".to_owned())
                })?;
                datasets.open_joined(first, others, ValidationSpec::default(), spec.reading())?
            }
        };
        let (train, steps) = pretrain_length(spec)?;
        let mut science = json!({ "backbone": to_json(&BackboneSpec::Vit(spec.pretrained_vit()))?,
                                  "objective": objective_science(spec, &self.imports)?,
                                  "train": train_science(&train)?, "split": pretrain_split(&data).name() });
        if let Some(steps) = steps {
            // What was to be spent is the same science as the steps that it comes to.
            remove(&mut science["train"], &["epochs"]);
            science["steps"] = json!(steps);
        }
        let draft = Draft {
            kind: StageKind::Pretrain,
            algorithms: json!({ "data": reid_data::ALGORITHM_VERSION, "backbone": reid_backbones::ALGORITHM_VERSION,
                                "loop": train::ALGORITHM_VERSION, objective: version }),
            science,
            seed,
            input: Value::Null,
        };
        let label = self.label(StageKind::Pretrain, (i, run, ""));
        if let (TakeSpec::Epoch(epoch), Some(steps)) = (spec.pretrain.take, steps) {
            let per_epoch = data.dataset.split(pretrain_split(&data)).len() / train.batch / train.accumulate;
            if epoch * per_epoch > steps {
                return Err(RunError::Usage(format!(
                    "`pretrain.take: {{epoch: {epoch}}}` asks for an epoch that `pretrain.budget` does not reach: it comes to \
                     {steps} steps, {per_epoch} an epoch; take an earlier one, or `last`"
                )));
            }
        }
        let artefact = snapshots::artefact(&spec.pretrain, &train, steps);
        let stage = self.stage(&draft, (spec, seed), label, None, &data, Some((train, steps)))?;
        self.stages[stage].snapshots.add(&spec.pretrain);
        stages.push(stage);
        let mut input = json!({ "stage": self.stages[stage].key.hex(), "artefact": artefact });
        if self.stages[stage].vit != *vit_spec(spec) {
            input["resized"] = encoder_science(spec)?;
            input["resized"]["version"] = json!(reid_backbones::weights::ALGORITHM_VERSION);
        }
        Ok(From { input, stage: Some(stage) })
    }

    /// The protocol's training, if it has one.
    fn training(
        &mut self,
        (i, run, part): (usize, &ResolvedRun, &str),
        spec: &Arc<RunSpec>,
        from: From,
        datasets: &mut Datasets,
        stages: &mut Vec<usize>,
    ) -> Result<From, RunError> {
        let Some((train, name, version, science)) = protocol_science(spec)? else { return Ok(from) };
        let data = datasets.open_joined(&spec.data, &spec.train_with, spec.validation, spec.reading())?;
        let draft = Draft {
            kind: StageKind::Train,
            algorithms: json!({ "data": reid_data::ALGORITHM_VERSION, "backbone": reid_backbones::ALGORITHM_VERSION,
                                "loop": train::ALGORITHM_VERSION, name: version }),
            science,
            seed: run.seeds.downstream,
            input: from.input,
        };
        let label = self.label(StageKind::Train, (i, run, part));
        let train = Some((train.clone(), None));
        let stage = self.stage(&draft, (spec, run.seeds.pretrain), label, from.stage, &data, train)?;
        stages.push(stage);
        let input = json!({ "stage": self.stages[stage].key.hex(), "artefact": "model" });
        Ok(From { input, stage: Some(stage) })
    }

    /// The evaluation, and the data that it is on.
    fn evaluation(
        &mut self,
        (i, run, part): (usize, &ResolvedRun, &str),
        spec: &Arc<RunSpec>,
        from: &From,
        datasets: &mut Datasets,
        stages: &mut Vec<usize>,
    ) -> Result<(usize, Arc<OpenData>), RunError> {
        let tested = match &spec.test_on {
            TestData::Same => datasets.open_joined(&spec.data, &spec.train_with, spec.validation, spec.reading())?,
            // Nothing is held out of data that are not trained on.
            TestData::Other(other) => datasets.open(other, ValidationSpec::default(), spec.reading())?,
        };
        if spec.protocol.evaluation().same_camera == SameCamera::Removed {
            tested.dataset.require_cameras()?;
        }
        let mut evaluation = to_json(spec.protocol.evaluation())?;
        remove(&mut evaluation, &["batch"]);
        evaluation["normalisation"] = to_json(&evaluation_normalisation(spec))?;
        evaluation["pooling"] = to_json(&pooling(&spec.protocol))?;
        if let ProtocolSpec::Supervised(SupervisedSpec { side: SideSpec::Cameras(cameras), .. }) = &spec.protocol {
            // Those of another set are all unknown, whatever their numbers.
            let are_known = matches!(spec.test_on, TestData::Same);
            evaluation["cameras"] = json!({ "known": are_known, "unknown": to_json(&cameras.unknown)? });
        }
        let draft = Draft {
            kind: StageKind::Evaluate,
            algorithms: json!({ "data": reid_data::ALGORITHM_VERSION, "backbone": reid_backbones::ALGORITHM_VERSION,
                                "evaluation": protocols::evaluation::ALGORITHM_VERSION }),
            science: json!({ "evaluation": evaluation }),
            // Evaluation draws nothing at random.
            seed: 0,
            input: from.input.clone(),
        };
        let label = self.label(StageKind::Evaluate, (i, run, part));
        let stage = self.stage(&draft, (spec, run.seeds.pretrain), label, from.stage, &tested, None)?;
        stages.push(stage);
        Ok((stage, tested))
    }

    /// `pretrain person_mae mask_ratio=0.25 s0`: a stage in words, by the fields that it depends on.
    fn label(&self, kind: StageKind, (i, run, part): (usize, &ResolvedRun, &str)) -> String {
        let concerns = |path: &str| match kind {
            StageKind::Pretrain => {
                // Whatever the patches and pictures of what follows.
                let later = ["protocol", "pretrain.take", "test_on", "backbone.vit.stride"];
                let is_resized = run.spec.pretrain.image != PretrainImage::Backbone && path == "backbone.vit.image";
                !is_resized && !later.iter().any(|other| path.starts_with(other))
            }
            StageKind::Train | StageKind::Evaluate if part == SOURCE && path.contains("uda.usl") => false,
            StageKind::Train => !path.contains(".evaluation") && !path.starts_with("test_on"),
            StageKind::Evaluate => true,
        };
        let seed = if kind == StageKind::Pretrain { run.seeds.pretrain } else { run.seeds.downstream };
        let mut words = vec![kind.name().to_owned(), run.label.clone()];
        words.extend((!part.is_empty()).then(|| part.to_owned()));
        words.extend(self.names[i].iter().filter(|(path, _)| concerns(path)).map(|(_, text)| text.clone()));
        format!("{} s{seed}", words.join(" "))
    }

    /// The stage of that key, new or known.
    fn stage(
        &mut self,
        draft: &Draft,
        (spec, pretrain_seed): (&Arc<RunSpec>, u64),
        label: String,
        input: Option<usize>,
        data: &Arc<OpenData>,
        train: Option<(TrainSpec, Option<usize>)>,
    ) -> Result<usize, RunError> {
        let renderer = data.dataset.synthetic.then_some(reid_data::synthetic::RENDERER_VERSION);
        let key = StageKey::of(json!({
            "stage": draft.kind.name(),
            "algorithms": draft.algorithms,
            "science": draft.science,
            "data": data.science(),
            "renderer": renderer,
            "seed": draft.seed,
            "precision": to_json(&spec.precision)?,
            "input": draft.input,
        }));
        if let Some(&known) = self.index.get(key.hex()) {
            return Ok(known);
        }
        let at = self.stages.len();
        self.index.insert(key.hex().to_owned(), at);
        let data = Arc::clone(data);
        let (kind, seed) = (draft.kind, draft.seed);
        let vit = if kind == StageKind::Pretrain { spec.pretrained_vit() } else { vit_spec(spec).clone() };
        let (train, steps) = train.map_or((None, None), |(train, steps)| (Some(train), steps));
        let (spec, snapshots) = (Arc::clone(spec), Snapshots::default());
        let stage = StageDef { kind, key, label, input, spec, pretrain_seed, vit, seed, data, train, steps, snapshots };
        self.stages.push(stage);
        Ok(at)
    }
}

/// How a pre-training is trained, and after how many optimizer steps its budget is spent, where that is not after
/// whole epochs.
fn pretrain_length(spec: &RunSpec) -> Result<(TrainSpec, Option<usize>), RunError> {
    let train = spec.pretrain.train.clone();
    match spec.pretrain_length() {
        Some(Length::Epochs(epochs)) => Ok((TrainSpec { epochs, ..train }, None)),
        Some(Length::Steps(steps)) => Ok((train, Some(steps))),
        None => Err(RunError::Usage(
            "the objective's cost is unknown, so that `pretrain.budget` says no length; give it in `epochs` or `images`"
                .to_owned(),
        )),
    }
}

/// The split that pre-training draws from.
pub(super) fn pretrain_split(data: &OpenData) -> Split {
    pretraining_split(!data.dataset.split(Split::Pool).is_empty())
}

/// Channel statistics that a protocol's model expects.
pub(super) fn evaluation_normalisation(spec: &RunSpec) -> Normalisation {
    match &spec.protocol {
        ProtocolSpec::Frozen(frozen) => frozen.normalisation.of(&spec.pretrain.objective),
        ProtocolSpec::Supervised(supervised) => supervised.augment.normalisation,
        ProtocolSpec::Usl(usl) => usl.augment.normalisation,
        ProtocolSpec::Uda(uda) => uda.usl.augment.normalisation,
        ProtocolSpec::Spcl(spcl) => spcl.augment.normalisation,
    }
}

/// The encoder's feature that a protocol's model is made of.
pub(super) fn pooling(protocol: &ProtocolSpec) -> Pooling {
    match protocol {
        ProtocolSpec::Frozen(frozen) => frozen.pooling,
        ProtocolSpec::Supervised(supervised) => supervised.pooling,
        ProtocolSpec::Usl(usl) => usl.pooling,
        ProtocolSpec::Uda(uda) => uda.usl.pooling,
        ProtocolSpec::Spcl(spcl) => spcl.pooling,
    }
}

/// Labels that a protocol's training may know, if it has one.
pub(super) fn labels(protocol: &ProtocolSpec) -> Option<LabelsSpec> {
    match protocol {
        ProtocolSpec::Frozen(frozen) => frozen.linear_probe().map(|probe| probe.labels),
        ProtocolSpec::Supervised(supervised) => Some(supervised.labels),
        ProtocolSpec::Usl(_) | ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_) => None,
    }
}

/// Whether a protocol trains a model with a neck, whose product is evaluated.
pub(super) fn trains(protocol: &ProtocolSpec) -> bool {
    match protocol {
        ProtocolSpec::Frozen(frozen) => frozen.linear_probe().is_some(),
        ProtocolSpec::Supervised(_) | ProtocolSpec::Usl(_) | ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_) => true,
    }
}

/// `person_mae-synthetic-first-s0-k7f2q9ab`: readable first, then 40 bits of a hash over everything
/// that tells two rows apart.
fn run_id(experiment: &str, run: &ResolvedRun, data: &str, evaluate: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut identity = json!({ "experiment": experiment, "label": run.label, "varied": run.varied,
                               "seeds": [run.seeds.pretrain, run.seeds.downstream], "evaluate": evaluate });
    if run.trial.is_some() {
        // A trial and the run that it has chosen may be the same work, and are two rows all the same.
        identity["trial"] = json!(run.tuned);
    }
    let hash = blake3::hash(reid_experiments::canonical(&identity).as_bytes());
    let bits = hash.as_bytes()[..5].iter().fold(0_u64, |bits, &byte| bits << 8 | u64::from(byte));
    let suffix: String = (0..8).rev().map(|i| char::from(ALPHABET[(bits >> (5 * i) & 31) as usize])).collect();
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
    };
    format!("{}-{}-s{}-{suffix}", plain(&run.label), plain(data), run.seeds.downstream)
}
