//! Data sets on disk: one file per layout, and what all of them share.

mod bodies;
mod check;
mod detect;
mod folder;
mod holdout;
mod images;
pub(crate) mod inspect;
mod listed;
mod manifest;
mod market_like;
mod msmt17;
mod synthetic;

pub use detect::detect;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::dataset::{Dataset, Record, Split};
use crate::spec::{Cuhk03Boxes, DataSpec, OnCorrupt, ValidationSpec};
use crate::{DataError, Result};

/// How a data set is opened.
pub struct OpenSettings<'a> {
    /// Folder that relative roots start from.
    pub base: PathBuf,
    /// Folder for rendered data and for what is remembered of checked files.
    pub cache: PathBuf,
    /// Threads for checking and rendering; 0 for one per processor.
    pub threads: usize,
    /// What to do with pictures that cannot be decoded.
    pub on_corrupt: OnCorrupt,
    /// Which training identities to hold out for validation.
    pub validation: ValidationSpec,
    /// Called from any thread with what is going on, how much is done, and of how much.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
}

/// Records of every split, in path order.
type Splits = BTreeMap<Split, Vec<Record>>;

/// What a layout finds on disk, before any file is read.
struct Found {
    name: String,
    root: PathBuf,
    synthetic: bool,
    splits: Splits,
    notes: Vec<String>,
}

/// Opens a data set: finds its files, decodes each of them once ever, holds out validation
/// identities, and checks that it can be evaluated.
///
/// # Errors
/// Everything that is wrong with the data, as far as it can be known before training: missing
/// folders, names that do not parse, corrupt pictures, no query with a match.
pub fn open(spec: &DataSpec, settings: &OpenSettings) -> Result<Dataset> {
    let market = |layout, root: &str, counts| market_like::find(layout, root, counts, &settings.base);
    let found = match spec {
        DataSpec::Synthetic(spec) => synthetic::find(spec, settings)?,
        DataSpec::Market1501(spec) => market(&market_like::MARKET1501, &spec.root, spec.counts)?,
        DataSpec::DukeMtmc(spec) => market(&market_like::DUKE_MTMC, &spec.root, spec.counts)?,
        DataSpec::OccludedDuke(spec) => market(&market_like::OCCLUDED_DUKE, &spec.root, spec.counts)?,
        DataSpec::PersonX(spec) => market(&market_like::PERSON_X, &spec.root, spec.counts)?,
        DataSpec::Cuhk03(spec) => {
            let layout = match spec.boxes {
                Cuhk03Boxes::Labeled => &market_like::CUHK03_LABELED,
                Cuhk03Boxes::Detected => &market_like::CUHK03_DETECTED,
            };
            market(layout, &spec.root, spec.counts)?
        }
        DataSpec::Msmt17(spec) => msmt17::find(spec, &settings.base)?,
        DataSpec::OccludedReid(spec) => bodies::find(&bodies::OCCLUDED, spec, &settings.base)?,
        DataSpec::PartialReid(spec) => bodies::find(&bodies::PARTIAL, spec, &settings.base)?,
        DataSpec::Manifest(spec) => manifest::find(spec, &settings.base)?,
        DataSpec::Images(spec) => images::find(spec, &settings.base)?,
    };
    let Found { name, root, synthetic, mut splits, mut notes } = found;
    let inspection = inspect::inspect(&root, &splits, settings)?;
    notes.extend(inspection.note);
    for (record, stamp) in splits.values_mut().flatten().zip(inspection.stamps) {
        record.stamp = stamp;
    }
    if !inspection.corrupt.is_empty() {
        if settings.on_corrupt == OnCorrupt::Error {
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
    notes.extend(check::check(&splits, settings.validation, &root)?);
    let counts = splits.iter().map(check::counts).collect();
    Ok(Dataset { name, root, splits, fingerprint: inspection.fingerprint, size, synthetic, counts, notes })
}

/// Corrupt pictures that an error message names.
const MAX_NAMED: usize = 10;

fn corrupt(pictures: &BTreeMap<String, String>) -> DataError {
    let named: Vec<String> =
        pictures.iter().take(MAX_NAMED).map(|(path, reason)| format!("{path}: {reason}")).collect();
    DataError::Corrupt { count: pictures.len(), first: named.join("; ") }
}
