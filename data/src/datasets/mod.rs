//! Data sets on disk: one file per layout, and what all of them share.

mod bodies;
mod check;
mod cuhk03;
mod detect;
mod folder;
mod holdout;
mod images;
mod index;
pub(crate) mod inspect;
mod join;
mod listed;
mod luperson;
mod manifest;
mod market_like;
mod mat5;
mod msmt17;
mod occluded_duke;
mod rand_person;
mod synthetic;
mod unreal_person;

pub use detect::detect;
pub use join::join;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::dataset::{Dataset, Record, Split};
use crate::source::Source;
use crate::spec::{DataSpec, OccludedDukeLists, OnCorrupt, Reading, ValidationSpec};
use crate::{DataError, Result};

/// Pictures from which on a set is opened by what is remembered of it alone, without asking after each file: more
/// than the labelled sets have.
pub const LARGE: usize = 1 << 17;

/// How a data set is opened.
pub struct OpenSettings<'a> {
    /// Folder that relative roots start from.
    pub base: PathBuf,
    /// Folder for rendered data and for what is remembered of checked files.
    pub cache: PathBuf,
    /// Threads for checking and rendering; 0 for one per processor.
    pub threads: usize,
    /// What is made of the files.
    pub reading: Reading,
    /// Which training identities to hold out for validation.
    pub validation: ValidationSpec,
    /// Pictures from which on a set is large: [`LARGE`].
    pub large: usize,
    /// Called from any thread with what is going on, how much is done, and of how much.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
}

/// Records of every split, in path order.
type Splits = BTreeMap<Split, Vec<Record>>;

/// What a layout finds on disk, before any file is read.
struct Found {
    name: String,
    /// What was opened, for messages.
    root: PathBuf,
    source: Source,
    synthetic: bool,
    splits: Splits,
    notes: Vec<String>,
    /// Files that say which pictures there are.
    lists: Vec<PathBuf>,
}

impl Found {
    /// Pictures below a folder.
    fn in_folder(name: &str, root: PathBuf, splits: Splits, notes: Vec<String>) -> Self {
        let (name, source) = (name.to_owned(), Source::Folder(root.clone()));
        Self { name, root, source, synthetic: false, splits, notes, lists: Vec::new() }
    }
}

/// What was found, and what reading it has shown.
struct Opened {
    found: Found,
    inspection: inspect::Inspection,
}

/// Opens a data set: finds its files, decodes each of them once ever, holds out validation
/// identities, and checks that it can be evaluated.
///
/// # Errors
/// Everything that is wrong with the data, as far as it can be known before training: missing
/// folders, names that do not parse, corrupt pictures, no query with a match.
pub fn open(spec: &DataSpec, settings: &OpenSettings) -> Result<Dataset> {
    let index = index::Index::new(spec, settings);
    let Opened { found, inspection } = match index.recall() {
        Some(opened) => opened,
        None => look(spec, settings, &index)?,
    };
    let Found { name, root, source, synthetic, mut splits, mut notes, .. } = found;
    notes.extend(inspection.note);
    for (record, stamp) in splits.values_mut().flatten().zip(inspection.stamps) {
        record.stamp = stamp;
    }
    if !inspection.corrupt.is_empty() {
        if settings.reading.on_corrupt == OnCorrupt::Error {
            return Err(corrupt(&inspection.corrupt));
        }
        for record in splits.values_mut().flatten() {
            record.usable = !inspection.corrupt.contains_key(&record.path);
        }
        notes.push(format!("{} corrupt pictures are left out", inspection.corrupt.len()));
    }
    let size = inspection.size.ok_or_else(|| DataError::Invalid {
        problem: "no picture can be decoded".to_owned(),
        remedy: "check the copy of the data".to_owned(),
        path: root.clone(),
    })?;
    notes.extend(holdout::hold_out(&mut splits, settings.validation, &root)?);
    let (more, of_one_camera) = check::check(&splits, settings.validation, &root)?;
    notes.extend(more);
    let counts = splits.iter().map(|(split, records)| check::counts(*split, records)).collect();
    Ok(Dataset {
        name,
        root,
        own_training: splits.get(&Split::Train).map_or(0, Vec::len),
        sources: Arc::new([source]),
        splits: splits.into_iter().map(|(split, records)| (split, Arc::new(records))).collect(),
        fingerprint: inspection.fingerprint,
        size,
        decode: settings.reading.decode,
        synthetic,
        counts,
        notes,
        of_one_camera,
        memories: Arc::new([index.path().to_path_buf()]),
    })
}

/// Looks for the set's files and at each of them.
fn look(spec: &DataSpec, settings: &OpenSettings, index: &index::Index) -> Result<Opened> {
    let started = SystemTime::now();
    let found = find(spec, settings)?;
    let memory = settings.cache.join("fingerprints").join(format!("{}.json", index::place(spec, &settings.base)));
    let inspection = inspect::inspect(&found.source, &found.splits, &memory, settings)?;
    let mut opened = Opened { found, inspection };
    if opened.inspection.stamps.len() >= settings.large
        && let Err(error) = index.remember(&opened, started)
    {
        opened.found.notes.push(format!("the set cannot be remembered ({error}: {})", index.path().display()));
    }
    Ok(opened)
}

/// Finds a set's pictures.
fn find(spec: &DataSpec, settings: &OpenSettings) -> Result<Found> {
    let base: &Path = &settings.base;
    let market = |layout, root: &str, counts| market_like::find(layout, root, counts, base);
    match spec {
        DataSpec::Synthetic(spec) => synthetic::find(spec, settings),
        DataSpec::Market1501(spec) => market_like::find_market(spec, base),
        DataSpec::DukeMtmc(spec) => market(&market_like::DUKE_MTMC, &spec.root, spec.counts),
        DataSpec::OccludedDuke(spec) => match &spec.lists {
            OccludedDukeLists::Folders => market(&market_like::OCCLUDED_DUKE, &spec.root, spec.counts),
            OccludedDukeLists::Lists(lists) => occluded_duke::find(&spec.root, lists, spec.counts, base),
        },
        DataSpec::PersonX(spec) => market(&market_like::PERSON_X, &spec.root, spec.counts),
        DataSpec::Cuhk03(spec) => cuhk03::find(spec, settings),
        DataSpec::Msmt17(spec) => msmt17::find(spec, base),
        DataSpec::OccludedReid(spec) => bodies::find(&bodies::OCCLUDED, spec, base),
        DataSpec::PartialReid(spec) => bodies::find(&bodies::PARTIAL, spec, base),
        DataSpec::RandPerson(spec) => rand_person::find(spec, base),
        DataSpec::UnrealPerson(spec) => unreal_person::find(spec, base),
        DataSpec::Luperson(spec) => luperson::find(spec, base),
        DataSpec::Manifest(spec) => manifest::find(spec, base),
        DataSpec::Images(spec) => images::find(spec, base),
    }
}

/// Corrupt pictures that an error message names.
const MAX_NAMED: usize = 10;

fn corrupt(pictures: &BTreeMap<String, String>) -> DataError {
    let named: Vec<String> =
        pictures.iter().take(MAX_NAMED).map(|(path, reason)| format!("{path}: {reason}")).collect();
    DataError::Corrupt { count: pictures.len(), first: named.join("; ") }
}
