//! Rows to files: new file, fsync, rename; nothing is ever appended to.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use polars::frame::DataFrame;
use polars::prelude::{KeyValueMetadata, ParquetCompression, ParquetWriter};

use crate::row::{QueryRow, RunRow, StepRow};
use crate::schema::Part;
use crate::{Result, ResultsError, checksum, encode};

/// Tells the temporary files of one process apart.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes the three files of a run under the results folder `dir`, which is created if it is missing.
///
/// `runs/<run_id>.parquet` is written last, since it marks that the run exists. Each file appears whole or not at
/// all, also after a crash; files of the same run that are there already are replaced, as when a failed run is
/// tried again.
///
/// # Errors
/// [`ResultsError::InvalidRow`] when the run id is no file name, [`ResultsError::Io`] when the system refuses; what
/// was there before is then still there.
pub fn write_run(dir: &Path, run: &RunRow, steps: &[StepRow], queries: &[QueryRow]) -> Result<()> {
    check(run)?;
    write_part(dir, Part::Metrics, run, steps, encode::step_frame(run, steps)?)?;
    write_part(dir, Part::Queries, run, steps, encode::query_frame(run, queries)?)?;
    write_part(dir, Part::Runs, run, steps, encode::run_frame(run)?)
}

/// A run id becomes a file name and must stay inside the folder.
fn check(run: &RunRow) -> Result<()> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if run.run_id.is_empty() || run.run_id.starts_with('.') || !run.run_id.chars().all(named) {
        let problem = "its id must be letters, digits, `-`, `_` and `.`, and not begin with `.`".to_owned();
        return Err(ResultsError::InvalidRow { run_id: run.run_id.clone(), problem });
    }
    Ok(())
}

fn write_part(dir: &Path, part: Part, run: &RunRow, steps: &[StepRow], mut frame: DataFrame) -> Result<()> {
    // A `runs` file has one row: pages of a few bytes, which compression makes larger, and a fresh zstd state for
    // each of them made up two thirds of the time to read ten thousand runs.
    let compression = match part {
        Part::Runs => ParquetCompression::Uncompressed,
        Part::Metrics | Part::Queries => ParquetCompression::Zstd(None),
    };
    let mut bytes = to_parquet(&mut frame, compression, encode::metadata(part, run, steps))?;
    checksum::seal(&mut bytes);
    commit_file(&dir.join(part.folder()), &format!("{}.parquet", run.run_id), &bytes)
}

/// Encodes a frame with its file metadata; texts are dictionary-encoded, as polars does by itself.
pub(crate) fn to_parquet(
    frame: &mut DataFrame,
    compression: ParquetCompression,
    metadata: Vec<(String, String)>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(compression)
        .with_key_value_metadata(Some(KeyValueMetadata::from_static(metadata)))
        .set_parallel(false)
        .finish(frame)
        .map_err(ResultsError::internal("encoding Parquet"))?;
    Ok(bytes)
}

/// Puts `bytes` at `folder/name` atomically and durably.
pub(crate) fn commit_file(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let target = folder.join(name);
    let fault = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ResultsError::Io { action, remedy: "free space or permit writing, and run again", source, path }
    };
    fs::create_dir_all(folder).map_err(fault("creating the results folder", folder))?;
    let count = TEMPORARY.fetch_add(1, Ordering::Relaxed);
    // The leading dot and the ending keep readers away from a file that a crash leaves behind.
    let temporary = folder.join(format!(".{name}.{}-{count}.tmp", std::process::id()));
    let outcome = write_synced(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &target))
        .and_then(|()| sync_folder(folder));
    if outcome.is_err() {
        // The first error is the one to report; what cannot be removed now is ignored by every reader.
        let _ = fs::remove_file(&temporary);
    }
    outcome.map_err(fault("writing results", &target))
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the rename itself durable; only Unix can open a folder for that.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}
