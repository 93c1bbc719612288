//! Dependencies: they point one way, and each kind of outside knowledge has one home.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use reid_tests::golden::workspace_root;
use serde_json::Value;

/// Every crate with the crates of ours that it depends on.
const GRAPH: [(&str, &[&str]); 7] = [
    ("reid_backbones", &[]),
    ("reid_data", &[]),
    ("reid_experiments", &["reid_backbones", "reid_data", "reid_objectives"]),
    ("reid_objectives", &["reid_backbones", "reid_data"]),
    ("reid_results", &[]),
    ("reid_runner", &["reid_backbones", "reid_data", "reid_experiments", "reid_objectives", "reid_results"]),
    (
        "reid_tests",
        &["reid_backbones", "reid_data", "reid_experiments", "reid_objectives", "reid_results", "reid_runner"],
    ),
];

/// Libraries that stand for a kind of knowledge, and the crates that may have it. Tests may have any.
const HOMES: [(&str, &[&str]); 19] = [
    // YAML.
    ("annotate-snippets", &["reid_experiments"]),
    ("figment", &["reid_experiments"]),
    ("saphyr-parser", &["reid_experiments"]),
    ("serde_yaml", &["reid_experiments"]),
    // Parquet and tables.
    ("comfy-table", &["reid_results"]),
    ("polars", &["reid_data", "reid_results"]),
    // Charts and pages.
    ("maud", &["reid_results"]),
    ("plotters", &["reid_results"]),
    // Event files.
    ("crc32c", &["reid_runner"]),
    ("prost", &["reid_runner"]),
    // Tensors.
    ("candle-core", &["reid_backbones", "reid_objectives", "reid_runner"]),
    ("candle-nn", &["reid_backbones"]),
    ("gemm", &["reid_backbones"]),
    // Pictures.
    ("zune-jpeg", &["reid_data"]),
    ("jpeg-decoder", &["reid_data"]),
    // Command line, terminal, git, signals.
    ("clap", &["reid_runner"]),
    ("git2", &["reid_runner"]),
    ("indicatif", &["reid_runner"]),
    ("signal-hook", &["reid_runner"]),
];

/// What cargo knows of the workspace's packages.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(workspace_root()).output().unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// Direct dependencies of every package.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let names = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.map(|dependency| dependency["name"].as_str().unwrap().to_owned()).collect()
    };
    packages().iter().map(|package| (package["name"].as_str().unwrap().to_owned(), names(package))).collect()
}

#[test]
fn crates_depend_one_way() {
    let ours = |names: BTreeSet<String>| names.into_iter().filter(|name| name.starts_with("reid_")).collect();
    let found: BTreeMap<String, BTreeSet<String>> =
        dependencies().into_iter().map(|(name, needs)| (name, ours(needs))).collect();
    let allowed: BTreeMap<String, BTreeSet<String>> = GRAPH
        .iter()
        .map(|(name, needs)| ((*name).to_owned(), needs.iter().map(|need| (*need).to_owned()).collect()))
        .collect();
    assert_eq!(found, allowed, "the graph in runner/ARCHITECTURE.md is the allowed one");
}

#[test]
fn each_kind_of_knowledge_has_its_home() {
    let found = dependencies();
    for (library, homes) in HOMES {
        let strangers: Vec<&String> = found
            .iter()
            .filter(|(name, needs)| needs.contains(library) && *name != "reid_tests" && !homes.contains(&name.as_str()))
            .map(|(name, _)| name)
            .collect();
        assert!(strangers.is_empty(), "{library} belongs to {homes:?}, but is used by {strangers:?}");
        assert!(homes.iter().any(|home| found[*home].contains(library)), "nobody uses {library} any more");
    }
}

#[test]
fn nothing_is_compiled_for_tests_only_inside_a_crate() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            assert_ne!(dependency["kind"], "dev", "{name}: `cargo run` and `cargo test` would disagree: {dependency}");
        }
        for target in package["targets"].as_array().unwrap() {
            let is_the_binary = name == "reid_tests" && target["name"] == "it";
            let tested = target["test"] == true || target["doctest"] == true;
            assert_eq!(tested, is_the_binary, "{name}: all tests are in tests/it, one binary: {target}");
        }
    }
}
