//! JSON Schema of what may be written in a file, for editors.

use serde_json::{Map, Value as Json, json};

use crate::shape::{ChoiceShape, MapShape, NumberShape, Shape, Special, Variant};
use crate::tune;
use crate::written::file_shape;

/// The JSON Schema (draft 2020-12) of a spec file, with presets, `extends`, `seeds`, `sweep` and `table`.
///
/// Nothing is required but what makes a choice: a file may leave to `extends` what it does not say.
pub fn schema() -> Json {
    let Shape::Map(file) = file_shape() else { unreachable!("a file is a map of fields") };
    let mut writer = Writer::default();
    let mut schema = writer.map(file);
    writer.sweep(file);
    writer.tune();
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("reid-run experiment");
    schema["$defs"] = Json::Object(writer.defs);
    schema
}

/// Collects definitions.
#[derive(Default)]
struct Writer {
    defs: Map<String, Json>,
}

impl Writer {
    fn shape(&mut self, shape: &Shape) -> Json {
        match shape {
            Shape::Map(map) => {
                if !self.defs.contains_key(&map.def) {
                    let schema = self.map(map);
                    self.defs.insert(map.def.clone(), schema);
                }
                reference(&map.def)
            }
            Shape::Choice(choice) => {
                if !self.defs.contains_key(&choice.def) {
                    let schema = self.choice(choice);
                    self.defs.insert(choice.def.clone(), schema);
                }
                reference(&choice.def)
            }
            Shape::Number(shape) => number(shape),
            Shape::Text { .. } => json!({"type": "string"}),
            Shape::Flag => json!({"type": "boolean"}),
            Shape::List(list) => {
                let mut schema = json!({"type": "array", "items": self.shape(&list.item), "minItems": list.min});
                if let Some(max) = list.max {
                    schema["maxItems"] = json!(max);
                }
                schema
            }
            Shape::Special(Special::Extends) => {
                json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]})
            }
            Shape::Special(Special::Seeds) => {
                let list = json!({
                    "type": "array", "minItems": 1, "uniqueItems": true,
                    "items": {"type": "integer", "minimum": 0},
                });
                let nested = json!({
                    "type": "object", "additionalProperties": false, "required": ["pretrain", "downstream"],
                    "properties": {"pretrain": list.clone(), "downstream": list.clone()},
                });
                json!({"anyOf": [list, nested]})
            }
            Shape::Special(Special::Sweep) => reference("Sweep"),
            Shape::Special(Special::Tune) => reference("Tune"),
        }
    }

    fn map(&mut self, map: &MapShape) -> Json {
        let mut properties = Map::new();
        for field in &map.fields {
            let mut schema = self.shape(&field.shape);
            if let Some(schema) = schema.as_object_mut() {
                if !field.doc.is_empty() {
                    schema.insert("description".to_owned(), json!(field.doc));
                }
                if let Some(default) = &field.default {
                    schema.insert("default".to_owned(), default.clone());
                }
            }
            properties.insert(field.name.clone(), schema);
        }
        described(&map.doc, json!({"type": "object", "additionalProperties": false, "properties": properties}))
    }

    fn choice(&mut self, choice: &ChoiceShape) -> Json {
        let mut alternatives = Vec::new();
        for variant in &choice.variants {
            alternatives.extend(self.variant(&variant.name, &variant.doc, variant));
        }
        for preset in &choice.presets {
            if let Some(variant) = choice.variant(preset.variant) {
                alternatives.extend(self.variant(preset.name, preset.doc, variant));
            }
        }
        described(&choice.doc, json!({"oneOf": alternatives}))
    }

    /// A variant by its bare name, where its fields have defaults, and as a map with one key.
    fn variant(&mut self, name: &str, doc: &str, variant: &Variant) -> Vec<Json> {
        let mut alternatives = Vec::new();
        let has_name = match &variant.payload {
            None => true,
            Some(Shape::Map(map)) => map.fields.iter().all(|field| !field.required),
            Some(_) => false,
        };
        if has_name {
            alternatives.push(described(doc, json!({"const": name})));
        }
        if let Some(payload) = &variant.payload {
            let payload = self.shape(payload);
            let map = json!({
                "type": "object", "additionalProperties": false, "required": [name], "properties": {name: payload},
            });
            alternatives.push(described(doc, map));
        }
        alternatives
    }

    /// Definitions of the sweep: every dotted path with its field's schema.
    fn sweep(&mut self, file: &MapShape) {
        let mut paths = Vec::new();
        for field in &file.fields {
            let is_run = !crate::resolve::NOT_RUN.contains(&field.name.as_str());
            if is_run {
                let pointer = format!("#/properties/{}", field.name);
                self.paths(&field.name, pointer, &field.shape, &mut paths);
            }
        }
        let settings: Map<String, Json> =
            paths.iter().map(|(path, pointer)| (path.clone(), json!({"$ref": pointer}))).collect();
        let axes: Map<String, Json> = paths
            .iter()
            .map(|(path, pointer)| {
                let list = json!({"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": pointer}});
                (path.clone(), list)
            })
            .collect();
        self.define("Settings", "Fields by their dotted paths.", json!({"type": "object", "properties": settings}));
        let axes = json!({"type": "object", "minProperties": 1, "additionalProperties": false, "properties": axes});
        self.define("Axes", "Lists of values for fields by their dotted paths.", axes);
        let seeds = described(
            "Seeds of the entry's runs, instead of the experiment's; `seeds` on the command line holds for \
                               every entry.",
            self.shape(&Shape::Special(Special::Seeds)),
        );
        let entry = json!({
            "$ref": "#/$defs/Settings", "unevaluatedProperties": false,
            "properties": {
                "label": {"type": "string", "description": "Name of the entry's runs in tables."},
                "grid": {"$ref": "#/$defs/Axes", "description": "Every combination of these, for this entry only."},
                "seeds": seeds,
            },
        });
        self.define("Entry", "One entry of a list: settings that hold together.", entry);
        let list = json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Entry"}});
        let exclude = json!({
            "type": "array", "minItems": 1,
            "items": {
                "$ref": "#/$defs/Settings", "minProperties": 1, "unevaluatedProperties": false,
                "properties": {"label": {"type": "string", "description": "Only points of this name."}},
            },
        });
        let sweep = json!({
            "type": "object", "additionalProperties": false, "minProperties": 1,
            "properties": {
                "grid": described("Every combination of the listed values; the first field changes slowest.", reference("Axes")),
                "zip": described("Lists of equal length, walked together.", reference("Axes")),
                "list": described("Entries written out. Each may have a name for tables, and a grid and seeds of its own.", list),
                "exclude": described("Points to leave out: those that match every field of an entry.", exclude),
            },
        });
        let doc = "Which settings are varied: the product of `grid`, `zip` and `list`, less `exclude`. Within a point, a \
                   field inside a choice that the point makes otherwise has no effect, and points that come to the same \
                   experiment run once.";
        self.define("Sweep", doc, sweep);
    }

    /// What may stand under `tune`; its fields are named as the sweep's.
    fn tune(&mut self) {
        let names: Vec<&str> = tune::METRICS.iter().map(|key| key.name()).collect();
        let of_label = json!({"type": "object", "minProperties": 1, "additionalProperties": reference("Axes")});
        let tune = json!({
            "type": "object", "additionalProperties": false, "minProperties": 1,
            "properties": {
                "over": described("Every combination of the listed values is a trial of every initialisation, less \
                                   the fields that do not concern it.", reference("Axes")),
                "for": described("Grids of their own, by label, instead of `over`.", of_label),
                "seeds": described("Seeds of the trials; default `[0]`.", self.shape(&Shape::Special(Special::Seeds))),
                "by": described("Metric on the validation identities; default `map`.", json!({"enum": names})),
            },
        });
        self.define("Tune", "Settings that every initialisation chooses for itself.", tune);
    }

    fn define(&mut self, name: &str, doc: &str, schema: Json) {
        self.defs.insert(name.to_owned(), described(doc, schema));
    }

    /// Dotted paths at and below a field, with a pointer to the schema of each.
    fn paths(&mut self, path: &str, pointer: String, shape: &Shape, paths: &mut Vec<(String, String)>) {
        paths.push((path.to_owned(), pointer));
        match shape {
            Shape::Map(map) => {
                for field in &map.fields {
                    let pointer = format!("#/$defs/{}/properties/{}", map.def, field.name);
                    self.paths(&format!("{path}.{}", field.name), pointer, &field.shape, paths);
                }
            }
            Shape::Choice(choice) => {
                for name in choice.all_names() {
                    let Some(payload) = choice.payload(name) else { continue };
                    let pointer = match payload {
                        Shape::Map(map) => format!("#/$defs/{}", map.def),
                        Shape::Choice(choice) => format!("#/$defs/{}", choice.def),
                        other => {
                            let def = format!("{}.{name}", choice.def);
                            let schema = self.shape(other);
                            self.defs.insert(def.clone(), schema);
                            format!("#/$defs/{def}")
                        }
                    };
                    self.paths(&format!("{path}.{name}"), pointer, payload, paths);
                }
            }
            _ => {}
        }
    }
}

fn reference(def: &str) -> Json {
    json!({"$ref": format!("#/$defs/{def}")})
}

fn described(doc: &str, mut schema: Json) -> Json {
    if !doc.is_empty()
        && let Some(schema) = schema.as_object_mut()
    {
        schema.insert("description".to_owned(), json!(doc));
    }
    schema
}

fn number(shape: &NumberShape) -> Json {
    let mut schema = json!({"type": if shape.whole { "integer" } else { "number" }});
    for (key, bound) in [("minimum", shape.min), ("maximum", shape.max)] {
        if let Some(bound) = bound {
            schema[key] = if bound.fract() == 0.0 && bound.abs() < 1e15 { json!(bound as i64) } else { json!(bound) };
        }
    }
    schema
}
