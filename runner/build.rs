//! Tells the program which commit it is built from. Finds out what it can; never fails.
//!
//! Cargo runs it again after a commit and after a change of the sources, which recompiles this crate
//! in any case, so that neither the commit nor the dirty flag can be out of date.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the program is built from, relative to the workspace.
const SOURCES: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "backbones",
    "data",
    "experiments/Cargo.toml",
    "experiments/src",
    "objectives",
    "results",
    "runner",
];

fn main() {
    let Ok(workspace) = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize() else { return };
    for source in SOURCES {
        watch(&workspace.join(source));
    }
    if let Some(folder) = git_folder(&workspace) {
        watch_head(&folder);
    }
    let (commit, dirty) = match ask_git(&workspace) {
        Some((commit, dirty)) => (Some(commit), Some(dirty)),
        None => (git_folder(&workspace).and_then(|folder| read_head(&folder)), None),
    };
    if let Some(commit) = commit {
        println!("cargo::rustc-env=REID_RUN_BUILD_COMMIT={commit}");
    }
    if let Some(dirty) = dirty {
        println!("cargo::rustc-env=REID_RUN_BUILD_DIRTY={dirty}");
    }
}

/// Commit and dirty flag from the command `git`, if there is one and it trusts the repository.
fn ask_git(workspace: &Path) -> Option<(String, bool)> {
    // Sources unpacked inside a stranger's repository have nothing to do with its commits.
    git(workspace, &["ls-files", "--error-unmatch", "runner/build.rs"])?;
    let commit = git(workspace, &["rev-parse", "--verify", "HEAD"])?;
    let mut arguments = vec!["--no-optional-locks", "status", "--porcelain", "--"];
    arguments.extend(SOURCES);
    let changes = git(workspace, &arguments)?;
    is_commit(commit.trim()).then(|| (commit.trim().to_owned(), !changes.trim().is_empty()))
}

fn git(workspace: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(workspace).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The repository's own folder for this working tree: `.git`, or what it points to in a worktree.
fn git_folder(workspace: &Path) -> Option<PathBuf> {
    let dot_git = workspace.join(".git");
    if dot_git.is_dir() {
        return Some(dot_git);
    }
    let text = fs::read_to_string(dot_git).ok()?;
    Some(workspace.join(text.strip_prefix("gitdir:")?.trim()))
}

/// The folder that all worktrees share.
fn common_folder(folder: &Path) -> PathBuf {
    match fs::read_to_string(folder.join("commondir")) {
        Ok(text) => folder.join(text.trim()),
        Err(_) => folder.to_owned(),
    }
}

/// The commit that is checked out, read without `git`.
fn read_head(folder: &Path) -> Option<String> {
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else {
        return is_commit(head.trim()).then(|| head.trim().to_owned());
    };
    let common = common_folder(folder);
    let loose = fs::read_to_string(common.join(name)).map(|text| text.trim().to_owned()).ok();
    let commit = loose.or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| Some(line.strip_suffix(name)?.trim_end().to_owned()))
    });
    commit.filter(|commit| is_commit(commit))
}

/// SHA-1 or SHA-256 in hexadecimal.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Files that change with every commit and every checkout.
fn watch_head(folder: &Path) {
    let common = common_folder(folder);
    watch(&folder.join("HEAD"));
    watch(&folder.join("logs").join("HEAD"));
    watch(&common.join("packed-refs"));
    if let Ok(head) = fs::read_to_string(folder.join("HEAD"))
        && let Some(name) = head.trim().strip_prefix("ref: ")
    {
        watch(&common.join(name));
    }
}

/// Cargo would run this program every time for the sake of a file that is not there.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}
