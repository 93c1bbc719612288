//! YAML text in, a tree with places out.
//!
//! The events of `saphyr-parser` give structure and places; `serde_yaml` says what a plain scalar is
//! (`1e3`, `0o17`, `no`, `~`), so that a spec means what the rest of the Rust world reads in it. Both
//! must see the same document. Anchors, aliases, merge keys and tags are refused by name.

use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::source::{Place, Source};

/// Deepest nesting of a document. A full spec has about ten levels.
const MAX_DEPTH: usize = 64;

/// Largest document, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Reads the text of `source` from byte `from` on as one YAML document.
///
/// Mistakes that leave a tree to look at (duplicate keys, tags) come together with it, so that the
/// spec's other mistakes are found too.
pub(crate) fn parse(source: &Arc<Source>, from: usize, issues: &mut Issues) -> Option<Node> {
    let text = &source.text[from..];
    let known = issues.0.len();
    let mut builder = Builder::new(source, from, issues);
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if !builder.on_event(event, span) {
                    return None;
                }
            }
            Err(error) => {
                let place = builder.place(error.marker().index(), error.marker().index());
                let issue = syntax_error(&place, error.info());
                builder.issues.push(issue);
                return None;
            }
        }
    }
    let root = builder.root?;
    if issues.0.len() == known && !has_huge(&root) {
        agree(text, &root, issues);
    }
    Some(root)
}

/// An error of the parser, in words that help.
fn syntax_error(place: &Place, info: &str) -> Issue {
    let text = &place.source.text;
    let at = place.span.start.min(text.len());
    let line_start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let indent = |start: usize| text[start..].bytes().take_while(|b| matches!(b, b' ' | b'\t')).collect::<Vec<_>>();
    let previous = text[..line_start.saturating_sub(1)].rfind('\n').map_or(0, |i| i + 1);
    for start in [line_start, previous] {
        let blank = indent(start);
        if let Some(tab) = blank.iter().position(|&b| b == b'\t') {
            let place = Place { source: Arc::clone(&place.source), span: start + tab..start + tab + 1 };
            return Issue::error("spec::tab", "a tab in the indentation").at(place, "a tab").help("indent with spaces");
        }
    }
    let mut issue = Issue::error("spec::yaml", format!("not YAML: {}", shorten(info)));
    let end = text[at..].chars().next().filter(|&c| c != '\n').map_or(at, |c| at + c.len_utf8());
    issue = issue.at(Place { source: Arc::clone(&place.source), span: at..end }, "");
    issue.help("check quotes, brackets and indentation at and before this place")
}

/// Compares with `serde_yaml`'s reading of the whole document.
fn agree(text: &str, root: &Node, issues: &mut Issues) {
    let same = serde_yaml::from_str::<serde_yaml::Value>(text).is_ok_and(|value| same(&value, root));
    if !same {
        let issue = Issue::error("spec::yaml", "this YAML can be read in more than one way")
            .at(root.mark(), "")
            .help("write keys as plain words, and quote text that has special characters");
        issues.push(issue);
    }
}

/// Whether a whole number of the tree is beyond 64 bits, where `serde_yaml` stops; ranges refuse it later.
fn has_huge(node: &Node) -> bool {
    match &node.kind {
        Kind::Int(int) => u64::try_from(*int).is_err() && i64::try_from(*int).is_err(),
        Kind::List(items) => items.iter().any(has_huge),
        Kind::Map(fields) => fields.iter().any(|(_, node)| has_huge(node)),
        _ => false,
    }
}

/// Whether a value and a tree say the same.
fn same(value: &serde_yaml::Value, node: &Node) -> bool {
    use serde_yaml::Value;
    match (value, &node.kind) {
        (Value::Mapping(map), Kind::Map(fields)) => {
            map.len() == fields.len()
                && map
                    .iter()
                    .zip(fields)
                    .all(|((key, value), (name, node))| key.as_str() == Some(name) && same(value, node))
        }
        (Value::Sequence(values), Kind::List(nodes)) => {
            values.len() == nodes.len() && values.iter().zip(nodes).all(|(value, node)| same(value, node))
        }
        (scalar, kind) => match (kind_of(scalar), kind) {
            (Some(Kind::Null), Kind::Null) => true,
            (Some(Kind::Bool(a)), Kind::Bool(b)) => a == *b,
            (Some(Kind::Int(a)), Kind::Int(b)) => a == *b,
            (Some(Kind::Float(a)), Kind::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
            (Some(Kind::Text(a)), Kind::Text(b)) => a == *b,
            _ => false,
        },
    }
}

/// A scalar of `serde_yaml`.
fn kind_of(value: &serde_yaml::Value) -> Option<Kind> {
    use serde_yaml::Value;
    Some(match value {
        Value::Null => Kind::Null,
        Value::Bool(flag) => Kind::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => Kind::Int(int.into()),
            (_, Some(int), _) => Kind::Int(int.into()),
            (_, _, Some(float)) => Kind::Float(float),
            _ => return None,
        },
        Value::String(text) => Kind::Text(text.clone()),
        Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => return None,
    })
}

