//! What may be written where: the spec types' JSON Schema, compiled for walking.
//!
//! The types' field names, docs, defaults and ranges come from their schemars derives, so that a new
//! field is known here without a line of code.

use serde_json::{Map as JsonMap, Value as Json};

use crate::presets::{self, Preset};
use crate::suggest::Unknown;

/// A kind of value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// A map with known fields.
    Map(MapShape),
    /// One of several variants: a bare name, or a map with one key.
    Choice(ChoiceShape),
    /// A number.
    Number(NumberShape),
    /// Text; a path is relative to the file that names it.
    Text {
        /// Whether the text is a path.
        is_path: bool,
    },
    /// True or false.
    Flag,
    /// A list.
    List(ListShape),
    /// A part of the language itself, with rules of its own.
    Special(Special),
}

/// Parts of the language that are not part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Files to build on.
    Extends,
    /// Seeds of the runs.
    Seeds,
    /// Points to run.
    Sweep,
    /// Settings to choose.
    Tune,
}

/// A map with known fields.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MapShape {
    /// Name of its definition in the schema.
    pub(crate) def: String,
    /// What it is.
    pub(crate) doc: String,
    /// Fields in the order of the type.
    pub(crate) fields: Vec<Field>,
}

/// A field of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// Key.
    pub(crate) name: String,
    /// What it is.
    pub(crate) doc: String,
    /// What may be written.
    pub(crate) shape: Shape,
    /// Whether it has no default.
    pub(crate) required: bool,
    /// Default, as the resolved spec spells it.
    pub(crate) default: Option<Json>,
}

/// A choice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ChoiceShape {
    /// Name of its definition in the schema.
    pub(crate) def: String,
    /// What it is.
    pub(crate) doc: String,
    /// What can be chosen.
    pub(crate) variants: Vec<Variant>,
    /// Names that stand for a variant with settings.
    pub(crate) presets: Vec<&'static Preset>,
}

/// Something that can be chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    /// Key, or bare name.
    pub(crate) name: String,
    /// What it is.
    pub(crate) doc: String,
    /// What stands under the key; none for a mere name.
    pub(crate) payload: Option<Shape>,
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NumberShape {
    /// Whether it must be whole.
    pub(crate) whole: bool,
    /// Smallest value.
    pub(crate) min: Option<f64>,
    /// Largest value.
    pub(crate) max: Option<f64>,
}

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListShape {
    /// What each item is.
    pub(crate) item: Box<Shape>,
    /// Fewest items.
    pub(crate) min: usize,
    /// Most items.
    pub(crate) max: Option<usize>,
}

impl Shape {
    /// The shape of a spec type.
    ///
    /// # Panics
    /// If the type's schema uses a construct that no spec type has used so far: a mistake of ours, which
    /// every test finds.
    pub(crate) fn of<T: schemars::JsonSchema>() -> Self {
        let schema = schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
        let schema = schema.to_value();
        let defs = schema.get("$defs").and_then(Json::as_object).cloned().unwrap_or_default();
        Compiler { defs }.shape(&schema, &text(&schema, "title"))
    }

    /// What is expected, for messages.
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Map(_) => "a map of fields".to_owned(),
            Self::Choice(choice) => format!("one of {}", choice.names()),
            Self::Number(number) if number.whole => "a whole number".to_owned(),
            Self::Number(_) => "a number".to_owned(),
            Self::Text { .. } => "text".to_owned(),
            Self::Flag => "`true` or `false`".to_owned(),
            Self::List(list) => match list.max {
                Some(max) if max == list.min => format!("a list of {max}"),
                _ => "a list".to_owned(),
            },
            Self::Special(Special::Extends) => "a file name or a list of them".to_owned(),
            Self::Special(Special::Seeds) => "a list of seeds, or `{pretrain: [..], downstream: [..]}`".to_owned(),
            Self::Special(Special::Sweep) => "a map of `grid`, `zip`, `list` and `exclude`".to_owned(),
            Self::Special(Special::Tune) => "a map of `over`, `for`, `seeds` and `by`".to_owned(),
        }
    }

    /// The shape below a key, also through choices and presets.
    pub(crate) fn below(&self, key: &str) -> Option<&Shape> {
        match self {
            Self::Map(map) => map.field(key).map(|field| &field.shape),
            Self::Choice(choice) => choice.payload(key),
            _ => None,
        }
    }

    /// The shape at a path, or which of its keys is unknown.
    pub(crate) fn at<S: AsRef<str>>(&self, path: &[S]) -> Result<&Shape, Unknown> {
        let mut shape = self;
        for (i, key) in path.iter().enumerate() {
            shape = shape.below(key.as_ref()).ok_or_else(|| Unknown::new(shape, i, key.as_ref()))?;
        }
        Ok(shape)
    }
}

