//! In which fields two stages of a kind differ.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::words::shortened;

/// Longest value that is shown whole.
const LONGEST: usize = 32;

/// A field that two stages do not have in common.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    /// Dotted path, as in specs where it stands in one.
    pub(super) path: String,
    /// Both values, in words.
    pub(super) values: String,
    /// Fields that it stands for: a choice that only one of them makes has all of its own.
    pub(super) weight: usize,
}

/// Fields in which `here` differs from `there`, sorted by path. The keys of the stages that they start from are none.
pub(super) fn differences(here: &Value, there: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    if let (Value::Object(here), Value::Object(there)) = (here, there) {
        for name in names(here, there) {
            // What a spec says of the stage has no prefix, so that paths are those of specs.
            let path = if name == "science" { "" } else { name };
            let (here, there) = (here.get(name), there.get(name));
            if name == "input" { inputs(here, there, &mut found) } else { compare(path, here, there, &mut found) }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// What two stages start from. If both start from a stage, which one it is has been left out.
fn inputs(here: Option<&Value>, there: Option<&Value>, found: &mut Vec<Difference>) {
    let is_stage = |input: Option<&Value>| input.is_some_and(|input| input.get("stage").is_some());
    match (is_stage(here), is_stage(there)) {
        (true, true) => {
            let artefact = |input: Option<&Value>| input.and_then(|input| input.get("artefact")).cloned();
            compare("input", artefact(here).as_ref(), artefact(there).as_ref(), found);
            let resized = |input: Option<&Value>| input.and_then(|input| input.get("resized")).cloned();
            compare("backbone", resized(here).as_ref(), resized(there).as_ref(), found);
        }
        (false, false) => compare("input", here, there, found),
        _ => {
            let values = format!("{} here, {} there", origin(here), origin(there));
            found.push(Difference { path: "input".to_owned(), values, weight: 1 });
        }
    }
}

/// Where a stage's encoder comes from, in words.
fn origin(input: Option<&Value>) -> &'static str {
    let has = |name: &str| input.is_some_and(|input| input.get(name).is_some());
    match (has("stage"), has("file"), has("init")) {
        (true, ..) => "another stage's encoder",
        (_, true, _) => "an imported encoder",
        (.., true) => "a random encoder",
        _ => "nothing",
    }
}

fn compare(path: &str, here: Option<&Value>, there: Option<&Value>, found: &mut Vec<Difference>) {
    match (here, there) {
        (Some(Value::Object(here)), Some(Value::Object(there))) => {
            for name in names(here, there) {
                let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                compare(&path, here.get(name), there.get(name), found);
            }
        }
        (Some(here), Some(there)) if is_same(here, there) => {}
        (None, None) => {}
        (here, there) => {
            let values = match (here, there) {
                (Some(Value::String(here)), Some(Value::String(there))) if is_hash(here) && is_hash(there) => {
                    "other content here than there".to_owned()
                }
                _ => format!("{} here, {} there", shown(here), shown(there)),
            };
            let weight = [here, there].into_iter().flatten().map(fields).max().unwrap_or(1);
            found.push(Difference { path: path.to_owned(), values, weight });
        }
    }
}

/// Names of the fields of either.
fn names<'a>(here: &'a Map<String, Value>, there: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    here.keys().chain(there.keys()).map(String::as_str).collect()
}

/// Whether two values are one in a key: numbers count by value, `1.0` is `1`.
fn is_same(here: &Value, there: &Value) -> bool {
    match (here, there) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() != b.is_f64() => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (here, there) => here == there,
    }
}

/// Whether a text is a hash, which tells nobody anything.
fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// Number of fields of a value.
fn fields(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.values().map(fields).sum::<usize>().max(1),
        _ => 1,
    }
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "absent".to_owned(),
        Some(Value::String(text)) if is_hash(text) => "a file".to_owned(),
        Some(Value::String(text)) => shortened(text, LONGEST),
        Some(value) => shortened(&value.to_string(), LONGEST),
    }
}
