//! Layers of a spec, merged by figment: `extends` chain < file < command line < sweep point.
//!
//! Figment unites maps, so that a choice overridden by another would keep both keys. Before a layer is
//! merged, what it replaces is therefore taken out of the layers below: the shape says which maps are
//! choices. After merging, figment's metadata says which layer each value came from, and with it where.

use figment::value::{Dict, Map, Num, Tag, Value};
use figment::{Error, Figment, Metadata, Profile, Provider, Source};

use crate::node::{Kind, Node, Origin};
use crate::shape::Shape;
use crate::source::Place;

/// Merges trees, lowest layer first. The result's root stands at the first layer's.
pub(crate) fn merge(layers: &[&Node], shape: &Shape) -> Node {
    let mut pruned: Vec<Node> = Vec::with_capacity(layers.len());
    for &layer in layers {
        for lower in &mut pruned {
            replace(lower, layer, shape);
        }
        let mut layer = layer.clone();
        forget_deletions(&mut layer);
        pruned.push(layer);
    }
    let mut figment = Figment::new();
    for (index, tree) in pruned.iter().enumerate() {
        figment = figment.merge(Layer { index, tree });
    }
    let merged = figment.data().ok().and_then(|mut profiles| profiles.remove(&Profile::Default)).unwrap_or_default();
    let provenance = Provenance { figment: &figment, pruned: &pruned, originals: layers };
    let kind = Kind::Map(provenance.fields(&merged, &mut Vec::new()));
    let place = layers.first().map(|layer| layer.place.clone());
    Node::new(kind, place.expect("a spec has at least one layer"))
}

/// Takes out of `lower` what `upper` replaces: other branches of a choice, and deleted keys.
fn replace(lower: &mut Node, upper: &Node, shape: &Shape) {
    if let (Shape::Choice(_), Kind::Map(fields), Kind::Map(chosen)) = (shape, &mut lower.kind, &upper.kind)
        && chosen.iter().any(|(_, node)| !matches!(node.kind, Kind::Delete))
    {
        fields.retain(|(name, _)| chosen.iter().any(|(key, _)| key == name));
    }
    for (key, node) in upper.entries() {
        if matches!(node.kind, Kind::Delete) {
            lower.remove(key);
        } else if let Some(lower) = lower.get_mut(key) {
            replace(lower, node, shape.below(key).unwrap_or(&Shape::Flag));
        }
    }
}

/// Takes the marks of deleted keys out of a layer.
fn forget_deletions(node: &mut Node) {
    if let Kind::Map(fields) = &mut node.kind {
        fields.retain(|(_, node)| !matches!(node.kind, Kind::Delete));
        for (_, node) in fields {
            forget_deletions(node);
        }
    }
}

/// One layer, as figment takes it.
struct Layer<'a> {
    index: usize,
    tree: &'a Node,
}

impl Provider for Layer<'_> {
    /// The source's name, and the number by which the value's place is found again.
    fn metadata(&self) -> Metadata {
        Metadata::named(self.tree.place.source.name.clone()).source(Source::Custom(self.index.to_string()))
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let fields = self.tree.entries().iter().map(|(key, node)| (key.clone(), to_figment(node))).collect();
        Ok(Map::from([(Profile::Default, fields)]))
    }
}

fn to_figment(node: &Node) -> Value {
    let tag = Tag::Default;
    match &node.kind {
        Kind::Null | Kind::Delete | Kind::Refused => Value::Empty(tag, figment::value::Empty::Unit),
        Kind::Bool(flag) => Value::Bool(tag, *flag),
        Kind::Int(int) => Value::Num(tag, Num::I128(*int)),
        Kind::Float(float) => Value::Num(tag, Num::F64(*float)),
        Kind::Text(text) => Value::String(tag, text.clone()),
        Kind::List(items) => Value::Array(tag, items.iter().map(to_figment).collect()),
        Kind::Map(fields) => {
            Value::Dict(tag, fields.iter().map(|(key, node)| (key.clone(), to_figment(node))).collect())
        }
    }
}

/// Finds the places of merged values.
struct Provenance<'a> {
    figment: &'a Figment,
    pruned: &'a [Node],
    originals: &'a [&'a Node],
}

impl Provenance<'_> {
    /// A merged map's fields, in the order in which the layers wrote them.
    fn fields(&self, merged: &Dict, path: &mut Vec<String>) -> Vec<(String, Node)> {
        let mut fields: Vec<(String, Node)> = Vec::with_capacity(merged.len());
        let layers: Vec<&Node> = self.pruned.iter().filter_map(|layer| layer.find(path)).collect();
        for layer in layers {
            for (key, _) in layer.entries() {
                if fields.iter().any(|(known, _)| known == key) {
                    continue;
                }
                if let Some(value) = merged.get(key) {
                    path.push(key.clone());
                    fields.push((key.clone(), self.node(value, path)));
                    path.pop();
                }
            }
        }
        fields
    }

    fn node(&self, value: &Value, path: &mut Vec<String>) -> Node {
        let index = self.layer_of(value);
        let written = self.pruned[index].find(path).expect("figment's metadata names the layer that holds the value");
        let kind = match value {
            Value::Dict(_, fields) => Kind::Map(self.fields(fields, path)),
            _ => written.kind.clone(),
        };
        let mut earlier: Vec<Place> = Vec::new();
        if !matches!(kind, Kind::Map(_)) {
            let lower = self.originals[..index].iter().filter_map(|lower| lower.find(path));
            for lower in lower.filter(|lower| lower.origin == Origin::Written) {
                earlier.extend(lower.earlier.iter().cloned());
                earlier.push(lower.mark());
            }
            earlier.extend(written.earlier.iter().cloned());
        }
        Node { kind, earlier, ..written.clone() }
    }

    /// Which layer a value came from, by figment's metadata.
    fn layer_of(&self, value: &Value) -> usize {
        let metadata = self.figment.get_metadata(value.tag());
        let index = metadata.and_then(|metadata| metadata.source.as_ref()?.custom()?.parse().ok());
        index.expect("every layer carries its number in its metadata")
    }
}
