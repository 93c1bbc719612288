//! `tune:` as it is written.

use reid_objectives::metric::MetricKey;

use super::METRICS;
use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::overrides::DottedPath;
use crate::source::Place;
use crate::spec::Seeds;
use crate::sweep::{self, Axis, Sweep};
use crate::{seeds, suggest};

/// Parts of `tune`.
const PARTS: [&str; 4] = ["over", "for", "seeds", "by"];

/// Parts of a run that trials must have in common, or their scores could not be compared.
const COMMON: [&str; 4] = ["data", "validation", "on_corrupt", "decode"];

/// `tune:` as written.
pub(crate) struct Written {
    /// Grid of all points without one of their own.
    pub(crate) over: Vec<Axis>,
    /// Grids of labels.
    pub(crate) by_label: Vec<(String, Place, Vec<Axis>)>,
    /// Seeds of the trials.
    pub(crate) seeds: Vec<Seeds>,
    /// What is compared.
    pub(crate) by: MetricKey,
    /// Where it stands.
    pub(crate) place: Place,
}

impl Written {
    /// The grid of a label.
    pub(crate) fn axes(&self, label: &str) -> &[Axis] {
        self.by_label.iter().find(|(name, ..)| name == label).map_or(&self.over, |(.., axes)| axes)
    }

    fn paths(&self) -> impl Iterator<Item = &DottedPath> {
        let own = self.by_label.iter().flat_map(|(.., axes)| axes);
        self.over.iter().chain(own).map(|axis| &axis.path)
    }
}

/// Reads the `tune` field, and checks every value in it.
pub(crate) fn read(node: &Node, sweep: &Sweep, overrides: &[DottedPath], issues: &mut Issues) -> Written {
    let (mut over, mut by_label, mut by) = (Vec::new(), Vec::new(), METRICS[0]);
    if !matches!(node.kind, Kind::Map(_)) {
        sweep::wrong(node, "tune", "a map", "write `tune: {over: {pretrain.train.lr: [5e-4, 1e-3]}}`", issues);
    }
    for (name, part) in node.entries() {
        match name.as_str() {
            "over" => over = sweep::axes(part, "tune.over", issues),
            "for" => by_label = grids(part, issues),
            "by" => by = metric(part, issues).unwrap_or(by),
            "seeds" => {}
            other => {
                let message = format!("unknown key `{}` in `tune`", shorten(other));
                let issue = Issue::error("spec::unknown-key", message).at(part.key_mark(), "");
                issues.push(issue.help(suggest::help(other, &PARTS)));
            }
        }
    }
    if matches!(node.kind, Kind::Map(_)) && node.get("over").is_none() && node.get("for").is_none() {
        sweep::empty(node, "tune", "name fields and their values under `over`, or leave `tune` out", issues);
    }
    let (seeds, _) = seeds::read("tune.seeds", node.get("seeds"), issues);
    let written = Written { over, by_label, seeds, by, place: node.key_mark() };
    for path in written.paths() {
        conflicts(path, sweep, overrides, issues);
    }
    written
}

/// Grids by label.
fn grids(node: &Node, issues: &mut Issues) -> Vec<(String, Place, Vec<Axis>)> {
    if !matches!(&node.kind, Kind::Map(fields) if !fields.is_empty()) {
        sweep::wrong(node, "tune.for", "a map of labels to grids", "write `for: {none: {field: [...]}}`", issues);
    }
    let grids = node.entries().iter().map(|(label, grid)| {
        (label.clone(), grid.key_mark(), sweep::axes(grid, &format!("tune.for.{}", shorten(label)), issues))
    });
    grids.collect()
}

fn metric(node: &Node, issues: &mut Issues) -> Option<MetricKey> {
    let names: Vec<&str> = METRICS.iter().map(|key| key.name()).collect();
    let found = node.text().and_then(|text| METRICS.into_iter().find(|key| key.name() == text));
    if found.is_none() {
        let message = format!("`tune.by` is {}, but must be a metric of the validation identities", node.what());
        let issue = node.label(Issue::error("spec::unknown-choice", message), "");
        issues.push(issue.help(suggest::help(node.text().unwrap_or_default(), &names)));
    }
    found
}

/// A tuned field that something else sets as well, or that all trials must share.
fn conflicts(path: &DottedPath, sweep: &Sweep, overrides: &[DottedPath], issues: &mut Issues) {
    let dotted = path.dotted();
    if COMMON.contains(&path.keys[0].as_str()) {
        let message = format!("`{dotted}` cannot be tuned: scores on different data cannot be compared");
        let issue = Issue::error("spec::not-tuned", message).at(path.places[0].clone(), "");
        issues.push(issue.help("tune settings of the pre-training, the backbone or the protocol"));
    }
    // A whole choice may be swept and its fields tuned, but not the other way round.
    if let Some(swept) = sweep.paths().into_iter().find(|swept| swept.keys.starts_with(&path.keys)) {
        let message = format!("`{dotted}` is tuned, but `{}` is swept", swept.dotted());
        let issue = Issue::error("spec::swept-and-tuned", message)
            .at(path.places[0].clone(), "tuned here")
            .at(swept.places[0].clone(), "swept here");
        issues.push(issue.help("a point chooses what it is not given: take the field out of one of them"));
    }
    if let Some(set) = overrides.iter().find(|set| set.keys == path.keys) {
        let message = format!("`{dotted}` is overridden, but `tune` chooses it");
        let issue = Issue::error("spec::hidden-override", message)
            .at(set.places[0].clone(), "")
            .at(path.places[0].clone(), "tuned here");
        issues.push(issue.help("add `~tune` to the command line to choose nothing"));
    }
}
