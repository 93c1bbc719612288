//! Walks a merged tree against the schema and collects every mistake.

use std::fmt::Write as _;

use crate::diagnostic::{Issue, Issues};
use crate::node::{Kind, Node, shorten};
use crate::shape::{ChoiceShape, ListShape, MapShape, NumberShape, Shape, quoted};
use crate::suggest::Unknown;

/// Paths of keys.
pub(crate) type Path = Vec<String>;

/// Whether one path lies below the other, or they are the same.
pub(crate) fn related(a: &[String], b: &[String]) -> bool {
    a.iter().zip(b).all(|(a, b)| a == b)
}

/// Whether fields without a default must be there.
#[derive(Clone, Copy)]
pub(crate) enum Missing<'a> {
    /// They must, unless one of these paths supplies them.
    RefusedBut(&'a [Path]),
    /// They need not: the value is merged with others.
    Allowed,
}

/// A walk over a tree.
pub(crate) struct Walk<'a> {
    issues: &'a mut Issues,
    missing: Missing<'a>,
    path: Path,
    /// Paths at which something is wrong, for whoever wants to go on with the rest.
    pub(crate) bad: Vec<Path>,
}

impl<'a> Walk<'a> {
    /// A walk that starts at `path`.
    pub(crate) fn new(issues: &'a mut Issues, missing: Missing<'a>, path: &[String]) -> Self {
        Self { issues, missing, path: path.to_vec(), bad: Vec::new() }
    }

    /// Checks a value.
    pub(crate) fn value(&mut self, node: &Node, shape: &Shape) {
        match (shape, &node.kind) {
            (_, Kind::Refused) => self.bad.push(self.path.clone()),
            (Shape::Map(map), Kind::Map(fields)) => self.map(node, fields, shape, map),
            (Shape::Choice(choice), Kind::Text(name)) => self.name(node, name, shape, choice),
            (Shape::Choice(choice), Kind::Map(fields)) => self.choice(node, fields, shape, choice),
            (Shape::Number(number), Kind::Int(int)) => self.number(node, *int as f64, number),
            (Shape::Number(number), Kind::Float(float)) => self.number(node, *float, number),
            (Shape::List(list), Kind::List(items)) => self.list(node, items, list),
            (Shape::Text { .. }, Kind::Text(_)) | (Shape::Flag, Kind::Bool(_)) | (Shape::Special(_), _) => {}
            _ => self.wrong_type(node, shape),
        }
    }

    fn map(&mut self, node: &Node, fields: &[(String, Node)], shape: &Shape, map: &MapShape) {
        for (key, value) in fields {
            self.path.push(key.clone());
            match map.field(key) {
                Some(field) => self.value(value, &field.shape),
                None => self.unknown_key(value, key, shape),
            }
            self.path.pop();
        }
        for field in map.fields.iter().filter(|field| field.required && node.get(&field.name).is_none()) {
            self.path.push(field.name.clone());
            if self.refuses_missing() {
                let example = example(&field.shape);
                let issue = Issue::error("spec::missing-field", format!("`{}` is missing", self.dotted()));
                let issue = issue.at(node.key_mark(), "").help(format!(
                    "{} Add `{}: {example}`",
                    sentence(&field.doc),
                    field.name
                ));
                self.report(issue);
            }
            self.path.pop();
        }
    }

    fn refuses_missing(&self) -> bool {
        match self.missing {
            Missing::Allowed => false,
            Missing::RefusedBut(paths) => !paths.iter().any(|path| related(path, &self.path)),
        }
    }

