//! Sweeps: which settings are varied, and which points that makes.
//!
//! A sweep is the product of three parts: `grid` (every combination), `zip` (lists of equal length,
//! walked together) and `list` (entries written out, each with a grid of its own if it wants). Within one
//! point the shallower settings hold first, and a deeper one that goes through a choice which the point
//! has made otherwise has no effect; so a mask ratio can be swept beside `pretrain.objective: none`.
//! Points that come to the same experiment run once.

pub(crate) mod points;

use std::collections::BTreeSet;

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::overrides::DottedPath;
use crate::shape::{Shape, quoted};
use crate::source::Place;
use crate::spec::Seeds;
use crate::validate::{Missing, Path, Walk, related};
use crate::written::file_shape;
use crate::{seeds, suggest};

/// Parts of a sweep.
const PARTS: [&str; 4] = ["grid", "zip", "list", "exclude"];

/// A setting with several values.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) path: DottedPath,
    pub(crate) values: Vec<Node>,
}

/// A setting with one value.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) path: DottedPath,
    pub(crate) value: Node,
}

/// An entry of `list`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) label: Option<String>,
    /// Seeds of its own, and whether they nest.
    pub(crate) seeds: Option<(Vec<Seeds>, bool)>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) grid: Vec<Axis>,
}

/// An entry of `exclude`.
#[derive(Clone, Debug)]
pub(crate) struct Exclusion {
    pub(crate) label: Option<String>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) place: Place,
}

/// A sweep as written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sweep {
    pub(crate) grid: Vec<Axis>,
    pub(crate) zip: Vec<Axis>,
    pub(crate) list: Vec<Entry>,
    pub(crate) exclude: Vec<Exclusion>,
}

impl Sweep {
    /// Takes the seeds of its own from every entry.
    pub(crate) fn forget_seeds(&mut self) {
        self.list.iter_mut().for_each(|entry| entry.seeds = None);
    }

    /// Swept paths, in the order written.
    pub(crate) fn paths(&self) -> Vec<&DottedPath> {
        let listed = self.list.iter().flat_map(|entry| {
            entry.settings.iter().map(|setting| &setting.path).chain(entry.grid.iter().map(|axis| &axis.path))
        });
        let mut paths: Vec<&DottedPath> = Vec::new();
        for path in self.grid.iter().chain(&self.zip).map(|axis| &axis.path).chain(listed) {
            if !paths.iter().any(|known| known.keys == path.keys) {
                paths.push(path);
            }
        }
        paths
    }

    /// Fields that the sweep sets, in the order written. A map of settings is not one field, but those that are
    /// written in it: `person_mae: {region: same, loss_on: masked}` sets `person_mae.region` and
    /// `person_mae.loss_on`.
    pub(crate) fn fields(&self) -> Vec<Path> {
        let one = |setting: &Setting| leaves(setting.path.keys.clone(), &setting.value);
        let several = |axis: &Axis| -> Vec<Path> {
            axis.values.iter().flat_map(|value| leaves(axis.path.keys.clone(), value)).collect()
        };
        let product = self.grid.iter().chain(&self.zip).flat_map(several);
        let listed = self.list.iter().flat_map(|entry| {
            entry.settings.iter().flat_map(one).chain(entry.grid.iter().flat_map(several)).collect::<Vec<_>>()
        });
        let mut seen = BTreeSet::new();
        product.chain(listed).filter(|path| seen.insert(path.clone())).collect()
    }
}

/// The fields that a value for `path` sets.
fn leaves(path: Path, value: &Node) -> Vec<Path> {
    match (file_shape().at(&path), &value.kind) {
        (Ok(Shape::Map(_)), Kind::Map(fields)) => {
            let below =
                |(key, value): &(String, Node)| leaves([path.as_slice(), std::slice::from_ref(key)].concat(), value);
            fields.iter().flat_map(below).collect()
        }
        _ => vec![path],
    }
}

