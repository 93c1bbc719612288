//! Every test against reference numbers; `cargo golden` runs exactly these.

mod augment;
mod cluster;
mod color;
mod dino;
mod losses;
mod mae;
mod metrics;
mod moco;
mod optimisers;
mod positions;
mod schedules;
mod transreid;
mod transreid_model;
mod vit;

use std::collections::BTreeSet;
use std::path::Path;

use reid_tests::golden::{folder, workspace_root};

/// Stems of the golden files in a folder; nothing if it cannot be read.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let golden = entries.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    golden.filter_map(|path| path.file_stem()?.to_str().map(str::to_owned)).collect()
}

/// Another folder may hold other numbers, never fewer.
#[test]
fn the_folder_has_all_that_the_tests_name() {
    let (folder, needed) = (folder(), names(&workspace_root().join("tests/golden")));
    assert!(!needed.is_empty(), "tests/golden is empty; the checkout is not whole");
    assert!(
        folder.is_dir(),
        "REID_GOLDEN names no folder (relative paths start at the workspace's root): {}",
        folder.display()
    );
    let found = names(&folder);
    assert!(
        !found.is_empty(),
        "no golden file (*.safetensors) in the folder that REID_GOLDEN names: {}",
        folder.display()
    );
    let missing: Vec<&String> = needed.difference(&found).collect();
    assert!(missing.is_empty(), "golden files are missing: {missing:?}: {}", folder.display());
}

/// A golden file without a test would be proof of nothing.
#[test]
fn every_file_has_a_test() {
    let sources = std::fs::read_dir(workspace_root().join("tests/it/golden")).expect("this file's own folder");
    let sources: String = sources.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).collect();
    let unused: Vec<String> = names(&workspace_root().join("tests/golden"))
        .into_iter()
        .filter(|name| !sources.contains(&format!("\"{name}\"")))
        .collect();
    assert!(unused.is_empty(), "no test names {unused:?}");
}
