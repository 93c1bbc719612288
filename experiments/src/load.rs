//! From a file and overrides to an experiment, or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::path::Path as FilePath;
use std::sync::Arc;

use reid_objectives::metric::MetricKey;
use reid_objectives::spec::ProtocolSpec;
use serde_json::Value as Json;

use crate::diagnostic::{Issue, Issues};
use crate::experiment::{Experiment, ResolvedRun};
use crate::node::{Kind, Node, shorten};
use crate::overrides::{self, Override};
use crate::resolve;
use crate::source::Place;
use crate::spec::{RunSpec, Seeds, TestData};
use crate::sweep::points::{self, Point};
use crate::sweep::{self, Setting, Sweep};
use crate::tune::{self, Candidate, TunedPoint, Tuning};
use crate::validate::{Missing, Path, Walk};
use crate::written::{ChooseOn, TableSpec, file_shape};
use crate::{check, files, layers, seeds, suggest};

/// Most runs of one experiment.
const MAX_RUNS: usize = 10_000;

/// Reads a spec with everything it extends, applies the overrides and resolves every run.
///
/// # Errors
/// All mistakes at once, in the order of their places.
pub fn load(path: &FilePath, overrides: &[String]) -> Result<Experiment, Issues> {
    let mut issues = Issues::default();
    let experiment = Loader { issues: &mut issues }.load(path, overrides);
    issues.sort();
    match experiment {
        Some(mut experiment) if !issues.has_errors() => {
            experiment.warnings = issues.0;
            Ok(experiment)
        }
        _ => Err(issues),
    }
}

struct Loader<'a> {
    issues: &'a mut Issues,
}

/// A sweep point that has been resolved.
struct Resolved {
    label: String,
    /// Seeds of its own, instead of the experiment's.
    seeds: Option<Vec<Seeds>>,
    /// What the sweep has set.
    settings: Vec<Setting>,
    spec: RunSpec,
    json: Json,
    /// The point's tree as written, before presets are written out.
    written: Node,
    /// The point's tree with presets and defaults.
    expanded: Node,
    /// Where the point was written.
    place: Place,
}