impl MapShape {
    /// The field of a name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

impl ChoiceShape {
    /// The variant of a name.
    pub(crate) fn variant(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.name == name)
    }

    /// The preset of a name.
    pub(crate) fn preset(&self, name: &str) -> Option<&'static Preset> {
        self.presets.iter().copied().find(|preset| preset.name == name)
    }

    /// What stands under a variant's or preset's key.
    pub(crate) fn payload(&self, name: &str) -> Option<&Shape> {
        let name = self.preset(name).map_or(name, |preset| preset.variant);
        self.variant(name)?.payload.as_ref()
    }

    /// Names of variants, then of presets.
    pub(crate) fn all_names(&self) -> Vec<&str> {
        self.variants
            .iter()
            .map(|variant| variant.name.as_str())
            .chain(self.presets.iter().map(|preset| preset.name))
            .collect()
    }

    /// The names for a message.
    pub(crate) fn names(&self) -> String {
        quoted(&self.all_names())
    }
}

/// Names in backticks, with commas.
pub(crate) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Compiles JSON Schema.
struct Compiler {
    defs: JsonMap<String, Json>,
}

impl Compiler {
    fn shape(&self, schema: &Json, name: &str) -> Shape {
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            let name = reference.trim_start_matches("#/$defs/");
            let target = self.defs.get(name).unwrap_or_else(|| panic!("schema without definition {name}"));
            return self.shape(target, name);
        }
        if schema.get("oneOf").is_some() || schema.get("enum").is_some() || schema.get("const").is_some() {
            return Shape::Choice(self.choice(schema, name));
        }
        match schema.get("type").and_then(Json::as_str) {
            Some("object") => Shape::Map(self.map(schema, name)),
            Some(kind @ ("integer" | "number")) => {
                let bound = |key| schema.get(key).and_then(Json::as_f64);
                Shape::Number(NumberShape { whole: kind == "integer", min: bound("minimum"), max: bound("maximum") })
            }
            Some("string") => Shape::Text { is_path: schema.get("format").is_some_and(|format| format == "path") },
            Some("boolean") => Shape::Flag,
            Some("array") => Shape::List(self.list(schema, name)),
            other => panic!("schema of {name} with unsupported type {other:?}"),
        }
    }

    fn map(&self, schema: &Json, name: &str) -> MapShape {
        let required: Vec<&str> = array(schema, "required").iter().filter_map(Json::as_str).collect();
        let fields = object(schema, "properties").map(|(key, value)| Field {
            name: key.clone(),
            doc: text(value, "description"),
            shape: self.shape(value, key),
            required: required.contains(&key.as_str()),
            default: value.get("default").cloned(),
        });
        MapShape { def: name.to_owned(), doc: text(schema, "description"), fields: fields.collect() }
    }

    fn choice(&self, schema: &Json, name: &str) -> ChoiceShape {
        let mut variants = Vec::new();
        let whole = [schema.clone()];
        let alternatives = schema.get("oneOf").and_then(Json::as_array).map_or(&whole[..], Vec::as_slice);
        for alternative in alternatives {
            let doc = text(alternative, "description");
            let names = array(alternative, "enum").iter().chain(alternative.get("const")).filter_map(Json::as_str);
            variants.extend(names.map(|name| Variant { name: name.to_owned(), doc: doc.clone(), payload: None }));
            variants.extend(object(alternative, "properties").map(|(key, value)| Variant {
                name: key.clone(),
                doc: doc.clone(),
                payload: Some(self.shape(value, key)),
            }));
        }
        let presets = presets::PRESETS.iter().filter(|preset| preset.choice == name).collect();
        ChoiceShape { def: name.to_owned(), doc: text(schema, "description"), variants, presets }
    }

    fn list(&self, schema: &Json, name: &str) -> ListShape {
        let size = |key| schema.get(key).and_then(Json::as_u64).map(|size| size as usize);
        let places = array(schema, "prefixItems");
        let item = match places.split_first() {
            None => self.shape(&schema["items"], name),
            Some((first, rest)) => {
                let shape = self.shape(first, name);
                assert!(
                    rest.iter().all(|other| self.shape(other, name) == shape),
                    "{name}: a list of different things"
                );
                shape
            }
        };
        ListShape { item: Box::new(item), min: size("minItems").unwrap_or(0), max: size("maxItems") }
    }
}

/// A text of a schema, on one line.
fn text(schema: &Json, key: &str) -> String {
    let words = schema.get(key).and_then(Json::as_str).unwrap_or_default();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn array<'a>(schema: &'a Json, key: &str) -> &'a [Json] {
    schema.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn object<'a>(schema: &'a Json, key: &str) -> impl Iterator<Item = (&'a String, &'a Json)> {
    schema.get(key).and_then(Json::as_object).into_iter().flatten()
}
