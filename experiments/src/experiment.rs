//! What a spec comes to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::diagnostic::{Issue, Issues};
use crate::node::Node;
use crate::spec::{RunSpec, Seeds};
use crate::tune::Tuning;
use crate::written::TableSpec;
use crate::{check, resolve};

/// An experiment: all its runs, resolved.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// `name:`, or the file's stem.
    pub name: String,
    /// `description:`, or nothing.
    pub description: String,
    /// The file, as it was asked for.
    pub path: PathBuf,
    /// Overrides of the command line, verbatim.
    pub overrides: Vec<String>,
    /// Every sweep point with every one of its seeds: points in the order written, seeds within each. With a [`Self::tuning`]
    /// the settings to be chosen are still those of the file; [`Self::with_choice`] has the runs that count.
    pub runs: Vec<ResolvedRun>,
    /// Whether seeds were written as `{pretrain: .., downstream: ..}`.
    pub nested_seeds: bool,
    /// What the table shows.
    pub table: TableSpec,
    /// Dotted paths of the swept fields, in the order written.
    pub swept: Vec<String>,
    /// What every point chooses before it runs.
    pub tuning: Option<Tuning>,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<Issue>,
    /// The tree of every point with presets and defaults, for places.
    pub(crate) trees: Vec<Node>,
}

impl Experiment {
    /// The same experiment with the trials of its tuning as runs; none if nothing has to be tried.
    pub fn trials(&self) -> Option<Self> {
        let tuning = self.tuning.as_ref()?;
        let mut runs = Vec::new();
        for (point, tuned) in tuning.points.iter().enumerate().filter(|(_, tuned)| tuned.trials() > 0) {
            let Some(of_point) = self.runs.iter().find(|run| run.point == point) else { continue };
            for (at, candidate) in tuned.candidates.iter().enumerate() {
                runs.extend(tuning.seeds.iter().map(|&seeds| ResolvedRun {
                    spec: candidate.spec.clone(),
                    seeds,
                    tuned: candidate.values.clone(),
                    trial: Some(at),
                    ..of_point.clone()
                }));
            }
        }
        (!runs.is_empty()).then(|| Self { runs, ..self.clone() })
    }

    /// The same experiment with every point as its chosen candidate; points without a choice are left out. A choice
    /// at the edge of its grid is a remark of the run.
    #[must_use]
    pub fn with_choice(&self, choice: &[Option<usize>]) -> Self {
        let Some(tuning) = &self.tuning else { return self.clone() };
        let chosen = |run: &ResolvedRun| {
            let (tuned, at) = (tuning.points.get(run.point)?, (*choice.get(run.point)?)?);
            let candidate = tuned.candidates.get(at)?;
            let marks = tuned.edges(at).iter().map(|edge| format!("tuned {}", edge.in_words())).collect();
            let (spec, tuned) = (candidate.spec.clone(), candidate.values.clone());
            Some(ResolvedRun { spec, tuned, marks, ..run.clone() })
        };
        Self { runs: self.runs.iter().filter_map(chosen).collect(), ..self.clone() }
    }

    /// Warnings of settings that cannot work at the length of a point's pre-training, where it has `pool` pictures
    /// to draw from. What the spec alone tells is among [`Self::warnings`] already.
    pub fn length_warnings(&self, run: &ResolvedRun, pool: usize) -> Issues {
        let mut issues = Issues::default();
        let known = self.trees.get(run.point).filter(|_| check::pool(&run.spec).is_none());
        for issue in known.iter().flat_map(|tree| resolve::located(check::at_length(&run.spec, Some(pool)), tree, &[]))
        {
            if !self.warnings.contains(&issue) {
                issues.push(issue);
            }
        }
        issues
    }
}

/// One run with nothing optional.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedRun {
    /// The science.
    pub spec: RunSpec,
    /// Its seeds.
    pub seeds: Seeds,
    /// Index of the sweep point; runs of one point differ in seeds only.
    pub point: usize,
    /// Name for tables: a list entry's `label`, else the preset or objective, where `none` evaluated
    /// frozen, without a probe, is `untrained`.
    pub label: String,
    /// Swept paths and what they have come to at this point. A choice is given by its name; a field
    /// inside a choice that this point makes otherwise is absent.
    pub varied: BTreeMap<String, serde_json::Value>,
    /// Fields that were chosen by trials, or that this trial is of, and their values.
    pub tuned: BTreeMap<String, serde_json::Value>,
    /// Which candidate of its point the run tries; none for a run that counts.
    pub trial: Option<usize>,
    /// Remarks that belong to its result.
    pub marks: Vec<String>,
}

impl ResolvedRun {
    /// The run as a spec of its own: reading it again gives the same run.
    ///
    /// # Panics
    /// Never: spec types have text keys and no values that YAML lacks.
    pub fn to_yaml(&self) -> String {
        let spec = serde_yaml::with::singleton_map_recursive::serialize(&self.spec, serde_yaml::value::Serializer);
        let mut value = spec.expect("a run serialises to a map");
        let list = |seed: u64| serde_yaml::Value::Sequence(vec![seed.into()]);
        let Seeds { pretrain, downstream } = self.seeds;
        let seeds = if pretrain == downstream {
            list(pretrain)
        } else {
            let parts = [("pretrain", pretrain), ("downstream", downstream)];
            serde_yaml::Value::Mapping(parts.into_iter().map(|(name, seed)| (name.into(), list(seed))).collect())
        };
        if let Some(fields) = value.as_mapping_mut() {
            fields.insert("seeds".into(), seeds);
        }
        serde_yaml::to_string(&value).expect("a value without tags serialises")
    }
}
