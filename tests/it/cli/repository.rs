//! The repository of the spec in the rows: clean, dirty, without commits, absent.

use std::process::Command;

use super::UNTRAINED;
use super::program::Lab;

fn git(lab: &Lab, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(lab.root())
        .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
        .args(["-c", "user.name=Tester", "-c", "user.email=tester@example.org"])
        .args(arguments)
        .output()
        .expect("the command git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn rows_carry_the_commit_of_the_spec() {
    let lab = Lab::with("experiments/untrained.yaml", UNTRAINED);
    let run = |out: &str| lab.done(&["experiments/untrained.yaml", "--out", out]);
    let clean_only = ["experiments/untrained.yaml", "--require-clean", "--out", "elsewhere"];
    // Whatever the program keeps for itself here is not part of the project.
    lab.write(".gitignore", "state\nconfig\n.said*\n");

    let said = run("absent");
    assert!(said.err.contains("warning: not in a git repository; no commit is recorded"), "{}", said.err);
    let row = lab.rows("absent").remove(0);
    assert_eq!((row.spec_commit, row.spec_dirty, row.spec_diff_hash), (None, None, None));
    lab.run(&clean_only).assert_error(2, &["--require-clean: no commit of the spec's repository is known"]);

    git(&lab, &["init", "--quiet", "--initial-branch=trunk"]);
    let said = run("unborn");
    assert!(said.err.contains("warning: git repository without a commit; none is recorded"), "{}", said.err);
    assert_eq!(lab.rows("unborn")[0].spec_commit, None);

    for folder in ["absent", "unborn"] {
        std::fs::remove_dir_all(lab.path(folder)).expect("removed");
    }
    git(&lab, &["add", "--all"]);
    git(&lab, &["commit", "--quiet", "-m", "a spec"]);
    let head = git(&lab, &["rev-parse", "HEAD"]);
    // The program's own output does not make the repository dirty.
    let said = lab.done(&["experiments/untrained.yaml", "--require-clean"]);
    assert!(!said.err.contains("warning"), "{}", said.err);
    let row = lab.rows("runs").remove(0);
    assert_eq!((row.spec_commit.as_deref(), row.spec_dirty), (Some(head.as_str()), Some(false)));

    lab.write("experiments/untrained.yaml", &format!("{UNTRAINED}# a remark\n"));
    lab.done(&["experiments/untrained.yaml", "seeds=[1]"]);
    let row = lab.rows("runs").into_iter().find(|row| row.seed_downstream == 1).expect("a row");
    assert_eq!((row.spec_commit.as_deref(), row.spec_dirty), (Some(head.as_str()), Some(true)));
    assert!(row.spec_diff_hash.is_some());
    assert_eq!(row.overrides, "seeds=[1]");
    lab.run(&clean_only).assert_error(2, &["--require-clean: ", "uncommitted changes; commit or stash them"]);
    assert!(!lab.path("elsewhere/stages").join("CACHEDIR.TAG").exists() || lab.rows("elsewhere").is_empty());
}
