//! Files to frames. All reading of results goes through [`read`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use polars::functions::concat_df_diagonal;
use polars::prelude::{
    Column, DataFrame, DataType, IntoLazy, LazyFrame, ParallelStrategy, ParquetReader, PolarsResult, SerReader,
    SortMultipleOptions,
};

use crate::index::{self, Refresh};
use crate::row::{RunRow, Status};
use crate::schema::{self, Kind, METRIC, Part, is_setting};
use crate::{Result, ResultsError, checksum, decode, migrations};

/// Below this many files per thread, starting a thread costs more than it saves.
const FILES_PER_THREAD: usize = 64;

/// Results of a folder.
pub struct Frames {
    /// One row per run, sorted by experiment, point, trial and seeds. Columns: [`schema::RUN_COLUMNS`], then `cfg.*`,
    /// `tuned.*` and `metric.*` by name. A column of a field whose type differs between files is float if all are numbers, else text.
    pub runs: DataFrame,
    dir: PathBuf,
}

impl Frames {
    /// Runs as rows, in the order of [`Frames::runs`].
    ///
    /// # Errors
    /// None on frames that [`read`] returned unchanged.
    pub fn rows(&self) -> Result<Vec<RunRow>> {
        (0..self.runs.height()).map(|row| decode::run_row(&self.runs, row)).collect()
    }

    /// Step metrics of all runs, in run order. The files are opened and checked here, not before.
    ///
    /// # Errors
    /// As [`read`].
    pub fn metrics(&self) -> Result<LazyFrame> {
        self.part(Part::Metrics)
    }

    /// Query rows of all runs, in run order. The files are opened and checked here, not before.
    ///
    /// # Errors
    /// As [`read`].
    pub fn queries(&self) -> Result<LazyFrame> {
        self.part(Part::Queries)
    }

    /// Query rows of the runs with these ids, in their order.
    pub(crate) fn queries_of(&self, ids: impl Iterator<Item = String>) -> Result<DataFrame> {
        self.files(Part::Queries, ids)
    }

    /// Step rows of the runs with these ids, in their order.
    pub(crate) fn steps_of(&self, ids: impl Iterator<Item = String>) -> Result<DataFrame> {
        self.files(Part::Metrics, ids)
    }

    /// Only runs that have a row count: their other files may belong to a run that was cut short. A run without
    /// the file (pruned to save space) contributes nothing.
    fn part(&self, part: Part) -> Result<LazyFrame> {
        let ids = (0..self.runs.height()).filter_map(|row| decode::text(&self.runs, "run_id", row));
        Ok(self.files(part, ids)?.lazy())
    }

    fn files(&self, part: Part, ids: impl Iterator<Item = String>) -> Result<DataFrame> {
        let folder = self.dir.join(part.folder());
        let paths: Vec<PathBuf> =
            ids.map(|id| folder.join(format!("{id}.parquet"))).filter(|path| path.is_file()).collect();
        concat(part, read_all(part, &paths)?)
    }
}

/// Reads the results folder `dir` (the folder that holds `runs/`), and writes nothing. A folder that does not exist has
/// no runs.
///
/// Each file's schema version is checked before its columns are looked at. Missing columns are null, unknown ones
/// are ignored. Of many runs, those that have not changed since are taken from the index that [`read_and_index`] has left.
///
/// # Errors
/// [`ResultsError::NewerSchema`], [`ResultsError::Unreadable`] (torn or damaged), [`ResultsError::Foreign`] and
/// [`ResultsError::ColumnType`] name the file; [`ResultsError::Io`] when the system refuses.
pub fn read(dir: &Path) -> Result<Frames> {
    read_with(dir, Refresh::No)
}

/// [`read`], which of many runs leaves an index beside their folder, so that the next reader need not open each file.
///
/// # Errors
/// As [`read`]; an index that cannot be written is none.
pub fn read_and_index(dir: &Path) -> Result<Frames> {
    read_with(dir, Refresh::Yes)
}

fn read_with(dir: &Path, refresh: Refresh) -> Result<Frames> {
    let paths = parquet_files(&dir.join(Part::Runs.folder()))?;
    let runs = index::runs(dir, &paths, refresh)?;
    let keys = ["experiment", "point", "trial", "seed_pretrain", "seed_downstream", "run_id"];
    let runs = runs
        .sort(keys, SortMultipleOptions::default().with_maintain_order(true))
        .map_err(ResultsError::internal("sorting the runs"))?;
    Ok(Frames { runs, dir: dir.to_owned() })
}

