//! `key.path=value` and `~key.path` of the command line.

use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node};
use crate::source::{Place, Source};
use crate::yaml;

/// Rank of overrides in messages: after all files.
const RANK: usize = 1000;

/// A dotted path with the place of each key.
#[derive(Clone, Debug)]
pub(crate) struct DottedPath {
    /// Keys.
    pub(crate) keys: Vec<String>,
    /// Their places.
    pub(crate) places: Vec<Place>,
}

impl DottedPath {
    /// Splits `text` at its dots. `place` is where it stands: each key gets its part if the place holds
    /// the very same text, else all of it.
    pub(crate) fn new(text: &str, place: &Place) -> Self {
        let verbatim = place.text() == text;
        let mut keys = Vec::new();
        let mut places = Vec::new();
        let mut at = place.span.start;
        for key in text.split('.') {
            keys.push(key.to_owned());
            let span = if verbatim { at..at + key.len() } else { place.span.clone() };
            places.push(Place { source: Arc::clone(&place.source), span });
            at += key.len() + 1;
        }
        Self { keys, places }
    }

    /// The path as written.
    pub(crate) fn dotted(&self) -> String {
        self.keys.join(".")
    }

    /// A tree of maps that holds `value` at this path.
    pub(crate) fn tree(&self, value: Node) -> Node {
        let mut node = value;
        for (key, place) in self.keys.iter().zip(&self.places).rev() {
            let child = node.keyed(place.clone());
            node = Node::new(Kind::Map(vec![(key.clone(), child)]), place.clone());
        }
        node
    }
}

/// An override as a layer.
pub(crate) struct Override {
    /// What it sets or deletes.
    pub(crate) path: DottedPath,
    /// A tree with that path only.
    pub(crate) tree: Node,
    /// Whether it deletes.
    pub(crate) is_deletion: bool,
}

/// Reads the overrides, in order.
pub(crate) fn read(overrides: &[String], issues: &mut Issues) -> Vec<Override> {
    let sources = overrides.iter().enumerate().map(|(i, text)| {
        let dir = PathBuf::from(".");
        Arc::new(Source { name: "<command line>".to_owned(), text: text.clone(), dir, rank: RANK + i })
    });
    sources.filter_map(|source| read_one(&source, issues)).collect()
}

fn read_one(source: &Arc<Source>, issues: &mut Issues) -> Option<Override> {
    let text = source.text.as_str();
    let whole = Place { source: Arc::clone(source), span: 0..text.len() };
    if let Some(key) = text.strip_prefix('~') {
        let path = path(key, 1, source);
        check_keys(&path, &whole, issues)?;
        let tree = path.tree(Node::new(Kind::Delete, whole));
        return Some(Override { path, tree, is_deletion: true });
    }
    let Some((key, _)) = text.split_once('=') else {
        let issue = Issue::error("spec::override", format!("`{text}` is not an override")).at(whole, "");
        issues.push(issue.help("write `key.path=value`, or `~key.path` to take a key away"));
        return None;
    };
    let path = path(key, 0, source);
    check_keys(&path, &whole, issues)?;
    let value_at = key.len() + 1;
    if text.len() > yaml::MAX_BYTES {
        issues.push(Issue::error("spec::too-large", "this override is too long").help("put it into a file"));
        return None;
    }
    let value = match yaml::parse(source, value_at, issues) {
        Some(value) => value,
        None if text[value_at..].trim().is_empty() => {
            Node::new(Kind::Null, Place { source: Arc::clone(source), span: 0..text.len() })
        }
        None => return None,
    };
    Some(Override { tree: path.tree(value), path, is_deletion: false })
}

/// The path of an override. Keys of a sweep and of `tune` are dotted paths themselves and stay whole.
fn path(key: &str, at: usize, source: &Arc<Source>) -> DottedPath {
    let place = Place { source: Arc::clone(source), span: at..at + key.len() };
    let mut path = DottedPath::new(key, &place);
    let keys: Vec<&str> = path.keys.iter().map(String::as_str).collect();
    let whole = match keys.as_slice() {
        ["sweep", "grid" | "zip", ..] | ["tune", "over", ..] => 2,
        ["tune", "for", ..] => 3,
        _ => return path,
    };
    if keys.len() > whole + 1 {
        let rest = path.keys.split_off(whole).join(".");
        let start = path.places[whole].span.start;
        path.places.truncate(whole);
        path.places.push(Place { source: Arc::clone(source), span: start..start + rest.len() });
        path.keys.push(rest);
    }
    path
}

fn check_keys(path: &DottedPath, whole: &Place, issues: &mut Issues) -> Option<()> {
    let refused = if path.keys.iter().any(|key| key.trim() != key || key.is_empty()) {
        Some(("a path is keys with dots between them", "write `key.path=value`, without spaces"))
    } else if path.keys.len() > 32 {
        Some(("no field lies so deep", "check the path"))
    } else if path.keys[0] == "extends" {
        Some(("`extends` belongs into the file", "write it at the top of the spec"))
    } else {
        None
    };
    match refused {
        None => Some(()),
        Some((message, help)) => {
            issues.push(Issue::error("spec::override", message).at(whole.clone(), "").help(help));
            None
        }
    }
}
