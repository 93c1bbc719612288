//! One file that stands for ten thousand: all rows of runs, so that a table need not open each run's own file.
//!
//! The runs' own files stay the truth. `.index.parquet`, beside their folder, holds their rows as [`crate::read`] has
//! conformed them, with size, time and inode number of the file that each row came from. Every reader lists the folder: where
//! the listing is that of the index, the rows are; files that are new since are read and added; where a file has
//! changed or vanished, or no longer fits the types of the columns, everything is read anew. An index that is damaged, of
//! another version, or cannot be written, costs time and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use polars::prelude::{Column, DataFrame, ParquetCompression};

use crate::reader::{bytes_to_frame, common_kind, concat, read_all, scalar_kind};
use crate::schema::{self, Kind, Part, is_setting};
use crate::{Result, ResultsError, checksum, decode, writer};

/// Name of the index in the results folder; hidden, so that no reader of Parquet files takes it for results.
const NAME: &str = ".index.parquet";

/// What the file says that it is, in place of a part's name.
const PART: &str = "index";

/// Raised when the layout of the index changes, or how rows are conformed.
const VERSION: u32 = 1;
const KEY_INDEX: &str = "reid_run.index_version";

/// Fewer files than this are read one by one as fast.
const WORTH_IT: usize = 64;

/// Columns that say which file a row is from.
const FILE: &str = "#file";
const STAMP: &str = "#stamp";

/// A file as the folder's listing has it: name, and what changes when it is replaced.
struct Listed {
    path: PathBuf,
    name: String,
    stamp: String,
}

/// Whether a reader may write the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// It only reads.
    No,
    /// It leaves the index as the files are now, where that is possible.
    Yes,
}

/// Rows of all files of runs, in no particular order.
pub(crate) fn runs(dir: &Path, paths: &[PathBuf], refresh: Refresh) -> Result<DataFrame> {
    if paths.len() < WORTH_IT {
        return concat(Part::Runs, read_all(Part::Runs, paths)?);
    }
    let listed: Vec<Listed> = paths.iter().map(|path| list(path)).collect::<Result<_>>()?;
    let path = dir.join(NAME);
    let known = open(&path);
    if let Some(known) = &known
        && let Some(new) = missing(known, &listed)
    {
        if new.is_empty() {
            return without_stamps(known);
        }
        if let Some(whole) = extend(known, &new)? {
            save(&path, &whole, refresh);
            return without_stamps(&whole);
        }
    }
    let whole = stamped(&listed.iter().collect::<Vec<_>>())?;
    save(&path, &whole, refresh);
    without_stamps(&whole)
}

fn list(path: &Path) -> Result<Listed> {
    let metadata = fs::metadata(path).map_err(|source| ResultsError::Io {
        action: "listing results",
        remedy: "permit reading, and run again",
        source,
        path: path.to_owned(),
    })?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(Listed { path: path.to_owned(), name, stamp: stamp(&metadata) })
}

