//! Names of stages: the hash of what determines their numbers.

use std::fmt::{self, Write};

use serde_json::{Number, Value};

/// Name of a stage: BLAKE3 of the canonical JSON of everything that determines its result.
///
/// It carries that JSON along, so that a committed stage can say what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct StageKey {
    hex: String,
    science: Value,
}

impl StageKey {
    /// The key of a stage that is determined by `science`.
    pub fn of(science: Value) -> Self {
        let hex = blake3::hash(canonical_json(&science).as_bytes()).to_hex().to_string();
        Self { hex, science }
    }

    /// The key whose hash was computed elsewhere, by a rule that knows neutral values of fields.
    ///
    /// # Panics
    /// When `hex` is not the 64 lower-case hexadecimal digits of a BLAKE3 hash.
    pub fn from_hash(hex: String, science: Value) -> Self {
        let well_formed = hex.len() == 64 && hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        assert!(well_formed, "`{hex}` is not a hash");
        Self { hex, science }
    }

    /// All 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The first twelve digits, for messages.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }

    /// What was hashed.
    pub fn science(&self) -> &Value {
        &self.science
    }
}

impl fmt::Display for StageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// JSON with one spelling per value: keys sorted by their bytes, no white space, and numbers
/// normalized, so that `1`, `1.0` and `1e0` are the same.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Number(number) => write_number(text, number),
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            // The map's own order depends on a feature of serde_json that any crate may switch on.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| name.as_bytes());
            text.push('{');
            for (i, (name, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_plain(text, &Value::from(name.as_str()));
                text.push(':');
                write_value(text, item);
            }
            text.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => write_plain(text, value),
    }
}

/// Writes a scalar whose usual spelling is already unique.
fn write_plain(text: &mut String, value: &Value) {
    write!(text, "{value}").expect("writing to a string cannot fail");
}

/// Integers in full; other numbers as the shortest digits that give the same 64-bit float back.
fn write_number(text: &mut String, number: &Number) {
    /// 2^53: below it every whole float is an exact integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let written = match number.as_f64() {
        _ if number.is_u64() || number.is_i64() => write!(text, "{number}"),
        Some(float) if float.fract() == 0.0 && float.abs() < EXACT => write!(text, "{}", float as i64),
        Some(float) => write!(text, "{float:e}"),
        None => write!(text, "{number}"),
    };
    written.expect("writing to a string cannot fail");
}