/// Reads the `sweep` field, and checks every value in it.
pub(crate) fn read(node: &Node, issues: &mut Issues) -> Sweep {
    let mut sweep = Sweep::default();
    let Kind::Map(parts) = &node.kind else {
        let message = format!("`sweep` is {}, but must be a map of {}", node.what(), quoted(&PARTS));
        issues.push(node.label(Issue::error("spec::wrong-type", message), "").help("write `sweep: {grid: {...}}`"));
        return sweep;
    };
    for (name, part) in parts {
        match name.as_str() {
            "grid" => sweep.grid = axes(part, "sweep.grid", issues),
            "zip" => sweep.zip = axes(part, "sweep.zip", issues),
            "list" => sweep.list = entries(part, issues),
            "exclude" => sweep.exclude = exclusions(part, issues),
            other => {
                let message = format!("unknown key `{}` in `sweep`", shorten(other));
                let issue = Issue::error("spec::unknown-key", message).at(part.key_mark(), "");
                issues.push(issue.help(suggest::help(other, &PARTS)));
            }
        }
    }
    if !parts.iter().any(|(name, _)| ["grid", "zip", "list"].contains(&name.as_str())) {
        empty(node, "sweep", "write at least one of `grid`, `zip` and `list`, or leave `sweep` out", issues);
    }
    equal_lengths(&sweep.zip, issues);
    swept_twice(&sweep, issues);
    sweep
}

pub(crate) fn empty(node: &Node, what: &str, help: &str, issues: &mut Issues) {
    let issue = node.label(Issue::error("spec::empty-sweep", format!("`{what}` is empty")), "");
    issues.push(issue.help(help));
}

pub(crate) fn wrong(node: &Node, what: &str, wanted: &str, help: &str, issues: &mut Issues) {
    let message = format!("`{what}` is {}, but must be {wanted}", node.what());
    issues.push(node.label(Issue::error("spec::wrong-type", message), "").help(help));
}

/// A map of swept paths to lists of values.
pub(crate) fn axes(node: &Node, what: &str, issues: &mut Issues) -> Vec<Axis> {
    let Kind::Map(fields) = &node.kind else {
        let key = what.rsplit('.').next().unwrap_or(what);
        let help = format!("write `{key}: {{pretrain.train.epochs: [10, 20]}}`");
        wrong(node, what, "a map of paths to lists", &help, issues);
        return Vec::new();
    };
    if fields.is_empty() {
        empty(node, what, "name a field and its values, such as `pretrain.train.epochs: [10, 20]`", issues);
    }
    fields.iter().filter_map(|(key, value)| axis(key, value, issues)).collect()
}

fn axis(key: &str, value: &Node, issues: &mut Issues) -> Option<Axis> {
    let path = swept_path(key, value, issues);
    let Kind::List(values) = &value.kind else {
        wrong(value, key, "a list of the values to run", &format!("write `{key}: [...]`"), issues);
        return None;
    };
    if values.is_empty() {
        empty(value, key, "list at least one value, or leave the field out", issues);
    }
    for (i, value) in values.iter().enumerate() {
        let text = crate::canonical(&value.to_json());
        if let Some(first) = values[..i].iter().find(|first| crate::canonical(&first.to_json()) == text) {
            let issue = Issue::error("spec::duplicate-value", format!("`{key}` lists {} twice", value.what()));
            let issue = issue.at(value.mark(), "again here").at(first.mark(), "first here");
            issues.push(issue.help("list each value once; more runs of one setting are `seeds`"));
        }
    }
    let path = path?;
    for value in values {
        check_value(&path, value, issues);
    }
    Some(Axis { path, values: values.clone() })
}

