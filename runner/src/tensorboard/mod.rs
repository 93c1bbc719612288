//! Event files, which TensorBoard shows: curves of trainings under way, and of finished runs.
//!
//! An event file is a sequence of records, each a message; the first of them names the format. TensorBoard looks for
//! files with `tfevents` in their names. Every folder that has some is a run to it, and they are parts of that run.

mod board;
mod event;
mod record;

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

pub use board::Board;
pub(crate) use board::Curves;

use crate::store::atomic::write_atomic;
use crate::store::{Result, StoreError, io_error};
use event::Event;

/// What names of event files begin with.
const PREFIX: &str = "events.out.tfevents.";

/// Longest part of a path that is made of a text; file systems take 255 bytes.
const LONGEST: usize = 160;

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar {
    /// Name of the curve, such as `train/loss`: all up to the first `/` is a group.
    pub(crate) tag: String,
    /// Optimizer step.
    pub(crate) step: i64,
    /// Microseconds since 1970, UTC.
    pub(crate) at: i64,
    /// Its value, of which files keep 32 bits.
    pub(crate) value: f64,
}

/// Writes the curves of a finished run into its folder, in place of an earlier file of that run; all other files are
/// left alone. Equal scalars, host and id make an equal file of an equal name: its time is that of the first scalar.
pub(crate) fn write(folder: &Path, host: &str, id: &str, scalars: &[Scalar]) -> Result<PathBuf> {
    let at = scalars.first().map_or(0, |scalar| scalar.at);
    let mut bytes = Vec::new();
    push(&mut bytes, &Event::version(at));
    push_points(&mut bytes, scalars);
    fs::create_dir_all(folder).map_err(io_error("making a folder of event files", folder))?;
    let path = folder.join(file_name(at, host, id));
    write_atomic(&path, &bytes)?;
    remove(folder, id, Some(&path))?;
    Ok(path)
}

/// The text as one part of a path: letters, digits, `-`, `_` and `.` stay, all else becomes `-`, also a `.` in front.
pub(crate) fn safe(text: &str) -> String {
    let is_plain = |at: usize, c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || (c == '.' && at > 0);
    let plain: String = text.chars().enumerate().map(|(at, c)| if is_plain(at, c) { c } else { '-' }).collect();
    if plain.len() <= LONGEST {
        return plain;
    }
    let rest = blake3::hash(text.as_bytes()).to_hex();
    format!("{}-{}", &plain[..LONGEST], &rest[..8])
}

/// An error of the store as one of a folder that the user has named; `remedy` says by which option.
pub(crate) fn elsewhere(error: StoreError, remedy: &'static str) -> StoreError {
    match error {
        StoreError::Io { action, source, path } => {
            StoreError::Invalid { problem: format!("{action}: {source}"), remedy, path }
        }
        other => other,
    }
}

/// Name of an event file: when its first event was, on which machine, and whose it is.
fn file_name(at: i64, host: &str, id: &str) -> String {
    format!("{PREFIX}{:010}.{}.{id}", at.div_euclid(1_000_000), safe(host))
}

/// Removes the event files in a folder whose names end with `id`, but for one.
fn remove(folder: &Path, id: &str, kept: Option<&Path>) -> Result<()> {
    let failed = || io_error("reading a folder of event files", folder);
    let is_of_id = |name: &str| {
        name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(id)).is_some_and(|rest| rest.ends_with('.'))
    };
    for entry in fs::read_dir(folder).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(is_of_id) && kept != Some(path.as_path()) {
            fs::remove_file(&path).map_err(io_error("removing an earlier event file", &path))?;
        }
    }
    Ok(())
}

/// Appends an event to the content of a file.
fn push(file: &mut Vec<u8>, event: &Event) {
    record::push(file, &event.encode_to_vec());
}

/// Appends points; those of one step and time are one event.
fn push_points(file: &mut Vec<u8>, scalars: &[Scalar]) {
    for points in scalars.chunk_by(|a, b| (a.step, a.at) == (b.step, b.at)) {
        push(file, &Event::points(points[0].step, points[0].at, points));
    }
}

fn seconds(at: i64) -> f64 {
    at as f64 / 1e6
}
