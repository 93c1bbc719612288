//! `embed` and `rank`: a run's model on pictures at hand.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use reid_data::dataset::{Record, Split};
use reid_data::datasets::detect;
use reid_data::spec::{OnCorrupt, Reading, ValidationSpec};
use reid_objectives::task::Features;
use reid_results::features::{FeatureRow, features};
use serde_json::json;

use super::chosen::{chosen, is_spec, store_of};
use super::run::listen;
use super::{Setup, print};
use crate::cli::{EmbedArgs, ModelArgs, RankArgs, RankFormat};
use crate::engine::{DataServices, Datasets, Machine, OpenData, RunModel};
use crate::exit::RunError;
use crate::store::atomic::write_atomic;

/// What both verbs work with.
struct Work {
    setup: Setup,
    machine: Machine,
    datasets: Datasets,
    reading: Reading,
}

/// Pictures of a data set and their features.
struct Shown {
    data: Arc<OpenData>,
    /// In order of splits.
    parts: Vec<(Split, Features)>,
}

impl Shown {
    fn record(&self, part: usize, row: usize) -> &Record {
        let (split, features) = &self.parts[part];
        &self.data.dataset.split(*split)[features.records[row] as usize]
    }
}

pub(super) fn embed(args: &EmbedArgs) -> Result<(), RunError> {
    if args.to.extension().is_none_or(|ending| ending != "parquet") {
        return Err(RunError::Usage(format!("features are written as Parquet; use `.parquet`: {}", args.to.display())));
    }
    let mut work = Work::new(&args.model)?;
    let data = work.open(&args.data)?;
    let model = work.model(&args.model, &data)?;
    let shown = work.show(&model, &data, args.split.as_deref())?;

    let dataset = &shown.data.dataset;
    let mut rows = Vec::new();
    for (part, (split, features)) in shown.parts.iter().enumerate() {
        for (at, feature) in features.values.chunks_exact(features.width).enumerate() {
            let record = shown.record(part, at);
            let is_named = record.pid >= 0;
            rows.push(FeatureRow {
                split: split.name(),
                path: &record.path,
                pid: is_named.then_some(record.pid),
                camera: is_named.then_some(record.camera),
                feature,
            });
        }
    }
    let metadata = [
        ("producer", format!("reid-run {}", env!("CARGO_PKG_VERSION"))),
        ("model", model.origin.clone()),
        ("feature", model.description.clone()),
        ("dataset", dataset.name.clone()),
        ("dataset_fingerprint", dataset.fingerprint.clone()),
        ("root", dataset.root.display().to_string()),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    let width = rows.first().map_or(0, |row| row.feature.len());
    write_atomic(&args.to, &features(&rows, metadata)?)?;
    let count = rows.len();
    work.setup.progress.line(format_args!(
        "{}: {count} pictures, {width} numbers each, {}: {}",
        model.origin,
        model.description,
        args.to.display()
    ));
    Ok(())
}

pub(super) fn rank(args: &RankArgs) -> Result<(), RunError> {
    let mut work = Work::new(&args.model)?;
    let gallery = work.open(&args.gallery)?;
    let queries: Vec<Arc<OpenData>> = args.query.iter().map(|query| work.open(query)).collect::<Result<_, _>>()?;
    let model = work.model(&args.model, &gallery)?;
    let part = |data: &OpenData, split: Split| (!data.dataset.split(split).is_empty()).then(|| split.name());
    let default = part(&gallery, Split::Gallery);
    let gallery = work.show(&model, &gallery, args.split.as_deref().or(default))?;
    let all = joined(&gallery);

    let (mut text, mut entries) = (String::new(), Vec::new());
    for query in queries {
        let default = part(&query, Split::Query);
        let query = work.show(&model, &query, default)?;
        for (part, (_, features)) in query.parts.iter().enumerate() {
            for (row, found) in model.nearest(features, &all, args.top.get()).into_iter().enumerate() {
                let asked = query.data.dataset.root.join(&query.record(part, row).path);
                let found: Vec<(&Record, f32)> =
                    found.into_iter().map(|(at, distance)| (of_joined(&gallery, at as usize), distance)).collect();
                match args.format {
                    RankFormat::Table => table(&mut text, &asked, &found),
                    RankFormat::Json => entries.push(entry(&asked, &found)),
                }
            }
        }
    }
    work.setup.progress.line(format_args!("{}: {}", model.origin, model.description));
    if args.format == RankFormat::Json {
        let whole = json!({ "model": model.origin, "feature": model.description,
                            "gallery": gallery.data.dataset.root.display().to_string(), "queries": entries });
        text = serde_json::to_string_pretty(&whole).map_err(|e| RunError::Unexpected(e.to_string()))?;
        text.push('\n');
    }
    print(text.as_bytes())
}

/// Features of all parts, one after the other.
fn joined(shown: &Shown) -> Features {
    let width = shown.parts.first().map_or(0, |(_, features)| features.width);
    let values = shown.parts.iter().flat_map(|(_, features)| features.values.iter().copied()).collect();
    let records = shown.parts.iter().flat_map(|(_, features)| features.records.iter().copied()).collect();
    Features { values, width, records }
}

/// The record of a row of [`joined`].
fn of_joined(shown: &Shown, mut row: usize) -> &Record {
    let mut part = 0;
    while row >= shown.parts[part].1.records.len() {
        row -= shown.parts[part].1.records.len();
        part += 1;
    }
    shown.record(part, row)
}

fn table(text: &mut String, asked: &Path, found: &[(&Record, f32)]) {
    let _ = writeln!(text, "{}", asked.display());
    for (rank, (record, distance)) in found.iter().enumerate() {
        let person = if record.pid >= 0 { format!("  person {}", record.pid) } else { String::new() };
        let _ = writeln!(text, "{:>4}  {distance:.6}  {}{person}", rank + 1, record.path);
    }
}

fn entry(asked: &Path, found: &[(&Record, f32)]) -> serde_json::Value {
    let hit = |(at, (record, distance)): (usize, &(&Record, f32))| {
        let is_named = record.pid >= 0;
        json!({ "rank": at + 1, "distance": distance, "path": record.path,
                "pid": is_named.then_some(record.pid), "camera": is_named.then_some(record.camera) })
    };
    json!({ "query": asked.display().to_string(), "found": found.iter().enumerate().map(hit).collect::<Vec<_>>() })
}

impl Work {
    fn new(args: &ModelArgs) -> Result<Self, RunError> {
        let setup = Setup::new(&args.common)?;
        let machine = Machine::open(&setup.settings)?;
        let datasets = Datasets::new(Path::new(""), &setup.settings, &setup.progress);
        let on_corrupt = if args.skip_corrupt { OnCorrupt::Skip } else { OnCorrupt::Error };
        Ok(Self { setup, machine, datasets, reading: Reading { on_corrupt, ..Reading::default() } })
    }

    /// The data of a spec's first run, or what lies at the path.
    fn open(&mut self, path: &Path) -> Result<Arc<OpenData>, RunError> {
        let data = if is_spec(path) {
            let experiment = self.setup.load(path, &[], self.setup.color)?;
            let run = experiment.runs.first();
            let run = run.ok_or_else(|| RunError::NothingSelected("the spec has no runs".to_owned()))?;
            let mut of_spec = self.setup.datasets(&experiment);
            of_spec.open(&run.spec.data, run.spec.validation, run.spec.reading())?
        } else {
            self.datasets.open(&detect(path), ValidationSpec::default(), self.reading)?
        };
        match data.dataset.corrupt() {
            0 => {}
            corrupt => {
                let text = super::count(corrupt, "corrupt picture");
                self.setup.progress.warn(format_args!("{text} left out: {}", path.display()));
            }
        }
        Ok(data)
    }

    /// The model that is meant, for pictures of these data.
    fn model(&self, args: &ModelArgs, data: &OpenData) -> Result<RunModel, RunError> {
        let device = &self.machine.device;
        let model = if let Some(model) = self.without_training(args)? {
            model
        } else {
            let store = store_of(&self.setup)?;
            let row = chosen(&self.setup, &store, &args.run, &args.overrides)?;
            RunModel::of_row(&store, &row, &data.dataset.fingerprint, device)?
        };
        if let Some(notice) = model.notice {
            self.setup.progress.line(notice);
        }
        Ok(model)
    }

    /// The model of a spec whose only run trains nothing, so that it need not have been run.
    fn without_training(&self, args: &ModelArgs) -> Result<Option<RunModel>, RunError> {
        let path = Path::new(&args.run);
        if !is_spec(path) {
            return Ok(None);
        }
        let experiment = self.setup.load(path, &args.overrides, self.setup.color)?;
        match experiment.runs.as_slice() {
            [run] if !RunModel::is_trained(&run.spec) => {
                RunModel::of_spec(&run.spec, run.seeds.pretrain, &self.machine.device).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Features of all splits of a data set, or of one, whose pictures are decoded as the model's own were.
    fn show(&self, model: &RunModel, data: &OpenData, split: Option<&str>) -> Result<Shown, RunError> {
        let splits: Vec<Split> = data.dataset.splits.keys().copied().collect();
        let wanted: Vec<Split> =
            splits.iter().copied().filter(|of| split.is_none_or(|name| of.name() == name)).collect();
        if wanted.is_empty() {
            let names = splits.iter().map(|split| split.name()).collect::<Vec<_>>().join(", ");
            let wanted = split.unwrap_or_default();
            return Err(RunError::Usage(format!("the set has no split {wanted:?}; it has {names}")));
        }
        let data = Arc::new(data.decoded(model.decode));
        let services = DataServices {
            data: Arc::clone(&data),
            workers: self.machine.workers,
            device: self.machine.device.clone(),
            interrupt: listen()?,
        };
        let of_split = |split| Ok((split, model.features(&services, split)?));
        let parts = wanted.into_iter().map(of_split).collect::<Result<Vec<_>, RunError>>()?;
        Ok(Shown { data, parts })
    }
}