/// The path that a key of the sweep names, if it is a field of a run.
fn swept_path(key: &str, value: &Node, issues: &mut Issues) -> Option<DottedPath> {
    let path = DottedPath::new(key, &value.key_mark());
    let Shape::Map(top) = file_shape() else { unreachable!("a file is a map of fields") };
    let is_language = top.field(&path.keys[0]).is_some_and(|field| matches!(field.shape, Shape::Special(_)));
    if is_language || ["name", "description", "table"].contains(&path.keys[0].as_str()) {
        let message = format!("`{}` cannot be swept", path.keys[0]);
        let issue = Issue::error("spec::not-swept", message).at(path.places[0].clone(), "");
        let help = if path.keys[0] == "seeds" {
            "list the seeds under `seeds`, at the top or in an entry of `sweep.list`"
        } else {
            "sweep fields of a run"
        };
        issues.push(issue.help(help));
        return None;
    }
    match file_shape().at(&path.keys) {
        Ok(_) => Some(path),
        Err(unknown) => {
            let before = path.keys[..unknown.index].join(".");
            let place = if before.is_empty() { String::new() } else { format!(" in `{before}`") };
            let message = format!("the swept field `{}` does not exist{place}", shorten(&path.keys[unknown.index]));
            let issue = Issue::error("spec::unknown-swept-field", message);
            issues.push(issue.at(path.places[unknown.index].clone(), "").help(unknown.help));
            None
        }
    }
}

/// Checks a value of the sweep by itself; what it lacks may come from the file's other fields.
fn check_value(path: &DottedPath, value: &Node, issues: &mut Issues) {
    if let Ok(shape) = file_shape().at(&path.keys) {
        Walk::new(issues, Missing::Allowed, &path.keys).value(value, shape);
    }
}

/// Settings of a list's or exclusion's entry; `own` are the entry's keys that are no settings.
fn settings(node: &Node, own: &[&str], issues: &mut Issues) -> Vec<Setting> {
    let fields = node.entries().iter().filter(|(key, _)| !own.contains(&key.as_str()));
    let settings = fields.filter_map(|(key, value)| {
        let path = swept_path(key, value, issues)?;
        check_value(&path, value, issues);
        Some(Setting { path, value: value.clone() })
    });
    settings.collect()
}

fn entries(node: &Node, issues: &mut Issues) -> Vec<Entry> {
    let help = "write `list: [{label: none, pretrain.objective: none}]`";
    let Kind::List(items) = &node.kind else {
        wrong(node, "sweep.list", "a list of entries", help, issues);
        return Vec::new();
    };
    if items.is_empty() {
        empty(node, "sweep.list", "write at least one entry, or leave `list` out", issues);
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        if !matches!(item.kind, Kind::Map(_)) {
            wrong(item, &format!("sweep.list.{i}"), "a map", help, issues);
            continue;
        }
        let text = crate::canonical(&item.to_json());
        if let Some(first) = items[..i].iter().find(|first| crate::canonical(&first.to_json()) == text) {
            let issue = Issue::error("spec::duplicate-value", "`sweep.list` has the same entry twice");
            issues.push(issue.at(item.mark(), "again here").at(first.mark(), "first here").help("take one away"));
        }
        entries.push(entry(item, issues));
    }
    entries
}

fn entry(item: &Node, issues: &mut Issues) -> Entry {
    let label = label(item, issues);
    let grid = item.get("grid").map_or_else(Vec::new, |grid| axes(grid, "grid", issues));
    let seeds = item.get("seeds").map(|node| seeds::read("seeds", Some(node), issues));
    let entry = Entry { label, seeds, settings: settings(item, &["label", "grid", "seeds"], issues), grid };
    without_effect(&entry, issues);
    entry
}

fn label(item: &Node, issues: &mut Issues) -> Option<String> {
    let node = item.get("label")?;
    match node.text() {
        Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
        _ => {
            wrong(node, "label", "text", "write a short name for the tables; quote numbers", issues);
            None
        }
    }
}

/// Within one entry, a setting below a choice that the entry makes otherwise is a mistake.
fn without_effect(entry: &Entry, issues: &mut Issues) {
    let axes = entry.grid.iter().filter_map(|axis| Some((&axis.path, axis.values.first()?)));
    let all: Vec<Setting> = (entry.settings.iter().cloned())
        .chain(axes.map(|(path, value)| Setting { path: path.clone(), value: value.clone() }))
        .collect();
    let (_, skipped) = points::tree(&all);
    for setting in skipped {
        let message =
            format!("`{}` has no effect: the same entry makes another choice above it", setting.path.dotted());
        let place = setting.path.places.last().cloned().unwrap_or_else(|| setting.value.mark());
        let issue = Issue::error("spec::no-effect", message).at(place, "");
        issues.push(issue.help("take one of the two away, or split the entry"));
    }
}