    /// A choice by its bare name.
    fn name(&mut self, node: &Node, name: &str, shape: &Shape, choice: &ChoiceShape) {
        if choice.preset(name).is_some() {
            return;
        }
        match choice.variant(name).map(|variant| variant.payload.as_ref()) {
            Some(None) => {}
            Some(Some(payload @ Shape::Map(map))) => {
                self.path.push(name.to_owned());
                self.map(node, &[], payload, map);
                self.path.pop();
            }
            Some(Some(payload)) => {
                let message = format!("`{name}` at `{}` needs {}", self.dotted(), payload.expected());
                let issue = Issue::error("spec::wrong-type", message);
                self.report(node.label(issue, "").help(format!("write `{{{name}: {}}}`", example(payload))));
            }
            None => {
                let unknown = Unknown::new(shape, 0, name);
                let message = format!("`{}` cannot be `{}`", self.dotted(), shorten(name));
                self.report(node.label(Issue::error("spec::unknown-choice", message), "").help(unknown.help));
            }
        }
    }

    /// A choice as a map with one key.
    fn choice(&mut self, node: &Node, fields: &[(String, Node)], shape: &Shape, choice: &ChoiceShape) {
        match fields {
            [] => {
                let message = format!("`{}` chooses nothing", self.dotted());
                let issue = node.label(Issue::error("spec::no-choice", message), "");
                self.report(issue.help(format!("choose one of {}", choice.names())));
            }
            [(key, value)] => {
                self.path.push(key.clone());
                if let Some(payload) = choice.payload(key) {
                    self.value(value, payload);
                } else if choice.variant(key).is_some() {
                    self.path.pop();
                    let message = format!("`{key}` at `{}` has no fields", self.dotted());
                    let issue = Issue::error("spec::wrong-type", message).at(value.key_mark(), "");
                    self.report(issue.help(format!("write `{}: {key}`", self.last())));
                    return;
                } else {
                    let parent = self.path[..self.path.len() - 1].join(".");
                    let message = format!("`{parent}` cannot be `{}`", shorten(key));
                    let issue = Issue::error("spec::unknown-choice", message).at(value.key_mark(), "");
                    self.report(issue.help(Unknown::new(shape, 0, key).help));
                }
                self.path.pop();
            }
            several => {
                let names: Vec<&str> = several.iter().map(|(key, _)| key.as_str()).collect();
                let message = format!("`{}` chooses {} things at once: {}", self.dotted(), names.len(), quoted(&names));
                let mut issue = Issue::error("spec::two-choices", message);
                for (i, (_, value)) in several.iter().enumerate() {
                    issue = issue.at(value.key_mark(), if i == 0 { "one" } else { "and another" });
                }
                self.report(issue.help(format!("keep one of {}", choice.names())));
            }
        }
    }

    fn number(&mut self, node: &Node, value: f64, number: &NumberShape) {
        let path = self.dotted();
        if !value.is_finite() {
            let message = format!("`{path}` is {}, which is no number to work with", node.what());
            self.report(node.label(Issue::error("spec::out-of-range", message), "").help("write a finite number"));
        } else if number.whole && value > 0.0 && !fits_64_bits(node) {
            let message = format!("`{path}` is {}, but must be below 2^64", node.what());
            self.report(node.label(Issue::error("spec::out-of-range", message), "").help("write a smaller number"));
        } else if number.whole && value.fract() != 0.0 {
            let message = format!("`{path}` is {value}, but must be a whole number");
            let issue = node.label(Issue::error("spec::wrong-type", message), "");
            self.report(issue.help(format!("write {} or {}", value.floor(), value.ceil())));
        } else if number.min.is_some_and(|min| value < min) || number.max.is_some_and(|max| value > max) {
            let message = format!("`{path}` is {}, but must be {}", plain_number(value), range(number));
            let issue = node.label(Issue::error("spec::out-of-range", message), "out of range");
            self.report(issue.help(format!("valid: {}", range(number))));
        }
    }