/// Files of a part, by name. Names that begin with a dot are unfinished.
fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let fault = |source| ResultsError::Io {
        action: "listing results",
        remedy: "permit reading, and run again",
        source,
        path: folder.to_owned(),
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fault)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ending| ending == "parquet") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Reads files on several threads; the frames come back in the order of `paths`, and of several faults the first
/// in that order is reported.
pub(crate) fn read_all(part: Part, paths: &[PathBuf]) -> Result<Vec<DataFrame>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len() / FILES_PER_THREAD + 1);
    let share = paths.len().div_ceil(threads).max(1);
    let read_share = |share: &[PathBuf]| share.iter().map(|path| read_file(part, path)).collect::<Result<Vec<_>>>();
    std::thread::scope(|scope| {
        let workers: Vec<_> = paths.chunks(share).map(|share| scope.spawn(move || read_share(share))).collect();
        let mut frames = Vec::with_capacity(paths.len());
        for worker in workers {
            frames.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(frames)
    })
}

/// One file, conformed to the schema.
fn read_file(part: Part, path: &Path) -> Result<DataFrame> {
    // Read whole instead of mapped: a file that shrinks under a mapping would end the process.
    let bytes = fs::read(path).map_err(|source| ResultsError::Io {
        action: "reading results",
        remedy: "permit reading, and run again",
        source,
        path: path.to_owned(),
    })?;
    let unreadable = |reason: String| ResultsError::Unreadable { reason, path: path.to_owned() };
    if !checksum::holds(&bytes) {
        return Err(unreadable("its checksum differs: the file is damaged".to_owned()));
    }
    // The decoder asserts on some damaged pages of files without a checksum.
    let decoded = catch_unwind(AssertUnwindSafe(|| decode_file(part, path, bytes)));
    let frame = decoded.unwrap_or_else(|_| Err(unreadable("damaged pages".to_owned())))?;
    if part == Part::Runs {
        if frame.height() == 0 {
            return Err(unreadable("it has no row".to_owned()));
        }
        for row in 0..frame.height() {
            let status = decode::text(&frame, "status", row);
            if decode::text(&frame, "run_id", row).is_none() || status.as_deref().and_then(Status::from_name).is_none()
            {
                return Err(unreadable("a row has no run id, or no known status".to_owned()));
            }
        }
    }
    Ok(frame)
}

fn decode_file(part: Part, path: &Path, bytes: Vec<u8>) -> Result<DataFrame> {
    let unreadable = |error: polars::error::PolarsError| ResultsError::Unreadable {
        reason: error.to_string(),
        path: path.to_owned(),
    };
    let mut reader = ParquetReader::new(Cursor::new(bytes)).read_parallel(ParallelStrategy::None);
    let pairs = metadata(&mut reader).map_err(unreadable)?;
    let value_of = |key: &str| pairs.get(key).map(String::as_str);
    let version = check_version(part, path, value_of(schema::KEY_VERSION), value_of(schema::KEY_PART))?;
    let frame = reader.finish().map_err(unreadable)?;
    // The decoder trusts the counts of each column's chunks.
    if frame.columns().iter().any(|column| column.len() != frame.height()) {
        let reason = "columns of different lengths".to_owned();
        return Err(ResultsError::Unreadable { reason, path: path.to_owned() });
    }
    conform(part, path, &migrations::upgrade(part, version, frame)?)
}

/// Parquet in memory, with its file metadata. Several threads decode it: for files of many rows.
pub(crate) fn bytes_to_frame(bytes: Vec<u8>) -> PolarsResult<(DataFrame, BTreeMap<String, String>)> {
    let mut reader = ParquetReader::new(Cursor::new(bytes));
    let metadata = metadata(&mut reader)?;
    Ok((reader.finish()?, metadata))
}

fn metadata(reader: &mut ParquetReader<Cursor<Vec<u8>>>) -> PolarsResult<BTreeMap<String, String>> {
    let pairs = reader.get_metadata()?.key_value_metadata().clone().unwrap_or_default();
    Ok(pairs.into_iter().filter_map(|pair| Some((pair.key, pair.value?))).collect())
}

/// Version of a file that this program may read.
fn check_version(part: Part, path: &Path, version: Option<&str>, folder: Option<&str>) -> Result<i64> {
    let foreign = |reason: String| ResultsError::Foreign { reason, path: path.to_owned() };
    let version = version.ok_or_else(|| foreign(format!("no `{}` in its metadata", schema::KEY_VERSION)))?;
    let found: i64 = match version.parse() {
        Ok(found) if found >= 1 => found,
        _ => return Err(foreign(format!("its schema version is `{version}`"))),
    };
    if found > schema::SCHEMA_VERSION {
        let supported = schema::SCHEMA_VERSION;
        return Err(ResultsError::NewerSchema { found, supported, path: path.to_owned() });
    }
    match folder {
        Some(folder) if folder != part.folder() => {
            Err(foreign(format!("it belongs into `{folder}`, not `{}`", part.folder())))
        }
        _ => Ok(found),
    }
}