fn exclusions(node: &Node, issues: &mut Issues) -> Vec<Exclusion> {
    let help = "write `exclude: [{backbone.vit.size: tiny, pretrain.train.epochs: 100}]`";
    let Kind::List(items) = &node.kind else {
        wrong(node, "sweep.exclude", "a list of entries", help, issues);
        return Vec::new();
    };
    if items.is_empty() {
        empty(node, "sweep.exclude", "write at least one entry, or leave `exclude` out", issues);
    }
    let mut exclusions = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        if matches!(&item.kind, Kind::Map(fields) if !fields.is_empty()) {
            let (label, settings) = (label(item, issues), settings(item, &["label"], issues));
            exclusions.push(Exclusion { label, settings, place: item.mark() });
        } else {
            wrong(item, &format!("sweep.exclude.{i}"), "a map with at least one field", help, issues);
        }
    }
    exclusions
}

fn equal_lengths(zip: &[Axis], issues: &mut Issues) {
    let Some((first, rest)) = zip.split_first() else { return };
    for axis in rest.iter().filter(|axis| axis.values.len() != first.values.len()) {
        let (a, b) = (first.values.len(), axis.values.len());
        let message = format!(
            "`zip` walks its lists together, but `{}` has {a} values and `{}` has {b}",
            first.path.dotted(),
            axis.path.dotted()
        );
        let mark = |axis: &Axis| axis.path.places.first().cloned();
        let mut issue = Issue::error("spec::zip-length", message);
        for (axis, length) in [(axis, b), (first, a)] {
            if let Some(place) = mark(axis) {
                issue = issue.at(place, format!("{length} values"));
            }
        }
        issues.push(issue.help("make the lists equally long, or move one to `grid`"));
    }
}

/// A field that two parts of the product set: which of them holds would be a guess.
fn swept_twice(sweep: &Sweep, issues: &mut Issues) {
    let listed = sweep.list.iter().flat_map(|entry| {
        entry.settings.iter().map(|setting| &setting.path).chain(entry.grid.iter().map(|axis| &axis.path))
    });
    let parts: [Vec<&DottedPath>; 3] = [
        sweep.grid.iter().map(|axis| &axis.path).collect(),
        sweep.zip.iter().map(|axis| &axis.path).collect(),
        listed.collect(),
    ];
    for (i, part) in parts.iter().enumerate() {
        for path in part {
            let Some(first) = parts[..i].iter().flatten().find(|first| first.keys == path.keys) else { continue };
            let issue = Issue::error("spec::swept-twice", format!("`{}` is swept in two parts", path.dotted()))
                .at(path.places[0].clone(), "again here")
                .at(first.places[0].clone(), "first here");
            issues.push(issue.help("`grid`, `zip` and `list` are combined with each other; sweep the field in one"));
        }
    }
}

/// Refuses overrides of the command line that the sweep would hide.
pub(crate) fn hidden_overrides(sweep: &Sweep, overrides: &[DottedPath], issues: &mut Issues) {
    for path in overrides {
        let Some(swept) = sweep.paths().into_iter().find(|swept| swept.keys == path.keys) else { continue };
        let dotted = path.dotted();
        let in_grid = sweep.grid.iter().any(|axis| axis.path.keys == path.keys);
        let remedy = if in_grid { format!("`~sweep.grid.{dotted}`") } else { "`~sweep`".to_owned() };
        let issue = Issue::error("spec::hidden-override", format!("`{dotted}` is overridden, but the sweep sets it"))
            .at(path.places[0].clone(), "")
            .at(swept.places[0].clone(), "swept here");
        issues.push(issue.help(format!("add {remedy} to the command line to take it out of the sweep")));
    }
}

/// Paths that the sweep supplies, for what need not be written elsewhere.
pub(crate) fn supplied(sweep: &Sweep) -> Vec<Path> {
    sweep.paths().into_iter().map(|path| path.keys.clone()).collect()
}

/// Whether one of `paths` is related to `path`.
pub(crate) fn touches(paths: &[Path], path: &[String]) -> bool {
    paths.iter().any(|other| related(other, path))
}