/// What a plain scalar is.
fn plain(text: &str) -> Kind {
    let value = serde_yaml::from_str::<serde_yaml::Value>(text).ok();
    let huge = || text.parse::<i128>().ok().map(Kind::Int);
    value.as_ref().map_or_else(huge, kind_of).unwrap_or_else(|| Kind::Text(text.to_owned()))
}

/// A container that is being filled.
enum Frame {
    Map { start: usize, key: Option<Place>, fields: Vec<(String, Node)>, pending: Option<Pending>, is_refused: bool },
    List { start: usize, key: Option<Place>, items: Vec<Node>, is_refused: bool },
}

/// A key that waits for its value.
struct Pending {
    name: String,
    place: Place,
    /// The value is read and then forgotten: the key was refused.
    forget: bool,
}

/// Builds the tree from events.
struct Builder<'a> {
    source: &'a Arc<Source>,
    from: usize,
    /// Byte offset of each character; empty for ASCII text.
    bytes: Vec<usize>,
    stack: Vec<Frame>,
    root: Option<Node>,
    documents: usize,
    issues: &'a mut Issues,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Arc<Source>, from: usize, issues: &'a mut Issues) -> Self {
        let text = &source.text[from..];
        let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        Self { source, from, bytes, stack: Vec::new(), root: None, documents: 0, issues }
    }

    /// A range of characters as a place.
    fn place(&self, start: usize, end: usize) -> Place {
        let length = self.source.text.len() - self.from;
        let byte = |at: usize| {
            if self.bytes.is_empty() { at.min(length) } else { self.bytes.get(at).copied().unwrap_or(length) }
        };
        let span: Range<usize> = self.from + byte(start)..self.from + byte(end.max(start));
        Place { source: Arc::clone(self.source), span }
    }

    /// A range without trailing white space.
    fn trimmed(&self, start: usize, end: usize) -> Place {
        let mut place = self.place(start, end);
        place.span.end = place.span.start + place.text().trim_end().len();
        place
    }

    /// Takes one event; false stops the reading.
    fn on_event(&mut self, event: Event<'_>, span: Span) -> bool {
        let (start, end) = (span.start.index(), span.end.index());
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let issue = Issue::error("spec::several-documents", "a second document in the same file")
                        .at(self.trimmed(start, end), "starts here")
                        .help("keep one experiment per file; share parts through `extends`");
                    self.issues.push(issue);
                    return false;
                }
            }
            Event::Alias(_) => {
                self.refuse("spec::alias", "aliases are not supported", self.trimmed(start, end), SHARE);
                if self.wants_key() {
                    return false;
                }
                self.put(Kind::Refused, start, end);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_marks(anchor, tag.as_deref(), start, end);
                if tag.is_some() && !self.wants_key() {
                    self.put(Kind::Refused, start, end);
                } else if self.wants_key() {
                    self.key(&text, style, start, end);
                } else {
                    let kind = if style == ScalarStyle::Plain { plain(&text) } else { Kind::Text(text.into_owned()) };
                    self.put(kind, start, end);
                }
            }
            Event::MappingStart(anchor, tag) | Event::SequenceStart(anchor, tag) if self.wants_key() => {
                self.refuse_marks(anchor, tag.as_deref(), start, end);
                self.refuse("spec::key", "a key must be text", self.trimmed(start, end), "write keys as plain words");
                return false;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.as_deref(), start, end);
                let key = self.pending_place();
                let is_refused = tag.is_some();
                return self.open(Frame::Map { start, key, fields: Vec::new(), pending: None, is_refused }, start);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.as_deref(), start, end);
                let key = self.pending_place();
                return self.open(Frame::List { start, key, items: Vec::new(), is_refused: tag.is_some() }, start);
            }
            Event::MappingEnd | Event::SequenceEnd => self.close(end),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        true
    }

    fn refuse(&mut self, code: &'static str, message: &str, place: Place, help: &str) {
        self.issues.push(Issue::error(code, message).at(place, "").help(help));
    }

    /// Anchors and tags, which may stand before any value.
    fn refuse_marks(&mut self, anchor: usize, tag: Option<&Tag>, start: usize, end: usize) {
        if anchor != 0 {
            let place = self.before(start, end, '&');
            self.refuse("spec::anchor", "anchors are not supported", place, SHARE);
        }
        if let Some(tag) = tag {
            let place = self.before(start, end, '!');
            let name = shorten(&tag.suffix);
            let help = format!("write a choice as a map with one key, `{name}: {{...}}`, and text in quotes");
            self.refuse("spec::tag", "tags are not supported", place, &help);
        }
    }

    /// The place of a mark that stands at or before a value, on the same line where possible.
    fn before(&self, start: usize, end: usize, mark: char) -> Place {
        let place = self.trimmed(start, end);
        let text = &self.source.text;
        if text[place.span.start..].starts_with(mark) {
            return place;
        }
        match text[..place.span.start].rfind(mark) {
            Some(at) => {
                let length = text[at..].find(char::is_whitespace).unwrap_or(1);
                Place { source: Arc::clone(self.source), span: at..at + length }
            }
            None => place,
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame::Map { pending: None, .. }))
    }

    fn pending_place(&self) -> Option<Place> {
        match self.stack.last() {
            Some(Frame::Map { pending: Some(pending), .. }) => Some(pending.place.clone()),
            _ => None,
        }
    }

    fn key(&mut self, text: &str, style: ScalarStyle, start: usize, end: usize) {
        let place = self.trimmed(start, end);
        let mut forget = false;
        if style == ScalarStyle::Plain && text == "<<" {
            self.refuse("spec::merge-key", "merge keys (`<<`) are not supported", place.clone(), SHARE);
            forget = true;
        } else if style == ScalarStyle::Plain && !matches!(plain(text), Kind::Text(_)) {
            let help = "keys of a spec are plain words";
            self.refuse("spec::key", &format!("the key `{}` is not text", shorten(text)), place.clone(), help);
            forget = true;
        }
        if let Some(Frame::Map { fields, pending, .. }) = self.stack.last_mut() {
            if let Some((_, first)) = fields.iter().find(|(name, _)| name == text) {
                let issue = Issue::error("spec::duplicate-key", format!("the key `{}` stands twice", shorten(text)))
                    .at(place.clone(), "again here")
                    .at(first.key_mark(), "first here")
                    .help("keep one of them");
                self.issues.push(issue);
                forget = true;
            }
            *pending = Some(Pending { name: text.to_owned(), place, forget });
        }
    }

    fn open(&mut self, frame: Frame, start: usize) -> bool {
        self.stack.push(frame);
        if self.stack.len() > MAX_DEPTH {
            let issue = Issue::error("spec::too-deep", format!("nested more than {MAX_DEPTH} levels deep"))
                .at(self.place(start, start + 1), "")
                .help("no field of a spec lies so deep; check the brackets");
            self.issues.push(issue);
            return false;
        }
        true
    }

    fn close(&mut self, end: usize) {
        let (kind, start, key) = match self.stack.pop() {
            Some(
                Frame::Map { start, key, is_refused: true, .. } | Frame::List { start, key, is_refused: true, .. },
            ) => (Kind::Refused, start, key),
            Some(Frame::Map { start, key, fields, .. }) => (Kind::Map(fields), start, key),
            Some(Frame::List { start, key, items, .. }) => (Kind::List(items), start, key),
            None => return,
        };
        let place = self.trimmed(start, end);
        self.add(Node { key, ..Node::new(kind, place) });
    }

    fn put(&mut self, kind: Kind, start: usize, end: usize) {
        let node = Node { key: self.pending_place(), ..Node::new(kind, self.trimmed(start, end)) };
        self.add(node);
    }

    /// Gives a finished value to the container that waits for it.
    fn add(&mut self, node: Node) {
        match self.stack.last_mut() {
            Some(Frame::Map { fields, pending, .. }) => {
                if let Some(pending) = pending.take()
                    && !pending.forget
                {
                    fields.push((pending.name, node));
                }
            }
            Some(Frame::List { items, .. }) => items.push(node),
            None => self.root = Some(node),
        }
    }
}

/// What to do instead of anchors, aliases and merge keys.
const SHARE: &str = "write the value out, or put what is shared into a file of its own and name it in `extends`";
