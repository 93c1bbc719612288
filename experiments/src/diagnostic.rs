//! What is wrong with a spec, said so that it can be put right.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};

use crate::source::Place;

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The spec cannot be run.
    Error,
    /// The spec can be run, but probably does not do what was meant.
    Warning,
}

/// A marked range of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Source and range. A source without text shows its name only.
    pub place: Place,
    /// Said beside the mark; may be empty.
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// Error or warning.
    pub severity: Severity,
    /// Stable name, such as `spec::unknown-key`.
    pub code: &'static str,
    /// One sentence without a full stop.
    pub message: String,
    /// Where; the first is the place that the message speaks of.
    pub labels: Vec<Label>,
    /// Where the value came from, if it was overridden.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Issue {
    /// An error without labels.
    pub(crate) fn error(code: &'static str, message: impl Into<String>) -> Self {
        let severity = Severity::Error;
        Self { severity, code, message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None }
    }

    /// A warning without labels.
    pub(crate) fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a label.
    pub(crate) fn at(mut self, place: Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place, text: text.into() });
        self
    }

    /// Adds a note.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the remedy.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// The issue in rustc's form, ending in a line feed.
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(self.message.as_str()).id(self.code).elements(Vec::<Origin<'_>>::new());
        group = self.with_labels(group);
        for note in &self.notes {
            group = group.element(Level::NOTE.message(normalize_untrusted_str(note)));
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = renderer.render(&[group]);
        text.push('\n');
        text
    }

    /// One snippet per source, in the order of the labels.
    fn with_labels<'a>(&'a self, mut group: Group<'a>) -> Group<'a> {
        let mut done: Vec<&Label> = Vec::new();
        for label in &self.labels {
            let same = |other: &&Label| std::sync::Arc::ptr_eq(&other.place.source, &label.place.source);
            if done.iter().any(same) {
                continue;
            }
            done.push(label);
            let source = &label.place.source;
            if source.text.is_empty() {
                group = group.element(Origin::path(normalize_untrusted_str(&source.name)));
                continue;
            }
            let mut snippet = Snippet::source(source.text.as_str()).path(source.name.as_str());
            for (i, label) in self.labels.iter().enumerate().filter(|(_, label)| same(label)) {
                let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
                let mut mark = kind.span(label.place.span.clone());
                if !label.text.is_empty() {
                    mark = mark.label(label.text.as_str());
                }
                snippet = snippet.annotation(mark);
            }
            group = group.element(snippet);
        }
        group
    }
}

/// All mistakes of a spec, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issues(pub Vec<Issue>);

impl Issues {
    /// All issues in rustc's form, with an empty line between them.
    pub fn render(&self, color: bool) -> String {
        self.0.iter().map(|issue| issue.render(color)).collect::<Vec<_>>().join("\n")
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|issue| issue.severity == Severity::Error)
    }

    /// Adds an issue unless it is there already: sweep points repeat the mistakes of their base.
    pub(crate) fn push(&mut self, issue: Issue) {
        if !self.0.contains(&issue) {
            self.0.push(issue);
        }
    }

    /// Sorts by place; what has no place comes first.
    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|issue| issue.labels.first().map(|label| label.place.order()));
    }
}

impl From<Issue> for Issues {
    fn from(issue: Issue) -> Self {
        Self(vec![issue])
    }
}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Issues {}
