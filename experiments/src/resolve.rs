//! From a merged tree to a run with nothing optional.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::diagnostic::{Issue, Severity};
use crate::node::{Kind, Node, Origin, shorten};
use crate::shape::{ChoiceShape, Shape};
use crate::source::Place;
use crate::spec::RunSpec;
use crate::validate::Path;
use crate::written::file_shape;
use crate::{check, layers, sweep};

/// Fields of a file that are no part of a run.
pub(crate) const NOT_RUN: [&str; 7] = ["name", "description", "extends", "seeds", "sweep", "table", "tune"];

/// Writes out bare names, presets and partly written defaults, makes paths absolute and whole numbers
/// integers.
///
/// A field that is written in part keeps the rest of *its* default: `supervised: {train: {epochs: 20}}`
/// changes the epochs of the supervised recipe, not of training in general.
pub(crate) fn expand(node: &mut Node, shape: &Shape) {
    match shape {
        Shape::Map(map) => {
            for field in &map.fields {
                if let Some(child) = node.get_mut(&field.name) {
                    write_out(child, &field.shape);
                    if let Some(default) = field.default.as_ref().filter(|default| default.is_object()) {
                        put_under(child, default, Origin::Default, &field.shape);
                    }
                    expand(child, &field.shape);
                }
            }
        }
        Shape::Choice(choice) => {
            write_out(node, shape);
            if let Kind::Map(fields) = &mut node.kind {
                for (name, payload) in fields {
                    if let Some(shape) = choice.payload(name) {
                        expand(payload, shape);
                    }
                }
            }
        }
        Shape::List(list) => {
            if let Kind::List(items) = &mut node.kind {
                for item in items {
                    expand(item, &list.item);
                }
            }
        }
        Shape::Number(number) => {
            if let Kind::Float(float) = node.kind
                && number.whole
                && float.fract() == 0.0
            {
                node.kind = Kind::Int(float as i128);
            }
        }
        Shape::Text { is_path: true } => {
            if let Kind::Text(text) = &mut node.kind {
                let path = node.place.source.dir.join(text.as_str());
                *text = std::path::absolute(&path).unwrap_or(path).display().to_string();
            }
        }
        Shape::Text { is_path: false } | Shape::Flag | Shape::Special(_) => {}
    }
}

/// Writes a choice's bare name as a map with one key, and a preset as the variant that it stands for.
fn write_out(node: &mut Node, shape: &Shape) {
    let Shape::Choice(choice) = shape else { return };
    if let Kind::Text(name) = &node.kind {
        if choice.payload(name).is_none() {
            return;
        }
        let payload = Node::empty_map(node.place.clone()).keyed(node.place.clone());
        node.kind = Kind::Map(vec![(name.clone(), payload)]);
    }
    let [(name, payload)] = node.entries() else { return };
    let (Some(preset), Some(payload_shape)) = (choice.preset(name), choice.payload(name)) else { return };
    let mut payload = payload.clone();
    put_under(&mut payload, &preset.fields(), Origin::Preset, payload_shape);
    node.kind = Kind::Map(vec![(preset.variant.to_owned(), payload)]);
}

/// Puts values under a written map: they hold where nothing is written.
fn put_under(node: &mut Node, values: &Json, origin: Origin, shape: &Shape) {
    if matches!(node.kind, Kind::Map(_)) {
        let base = Node::from_json(values, &node.key_mark(), origin);
        node.kind = layers::merge(&[&base, node], shape).kind;
    }
}

/// The run that an expanded tree says.
pub(crate) fn extract(tree: &Node) -> Result<RunSpec, String> {
    let mut json = tree.to_json();
    if let Some(fields) = json.as_object_mut() {
        for name in NOT_RUN {
            fields.remove(name);
        }
    }
    serde_json::from_value(json).map(RunSpec::canonical).map_err(|error| error.to_string())
}

/// Takes wrong values out of a tree, with the choices that hang on them, so that the rest can be looked at.
pub(crate) fn remove_bad(tree: &mut Node, bad: &[Path]) {
    for path in bad {
        let mut length = path.len();
        while length > 0 {
            let parent = &path[..length - 1];
            let is_choice = matches!(file_shape().at(parent), Ok(Shape::Choice(_)) | Err(_));
            if !is_choice && let Some(parent) = find_mut(tree, parent) {
                parent.remove(&path[length - 1]);
                break;
            }
            length -= 1;
        }
    }
}

fn find_mut<'a>(node: &'a mut Node, path: &[String]) -> Option<&'a mut Node> {
    path.iter().try_fold(node, |node, key| node.get_mut(key))
}

/// What the rules between fields find, with places. Findings about `bad` fields are left out: those are
/// known to be wrong already.
pub(crate) fn cross_check(run: &RunSpec, tree: &Node, bad: &[Path]) -> Vec<Issue> {
    located(check::all(run), tree, bad)
}