impl Loader<'_> {
    fn load(&mut self, path: &FilePath, texts: &[String]) -> Option<Experiment> {
        let chain = files::read_chain(path, self.issues);
        let overrides = overrides::read(texts, self.issues);
        let mut base = self.merge(&chain.layers, &overrides)?;
        let known = self.issues.0.len();
        let mut sweep = base.remove("sweep").map(|node| sweep::read(&node, self.issues)).unwrap_or_default();
        let set: Vec<_> = overrides.iter().filter(|o| !o.is_deletion).map(|o| o.path.clone()).collect();
        sweep::hidden_overrides(&sweep, &set, self.issues);
        let tune = base.remove("tune").map(|node| tune::read(&node, &sweep, &set, self.issues));
        let is_sweep_fine = self.issues.0.len() == known;
        let (seeds, is_nested) = seeds::read("seeds", base.remove("seeds").as_ref(), self.issues);
        if overrides.iter().any(|change| change.path.keys[0] == "seeds") {
            // Who asks for seeds on the command line means all runs.
            sweep.forget_seeds();
        }
        let nested_seeds = is_nested || sweep.list.iter().filter_map(|entry| entry.seeds.as_ref()).any(|seeds| seeds.1);

        let supplied = sweep::supplied(&sweep);
        let missing = if chain.is_complete { Missing::RefusedBut(&supplied) } else { Missing::Allowed };
        let mut walk = Walk::new(self.issues, missing, &[]);
        walk.value(&base, file_shape());
        let bad = walk.bad;
        if !is_sweep_fine || self.issues.has_errors() {
            self.check_what_is_left(base, bad, supplied);
            return None;
        }
        let swept: Vec<String> = sweep.paths().iter().map(|path| path.dotted()).collect();
        let resolved = self.points(&base, &sweep, seeds.len())?;
        self.lost_overrides(&base, &resolved, &overrides);
        self.yardsticks(&resolved);
        let table = self.table(&base, &resolved);
        let tuning = tune.map(|tune| self.tuning(&base, &tune, &resolved, seeds.len()));
        if self.issues.has_errors() {
            return None;
        }
        let runs = runs(&resolved, &seeds, &sweep.fields());
        let text = |key: &str| base.get(key).and_then(Node::text).filter(|text| !text.is_empty()).map(str::to_owned);
        let stem = || path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Some(Experiment {
            name: text("name").unwrap_or_else(stem),
            description: text("description").unwrap_or_default(),
            path: path.to_path_buf(),
            overrides: texts.to_vec(),
            runs,
            nested_seeds,
            table,
            swept,
            tuning,
            warnings: Vec::new(),
            trees: resolved.into_iter().map(|point| point.expanded).collect(),
        })
    }

    /// Overrides of the base that no point of the sweep keeps: a choice in a sweep is made anew, with all of its fields.
    fn lost_overrides(&mut self, base: &Node, points: &[Resolved], overrides: &[Override]) {
        for change in overrides.iter().filter(|change| !change.is_deletion) {
            let place = &change.path.places[0];
            let is_of_it = |node: &Node| Arc::ptr_eq(&node.place.source, &place.source) && !node.has_fields();
            let is_in = |tree: &Node| tree.any(&mut |node| is_of_it(node));
            if !is_in(base) || points.iter().any(|point| is_in(&point.written)) {
                continue;
            }
            let dotted = change.path.dotted();
            let set = |point: &Resolved| {
                let related = |setting: &Setting| {
                    change.path.keys.starts_with(&setting.path.keys) || setting.path.keys.starts_with(&change.path.keys)
                };
                point.settings.iter().find(|setting| related(setting)).map(|setting| setting.path.places[0].clone())
            };
            let message =
                format!("`{dotted}` is overridden, but every point of the sweep sets anew what it is part of");
            let mut issue = Issue::error("spec::hidden-override", message).at(place.clone(), "has no effect");
            if let Some(swept) = points.iter().find_map(set) {
                issue = issue.at(swept, "swept here");
            }
            self.issues
                .push(issue.help("change it in the spec, or take the sweep away with `~sweep` on the command line"));
        }
    }

    /// An adaptation says little without what its sources give alone, and what the target's labels would.
    fn yardsticks(&mut self, points: &[Resolved]) {
        let adapts = |point: &&Resolved| matches!(point.spec.protocol, ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_));
        let Some(adapted) = points.iter().find(adapts) else { return };
        let is_supervised = |point: &Resolved| matches!(point.spec.protocol, ProtocolSpec::Supervised(_));
        let with_labels = |point: &Resolved| {
            is_supervised(point) && point.spec.data == adapted.spec.data && point.spec.test_on == TestData::Same
        };
        let target = TestData::Other(adapted.spec.data.clone());
        // `uda` evaluates the source's model by itself.
        let direct = |point: &Resolved| {
            matches!(adapted.spec.protocol, ProtocolSpec::Uda(_))
                || is_supervised(point) && point.spec.test_on == target
        };
        let lacking = [
            (
                points.iter().any(with_labels),
                "what the target's labels would give",
                "`protocol: supervised` on the same `data`",
            ),
            (
                points.iter().any(direct),
                "what the sources' model gives without adaptation",
                "`protocol: supervised` on the sources, with `test_on: {other: ..}` of the target",
            ),
        ];
        for (_, what, remedy) in lacking.into_iter().filter(|(is_there, ..)| !is_there) {
            let issue = Issue::warning("spec::no-yardstick", format!("the table will not say {what}"));
            let issue = issue.at(adapted.place.clone(), "adapts");
            self.issues.push(issue.help(format!("sweep over {remedy} too, evaluated in the same way")));
        }
    }

    /// All layers but the sweep's as one tree.
    fn merge(&mut self, files: &[Node], overrides: &[Override]) -> Option<Node> {
        let file = files.last()?;
        let mut layers: Vec<&Node> = files.iter().collect();
        for change in overrides {
            let keys = &change.path.keys;
            if change.is_deletion && layers::merge(&layers, file_shape()).find(keys).is_none() {
                let message = format!("there is no `{}` to take away", change.path.dotted());
                let place = change.path.places.last().cloned().unwrap_or_else(|| change.tree.mark());
                let issue = Issue::error("spec::nothing-to-delete", message).at(place, "");
                self.issues.push(issue.help("`~key.path` takes away what the files or earlier overrides wrote"));
            }
            layers.push(&change.tree);
        }
        let merged = layers::merge(&layers, file_shape());
        Some(Node { place: file.place.clone(), ..merged })
    }

    /// With mistakes known, looks for mistakes between the fields that are right.
    fn check_what_is_left(&mut self, mut base: Node, mut bad: Vec<Path>, supplied: Vec<Path>) {
        resolve::remove_bad(&mut base, &bad);
        resolve::expand(&mut base, file_shape());
        if let Ok(run) = resolve::extract(&base) {
            bad.extend(supplied);
            for issue in resolve::cross_check(&run, &base, &bad) {
                self.issues.push(issue);
            }
        }
    }

    /// Resolves all points of the sweep, each once.
    fn points(&mut self, base: &Node, sweep: &Sweep, seeds: usize) -> Option<Vec<Resolved>> {
        let runs = points::count(sweep, seeds);
        if runs.is_none_or(|runs| runs > MAX_RUNS) {
            let runs = runs.map_or_else(|| "more runs than can be counted".to_owned(), |runs| format!("{runs} runs"));
            let message = format!("the sweep has {runs}, but at most {MAX_RUNS} are allowed");
            let place = sweep.paths().first().map_or_else(|| base.mark(), |path| path.places[0].clone());
            let issue = Issue::error("spec::sweep-too-large", message).at(place, "");
            self.issues.push(issue.help("sweep fewer fields at once, or split the experiment"));
            return None;
        }
        let mut resolved: Vec<Resolved> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut used = vec![false; sweep.exclude.len()];
        for point in points::expand(sweep) {
            let Some(point) = self.point(base, point) else { continue };
            if is_excluded(&point, sweep, &mut used) {
                continue;
            }
            for issue in resolve::cross_check(&point.spec, &point.expanded, &[]) {
                self.issues.push(issue);
            }
            match known.get(&crate::canonical(&point.json)).map(|&first| &resolved[first]) {
                None => {
                    known.insert(crate::canonical(&point.json), resolved.len());
                    resolved.push(point);
                }
                Some(first) => self.same_point(first, &point),
            }
        }
        self.exclusions(sweep, &used, resolved.is_empty());
        (!self.issues.has_errors()).then_some(resolved)
    }

    fn point(&mut self, base: &Node, point: Point) -> Option<Resolved> {
        let (layer, _) = points::tree(&point.settings);
        let written = match &layer {
            Some(layer) => Node { place: base.place.clone(), ..layers::merge(&[base, layer], file_shape()) },
            None => base.clone(),
        };
        let mut walk = Walk::new(self.issues, Missing::RefusedBut(&[]), &[]);
        walk.value(&written, file_shape());
        if !walk.bad.is_empty() {
            return None;
        }
        let settings = point.settings.clone();
        let mut expanded = written.clone();
        resolve::expand(&mut expanded, file_shape());
        match resolve::extract(&expanded) {
            Ok(spec) => {
                let json = serde_json::to_value(&spec).expect("a run serialises to JSON");
                let place = point.place().unwrap_or_else(|| base.mark());
                let label = point.label.unwrap_or_else(|| label(&json, &written));
                let seeds = point.seeds;
                Some(Resolved { label, seeds, settings, spec, json, written, expanded, place })
            }
            Err(error) => {
                let message = format!("the schema allows this spec, but its types do not: {error}");
                let issue = Issue::error("spec::internal", message).at(base.mark(), "");
                self.issues.push(issue.help("this is a mistake of reid-run; please report it together with the spec"));
                None
            }
        }
    }

    /// Two points that come to the same experiment are one, unless their names or seeds differ.
    fn same_point(&mut self, first: &Resolved, second: &Resolved) {
        if first.label != second.label {
            let message = format!("`{}` and `{}` are the same experiment under two names", first.label, second.label);
            let issue = Issue::error("spec::same-point", message)
                .at(second.place.clone(), format!("`{}`", second.label))
                .at(first.place.clone(), format!("`{}`", first.label));
            self.issues.push(issue.help("take one away, or set what should differ"));
        } else if first.seeds != second.seeds {
            let message = format!("`{}` is the same experiment twice, with different seeds", first.label);
            let issue = Issue::error("spec::same-point", message)
                .at(second.place.clone(), "again here")
                .at(first.place.clone(), "first here");
            self.issues.push(issue.help("write it once, with all of its seeds"));
        }
    }

    /// What every point tries before it runs.
    fn tuning(&mut self, base: &Node, tune: &tune::Written, resolved: &[Resolved], seeds: usize) -> Tuning {
        let labels: Vec<&str> = resolved.iter().map(|point| point.label.as_str()).collect();
        for (label, place, _) in tune.by_label.iter().filter(|(label, ..)| !labels.contains(&label.as_str())) {
            let issue = Issue::error("spec::unknown-label", format!("no point of the sweep is called `{label}`"));
            self.issues.push(issue.at(place.clone(), "").help(suggest::help(label, &labels)));
        }
        let mut runs: usize = resolved.iter().map(|point| point.seeds.as_ref().map_or(seeds, Vec::len)).sum();
        let mut points = Vec::with_capacity(resolved.len());
        for point in resolved {
            let axes = tune.axes(&point.label).iter();
            let concerns = |keys: &[String]| tune::concerns(&point.spec, &point.json, &point.written, keys);
            let axes: Vec<_> = axes.filter(|axis| concerns(&axis.path.keys)).cloned().collect();
            let trials = points::combinations(&axes).and_then(|trials| trials.checked_mul(tune.seeds.len()));
            runs = trials.and_then(|trials| runs.checked_add(trials)).unwrap_or(usize::MAX);
            if runs > MAX_RUNS {
                let message = format!("trials and runs together are more than {MAX_RUNS}");
                let issue = Issue::error("spec::sweep-too-large", message).at(tune.place.clone(), "");
                self.issues.push(issue.help("try fewer values, or with fewer seeds"));
                return Tuning { by: tune.by, seeds: tune.seeds.clone(), points };
            }
            points.push(self.candidates(base, point, &axes));
        }
        let is_choice = |point: &TunedPoint| point.trials() > 0;
        if points.iter().any(is_choice) && !resolved.iter().all(|point| check::has_validation(&point.spec)) {
            let message = "`tune` chooses on validation identities, but there are none";
            let issue = Issue::error("spec::no-validation", message).at(tune.place.clone(), "");
            self.issues.push(issue.help("set `validation: {identities: 0.1}`; test queries choose nothing"));
        }
        self.unequal_trials(tune, &points);
        Tuning { by: tune.by, seeds: tune.seeds.clone(), points }
    }

    /// Every combination of the axes at a point, each checked as the point itself was.
    fn candidates(&mut self, base: &Node, point: &Resolved, axes: &[sweep::Axis]) -> TunedPoint {
        let mut tried: Vec<Resolved> = Vec::new();
        for values in points::product(axes) {
            let settings = point.settings.iter().chain(&values).cloned().collect();
            let Some(candidate) = self.point(base, Point { label: Some(point.label.clone()), seeds: None, settings })
            else {
                continue;
            };
            for issue in resolve::cross_check(&candidate.spec, &candidate.expanded, &[]) {
                self.issues.push(issue);
            }
            tried.push(candidate);
        }
        let paths: Vec<Path> = axes.iter().map(|axis| axis.path.keys.clone()).collect();
        let seen: Vec<(&Json, &Node)> = tried.iter().map(|point| (&point.json, &point.written)).collect();
        let values = resolve::varied(&seen, &paths);
        let candidates = tried.iter().zip(values).map(|(point, values)| Candidate { spec: point.spec.clone(), values });
        let field = |axis: &sweep::Axis| (axis.path.dotted(), axis.values.iter().map(Node::to_json).collect());
        TunedPoint {
            label: point.label.clone(),
            fields: axes.iter().map(field).collect(),
            candidates: candidates.collect(),
        }
    }

    /// A comparison is fair if all sides may try equally often. Points that nothing of the grid concerns cannot, and
    /// points of different protocols are not compared with each other.
    fn unequal_trials(&mut self, tune: &tune::Written, points: &[TunedPoint]) {
        let tuned: Vec<&TunedPoint> = points.iter().filter(|point| !point.fields.is_empty()).collect();
        if tuned.is_empty() {
            let issue = Issue::warning("spec::nothing-tuned", "`tune` names no field that concerns a point");
            self.issues.push(issue.at(tune.place.clone(), "").help("check the paths, or leave `tune` out"));
            return;
        }
        let protocol = |point: &TunedPoint| point.candidates.first().map(|one| discriminant(&one.spec.protocol));
        let mut protocols: Vec<_> = tuned.iter().map(|point| protocol(point)).collect();
        protocols.dedup();
        for of_protocol in protocols {
            let of_protocol: Vec<_> = tuned.iter().filter(|point| protocol(point) == of_protocol).collect();
            let fewest = of_protocol.iter().min_by_key(|point| point.candidates.len());
            let (Some(fewest), Some(most)) = (fewest, of_protocol.iter().map(|point| point.candidates.len()).max())
            else {
                continue;
            };
            if fewest.candidates.len() == most {
                continue;
            }
            let mut counts: Vec<String> = Vec::new();
            for point in &of_protocol {
                let text = format!("`{}` {}", point.label, point.candidates.len());
                if !counts.contains(&text) {
                    counts.push(text);
                }
            }
            let message = format!("initialisations try grids of different size: {}", counts.join(", "));
            let issue = Issue::warning("spec::unequal-trials", message).at(tune.place.clone(), "");
            let label = &fewest.label;
            let help = format!("give it as many values of what concerns it: `for: {{{label}: {{FIELD: [...]}}}}`");
            self.issues.push(issue.help(help));
        }
    }

    fn exclusions(&mut self, sweep: &Sweep, used: &[bool], is_empty: bool) {
        for (exclusion, _) in sweep.exclude.iter().zip(used).filter(|(_, used)| !**used) {
            let issue = Issue::warning("spec::unused-exclusion", "this excludes no point of the sweep");
            self.issues.push(issue.at(exclusion.place.clone(), "").help("check the values, or take it away"));
        }
        if is_empty && !self.issues.has_errors() {
            let issue = Issue::error("spec::empty-sweep", "`exclude` leaves no point of the sweep");
            let issue = sweep.exclude.iter().fold(issue, |issue, exclusion| issue.at(exclusion.place.clone(), ""));
            self.issues.push(issue.help("exclude less"));
        }
    }

    fn table(&mut self, base: &Node, resolved: &[Resolved]) -> TableSpec {
        let written = base.find(&["table", "metrics"]).map(|node| &node.kind);
        let metrics = match written {
            Some(Kind::List(items)) => items.iter().filter_map(|item| item.text().map(str::to_owned)).collect(),
            _ => [MetricKey::Map, MetricKey::Rank1].map(|key| key.name().to_owned()).to_vec(),
        };
        let all_validate = resolved.iter().all(|point| check::has_validation(&point.spec));
        let written = base.find(&["table", "choose_on"]);
        let choose_on = match written.and_then(Node::text) {
            Some(text) if text == ChooseOn::Test.name() => ChooseOn::Test,
            Some(_) => ChooseOn::Validation,
            None if all_validate => ChooseOn::Validation,
            None => ChooseOn::Test,
        };
        if let Some(node) = written.filter(|_| choose_on == ChooseOn::Validation && !all_validate) {
            let message = "the table chooses on validation identities, but there are none";
            let issue = node.label(Issue::error("spec::no-validation", message), "");
            self.issues.push(issue.help("set `validation: {identities: 0.1}`, or `choose_on: test`"));
        }
        let written = base.find(&["table", "against"]);
        let against = written.and_then(Node::text).map(str::to_owned);
        let mut labels: Vec<&str> = resolved.iter().map(|point| point.label.as_str()).collect();
        labels.dedup();
        if let (Some(node), Some(against)) = (written, &against)
            && !labels.contains(&against.as_str())
        {
            let message = format!("no run is called `{}`, to compare the others with", shorten(against));
            let issue = node.label(Issue::error("spec::unknown-label", message), "");
            self.issues.push(issue.help(suggest::help(against, &labels)));
        }
        TableSpec { metrics, choose_on, against }
    }
}

