//! `data stats`, `verify`, `fingerprint` and `sheet`: what lies in a data set.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use reid_data::dataset::{Dataset, Record, Split};
use reid_data::datasets::{LARGE, OpenSettings, detect, join, open};
use reid_data::sheet::contact_sheet;
use reid_data::spec::{OnCorrupt, Reading, Size, ValidationSpec};
use reid_data::verify::Severity;
use reid_experiments::spec::RunSpec;

use super::chosen::is_spec;
use super::{Setup, print};
use crate::cli::{Common, DataArgs, SheetArgs};
use crate::exit::RunError;
use crate::store::atomic::write_atomic;

/// Pictures of a contact sheet's rows, and its rows.
const SHEET: (usize, usize) = (12, 10);
/// Height and width of its pictures.
const SHOWN: Size = Size(128, 64);

/// Places that are named of a finding; the rest are counted.
const NAMED: usize = 10;

pub(super) fn stats(args: &DataArgs) -> Result<(), RunError> {
    let (_, dataset) = opened(args, OnCorrupt::Skip)?;
    let mut text = format!("{}: {}\n", dataset.name, dataset.root.display());
    for count in &dataset.counts {
        let _ = writeln!(text, "  {count}");
    }
    for (split, records) in &dataset.splits {
        let mut pictures: BTreeMap<i64, usize> = BTreeMap::new();
        records.iter().filter(|record| record.pid > 0).for_each(|Record { pid, .. }| {
            *pictures.entry(*pid).or_default() += 1;
        });
        let mut pictures: Vec<usize> = pictures.into_values().collect();
        pictures.sort_unstable();
        if let (Some(least), Some(most)) = (pictures.first(), pictures.last()) {
            let median = pictures[pictures.len() / 2];
            let _ = writeln!(text, "  {}: {least} to {most} pictures of a person, median {median}", split.name());
        }
    }
    for note in &dataset.notes {
        let _ = writeln!(text, "  {note}");
    }
    let _ = writeln!(text, "  fingerprint {}", dataset.fingerprint);
    print(text.as_bytes())
}

pub(super) fn verify(args: &DataArgs) -> Result<(), RunError> {
    let (setup, dataset) = opened(args, OnCorrupt::Skip)?;
    let report = |what: &str, done: usize, total: usize| setup.progress.bar_data(what, done as u64, total as u64);
    let findings = reid_data::verify::verify(&dataset, setup.settings.threads, &report)?;
    let pictures: usize = dataset.splits.values().map(|records| records.len()).sum();
    let mut text = format!("{}: {pictures} pictures read\n", dataset.name);
    for finding in &findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let _ = writeln!(text, "{severity}: {} {}", finding.places.len(), finding.what);
        for place in finding.places.iter().take(NAMED) {
            let _ = writeln!(text, "  {place}");
        }
        if finding.places.len() > NAMED {
            let _ = writeln!(text, "  and {} more", finding.places.len() - NAMED);
        }
    }
    if findings.is_empty() {
        text.push_str("nothing to say against them\n");
    }
    print(text.as_bytes())?;
    match findings.iter().filter(|finding| finding.severity == Severity::Error).count() {
        0 => Ok(()),
        errors => Err(RunError::Unsound(errors)),
    }
}

pub(super) fn fingerprint(args: &DataArgs) -> Result<(), RunError> {
    let (_, dataset) = opened(args, OnCorrupt::Error)?;
    print(format!("{}\n", dataset.fingerprint).as_bytes())
}

pub(super) fn sheet(args: &SheetArgs) -> Result<(), RunError> {
    let (_, dataset) = opened(&args.data, OnCorrupt::Skip)?;
    let names = || dataset.splits.keys().map(|split| split.name()).collect::<Vec<_>>().join(", ");
    let split = match &args.split {
        Some(name) => dataset.splits.keys().copied().find(|split| split.name() == name),
        None => Some(Split::Train).filter(|train| dataset.splits.contains_key(train)),
    };
    let first = || dataset.splits.keys().next().copied().filter(|_| args.split.is_none());
    let split = split.or_else(first).ok_or_else(|| {
        let wanted = args.split.as_deref().unwrap_or_default();
        RunError::Usage(format!("the set has no split {wanted:?}; it has {}", names()))
    })?;
    let sheet = contact_sheet(&dataset, split, SHOWN, SHEET.0, SHEET.1)?;
    write_atomic(&args.out, &sheet.to_png())?;
    print(format!("{}\n", args.out.display()).as_bytes())
}

/// The data set of a spec's first run, or what lies at the path.
fn opened(args: &DataArgs, on_corrupt: OnCorrupt) -> Result<(Setup, Dataset), RunError> {
    let setup = Setup::new(&Common { out: None, machine: args.machine.clone() })?;
    let (specs, validation) = if is_spec(&args.data) {
        let experiment = setup.load(&args.data, &args.overrides, args.machine.color)?;
        let specs = |run: &RunSpec| [std::slice::from_ref(&run.data), &run.train_with].concat();
        let run = experiment.runs.first().map(|run| (specs(&run.spec), run.spec.validation));
        run.ok_or_else(|| RunError::NothingSelected("the spec has no runs".to_owned()))?
    } else if let Some(first) = args.overrides.first() {
        return Err(RunError::Usage(format!("{first} overrides a spec, and {} is none", args.data.display())));
    } else {
        (vec![detect(&args.data)], ValidationSpec::default())
    };
    let dataset = {
        let report = |what: &str, done: usize, total: usize| setup.progress.bar_data(what, done as u64, total as u64);
        let settings = OpenSettings {
            base: PathBuf::new(),
            cache: setup.settings.cache.clone(),
            threads: setup.settings.threads,
            reading: Reading { on_corrupt, ..Reading::default() },
            validation: ValidationSpec::default(),
            large: LARGE,
            progress: &report,
        };
        let first = OpenSettings { validation, base: settings.base.clone(), cache: settings.cache.clone(), ..settings };
        let sets = specs.iter().enumerate().map(|(at, spec)| open(spec, if at == 0 { &first } else { &settings }));
        let sets = sets.collect::<Result<Vec<Dataset>, _>>()?;
        join(&sets.iter().collect::<Vec<_>>())
    };
    Ok((setup, dataset))
}
