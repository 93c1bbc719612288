//! What is remembered of a large set, so that it opens without asking after its files one by one.
//!
//! Believed for as long as no folder of the set and no list or database that names its pictures has changed, and a
//! sample of its files has not. A file that was replaced in place is found when it is read: the run ends with an error
//! that names it, and the memory is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use polars::prelude::{Column, DataFrame, ParquetReader, ParquetWriter, PolarsResult, SerReader};
use serde::{Deserialize, Serialize};

use crate::dataset::{Record, Split};
use crate::datasets::inspect::{Inspection, write_whole};
use crate::datasets::{Found, OpenSettings, Opened, Splits};
use crate::lmdb::Lmdb;
use crate::source::{Source, file_stamp};
use crate::spec::{DataSpec, Size};

/// Raised when what is remembered, or how a layout is read, changes.
const FORMAT: u32 = 2;

/// Files whose stamps are compared, spread over the set.
const SAMPLE: usize = 1024;

/// A folder that changed so shortly before it was read may have changed since, unseen by a coarse clock.
const SETTLED: Duration = Duration::from_secs(2);

/// Rows that are read, and written as a group, at a time.
const PORTION: usize = 1 << 18;

/// Splits by their number in the table.
const SPLITS: [Split; 7] = [
    Split::Pool,
    Split::Train,
    Split::ValidationQuery,
    Split::ValidationGallery,
    Split::Query,
    Split::Gallery,
    Split::OccludedQuery,
];

/// Where one set is remembered.
pub(crate) struct Index {
    head: PathBuf,
}

/// Everything but the records.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    name: String,
    root: PathBuf,
    database: bool,
    synthetic: bool,
    source: PathBuf,
    notes: Vec<String>,
    fingerprint: String,
    size: Option<Size>,
    corrupt: BTreeMap<String, String>,
    /// Folders and files that name the pictures, and their stamps.
    watched: Vec<(PathBuf, u64)>,
    /// Hash of the table beside it.
    table: String,
}

impl Index {
    /// Of a spec whose paths start from `settings.base`.
    pub(crate) fn new(spec: &DataSpec, settings: &OpenSettings) -> Self {
        Self { head: settings.cache.join("indices").join(format!("{}.json", place(spec, &settings.base))) }
    }

    /// The file whose removal forgets the set.
    pub(crate) fn path(&self) -> &Path {
        &self.head
    }

    /// What is remembered, if it still holds.
    pub(crate) fn recall(&self) -> Option<Opened> {
        let head: Head = serde_json::from_slice(&std::fs::read(&self.head).ok()?).ok()?;
        let stamp = |path: &Path| std::fs::metadata(path).map_or(0, |facts| file_stamp(&facts));
        if head.format != FORMAT || head.watched.iter().any(|(path, then)| stamp(path) != *then) {
            return None;
        }
        let table = self.head.with_file_name(format!("{}.parquet", head.table));
        let (splits, stamps) = read(&table).ok()??;
        let source = if head.database {
            Source::Lmdb(Arc::new(Lmdb::open(&head.source).ok()?))
        } else {
            Source::Folder(head.source.clone())
        };
        let records: usize = splits.values().map(Vec::len).sum();
        let stride = records.div_ceil(SAMPLE).max(1);
        let sample = splits.values().flatten().zip(&stamps).step_by(stride);
        if sample.into_iter().any(|(record, then)| source.stamp(record) != *then) {
            return None;
        }
        let Head { name, root, synthetic, notes, fingerprint, size, corrupt, .. } = head;
        let found = Found { name, root, source, synthetic, splits, notes, lists: Vec::new() };
        Some(Opened { found, inspection: Inspection { fingerprint, size, corrupt, stamps, note: None } })
    }

    /// Remembers a set that was looked for at `started`; nothing if a folder of it has changed since or shortly before.
    pub(crate) fn remember(&self, opened: &Opened, started: SystemTime) -> std::io::Result<()> {
        let Opened { found, inspection } = opened;
        let mut watched = Vec::new();
        for path in names(found) {
            let facts = std::fs::metadata(&path)?;
            if facts.modified()? + SETTLED > started {
                return Ok(());
            }
            watched.push((std::path::absolute(path)?, file_stamp(&facts)));
        }
        let bytes = write(&found.splits, &inspection.stamps).map_err(std::io::Error::other)?;
        let table = blake3::hash(&bytes).to_hex().to_string();
        write_whole(&self.head.with_file_name(format!("{table}.parquet")), &bytes)?;
        let head = Head {
            format: FORMAT,
            name: found.name.clone(),
            root: std::path::absolute(&found.root)?,
            synthetic: found.synthetic,
            database: matches!(found.source, Source::Lmdb(_)),
            source: std::path::absolute(found.source.root())?,
            notes: found.notes.clone(),
            fingerprint: inspection.fingerprint.clone(),
            size: inspection.size,
            corrupt: inspection.corrupt.clone(),
            watched,
            table,
        };
        write_whole(&self.head, &serde_json::to_vec(&head)?)
    }
}

