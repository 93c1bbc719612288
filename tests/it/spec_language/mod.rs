//! Tests of the spec language.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::float_cmp, reason = "a spec's numbers are read exactly")]

mod canonical;
mod fixtures;
mod overrides;
mod resolved;
mod roundtrip;
mod sweeps;
mod tuning;

use std::path::{Path, PathBuf};

use reid_experiments::{Experiment, Issues, ResolvedRun, load};

/// A fixture, relative to the package, so that messages show short paths.
fn fixture(name: &str) -> PathBuf {
    Path::new("fixtures").join(name)
}

/// A valid fixture with overrides.
fn valid_with(name: &str, overrides: &[&str]) -> Experiment {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    load(&fixture("valid").join(name), &overrides).unwrap_or_else(|issues| panic!("{name}:\n{issues}"))
}

fn valid(name: &str) -> Experiment {
    valid_with(name, &[])
}

/// Loads a text as a file of its own.
fn load_text(text: &str, overrides: &[&str]) -> Result<Experiment, Issues> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spec.yaml");
    std::fs::write(&path, text).unwrap();
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    load(&path, &overrides)
}

/// The only run of a text.
fn run_of(text: &str) -> ResolvedRun {
    let experiment = load_text(text, &[]).unwrap_or_else(|issues| panic!("{issues}\n{text}"));
    assert_eq!(experiment.runs.len(), 1, "{text}");
    experiment.runs.into_iter().next().unwrap()
}

fn codes(issues: &Issues) -> Vec<&'static str> {
    issues.0.iter().map(|issue| issue.code).collect()
}

/// A small whole spec.
const BASE: &str = "
data: {synthetic: {}}
backbone: {vit: {size: micro, image: [64, 32], patch: 8}}
pretrain: {objective: {person_mae: {mask_ratio: 0.5}}, train: {epochs: 50, batch: 64}}
protocol: {supervised: {train: {epochs: 60}}}
";