/// Findings with places, less those about `bad` fields.
pub(crate) fn located(findings: Vec<check::Finding>, tree: &Node, bad: &[Path]) -> Vec<Issue> {
    let split = |path: &str| -> Path { path.split('.').map(str::to_owned).collect() };
    let findings =
        findings.into_iter().filter(|finding| !finding.at.iter().any(|(path, _)| sweep::touches(bad, &split(path))));
    let issues = findings.map(|finding| {
        let issue = match finding.severity {
            Severity::Error => Issue::error(finding.code, finding.message),
            Severity::Warning => Issue::warning(finding.code, finding.message),
        };
        let issue = finding.at.iter().fold(issue, |issue, (path, text)| at_field(issue, tree, &split(path), text));
        issue.help(finding.help)
    });
    issues.collect()
}

/// A label at a field, or at the nearest map around it that was written.
fn at_field(issue: Issue, tree: &Node, path: &[String], text: &str) -> Issue {
    let name = path.last().map_or("", String::as_str);
    match tree.find(path).map(|node| (node, node.origin)) {
        Some((node, Origin::Written)) => return node.label(issue, text),
        Some((node, Origin::Preset)) => {
            let text = format!("the preset's `{name}`: {text}");
            let is_there = issue.labels.iter().any(|label| label.place == node.place);
            return if is_there { issue.note(text) } else { issue.at(node.place.clone(), text) };
        }
        Some((_, Origin::Default)) | None => {}
    }
    let written = |length: usize| tree.find(&path[..length]).filter(|node| node.origin != Origin::Default);
    let around = (1..path.len()).rev().find_map(written);
    let place = around.map_or_else(|| Place::start_of(&tree.place.source), Node::key_mark);
    if issue.labels.iter().any(|label| label.place == place) {
        return issue.note(format!("`{name}` has its default: {text}"));
    }
    issue.at(place, format!("`{name}` has its default: {text}"))
}

/// What a field has come to at one point.
pub(crate) struct Found<'a> {
    /// The resolved value.
    pub(crate) value: &'a Json,
    /// For choices, the name written: a preset's or a variant's.
    pub(crate) name: Option<String>,
    /// For choices, the payload written under that name.
    written: Option<&'a Node>,
}

/// Looks a written path up in a resolved run. None if a choice on the way was made otherwise.
pub(crate) fn look_up<'a>(resolved: &'a Json, written: &'a Node, path: &[String]) -> Option<Found<'a>> {
    let mut shape = file_shape();
    let (mut value, mut node) = (resolved, Some(written));
    for key in path {
        let mut field = key.as_str();
        if let Shape::Choice(choice) = shape {
            let name = chosen(choice, node, value)?;
            if let Some(preset) = choice.preset(key) {
                if name != preset.name {
                    return None;
                }
                field = preset.variant;
            }
        }
        value = value.get(field)?;
        shape = shape.below(key)?;
        node = node.and_then(|node| node.get(key));
    }
    match shape {
        Shape::Choice(choice) => {
            let name = chosen(choice, node, value)?;
            let written = node.and_then(|node| node.get(&name));
            Some(Found { value, name: Some(name), written })
        }
        _ => Some(Found { value, name: None, written: node }),
    }
}

/// The name of a choice: as written, if that is what was chosen or a preset of it, else the resolved one.
pub(crate) fn chosen(choice: &ChoiceShape, written: Option<&Node>, value: &Json) -> Option<String> {
    let from_map = |node: &Node| node.entries().first().map(|(name, _)| name.clone());
    let resolved = value.as_str().map(str::to_owned).or_else(|| value.as_object()?.keys().next().cloned());
    let written = written.and_then(|node| node.text().map(str::to_owned).or_else(|| from_map(node)));
    let is_chosen = |name: &String| {
        let variant = choice.preset(name).map_or(name.as_str(), |preset| preset.variant);
        resolved.as_deref() == Some(variant)
    };
    written.filter(is_chosen).or(resolved)
}

