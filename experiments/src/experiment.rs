//! What a spec comes to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::diagnostic::Issue;
use crate::spec::{RunSpec, Seeds};
use crate::written::TableSpec;

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
    /// Every sweep point with every seed: points in the order written, seeds within each.
    pub runs: Vec<ResolvedRun>,
    /// Whether seeds were written as `{pretrain: .., downstream: ..}`.
    pub nested_seeds: bool,
    /// What the table shows.
    pub table: TableSpec,
    /// Dotted paths of the swept fields, in the order written.
    pub swept: Vec<String>,
    /// What is allowed, but probably not meant.
    pub warnings: Vec<Issue>,
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