/// Whether an entry of `exclude` describes the point.
fn is_excluded(point: &Resolved, sweep: &Sweep, used: &mut [bool]) -> bool {
    let mut is_excluded = false;
    for (exclusion, used) in sweep.exclude.iter().zip(used) {
        let is_named = exclusion.label.as_ref().is_none_or(|label| *label == point.label);
        let matches = is_named
            && exclusion.settings.iter().all(|setting| {
                let found = resolve::look_up(&point.json, &point.written, &setting.path.keys);
                let shape = file_shape().at(&setting.path.keys).ok();
                found.zip(shape).is_some_and(|(found, shape)| found.matches(&setting.value, shape))
            });
        *used |= matches;
        is_excluded |= matches;
    }
    is_excluded
}

/// The name of a point that was not given one.
fn label(resolved: &Json, written: &Node) -> String {
    let path = ["pretrain", "objective"].map(str::to_owned);
    let name = resolve::look_up(resolved, written, &path).and_then(|found| found.name).unwrap_or_default();
    let is_trained = resolved["protocol"]["frozen"]["probe"].get("none").is_none();
    if name == "none" && !is_trained { "untrained".to_owned() } else { name }
}

/// Every point with every one of its seeds.
fn runs(resolved: &[Resolved], seeds: &[Seeds], swept: &[Path]) -> Vec<ResolvedRun> {
    let points: Vec<(&Json, &Node)> = resolved.iter().map(|point| (&point.json, &point.written)).collect();
    let mut varied = resolve::varied(&points, swept);
    for (varied, _) in varied.iter_mut().zip(resolved).filter(|(_, point)| point.spec.has_no_pretraining()) {
        // Where nothing is pre-trained, no encoder of it is taken.
        varied.remove("pretrain.take");
    }
    let mut runs = Vec::with_capacity(resolved.len() * seeds.len());
    for (index, (point, varied)) in resolved.iter().zip(&varied).enumerate() {
        runs.extend(point.seeds.as_deref().unwrap_or(seeds).iter().map(|&seeds| ResolvedRun {
            spec: point.spec.clone(),
            seeds,
            point: index,
            label: point.label.clone(),
            varied: varied.clone(),
            tuned: BTreeMap::new(),
            trial: None,
            marks: Vec::new(),
        }));
    }
    runs
}
