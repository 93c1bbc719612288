//! One text for one meaning: what stage keys are hashes of.

use std::fmt::Write as _;

use serde_json::{Number, Value as Json};

use crate::neutral;

/// Canonical JSON: no white space, sorted keys, numbers by value (`1.0` is `1`, `-0.0` is `0`), all
/// others in their shortest form that reads back as the same 64-bit float, with an exponent below 1e-5 and
/// from 2^64 on.
pub fn canonical(value: &Json) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// BLAKE3, in hex, of the canonical form without fields at their neutral value.
pub fn stage_hash(value: &Json) -> String {
    stage_hash_without(value, neutral::NEUTRAL)
}

/// The same with another list of neutral values.
pub fn stage_hash_without(value: &Json, neutral: &[neutral::Neutral]) -> String {
    let value = neutral::drop_neutral(value.clone(), neutral);
    blake3::hash(canonical(&value).as_bytes()).to_hex().to_string()
}

fn write(value: &Json, out: &mut String) {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Json::Number(number) => write_number(number, out),
        Json::String(text) => write_text(text, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(fields) => {
            let mut fields: Vec<(&String, &Json)> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&Json::from(text).to_string());
}

fn write_number(number: &Number, out: &mut String) {
    /// 2^64: floats from here on are no 64-bit integers.
    const INTEGER_END: f64 = 18_446_744_073_709_551_616.0;
    match number.as_f64() {
        Some(float) if number.is_f64() => {
            if float.fract() == 0.0 && float.abs() < INTEGER_END {
                // Exact: every such float is an integer of less than 128 bits, and -0 becomes 0.
                let _ = write!(out, "{}", float as i128);
            } else {
                let _ = if (1e-5..INTEGER_END).contains(&float.abs()) {
                    write!(out, "{float}")
                } else {
                    write!(out, "{float:e}")
                };
            }
        }
        _ => out.push_str(&number.to_string()),
    }
}
