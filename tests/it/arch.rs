//! Tests of the repository itself: which crate may know what, and whether its documents are true.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod documents;
mod graph;
mod sources;

use std::path::Path;
use std::process::Command;

use reid_tests::golden::workspace_root;

/// Folders of the workspace's crates, which are all folders of the top level that do not hide.
const CRATES: [&str; 7] = ["backbones", "data", "experiments", "objectives", "results", "runner", "tests"];

/// Tracked files that are there, relative to the workspace's root, with `/` between folders.
fn tracked() -> Vec<String> {
    // The repository may belong to another user, as in a container; nothing in it is executed.
    let arguments = ["-c", "safe.directory=*", "ls-files", "-z"];
    let output = Command::new("git").args(arguments).current_dir(workspace_root()).output();
    let output = output.expect("these tests need the command `git`");
    assert!(output.status.success(), "not a git checkout: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.split('\0').filter(|name| !name.is_empty() && workspace_root().join(name).is_file());
    files.map(str::to_owned).collect()
}

/// Tracked files with an extension, and their texts.
fn texts(extension: &str) -> Vec<(String, String)> {
    let wanted = tracked().into_iter().filter(|name| Path::new(name).extension().is_some_and(|ext| ext == extension));
    wanted.map(|name| (name.clone(), text(&name))).collect()
}

/// A file of the repository.
fn text(name: &str) -> String {
    std::fs::read_to_string(workspace_root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}