impl Found<'_> {
    /// For choices, what is written under the name, but for `apart`: fields that are swept themselves.
    fn payload(&self, apart: &[&[String]]) -> Option<Json> {
        let name = self.name.as_ref()?;
        let mut payload = self.written.cloned()?;
        for path in apart.iter().filter(|path| path.len() > 1 && path[0] == *name) {
            if let Some(parent) = find_mut(&mut payload, &path[1..path.len() - 1]) {
                parent.remove(&path[path.len() - 1]);
            }
        }
        let is_empty = matches!(&payload.kind, Kind::Map(fields) if fields.is_empty());
        (!is_empty).then(|| payload.to_json())
    }

    /// Whether the choice is between values, such as lengths: then the value is part of its name.
    fn is_of_values(&self) -> bool {
        self.written.is_some_and(|payload| !matches!(payload.kind, Kind::Map(_)))
    }

    /// Whether a value of `exclude` describes this one.
    pub(crate) fn matches(&self, pattern: &Node, shape: &Shape) -> bool {
        let resolved_name = self.value.as_object().and_then(|fields| fields.keys().next());
        match (shape, &pattern.kind) {
            (Shape::Choice(_), Kind::Text(name)) => {
                self.name.as_ref() == Some(name) || resolved_name == Some(name) || self.value.as_str() == Some(name)
            }
            (Shape::Choice(choice), Kind::Map(fields)) => fields.iter().all(|(name, payload)| {
                let variant = choice.preset(name).map_or(name.as_str(), |preset| preset.variant);
                let is_named = choice.preset(name).is_none() || self.name.as_ref() == Some(name);
                is_named && self.value.get(variant).is_some_and(|value| holds(&payload.to_json(), value))
            }),
            _ => holds(&pattern.to_json(), self.value),
        }
    }
}

/// Whether every field of the pattern has the same value. A bare name stands for a choice with any fields.
fn holds(pattern: &Json, value: &Json) -> bool {
    match (pattern, value) {
        (Json::Object(pattern), Json::Object(value)) => {
            pattern.iter().all(|(key, pattern)| value.get(key).is_some_and(|value| holds(pattern, value)))
        }
        (Json::String(name), Json::Object(value)) => value.len() == 1 && value.contains_key(name),
        _ => crate::canonical(pattern) == crate::canonical(value),
    }
}

/// Names and values of swept fields at all points. A choice is named by its name alone, unless points then look the
/// same: then by what is written under it, or, where that is too long to tell them apart, by the fields in which they
/// differ.
pub(crate) fn varied(points: &[(&Json, &Node)], paths: &[Path]) -> Vec<BTreeMap<String, Json>> {
    let mut all = vec![BTreeMap::new(); points.len()];
    for path in paths {
        let below = paths.iter().filter_map(|other| other.strip_prefix(path.as_slice()));
        let apart: Vec<&[String]> = below.filter(|rest| !rest.is_empty()).collect();
        let found: Vec<_> = points.iter().map(|(resolved, written)| look_up(resolved, written, path)).collect();
        let mut payloads: BTreeMap<&str, BTreeMap<String, Option<Json>>> = BTreeMap::new();
        for found in found.iter().flatten() {
            if let Some(name) = &found.name {
                let payload = found.payload(&apart);
                payloads.entry(name).or_default().insert(written(payload.as_ref()), payload);
            }
        }
        for (varied, found) in all.iter_mut().zip(&found) {
            let Some(found) = found else { continue };
            let value = match &found.name {
                None => found.value.clone(),
                Some(name) => {
                    let (payload, others) = (found.payload(&apart), &payloads[name.as_str()]);
                    let is_told = others.len() == 1 && !found.is_of_values();
                    Json::from(if is_told { name.clone() } else { full_name(name, payload.as_ref(), others) })
                }
            };
            varied.insert(path.join("."), value);
        }
    }
    all
}

/// What is written under a choice's name, in one line.
fn written(payload: Option<&Json>) -> String {
    payload.map(|payload| crate::canonical(payload).replace('"', "")).unwrap_or_default()
}

/// The name of a choice with what is written under it; `others` is what is written under it anywhere.
fn full_name(name: &str, payload: Option<&Json>, others: &BTreeMap<String, Option<Json>>) -> String {
    let Some(payload) = payload else { return name.to_owned() };
    let short: BTreeSet<String> = others.keys().map(|text| shorten(text)).collect();
    if short.len() == others.len() {
        return format!("{name} {}", shorten(&written(Some(payload))));
    }
    let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, value) in others.values().flatten().flat_map(leaves_of) {
        values.entry(path).or_default().insert(value);
    }
    let own: BTreeMap<String, String> = leaves_of(payload).into_iter().collect();
    // A field that is not everywhere has its default elsewhere, which is another value.
    let differs = |path: &str| {
        values[path].len() > 1
            || others.values().flatten().any(|other| !leaves_of(other).iter().any(|(at, _)| at == path))
    };
    let own = own.iter().filter(|(path, _)| differs(path)).map(|(path, value)| format!("{path} {value}"));
    format!("{name} {}", own.collect::<Vec<_>>().join(", ")).trim_end().to_owned()
}

/// Dotted paths of all values that are no maps, and the values.
fn leaves_of(value: &Json) -> Vec<(String, String)> {
    match value {
        Json::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(key, value)| {
                leaves_of(value).into_iter().map(move |(path, value)| {
                    (if path.is_empty() { key.clone() } else { format!("{key}.{path}") }, value)
                })
            })
            .collect(),
        other => vec![(String::new(), written(Some(other)))],
    }
}
