//! Lists of paths, and the paths that they name.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_pickle::{DeOptions, Value};

use crate::{DataError, Result};

/// The path with `/` between its parts, if it leads to something inside the folder that it starts from. `..` is never
/// followed, not even back in: a list from elsewhere must not reach files that nobody meant.
pub(crate) fn inside(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    (!path.starts_with('/') && !path.contains('\0') && !parts.is_empty()).then(|| parts.join("/"))
}

/// The names in a pickled list, if the file's name ends in `.pkl` or `.pickle`, or else in the lines of a text.
pub(crate) fn names(list: &Path) -> Result<Vec<String>> {
    let is_pickle = list.extension().is_some_and(|suffix| suffix == "pkl" || suffix == "pickle");
    let unreadable = |source| DataError::Io { action: "reading a list of pictures", source, path: PathBuf::from(list) };
    if !is_pickle {
        let text = std::fs::read_to_string(list).map_err(unreadable)?;
        return Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect());
    }
    let invalid = |problem: String| DataError::Invalid {
        problem,
        remedy: "it must be a pickled list of texts; nothing in it is ever executed".to_owned(),
        path: list.to_path_buf(),
    };
    let file = std::fs::File::open(list).map_err(unreadable)?;
    let options = DeOptions::new().decode_strings();
    let value = serde_pickle::value_from_reader(BufReader::new(file), options)
        .map_err(|error| invalid(format!("no list that can be read ({error})")))?;
    let (Value::List(items) | Value::Tuple(items)) = value else {
        return Err(invalid(format!("the pickle holds {} instead of a list", kind(&value))));
    };
    let name = |(at, item): (usize, Value)| match item {
        Value::String(name) => Ok(name),
        Value::Bytes(bytes) => {
            String::from_utf8(bytes).map_err(|error| invalid(format!("entry {at} is not UTF-8: {error}")))
        }
        other => Err(invalid(format!("entry {at} is {} instead of a text", kind(&other)))),
    };
    items.into_iter().enumerate().map(name).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::None => "nothing",
        Value::Bool(_) => "a truth value",
        Value::I64(_) | Value::Int(_) | Value::F64(_) => "a number",
        Value::Bytes(_) | Value::String(_) => "a text",
        Value::List(_) | Value::Tuple(_) => "a list",
        Value::Set(_) | Value::FrozenSet(_) => "a set",
        Value::Dict(_) => "a dictionary",
    }
}
