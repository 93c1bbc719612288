//! What finished stages and results stand on: the stages that rows name, and those that these started from.

use std::collections::{BTreeMap, BTreeSet};

use reid_results::RunRow;
use serde_json::Value;

use crate::engine::StageKind;
use crate::store::Shelved;

/// What lies where finished stages belong, by key.
pub(super) type Shelf = BTreeMap<String, Shelved>;

/// Kind of the stage whose numbers are determined by `science`, by its name.
pub(super) fn kind(science: &Value) -> &str {
    science.get("stage").and_then(Value::as_str).unwrap_or("unknown")
}

/// Key of the stage that it starts from, if it starts from one.
pub(super) fn input(science: &Value) -> Option<&str> {
    science.pointer("/input/stage")?.as_str()
}

/// Keys that a row names, in the order of the work.
pub(super) fn named(row: &RunRow) -> impl Iterator<Item = &String> {
    [&row.stage_pretrain, &row.stage_train, &row.stage_evaluate].into_iter().flatten()
}

/// Keys of all stages that a row stands on, as far as the store knows them: those that it names, each after those
/// that it started from, and then what the model of a source was evaluated by.
pub(super) fn stages_of(row: &RunRow, shelf: &Shelf) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for key in named(row) {
        let mut chain = vec![key.as_str()];
        while let Some(from) = chain.last().and_then(|&key| input(shelf.get(key)?.science()?))
            && !chain.contains(&from)
        {
            chain.push(from);
        }
        for key in chain.into_iter().rev() {
            if !keys.iter().any(|known| known == key) {
                keys.push(key.to_owned());
            }
        }
    }
    let rest: Vec<String> =
        with_inputs(named(row).cloned(), shelf).into_iter().filter(|key| !keys.contains(key)).collect();
    keys.extend(rest);
    keys
}

/// Stages and all that they stand on. A training that starts from another training has a source, of which its row
/// says how the source's model did, but not by which evaluation: so every evaluation of that model is among them.
pub(super) fn with_inputs(roots: impl IntoIterator<Item = String>, shelf: &Shelf) -> BTreeSet<String> {
    let of_kind = |key: &str, name: StageKind| {
        let science = shelf.get(key).and_then(Shelved::science);
        science.map(|science| kind(science) == name.name())
    };
    let mut evaluations: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for (key, found) in shelf {
        if of_kind(key, StageKind::Evaluate) == Some(true)
            && let Some(from) = found.science().and_then(input)
        {
            evaluations.entry(from).or_default().push(key);
        }
    }
    let mut needed = BTreeSet::new();
    let mut left: Vec<String> = roots.into_iter().collect();
    while let Some(key) = left.pop() {
        if let Some(from) = shelf.get(&key).and_then(Shelved::science).and_then(input)
            && !needed.contains(&key)
        {
            left.push(from.to_owned());
            // What has been removed or cannot be read may have been one.
            let is_trained = of_kind(from, StageKind::Pretrain) != Some(true);
            if is_trained && of_kind(&key, StageKind::Train) == Some(true) {
                left.extend(evaluations.get(from).into_iter().flatten().map(|&key| key.clone()));
            }
        }
        needed.insert(key);
    }
    needed
}