    fn list(&mut self, node: &Node, items: &[Node], list: &ListShape) {
        let fits = items.len() >= list.min && list.max.is_none_or(|max| items.len() <= max);
        if !fits {
            let wanted = match list.max {
                Some(max) if max == list.min => format!("{max} items"),
                Some(max) => format!("{} to {max} items", list.min),
                None => format!("at least {} item", list.min),
            };
            let message = format!("`{}` has {} items, but needs {wanted}", self.dotted(), items.len());
            let help = format!("write a list of {wanted}, each {}", list.item.expected());
            self.report(node.label(Issue::error("spec::list-length", message), "").help(help));
        }
        for (i, item) in items.iter().enumerate() {
            self.path.push(i.to_string());
            self.value(item, &list.item);
            self.path.pop();
        }
    }

    fn unknown_key(&mut self, value: &Node, key: &str, shape: &Shape) {
        let unknown = Unknown::new(shape, 0, key);
        let parent = self.path[..self.path.len() - 1].join(".");
        let mut message = format!("unknown key `{}`", shorten(key));
        if !parent.is_empty() {
            let _ = write!(message, " in `{parent}`");
        }
        let issue = Issue::error("spec::unknown-key", message).at(value.key_mark(), "");
        self.report(issue.help(unknown.help));
    }

    fn wrong_type(&mut self, node: &Node, shape: &Shape) {
        let message = format!("`{}` is {}, but must be {}", self.dotted(), node.what(), shape.expected());
        let issue = node.label(Issue::error("spec::wrong-type", message), format!("expected {}", brief(shape)));
        let key = self.last();
        self.report(issue.help(format!("write `{key}: {}`", example(shape))));
    }

    fn report(&mut self, issue: Issue) {
        self.bad.push(self.path.clone());
        self.issues.push(issue);
    }

    fn dotted(&self) -> String {
        self.path.join(".")
    }

    fn last(&self) -> &str {
        self.path.iter().rev().find(|key| key.parse::<usize>().is_err()).map_or("key", String::as_str)
    }
}

/// Whether a whole number is one of the machine's.
fn fits_64_bits(node: &Node) -> bool {
    /// 2^64, the first float that is too large.
    const END: f64 = 18_446_744_073_709_551_616.0;
    match node.kind {
        Kind::Int(int) => u64::try_from(int).is_ok(),
        Kind::Float(float) => float < END,
        _ => false,
    }
}

/// A number as one would write it.
pub(crate) fn plain_number(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e15).contains(&value.abs()) { format!("{value:e}") } else { format!("{value}") }
}

/// The range of a number, in words.
fn range(number: &NumberShape) -> String {
    match (number.min, number.max) {
        (Some(min), Some(max)) => format!("between {} and {}", plain_number(min), plain_number(max)),
        (Some(min), None) => format!("at least {}", plain_number(min)),
        (None, Some(max)) => format!("at most {}", plain_number(max)),
        (None, None) => "a number".to_owned(),
    }
}

/// What is expected, in few words.
fn brief(shape: &Shape) -> String {
    if let Shape::Choice(_) = shape { "a choice".to_owned() } else { shape.expected() }
}

/// Something valid to write.
fn example(shape: &Shape) -> String {
    match shape {
        Shape::Map(_) => "{...}".to_owned(),
        Shape::Choice(choice) => choice.variants.first().map_or_else(String::new, |variant| match &variant.payload {
            None => variant.name.clone(),
            Some(payload) => format!("{{{}: {}}}", variant.name, example(payload)),
        }),
        Shape::Number(number) => plain_number(number.min.unwrap_or(0.0)),
        Shape::Text { is_path: true } => "some/path".to_owned(),
        Shape::Text { is_path: false } => "text".to_owned(),
        Shape::Flag => "true".to_owned(),
        Shape::List(list) => {
            let items = vec![example(&list.item); list.min.max(1)];
            format!("[{}]", items.join(", "))
        }
        Shape::Special(_) => "...".to_owned(),
    }
}

/// The first sentence of a doc.
fn sentence(doc: &str) -> String {
    let end = doc.find(". ").map_or(doc.len(), |at| at + 1);
    doc[..end].to_owned()
}
