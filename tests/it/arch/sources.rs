//! Rules that are read off the files.

use reid_tests::golden::workspace_root;

use super::{CRATES, texts, tracked};

/// Files of the top level, beside those that hide.
const TOP_LEVEL: [&str; 7] =
    ["Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "deny.toml", "rust-toolchain.toml"];

/// Hidden files and folders of the top level.
const HIDDEN: [&str; 8] =
    [".cargo", ".ci", ".clippy.toml", ".config", ".github", ".gitattributes", ".gitignore", ".rustfmt.toml"];

/// Where memory safety may be taken out of the compiler's hands.
const UNCHECKED_HOMES: [&str; 1] = ["backbones/src/kernels/"];

/// Lines above an unchecked block among which its justification stands.
const JUSTIFICATION: usize = 6;

/// Longest Rust file. Half of it is a reason to look again.
const MOST_LINES: usize = 700;

/// A line of code without its comment, roughly: strings with `//` in them lose their end.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `word` stands in `code` by itself.
fn has_word(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(part_of_name) && !code[at + word.len()..].starts_with(part_of_name))
}

#[test]
fn unchecked_code_is_at_home_and_justified() {
    let word = concat!("un", "safe");
    let mut found = 0;
    for (name, text) in texts("rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate().filter(|(_, line)| has_word(code(line), word)) {
            found += 1;
            let place = format!("{name}:{}: {}", at + 1, line.trim());
            assert!(UNCHECKED_HOMES.iter().any(|home| name.starts_with(home)), "not here: {place}");
            let above = &lines[at.saturating_sub(JUSTIFICATION)..at];
            assert!(above.iter().any(|line| line.contains("// SAFETY:")), "no SAFETY comment above: {place}");
        }
    }
    assert!(found > 0, "nothing found: is the search broken?");
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("#[ign", "ore"), concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("FIX", "ME")];
    for (name, text) in texts("rs") {
        for mark in marks {
            assert!(!text.contains(mark), "{mark} in {name}");
        }
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{name} has {lines} lines; it is more than one idea");
    }
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    for name in tracked() {
        let bytes = std::fs::read(workspace_root().join(&name)).unwrap();
        for folder in ["work", "root", "home", "Users"] {
            let wanted = format!("/{folder}/");
            let starts_path =
                |at: usize| at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || b"._-~*>}".contains(&bytes[at - 1]));
            let goes_on = |at: usize| bytes.get(at + wanted.len()).is_some_and(u8::is_ascii_alphanumeric);
            let hit = bytes
                .windows(wanted.len())
                .enumerate()
                .find(|(at, window)| *window == wanted.as_bytes() && starts_path(*at) && goes_on(*at));
            assert!(hit.is_none(), "{name} has an absolute path that begins with {wanted}");
        }
    }
}

#[test]
fn the_top_level_is_fixed() {
    for name in tracked() {
        let allowed = match name.split_once('/') {
            Some((folder, _)) => CRATES.contains(&folder) || HIDDEN.contains(&folder),
            None => TOP_LEVEL.contains(&name.as_str()) || HIDDEN.contains(&name.as_str()),
        };
        assert!(allowed, "{name} has no place at the top level");
    }
}

#[test]
fn objectives_touch_neither_disk_nor_clock_nor_optimizer() {
    let forbidden =
        ["std::fs", "std::io", "std::env", "std::net", "std::process", "std::time", "println!", "Optimizer"];
    let mut seen = 0;
    for (name, text) in texts("rs").into_iter().filter(|(name, _)| name.starts_with("objectives/src/")) {
        seen += 1;
        for (at, line) in text.lines().enumerate() {
            let hit = forbidden.iter().find(|word| code(line).contains(*word));
            assert!(hit.is_none(), "{name}:{}: an objective is a pure function: {line}", at + 1);
        }
    }
    assert!(seen > 5, "only {seen} files found");
}
