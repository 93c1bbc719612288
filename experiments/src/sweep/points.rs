//! From a sweep to its points.

use crate::node::{Kind, Node};
use crate::overrides::DottedPath;
use crate::shape::Shape;
use crate::source::Place;
use crate::spec::Seeds;
use crate::sweep::{Axis, Entry, Setting, Sweep};
use crate::written::file_shape;

/// One point of a sweep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Point {
    pub(crate) label: Option<String>,
    /// Seeds of its own, instead of the experiment's.
    pub(crate) seeds: Option<Vec<Seeds>>,
    pub(crate) settings: Vec<Setting>,
}

impl Point {
    /// Where the point was written: at its last setting.
    pub(crate) fn place(&self) -> Option<Place> {
        self.settings.last().map(|setting| setting.value.mark())
    }
}

/// How many combinations axes have; none if it is beyond counting.
pub(crate) fn combinations(axes: &[Axis]) -> Option<usize> {
    axes.iter().try_fold(1_usize, |n, axis| n.checked_mul(axis.values.len()))
}

/// How many runs a sweep has before exclusions, where points without seeds of their own have `seeds`; none if it is
/// beyond counting.
pub(crate) fn count(sweep: &Sweep, seeds: usize) -> Option<usize> {
    let zip = sweep.zip.first().map_or(1, |axis| axis.values.len());
    let of_entry = |entry: &Entry| {
        let seeds = entry.seeds.as_ref().map_or(seeds, |(own, _)| own.len());
        combinations(&entry.grid)?.checked_mul(seeds)
    };
    let list = match sweep.list.as_slice() {
        [] => seeds,
        entries => entries.iter().try_fold(0_usize, |n, entry| n.checked_add(of_entry(entry)?))?,
    };
    combinations(&sweep.grid)?.checked_mul(zip)?.checked_mul(list)
}

/// All points in order: the list's entry changes fastest, the grid's first axis slowest.
pub(crate) fn expand(sweep: &Sweep) -> Vec<Point> {
    let mut points = Vec::new();
    for grid in product(&sweep.grid) {
        for zip in rows(&sweep.zip) {
            let settings: Vec<Setting> = grid.iter().chain(&zip).cloned().collect();
            if sweep.list.is_empty() {
                points.push(Point { settings, ..Point::default() });
                continue;
            }
            points.extend(sweep.list.iter().flat_map(|entry| with_entry(&settings, entry)));
        }
    }
    points
}

/// The points of one list entry.
fn with_entry(settings: &[Setting], entry: &Entry) -> Vec<Point> {
    let points = product(&entry.grid).into_iter().map(|grid| Point {
        label: entry.label.clone(),
        seeds: entry.seeds.as_ref().map(|(seeds, _)| seeds.clone()),
        settings: settings.iter().chain(&entry.settings).chain(&grid).cloned().collect(),
    });
    points.collect()
}

/// Every combination; one empty one without axes.
pub(crate) fn product(axes: &[Axis]) -> Vec<Vec<Setting>> {
    axes.iter().fold(vec![Vec::new()], |combinations, axis| {
        let extended = combinations.into_iter().flat_map(|combination| {
            axis.values.iter().map(move |value| {
                let mut longer = combination.clone();
                longer.push(Setting { path: axis.path.clone(), value: value.clone() });
                longer
            })
        });
        extended.collect()
    })
}

/// The rows of lists that are walked together; one empty one without lists.
fn rows(axes: &[Axis]) -> Vec<Vec<Setting>> {
    let Some(first) = axes.first() else { return vec![Vec::new()] };
    let row = |i: usize| {
        axes.iter()
            .filter_map(move |axis| Some(Setting { path: axis.path.clone(), value: axis.values.get(i)?.clone() }))
    };
    (0..first.values.len()).map(|i| row(i).collect()).collect()
}

/// The layer of a point's settings, and those without effect.
pub(crate) fn tree(settings: &[Setting]) -> (Option<Node>, Vec<&Setting>) {
    let mut ordered: Vec<&Setting> = settings.iter().collect();
    ordered.sort_by_key(|setting| setting.path.keys.len());
    let Some(first) = ordered.first() else { return (None, Vec::new()) };
    let mut root = Node::empty_map(first.path.places[0].clone());
    ordered.retain(|setting| !insert(&mut root, file_shape(), &setting.path, 0, &setting.value));
    (Some(root), ordered)
}

/// Puts a value at a path; false if the tree has made another choice on the way.
fn insert(node: &mut Node, shape: &Shape, path: &DottedPath, depth: usize, value: &Node) -> bool {
    let (key, place) = (&path.keys[depth], &path.places[depth]);
    if let Shape::Choice(_) = shape {
        match &node.kind {
            Kind::Text(name) if name == key => {
                let payload = Node::empty_map(node.place.clone()).keyed(place.clone());
                node.kind = Kind::Map(vec![(key.clone(), payload)]);
            }
            Kind::Map(fields) if fields.iter().all(|(name, _)| name == key) => {}
            _ => return false,
        }
    }
    if !matches!(node.kind, Kind::Map(_)) {
        return false;
    }
    if depth + 1 == path.keys.len() {
        node.set(key, value.clone().keyed(place.clone()));
        return true;
    }
    if node.get(key).is_none() {
        node.set(key, Node::empty_map(place.clone()).keyed(place.clone()));
    }
    let child = node.get_mut(key).expect("the key was set above");
    insert(child, shape.below(key).unwrap_or(&Shape::Flag), path, depth + 1, value)
}
