//! Names that are fit for files and for anchors.

use std::collections::BTreeSet;

/// Longest name, without its ending.
const LONGEST: usize = 80;

/// Lower-case letters, digits, `_` and `-` of a text; everything else becomes `-`. File systems that fold cases, shells
/// and addresses take it as it is.
pub(super) fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(LONGEST);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "unnamed".to_owned() } else { name.to_owned() }
}

/// Names that were given out.
#[derive(Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// The slug of `text`, with a number behind it where that is taken.
    pub(super) fn give(&mut self, text: &str) -> String {
        let slug = slug(text);
        let mut name = slug.clone();
        let mut copies = 1;
        while !self.taken.insert(name.clone()) {
            copies += 1;
            name = format!("{slug}-{copies}");
        }
        name
    }
}