/// A file is replaced by renaming another one over it, which has an inode number of its own.
fn stamp(metadata: &Metadata) -> String {
    format!("{} {} {}.{:09}", metadata.len(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

/// The index, if there is a sound one of this version.
fn open(path: &Path) -> Option<DataFrame> {
    let bytes = fs::read(path).ok()?;
    // Without its checksum it is not ours; a damaged one could end the process in the decoder.
    if !checksum::is_sealed(&bytes) || !checksum::holds(&bytes) {
        return None;
    }
    let (frame, metadata) = bytes_to_frame(bytes).ok()?;
    let is = |key: &str, value: String| metadata.get(key) == Some(&value);
    let ours = is(schema::KEY_PART, PART.to_owned())
        && is(KEY_INDEX, VERSION.to_string())
        && is(schema::KEY_VERSION, schema::SCHEMA_VERSION.to_string());
    let whole =
        Part::Runs.columns().iter().all(|def| frame.column(def.name).is_ok_and(|c| *c.dtype() == def.kind.dtype()));
    (ours && whole && frame.column(FILE).is_ok() && frame.column(STAMP).is_ok()).then_some(frame)
}

/// Files that the index lacks; `None` if one that it has is gone or has changed.
fn missing<'a>(known: &DataFrame, listed: &'a [Listed]) -> Option<Vec<&'a Listed>> {
    let texts = |name: &str| Some(known.column(name).ok()?.str().ok()?.iter().map(|text| text.unwrap_or("")).collect());
    let (files, stamps): (Vec<&str>, Vec<&str>) = (texts(FILE)?, texts(STAMP)?);
    let mut indexed: BTreeMap<&str, &str> = files.into_iter().zip(stamps).collect();
    let mut new = Vec::new();
    for file in listed {
        match indexed.remove(file.name.as_str()) {
            Some(stamp) if stamp == file.stamp => {}
            Some(_) => return None,
            None => new.push(file),
        }
    }
    indexed.is_empty().then_some(new)
}

/// The index with new files; `None` if a column's values would read otherwise than if all files were read together.
fn extend(known: &DataFrame, new: &[&Listed]) -> Result<Option<DataFrame>> {
    let added = stamped(new)?;
    for column in added.columns().iter().filter(|column| is_setting(column.name())) {
        let kind = scalar_kind(column.dtype());
        // Whole numbers become the same floats now or later; texts of numbers do not.
        let fits = known.column(column.name()).map_or(true, |known| {
            let known = scalar_kind(known.dtype());
            known == kind || common_kind(known, kind) == Kind::Float
        });
        if !fits {
            return Ok(None);
        }
    }
    let stamps = [FILE, STAMP].map(|name| {
        let both = known.column(name).and_then(|known| {
            let mut both = known.clone();
            both.append(added.column(name)?)?;
            Ok(both)
        });
        both.map_err(ResultsError::internal("adding to the index"))
    });
    let mut whole = concat(Part::Runs, vec![known.clone(), added])?;
    for column in stamps {
        whole.with_column(column?).map_err(ResultsError::internal("adding to the index"))?;
    }
    Ok(Some(whole))
}

/// Rows of these files, each with its file.
fn stamped(files: &[&Listed]) -> Result<DataFrame> {
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let frames = read_all(Part::Runs, &paths)?;
    let rows = || files.iter().zip(&frames).flat_map(|(file, frame)| std::iter::repeat_n(file, frame.height()));
    let names: Vec<&str> = rows().map(|file| file.name.as_str()).collect();
    let stamps: Vec<&str> = rows().map(|file| file.stamp.as_str()).collect();
    let columns = [Column::new(FILE.into(), names), Column::new(STAMP.into(), stamps)];
    let mut whole = concat(Part::Runs, frames)?;
    for column in columns {
        whole.with_column(column).map_err(ResultsError::internal("making the index"))?;
    }
    Ok(whole)
}

fn without_stamps(frame: &DataFrame) -> Result<DataFrame> {
    let names = decode::names(frame).into_iter().filter(|name| !name.starts_with('#'));
    frame.select(names).map_err(ResultsError::internal("reading the index"))
}

/// Writes the index, if that is possible: a reader of results need not be allowed to write there.
fn save(path: &Path, frame: &DataFrame, refresh: Refresh) {
    if refresh == Refresh::No {
        return;
    }
    let pairs = [
        (schema::KEY_VERSION, schema::SCHEMA_VERSION.to_string()),
        (schema::KEY_PART, PART.to_owned()),
        (KEY_INDEX, VERSION.to_string()),
        (schema::KEY_CHECKSUM, checksum::PLACEHOLDER.to_owned()),
    ];
    let metadata = pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let encoded = writer::to_parquet(&mut frame.clone(), ParquetCompression::Zstd(None), metadata);
    if let (Ok(mut bytes), Some(folder)) = (encoded, path.parent()) {
        checksum::seal(&mut bytes);
        let _ = writer::commit_file(folder, NAME, &bytes);
    }
}
