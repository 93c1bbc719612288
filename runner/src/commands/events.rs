//! The event logs that lie in a store.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::exit::RunError;
use crate::log::Event;
use crate::store::{Store, io_error};

/// What stands between a stage's label and its key where its computation has begun.
const BEGUN: &str = ": begun, key ";

/// Logs of all processes, sorted by name.
pub(super) fn log_files(store: &Store) -> Result<Vec<PathBuf>, RunError> {
    let folder = store.logs();
    let failed = || io_error("reading the folder of the logs", &folder);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error).into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed())?.path();
        if path.extension().is_some_and(|ending| ending == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Hands out the events of a log one by one, since logs may be larger than memory. Returns the lines that are none: a
/// process that is killed, or a full disk, cuts the last one short.
pub(super) fn each_event(path: &Path, mut take: impl FnMut(Event)) -> Result<usize, RunError> {
    let failed = || io_error("reading a log", path);
    let mut log = BufReader::new(File::open(path).map_err(failed())?);
    let (mut line, mut torn) = (Vec::new(), 0);
    loop {
        line.clear();
        if log.read_until(b'\n', &mut line).map_err(failed())? == 0 {
            return Ok(torn);
        }
        match serde_json::from_slice(&line) {
            Ok(event) => take(event),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(_) => torn += 1,
        }
    }
}

/// Label and key of the stage that an event says is begun.
pub(super) fn begun(event: &Event) -> Option<(&str, &str)> {
    event.message.rsplit_once(BEGUN)
}

/// The message, with keys by their first digits.
pub(super) fn readable(event: &Event) -> String {
    let text = match begun(event) {
        Some((label, key)) => format!("{label}{BEGUN}{}", super::words::short(key)),
        None => event.message.clone(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match &event.stage {
        Some(stage) if !text.starts_with(stage.as_str()) => format!("{stage}: {text}"),
        _ => text,
    }
}

/// Labels of the stages that were ever begun in a store, by key: of what is not finished nothing else tells them.
pub(super) fn labels(store: &Store) -> Result<BTreeMap<String, String>, RunError> {
    let mut labels = BTreeMap::new();
    for path in log_files(store)? {
        each_event(&path, |event| {
            if let Some((label, key)) = begun(&event) {
                labels.insert(key.to_owned(), label.to_owned());
            }
        })?;
    }
    Ok(labels)
}
