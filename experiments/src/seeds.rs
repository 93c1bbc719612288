//! Seeds of the runs.

use std::collections::BTreeSet;

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::spec::Seeds;
use crate::suggest;

/// Fields of nested seeds.
const PARTS: [&str; 2] = ["pretrain", "downstream"];

/// Seeds of all runs of a point under the key `at`, and whether they nest.
pub(crate) fn read(at: &str, node: Option<&Node>, issues: &mut Issues) -> (Vec<Seeds>, bool) {
    let both = |seed: u64| Seeds { pretrain: seed, downstream: seed };
    let Some(node) = node else { return (vec![both(0)], false) };
    let Kind::Map(parts) = &node.kind else {
        return (list(node, at, issues).into_iter().map(both).collect(), false);
    };
    for (name, part) in parts.iter().filter(|(name, _)| !PARTS.contains(&name.as_str())) {
        let issue = Issue::error("spec::unknown-key", format!("unknown key `{}` in `{at}`", shorten(name)));
        issues.push(issue.at(part.key_mark(), "").help(suggest::help(name, &PARTS)));
    }
    let [pretrain, downstream] = PARTS.map(|name| {
        if let Some(part) = node.get(name) {
            return list(part, &format!("{at}.{name}"), issues);
        }
        let issue = Issue::error("spec::missing-field", format!("`{at}.{name}` is missing"));
        issues.push(issue.at(node.key_mark(), "").help("write `seeds: {pretrain: [0, 1], downstream: [0, 1]}`"));
        Vec::new()
    });
    let nested =
        pretrain.iter().flat_map(|&pretrain| downstream.iter().map(move |&downstream| Seeds { pretrain, downstream }));
    (nested.collect(), true)
}

fn list(node: &Node, name: &str, issues: &mut Issues) -> Vec<u64> {
    let Kind::List(items) = &node.kind else {
        let message = format!("`{name}` is {}, but must be a list of seeds", node.what());
        issues
            .push(node.label(Issue::error("spec::wrong-type", message), "").help(format!("write `{name}: [0, 1, 2]`")));
        return Vec::new();
    };
    if items.is_empty() {
        let issue = node.label(Issue::error("spec::no-seeds", format!("`{name}` is empty")), "");
        issues.push(issue.help("list at least one seed, or leave the field out to run seed 0"));
    }
    let mut seen = BTreeSet::new();
    let mut seeds = Vec::with_capacity(items.len());
    for item in items {
        let seed = match &item.kind {
            Kind::Int(int) => u64::try_from(*int).ok(),
            _ => None,
        };
        let Some(seed) = seed else {
            let message = format!("`{name}` has {}, but a seed is a whole number from 0 to 2^64 - 1", item.what());
            let issue = item.label(Issue::error("spec::wrong-type", message), "");
            issues.push(issue.help("write seeds as `[0, 1, 2]`"));
            continue;
        };
        if seen.insert(seed) {
            seeds.push(seed);
        } else {
            let issue = item.label(Issue::error("spec::duplicate-seed", format!("`{name}` has {seed} twice")), "");
            issues.push(issue.help("a seed gives the same run again; list each once"));
        }
    }
    seeds
}
