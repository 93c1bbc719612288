//! Repositories in all their states, the program and the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reid_runner::provenance::{SourceState, host_info, peak_rss_bytes, program, repository_of};

/// Runs git without the user's settings and returns what it says.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "protocol.file.allow=always"])
        .args(arguments)
        .output()
        .expect("the command git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

struct Repository {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Repository {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("project");
        fs::create_dir(&root).expect("a folder");
        git(&root, &["init", "--quiet", "--initial-branch=trunk"]);
        Self { _folder: folder, root }
    }

    fn with_commits() -> Self {
        let repository = Self::empty();
        fs::create_dir(repository.root.join("experiments")).expect("a folder");
        fs::write(repository.spec(), "seeds: [0]\n").expect("written");
        fs::write(repository.root.join(".gitignore"), "*.tmp\n").expect("written");
        repository.commit("first");
        fs::write(repository.root.join("notes"), "notes\n").expect("written");
        repository.commit("second");
        repository
    }

    fn spec(&self) -> PathBuf {
        self.root.join("experiments/ablation.yaml")
    }

    fn commit(&self, message: &str) {
        git(&self.root, &["add", "--all"]);
        git(&self.root, &["commit", "--quiet", "-m", message]);
    }

    fn head(&self) -> String {
        git(&self.root, &["rev-parse", "HEAD"])
    }

    fn state(&self) -> SourceState {
        let source = repository_of(&self.spec(), None);
        assert_eq!(source.warning, None);
        source.state.expect("a state")
    }
}

/// The warning that comes instead of a state.
fn refusal(path: &Path) -> String {
    let source = repository_of(path, None);
    assert_eq!(source.state, None);
    source.warning.expect("a warning")
}

#[test]
fn a_clean_repository_has_a_commit_and_no_hash() {
    let repository = Repository::with_commits();
    let expected =
        SourceState { commit: repository.head(), dirty: false, diff_hash: None, branch: Some("trunk".to_owned()) };
    assert_eq!(repository.state(), expected);
    fs::write(repository.root.join("ignored.tmp"), "x").expect("written");
    assert_eq!(repository.state(), expected, "ignored files do not count");
    git(&repository.root, &["checkout", "--quiet", "--detach"]);
    assert_eq!(repository.state().branch, None);
}

#[test]
fn every_change_has_its_own_hash() {
    let repository = Repository::with_commits();
    let commit = repository.head();
    let mut hashes = Vec::new();
    let mut look = |what: &str| {
        let state = repository.state();
        assert!(state.dirty, "{what}");
        assert_eq!(state.commit, commit, "{what}");
        let hash = state.diff_hash.expect("a hash");
        assert!(!hashes.contains(&hash), "{what}");
        assert_eq!(repository.state().diff_hash.as_ref(), Some(&hash), "{what}: the same twice");
        hashes.push(hash);
    };
    fs::write(repository.spec(), "seeds: [1]\n").expect("written");
    look("changed");
    fs::write(repository.spec(), "seeds: [2]\n").expect("written");
    look("changed otherwise");
    fs::write(repository.root.join("notes"), [0, 159, 146, 150]).expect("written");
    look("binary");
    fs::write(repository.root.join("notes"), [0, 159, 146, 151]).expect("written");
    look("another byte of a binary file");
    fs::remove_file(repository.root.join("notes")).expect("removed");
    look("removed");
    fs::write(repository.root.join("new.yaml"), "a").expect("written");
    look("untracked");
    fs::create_dir_all(repository.root.join("deep/er")).expect("a folder");
    fs::write(repository.root.join("deep/er/file"), "a").expect("written");
    look("untracked in a folder");
    git(&repository.root, &["add", "new.yaml"]);
    look("staged");
}

#[test]
fn the_programs_own_output_is_no_change() {
    let repository = Repository::with_commits();
    let outputs = repository.root.join("runs");
    fs::create_dir_all(outputs.join("results")).expect("a folder");
    fs::write(outputs.join("results/a.parquet"), "x").expect("written");
    assert!(repository.state().dirty);
    let clean = repository_of(&repository.spec(), Some(&outputs)).state.expect("a state");
    assert!(!clean.dirty && clean.diff_hash.is_none());
}

#[test]
fn a_locked_or_read_only_repository_can_be_read() {
    let repository = Repository::with_commits();
    let index = repository.root.join(".git/index");
    fs::write(repository.root.join(".git/index.lock"), "").expect("written");
    let before = fs::read(&index).expect("the index");
    // A new time stamp with the old content: `git status` would refresh the index.
    fs::write(repository.spec(), "seeds: [0]\n").expect("written");
    assert!(!repository.state().dirty);
    assert_eq!(fs::read(&index).expect("the index"), before);
}

#[test]
fn worktrees_and_shallow_clones_are_repositories() {
    let repository = Repository::with_commits();
    let beside = repository.root.with_file_name("worktree");
    git(&repository.root, &["worktree", "add", "--quiet", "-b", "side", beside.to_str().expect("a path")]);
    let state = repository_of(&beside.join("experiments"), None).state.expect("a state");
    let branch = Some("side".to_owned());
    assert_eq!(state, SourceState { commit: repository.head(), dirty: false, diff_hash: None, branch });

    let shallow = repository.root.with_file_name("shallow");
    let from = format!("file://{}", repository.root.display());
    git(&repository.root, &["clone", "--quiet", "--depth=1", &from, shallow.to_str().expect("a path")]);
    let state = repository_of(&shallow.join("experiments/ablation.yaml"), None).state.expect("a state");
    assert_eq!((state.commit, state.dirty), (repository.head(), false));
}

#[test]
fn what_is_no_repository_gives_a_warning() {
    let repository = Repository::empty();
    assert!(refusal(&repository.root).contains("without a commit"));

    let bare = repository.root.with_file_name("bare.git");
    git(repository.root.parent().expect("a folder"), &["init", "--quiet", "--bare", "bare.git"]);
    assert!(refusal(&bare).contains("bare"));

    let folder = tempfile::tempdir().expect("a folder");
    assert!(refusal(folder.path()).contains("not in a git repository"));
    assert!(refusal(&folder.path().join("missing.yaml")).contains("not in a git repository"));

    let broken = Repository::with_commits();
    fs::write(broken.root.join(".git/HEAD"), "nonsense").expect("written");
    refusal(&broken.spec());
    let headless = Repository::with_commits();
    fs::write(headless.root.join(".git/refs/heads/trunk"), format!("{}\n", "1".repeat(40))).expect("written");
    refusal(&headless.spec());
}

#[test]
fn a_commit_whose_tree_is_gone_is_recorded_as_dirty() {
    let repository = Repository::with_commits();
    let tree = git(&repository.root, &["rev-parse", "HEAD^{tree}"]);
    fs::remove_file(repository.root.join(".git/objects").join(&tree[..2]).join(&tree[2..])).expect("removed");
    let source = repository_of(&repository.spec(), None);
    let state = source.state.expect("a state");
    assert!(state.dirty && state.diff_hash.is_none());
    assert!(source.warning.expect("a warning").contains("cannot be compared"));
}

#[test]
fn another_users_repository_is_left_alone() {
    let repository = Repository::with_commits();
    // Only the superuser can give files away.
    for path in [repository.root.clone(), repository.root.join(".git")] {
        if std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).is_err() {
            eprintln!("skipped: only the superuser can make another user's repository");
            return;
        }
    }
    let warning = refusal(&repository.spec());
    assert!(warning.contains("another user") && warning.contains("safe.directory"), "{warning}");
}

#[test]
fn the_program_and_the_machine_are_known() {
    let program = program();
    assert_eq!(program.version, env!("CARGO_PKG_VERSION"));
    if let Some(commit) = program.commit {
        assert!(matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let host = host_info();
    assert!(!host.name.is_empty() && host.cores > 0);
    assert!(["avx512f+bw+cd+dq+vl", "avx2+fma", "neon", "baseline"].contains(&host.instruction_set.as_str()));
    if cfg!(target_os = "linux") {
        assert!(peak_rss_bytes().expect("a size") > 1 << 20);
        assert!(host.boot_id.is_some());
    }
}
