//! Names of stages: the hash of what determines their numbers.

use std::fmt;

use serde_json::Value;

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
        Self { hex: reid_experiments::stage_hash(&science), science }
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