/// A name for a spec at a place, whatever folder the program was started in.
pub(crate) fn place(spec: &DataSpec, base: &Path) -> String {
    let spec = serde_json::to_string(spec).unwrap_or_default();
    let base = std::fs::canonicalize(if base.as_os_str().is_empty() { Path::new(".") } else { base });
    let base = base.unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(base.as_os_str().as_encoded_bytes()).update(b"\n").update(spec.as_bytes());
    hasher.finalize().to_hex().to_string()
}

/// The folders that pictures lie in, up to the root, and the files that list them.
fn names(found: &Found) -> BTreeSet<PathBuf> {
    let mut names: BTreeSet<PathBuf> = found.lists.iter().cloned().collect();
    names.insert(found.source.root().to_path_buf());
    if let Source::Folder(root) = &found.source {
        let mut last = "";
        for record in found.splits.values().flatten() {
            let folder = record.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if folder != last {
                names.extend(Path::new(folder).ancestors().map(|folder| root.join(folder)));
                last = folder;
            }
        }
    }
    names
}

fn write(splits: &Splits, stamps: &[u64]) -> PolarsResult<Vec<u8>> {
    let records = || splits.values().flatten();
    let number = |split: &Split| SPLITS.iter().position(|other| other == split).unwrap_or(0) as u32;
    let of_split: Vec<u32> =
        splits.iter().flat_map(|(split, records)| std::iter::repeat_n(number(split), records.len())).collect();
    let columns = vec![
        Column::new("split".into(), of_split),
        Column::new("path".into(), records().map(|record| record.path.as_str()).collect::<Vec<_>>()),
        Column::new("pid".into(), records().map(|record| record.pid).collect::<Vec<_>>()),
        Column::new("camera".into(), records().map(|record| record.camera).collect::<Vec<_>>()),
        Column::new("hidden".into(), records().map(|record| record.hidden).collect::<Vec<_>>()),
        Column::new("stamp".into(), stamps.to_vec()),
    ];
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_row_group_size(Some(PORTION))
        .finish(&mut DataFrame::new(stamps.len(), columns)?)?;
    Ok(bytes)
}

/// Records and stamps of a table; none if it is not one of ours.
fn read(table: &Path) -> PolarsResult<Option<(Splits, Vec<u64>)>> {
    let numbers = ParquetReader::new(File::open(table)?).with_columns(Some(vec!["split".to_owned()])).finish()?;
    let mut counts = [0; SPLITS.len()];
    for split in numbers.column("split")?.u32()?.iter() {
        let Some(count) = split.and_then(|split| counts.get_mut(split as usize)) else { return Ok(None) };
        *count += 1;
    }
    let rows = numbers.height();
    let mut splits: Splits = SPLITS
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(split, count)| (split, Vec::with_capacity(count)))
        .collect();
    let mut stamps = Vec::with_capacity(rows);
    // A portion at a time, so that the table is never in memory beside the records.
    for first in (0..rows).step_by(PORTION) {
        let frame = ParquetReader::new(File::open(table)?).with_slice(Some((first, PORTION))).finish()?;
        let (split, path) = (frame.column("split")?.u32()?, frame.column("path")?.str()?);
        let (pid, camera) = (frame.column("pid")?.i64()?, frame.column("camera")?.u32()?);
        let (hidden, stamp) = (frame.column("hidden")?.f32()?, frame.column("stamp")?.u64()?);
        let rows = split.iter().zip(path.iter()).zip(pid.iter().zip(camera.iter())).zip(hidden.iter());
        for (((split, path), (pid, camera)), hidden) in rows {
            let (Some(split), Some(path), Some(pid), Some(camera)) = (split, path, pid, camera) else {
                return Ok(None);
            };
            let Some(records) = SPLITS.get(split as usize).and_then(|split| splits.get_mut(split)) else {
                return Ok(None);
            };
            records.push(Record { hidden, ..Record::new(path.to_owned(), pid, camera) });
        }
        stamps.extend(stamp.iter().map(Option::unwrap_or_default));
    }
    Ok(Some((splits, stamps)))
}
