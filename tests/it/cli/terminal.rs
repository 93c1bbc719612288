//! What is written where, and in what color.

use std::io::Read;
use std::process::Stdio;

use super::UNTRAINED;
use super::program::{Lab, Running, Said};

fn run(lab: &Lab, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = lab.command(arguments);
    command.envs(variables.iter().copied());
    let said = Running::new(command, lab.root()).end();
    said.assert_code(0);
    said
}

#[test]
fn off_a_terminal_there_are_plain_lines_and_colors_only_on_demand() {
    let lab = Lab::with("untrained.yaml", UNTRAINED);
    let cache = [("XDG_CACHE_HOME", "cache")];
    let first = run(&lab, &["untrained.yaml"], &cache);
    assert!(!first.err.contains(['\r', '\u{1b}']) && !first.text().contains(['\r', '\u{1b}']), "{}", first.err);
    // Data that are new are told in full, and later in a line.
    assert!(first.err.contains("synthetic-first: train: 24 pictures of 6 identities from 2 cameras"), "{}", first.err);
    let second = run(&lab, &["untrained.yaml"], &cache);
    let expected = "\
        warning: not in a git repository; no commit is recorded: FOLDER\n\
        synthetic-first: 240 pool + 24 train + 8 validation + 36 test pictures\n\
        untrained: 1 run, 1 stage, all done\n\
        1 run: 0 stages computed, 1 reused, in TIME\n";
    let folder = std::fs::canonicalize(lab.root()).expect("a path").display().to_string();
    let told = second.err.replace(&folder, "FOLDER");
    let (start, time) = told.rsplit_once(", in ").expect("a time");
    assert!(time.ends_with(" s\n"), "{time}");
    assert_eq!(format!("{start}, in TIME\n"), expected);

    let quiet = run(&lab, &["untrained.yaml", "-q"], &cache);
    let lines: Vec<&str> = quiet.err.lines().collect();
    assert!(matches!(lines[..], [line] if line.starts_with("warning: not in a git repository")), "{}", quiet.err);
    assert_eq!(quiet.text(), second.text());

    let forced = run(&lab, &["untrained.yaml"], &[("FORCE_COLOR", "1"), cache[0]]);
    assert!(forced.err.contains("\u{1b}["), "{}", forced.err);
    let refused = run(&lab, &["untrained.yaml"], &[("FORCE_COLOR", "1"), ("NO_COLOR", "1"), cache[0]]);
    assert!(!refused.err.contains('\u{1b}') && !refused.text().contains('\u{1b}'), "{}", refused.err);
    let asked = run(&lab, &["untrained.yaml", "--color", "always"], &[("NO_COLOR", "1"), cache[0]]);
    assert!(asked.err.contains("\u{1b}["), "{}", asked.err);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let lab = Lab::new();
    // The schema is larger than a pipe's buffer, so that the program is still writing.
    let mut child = lab.command(&["schema"]).stdout(Stdio::piped()).spawn().expect("a process");
    let mut begin = [0; 1000];
    child.stdout.take().expect("a pipe").read_exact(&mut begin).expect("the beginning");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}
