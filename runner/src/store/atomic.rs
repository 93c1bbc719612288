//! Files that are either there as a whole or not at all, also after a power cut.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::error::{Result, StoreError, io_error};

/// Begin of the names of files that are being written. They are litter after a crash.
pub(crate) const TEMPORARY_PREFIX: &str = ".writing-";

/// Replaces the file at `path` by one with these bytes: temporary file in the same folder, fsync,
/// rename, fsync of the folder. Whoever reads meanwhile sees the old or the new file.
///
/// # Errors
/// When the folder is missing, not writable, or full; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_with(path, bytes)?;
    temporary.as_file().sync_all().map_err(io_error("flushing a file to disk", path))?;
    temporary.persist(path).map_err(|error| io_error("renaming a finished file", path)(error.error))?;
    sync_dir(parent(path))
}

/// As [`write_atomic`], of what `write` puts into the file at the path it is given.
///
/// # Errors
/// Those of `write`, or when the disk refuses; the old file is then untouched.
pub(crate) fn place_atomic<E: From<StoreError>>(
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let temporary = temporary_with(path, &[])?;
    write(temporary.path())?;
    // Opened anew: `write` may have replaced the file.
    sync_file(temporary.path())?;
    temporary.persist(path).map_err(|error| io_error("renaming a finished file", path)(error.error))?;
    Ok(sync_dir(parent(path))?)
}

/// As [`write_atomic`], but not flushed: for files that are written often and may be empty after a power cut.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let placed = temporary_with(path, bytes)?.persist(path);
    placed.map(drop).map_err(|error| io_error("renaming a finished file", path)(error.error))
}

/// Creates a file with these bytes unless the name is taken; `None` says that it is. Of several
/// processes that try, one gets the file, and nobody ever reads it half-written.
///
/// Not flushed: for files that may vanish in a power cut, since the next process makes them again.
pub(crate) fn create_new(path: &Path, bytes: &[u8]) -> Result<Option<File>> {
    match temporary_with(path, bytes)?.persist_noclobber(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(io_error("creating a file", path)(error.error)),
    }
}

/// Makes the content of a file durable.
pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("flushing a file to disk", path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    match File::open(path).and_then(|folder| folder.sync_all()) {
        // Some network file systems cannot flush a folder and order renames by themselves.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other.map_err(io_error("flushing a folder to disk", path)),
    }
}

/// Makes a folder, unless it is there; its parent must exist. Not flushed.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(io_error("making a folder", path)(error)),
    }
}

/// The system's refusal to find a thing, which often is an answer and no fault.
pub(crate) fn is_missing(error: &StoreError) -> bool {
    matches!(error, StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// A temporary file beside `path`.
fn temporary_with(path: &Path, bytes: &[u8]) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).permissions(shared_permissions());
    let mut temporary = builder.tempfile_in(parent(path)).map_err(io_error("creating a file", path))?;
    temporary.write_all(bytes).map_err(io_error("writing a file", path))?;
    Ok(temporary)
}

/// What any new file gets, less the user's mask: a store may be shared by a group.
fn shared_permissions() -> Permissions {
    use std::os::unix::fs::PermissionsExt;
    Permissions::from_mode(0o666)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
