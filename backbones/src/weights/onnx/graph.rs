//! An ONNX graph under construction (field numbers of `onnx.proto`, version 8 of its representation).

use std::collections::BTreeMap;

use super::protobuf::Message;

/// Version of the operators: 17 is the first with layer normalization.
const OPSET: i64 = 17;
/// Version of the format that came with them.
const IR_VERSION: i64 = 8;
/// Types of elements.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// An attribute of an operator.
#[derive(Clone, Debug)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

/// A side of a tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    Fixed(usize),
    /// As many as the caller gives.
    Batch,
}

/// Nodes and constants; every value has a name.
#[derive(Debug, Default)]
pub(super) struct Graph {
    message: Message,
    values: usize,
}

impl Graph {
    /// An operator with one output, whose name comes back.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        self.nodes(op, inputs, attributes, 1).remove(0)
    }

    /// An operator with several outputs.
    pub(super) fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
        outputs: usize,
    ) -> Vec<String> {
        self.values += 1;
        let name = format!("{op}_{}", self.values);
        let names: Vec<String> =
            (0..outputs).map(|i| if i == 0 { name.clone() } else { format!("{name}_{i}") }).collect();
        self.named(op, inputs, attributes, &names);
        names
    }

    /// An operator whose outputs have these names.
    pub(super) fn named(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)], outputs: &[String]) {
        let mut node = Message::default();
        for input in inputs {
            node = node.bytes(1, input);
        }
        for output in outputs {
            node = node.bytes(2, output);
        }
        node = node.bytes(3, &outputs[0]).bytes(4, op);
        for (name, value) in attributes {
            let attribute = Message::default().bytes(1, name);
            let attribute = match value {
                Attribute::Float(value) => attribute.float(2, *value).int(20, 1),
                Attribute::Int(value) => attribute.int(3, *value).int(20, 2),
                Attribute::Ints(values) => values.iter().fold(attribute, |a, value| a.int(8, *value)).int(20, 7),
            };
            node = node.message(5, attribute);
        }
        self.message = std::mem::take(&mut self.message).message(1, node);
    }

    /// A constant of floats.
    pub(super) fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, FLOAT, &bytes)
    }

    /// A list of whole numbers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.values += 1;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&format!("list_{}", self.values), &[values.len()], INT64, &bytes)
    }

    /// A whole number by itself, such as an index.
    pub(super) fn index(&mut self, value: i64) -> String {
        self.values += 1;
        self.constant(&format!("index_{}", self.values), &[], INT64, &value.to_le_bytes())
    }

    fn constant(&mut self, name: &str, shape: &[usize], kind: i64, bytes: &[u8]) -> String {
        let tensor = shape.iter().fold(Message::default(), |tensor, &side| tensor.int(1, side as i64));
        let tensor = tensor.int(2, kind).bytes(8, name).bytes(9, bytes);
        self.message = std::mem::take(&mut self.message).message(5, tensor);
        name.to_owned()
    }

    /// The whole file.
    pub(super) fn finish(
        self,
        input: (&str, &[Side]),
        outputs: &[(&str, &[Side])],
        metadata: &BTreeMap<String, String>,
    ) -> Vec<u8> {
        let mut graph = self.message.bytes(2, "encoder").message(11, value(input.0, input.1));
        for (name, sides) in outputs {
            graph = graph.message(12, value(name, sides));
        }
        let mut model = Message::default().int(1, IR_VERSION).bytes(2, "reid-run").message(7, graph);
        model = model.message(8, Message::default().bytes(1, "").int(2, OPSET));
        for (key, text) in metadata {
            model = model.message(14, Message::default().bytes(1, key).bytes(2, text));
        }
        model.finish()
    }
}

/// Name and type of an input or output.
fn value(name: &str, sides: &[Side]) -> Message {
    let mut shape = Message::default();
    for side in sides {
        let side = match side {
            Side::Fixed(side) => Message::default().int(1, *side as i64),
            Side::Batch => Message::default().bytes(2, "batch"),
        };
        shape = shape.message(1, side);
    }
    let tensor = Message::default().int(1, FLOAT).message(2, shape);
    Message::default().bytes(1, name).message(2, Message::default().message(1, tensor))
}
