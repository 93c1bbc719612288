//! Texts that values come from, and places in them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, or one override of the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Name in messages: a path relative to the current directory, or `<command line>`.
    pub name: String,
    /// The whole text; empty where there is none to show.
    pub text: String,
    /// Folder that relative paths in the text start from.
    pub(crate) dir: PathBuf,
    /// Rank in messages: the file that was asked for, then its bases, then overrides.
    pub(crate) rank: usize,
}

impl Source {
    /// 1-based line of a byte offset.
    pub fn line(&self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        self.text.as_bytes()[..end].split(|&byte| byte == b'\n').count()
    }
}

/// A byte range of a source.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Bytes of it.
    pub span: Range<usize>,
}

impl Place {
    /// The source's start: for what is missing altogether.
    pub(crate) fn start_of(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), span: 0..0 }
    }

    /// `file:line`.
    pub fn line(&self) -> String {
        format!("{}:{}", self.source.name, self.source.line(self.span.start))
    }

    /// Whether the range lies on one line.
    pub(crate) fn is_one_line(&self) -> bool {
        self.source.text.get(self.span.clone()).is_some_and(|text| !text.contains('\n'))
    }

    /// The text itself.
    pub(crate) fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }

    /// Order of messages: by source, then by position.
    pub(crate) fn order(&self) -> (usize, usize) {
        (self.source.rank, self.span.start)
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.span == other.span
    }
}

/// `path` relative to the current directory where it lies below it, without `.` and resolvable `..`.
pub(crate) fn shown_path(path: &Path) -> String {
    let clean = clean(path);
    let below = std::env::current_dir().ok().and_then(|cwd| clean.strip_prefix(cwd).ok().map(Path::to_path_buf));
    below.unwrap_or(clean).display().to_string()
}

/// Removes `.` and pairs of a name and `..`, as written.
fn clean(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
