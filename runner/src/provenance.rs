//! Where results come from: the repository of the spec, the program, the machine.

use std::path::{Path, PathBuf};

use git2::{Commit, DiffFormat, DiffOptions, ErrorCode, Repository, Status, StatusOptions, StatusShow};
use serde::{Deserialize, Serialize};

use crate::store::process;

/// State of the repository that holds a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// The commit that is checked out.
    pub commit: String,
    /// Whether tracked files differ from it, or there are files that are neither tracked nor ignored.
    pub dirty: bool,
    /// BLAKE3 of the differences of tracked files and the names of untracked ones; `None` if clean,
    /// or if they could not be compared.
    pub diff_hash: Option<String>,
    /// The branch; `None` if none is checked out.
    pub branch: Option<String>,
}

/// What could be found out about the repository of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its state; `None` becomes null columns.
    pub state: Option<SourceState>,
    /// Why something is unknown.
    pub warning: Option<String>,
}

impl Source {
    fn unknown(warning: impl Into<String>) -> Self {
        Self { state: None, warning: Some(warning.into()) }
    }
}

/// The repository that holds `path`, a file or folder. Files under `outputs`, the program's own
/// output folder, do not make it dirty.
///
/// Reads only: takes no lock and refreshes no index. Worktrees and shallow clones are as good as
/// any repository; where there is none, or no commit, or git refuses it, a warning says so.
pub fn repository_of(path: &Path, outputs: Option<&Path>) -> Source {
    let start = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = if start.is_dir() { start.as_path() } else { start.parent().unwrap_or(&start) };
    let repository = match Repository::discover(folder) {
        Ok(repository) => repository,
        Err(error) => return Source::unknown(refusal(&error, folder)),
    };
    if repository.is_bare() {
        return Source::unknown(format!("bare git repository; no commit is recorded: {}", folder.display()));
    }
    let head = match head_of(&repository) {
        Ok(head) => head,
        Err(error) => return Source::unknown(refusal(&error, folder)),
    };
    let outputs = outputs.map(|outputs| std::fs::canonicalize(outputs).unwrap_or_else(|_| outputs.to_owned()));
    let commit = head.commit.id().to_string();
    match differences(&repository, &head.commit, outputs.as_deref()) {
        Ok(diff_hash) => {
            let state = SourceState { commit, dirty: diff_hash.is_some(), diff_hash, branch: head.branch };
            Source { state: Some(state), warning: None }
        }
        Err(error) => {
            let state = SourceState { commit, dirty: true, diff_hash: None, branch: head.branch };
            let warning = format!(
                "the working tree cannot be compared with its commit ({}) and is recorded as dirty: {}",
                error.message(),
                folder.display()
            );
            Source { state: Some(state), warning: Some(warning) }
        }
    }
}

struct Head<'repo> {
    commit: Commit<'repo>,
    branch: Option<String>,
}

fn head_of(repository: &Repository) -> Result<Head<'_>, git2::Error> {
    let head = repository.head()?;
    let branch = if head.is_branch() { head.shorthand().ok().map(str::to_owned) } else { None };
    Ok(Head { commit: head.peel_to_commit()?, branch })
}

/// Why no commit is recorded, and the remedy where there is one.
fn refusal(error: &git2::Error, folder: &Path) -> String {
    let at = folder.display();
    match error.code() {
        ErrorCode::NotFound => format!("not in a git repository; no commit is recorded: {at}"),
        ErrorCode::UnbornBranch => format!("git repository without a commit; none is recorded: {at}"),
        ErrorCode::Owner => format!(
            "git repository of another user; no commit is recorded; to trust it, run \
             `git config --global --add safe.directory` with its path: {at}"
        ),
        _ => format!("git repository cannot be read ({}); no commit is recorded: {at}", error.message()),
    }
}

/// Hash of what differs from a commit; `None` if nothing does.
fn differences(
    repository: &Repository,
    commit: &Commit<'_>,
    outputs: Option<&Path>,
) -> Result<Option<String>, git2::Error> {
    let mut options = DiffOptions::new();
    // Whole object names, so that a binary file's line in the diff stands for its content.
    options.id_abbrev(40).include_typechange(true).update_index(false);
    let diff = repository.diff_tree_to_workdir_with_index(Some(&commit.tree()?), Some(&mut options))?;
    let mut hasher = blake3::Hasher::new();
    diff.print(DiffFormat::Patch, |_, _, line| {
        hasher.update(&[line.origin() as u8]);
        hasher.update(line.content());
        true
    })?;
    let untracked = untracked(repository, outputs)?;
    for name in &untracked {
        hasher.update(b"\0untracked\0");
        hasher.update(name);
    }
    let clean = diff.deltas().len() == 0 && untracked.is_empty();
    Ok((!clean).then(|| hasher.finalize().to_hex().to_string()))
}

/// Sorted names of the files that are neither tracked nor ignored nor under `outputs`.
fn untracked(repository: &Repository, outputs: Option<&Path>) -> Result<Vec<Vec<u8>>, git2::Error> {
    let mut options = StatusOptions::new();
    options
        .show(StatusShow::Workdir)
        .include_untracked(true)
        .recurse_untracked_dirs(true)
        .include_ignored(false)
        .exclude_submodules(true)
        .update_index(false);
    let root = repository.workdir().map(|root| std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned()));
    let is_output = |name: &[u8]| match (&root, outputs) {
        (Some(root), Some(outputs)) => root.join(path_of(name)).starts_with(outputs),
        _ => false,
    };
    let statuses = repository.statuses(Some(&mut options))?;
    let mut names: Vec<Vec<u8>> = statuses
        .iter()
        .filter(|entry| entry.status().contains(Status::WT_NEW))
        .map(|entry| entry.path_bytes().to_vec())
        .filter(|name| !is_output(name))
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn path_of(name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(name))
}

/// The program that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramInfo {
    /// Its version.
    pub version: String,
    /// The commit it was built from; `None` if that was not known then.
    pub commit: Option<String>,
    /// Whether its sources differed from that commit.
    pub dirty: Option<bool>,
}

/// This program, as the build found it.
pub fn program() -> ProgramInfo {
    ProgramInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("REID_RUN_BUILD_COMMIT").map(str::to_owned),
        dirty: option_env!("REID_RUN_BUILD_DIRTY").map(|dirty| dirty == "true"),
    }
}

/// The machine that the program runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name in the network.
    pub name: String,
    /// The processor, in its maker's words.
    pub cpu: Option<String>,
    /// Vector instructions that the numeric kernels choose by: `avx512f+…`, `avx2+fma`, `neon` or
    /// `baseline`.
    pub instruction_set: String,
    /// Threads that the process may run at once.
    pub cores: usize,
    /// Changes whenever the machine starts.
    pub boot_id: Option<String>,
}

/// This machine.
pub fn host_info() -> Host {
    Host {
        name: process::host_name(),
        cpu: cpu_model(),
        instruction_set: reid_backbones::instruction_set().features().to_owned(),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        boot_id: process::boot_id(),
    }
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?.1;
    Some(model.trim().to_owned())
}

/// The most memory that this process has used so far, in bytes; `None` where the system does not say.
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}
