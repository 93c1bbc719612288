//! The tree of a spec: values that know where they were written.

use serde_json::Value as Json;

use crate::diagnostic::Issue;
use crate::source::Place;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The value.
    pub(crate) kind: Kind,
    /// Where the value stands.
    pub(crate) place: Place,
    /// Where its key stands, if it is a map's.
    pub(crate) key: Option<Place>,
    /// Where lower layers had set it, lowest first.
    pub(crate) earlier: Vec<Place>,
    /// Who said it.
    pub(crate) origin: Origin,
}

/// Who said a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file or the command line.
    #[default]
    Written,
    /// A preset.
    Preset,
    /// A spec type's default.
    Default,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order written.
    Map(Vec<(String, Node)>),
    /// A value that was refused: it is known to be wrong, and nothing more can be said about it.
    Refused,
    /// `~key` of the command line: takes the key away. Exists in layers only.
    Delete,
}

impl Node {
    /// A value without a key.
    pub(crate) fn new(kind: Kind, place: Place) -> Self {
        Self { kind, place, key: None, earlier: Vec::new(), origin: Origin::Written }
    }

    /// An empty map.
    pub(crate) fn empty_map(place: Place) -> Self {
        Self::new(Kind::Map(Vec::new()), place)
    }

    /// A JSON value, all of it at `place`.
    pub(crate) fn from_json(value: &Json, place: &Place, origin: Origin) -> Self {
        let kind = match value {
            Json::Null => Kind::Null,
            Json::Bool(flag) => Kind::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(int), _, _) => Kind::Int(int.into()),
                (_, Some(int), _) => Kind::Int(int.into()),
                (_, _, float) => Kind::Float(float.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Kind::Text(text.clone()),
            Json::Array(items) => Kind::List(items.iter().map(|item| Self::from_json(item, place, origin)).collect()),
            Json::Object(fields) => {
                let field = |value| Self::from_json(value, place, origin).keyed(place.clone());
                Kind::Map(fields.iter().map(|(key, value)| (key.clone(), field(value))).collect())
            }
        };
        Self { origin, ..Self::new(kind, place.clone()) }
    }

    /// The value alone. Numbers that JSON does not have become null; ranges have refused them before.
    pub(crate) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Null | Kind::Delete | Kind::Refused => Json::Null,
            Kind::Bool(flag) => Json::Bool(*flag),
            Kind::Int(int) => match (u64::try_from(*int), i64::try_from(*int)) {
                (Ok(int), _) => int.into(),
                (_, Ok(int)) => int.into(),
                _ => (*int as f64).into(),
            },
            Kind::Float(float) => (*float).into(),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(fields) => Json::Object(fields.iter().map(|(key, node)| (key.clone(), node.to_json())).collect()),
        }
    }

    /// Whether it is a map with fields, which says nothing by itself.
    pub(crate) fn has_fields(&self) -> bool {
        matches!(&self.kind, Kind::Map(fields) if !fields.is_empty())
    }

    /// Whether something holds of the value, or of one below it.
    pub(crate) fn any(&self, holds: &mut impl FnMut(&Self) -> bool) -> bool {
        holds(self)
            || match &self.kind {
                Kind::List(items) => items.iter().any(|item| item.any(holds)),
                Kind::Map(fields) => fields.iter().any(|(_, node)| node.any(holds)),
                _ => false,
            }
    }

    /// The same with a key at `place`.
    pub(crate) fn keyed(mut self, place: Place) -> Self {
        self.key = Some(place);
        self
    }

    /// The map's entries, or none.
    pub(crate) fn entries(&self) -> &[(String, Node)] {
        if let Kind::Map(fields) = &self.kind { fields } else { &[] }
    }

    /// The map's value for `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The map's value for `key`.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::Map(fields) => fields.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Sets the map's value for `key`; does nothing on other values.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        if let Kind::Map(fields) = &mut self.kind {
            match fields.iter_mut().find(|(name, _)| name == key) {
                Some((_, old)) => *old = node,
                None => fields.push((key.to_owned(), node)),
            }
        }
    }

    /// Takes the map's value for `key` away.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        match &mut self.kind {
            Kind::Map(fields) => {
                let at = fields.iter().position(|(name, _)| name == key)?;
                Some(fields.remove(at).1)
            }
            _ => None,
        }
    }

    /// The value at a path of keys.
    pub(crate) fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key.as_ref()))
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> String {
        match &self.kind {
            Kind::Null | Kind::Delete | Kind::Refused => "empty".to_owned(),
            Kind::Bool(flag) => format!("`{flag}`"),
            Kind::Int(int) => format!("the number {int}"),
            Kind::Float(float) => format!("the number {float:?}"),
            Kind::Text(text) => format!("the text `{}`", shorten(text)),
            Kind::List(items) => format!("a list of {}", items.len()),
            Kind::Map(fields) if fields.is_empty() => "an empty map".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }

    /// Where a message about the value should point: the value itself if it lies on one line, else its key.
    pub(crate) fn mark(&self) -> Place {
        if self.place.is_one_line() && !self.place.span.is_empty() {
            return self.place.clone();
        }
        self.key.clone().unwrap_or_else(|| first_line(&self.place))
    }

    /// Adds a label at the value, and a note if the value was overridden on its way.
    pub(crate) fn label(&self, issue: Issue, text: impl Into<String>) -> Issue {
        let issue = issue.at(self.mark(), text);
        match self.earlier.last() {
            Some(earlier) => issue.note(format!("set at {}, overridden at {}", earlier.line(), self.mark().line())),
            None => issue,
        }
    }

    /// Where a message about the key should point.
    pub(crate) fn key_mark(&self) -> Place {
        self.key.clone().unwrap_or_else(|| self.mark())
    }
}

/// The first line of a range.
fn first_line(place: &Place) -> Place {
    let text = place.text();
    let end = text.find('\n').map_or(place.span.end, |at| place.span.start + at);
    Place { source: std::sync::Arc::clone(&place.source), span: place.span.start..end }
}

/// User text for a message: short, and without control characters.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LONGEST + 1).collect();
    if clean.chars().count() > LONGEST { clean.chars().take(LONGEST).chain(['…']).collect() } else { clean }
}