/// The schema's columns in order, absent ones null, then fields of the spec and `metric.*`; unknown columns are dropped.
fn conform(part: Part, path: &Path, frame: &DataFrame) -> Result<DataFrame> {
    let height = frame.height();
    let mut columns = Vec::with_capacity(frame.width());
    for def in part.columns() {
        columns.push(match frame.column(def.name) {
            Ok(column) => typed(column, def.kind, path)?,
            Err(_) => Column::full_null(def.name.into(), height, &def.kind.dtype()),
        });
    }
    if part == Part::Runs {
        for column in frame.columns() {
            let name = column.name();
            if name.starts_with(METRIC) {
                columns.push(typed(column, Kind::Float, path)?);
            } else if is_setting(name) {
                columns.push(typed(column, scalar_kind(column.dtype()), path)?);
            }
        }
    }
    DataFrame::new(height, columns).map_err(ResultsError::internal("conforming a file to the schema"))
}

/// The column as `kind`; only conversions without loss are made.
fn typed(column: &Column, kind: Kind, path: &Path) -> Result<Column> {
    let dtype = kind.dtype();
    if *column.dtype() == dtype {
        return Ok(column.clone());
    }
    let fits = match kind {
        Kind::Int => column.dtype().is_integer(),
        Kind::Float => column.dtype().is_primitive_numeric(),
        Kind::Text | Kind::Texts | Kind::Bool | Kind::Time => false,
    } || *column.dtype() == DataType::Null;
    let wrong = || ResultsError::ColumnType {
        column: column.name().to_string(),
        found: column.dtype().to_string(),
        expected: kind.name(),
        path: path.to_owned(),
    };
    // Where the cast fails, the library's reason adds nothing to the two types.
    match column.strict_cast(&dtype) {
        Ok(cast) if fits => Ok(cast),
        _ => Err(wrong()),
    }
}

/// Kind of a swept field's column, by its type in the file.
pub(crate) fn scalar_kind(dtype: &DataType) -> Kind {
    match dtype {
        DataType::Boolean => Kind::Bool,
        dtype if dtype.is_integer() => Kind::Int,
        dtype if dtype.is_float() => Kind::Float,
        _ => Kind::Text,
    }
}

/// Stacks files; columns of fields get a common type first.
pub(crate) fn concat(part: Part, mut frames: Vec<DataFrame>) -> Result<DataFrame> {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let mut metrics: BTreeSet<String> = BTreeSet::new();
    for column in frames.iter().flat_map(DataFrame::columns) {
        let name = column.name().as_str();
        if is_setting(name) {
            let kind = scalar_kind(column.dtype());
            let common = kinds.get(name).map_or(kind, |known| common_kind(*known, kind));
            if kinds.get(name) != Some(&common) {
                kinds.insert(name.to_owned(), common);
            }
        } else if name.starts_with(METRIC) && !metrics.contains(name) {
            metrics.insert(name.to_owned());
        }
    }
    for frame in &mut frames {
        for (name, kind) in &kinds {
            let Ok(column) = frame.column(name) else { continue };
            if *column.dtype() != kind.dtype() {
                let cast = column.cast(&kind.dtype()).map_err(ResultsError::internal("casting a swept field"))?;
                frame.with_column(cast).map_err(ResultsError::internal("casting a swept field"))?;
            }
        }
    }
    // An empty frame in front fixes the columns of a folder without files.
    let empty = part.columns().iter().map(|def| Column::new_empty(def.name.into(), &def.kind.dtype())).collect();
    frames.insert(0, DataFrame::new(0, empty).map_err(ResultsError::internal("making an empty frame"))?);
    let mut whole = concat_df_diagonal(&frames).map_err(ResultsError::internal("stacking files"))?;
    whole.rechunk_mut();
    let fixed = part.columns().iter().map(|def| def.name);
    let names = fixed.chain(kinds.keys().map(String::as_str)).chain(metrics.iter().map(String::as_str));
    whole.select(names).map_err(ResultsError::internal("ordering the columns"))
}

/// Type that holds the values of both.
pub(crate) fn common_kind(a: Kind, b: Kind) -> Kind {
    match (a, b) {
        (a, b) if a == b => a,
        (Kind::Int | Kind::Float, Kind::Int | Kind::Float) => Kind::Float,
        _ => Kind::Text,
    }
}
