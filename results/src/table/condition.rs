//! Conditions that runs must meet to be shown.

use std::fmt;
use std::str::FromStr;

use polars::prelude::DataFrame;

use super::fields;
use crate::row::Scalar;
use crate::schema::METRIC;
use crate::{Result, ResultsError};

/// Comparisons; longer signs first, as they are looked for.
const SIGNS: [(&str, Sign); 6] = [
    ("!=", Sign::Differs),
    ("<=", Sign::AtMost),
    (">=", Sign::AtLeast),
    ("=", Sign::Is),
    ("<", Sign::Below),
    (">", Sign::Above),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Is,
    Differs,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// `field=value`, or another comparison, of a field or a metric: `mask_ratio=0.5`, `label!=none`, `occluded.map>=0.2`.
/// Metrics are compared as they are stored: fractions, not per cent. What a run has not computed meets no condition
/// but `!=`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    name: String,
    sign: Sign,
    value: String,
}

impl FromStr for Condition {
    type Err = ResultsError;

    fn from_str(text: &str) -> Result<Self> {
        let fault = || ResultsError::Condition { text: text.to_owned() };
        let at = text.find(['=', '<', '>', '!']).ok_or_else(fault)?;
        let (name, rest) = text.split_at(at);
        let (sign, value) =
            SIGNS.iter().find_map(|(sign, kind)| Some((*kind, rest.strip_prefix(sign)?))).ok_or_else(fault)?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        let ordered = !matches!(sign, Sign::Is | Sign::Differs);
        if name.is_empty() || value.is_empty() || (ordered && value.parse::<f64>().is_err()) {
            return Err(fault());
        }
        Ok(Self { name, sign, value })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = SIGNS.iter().find(|(_, sign)| *sign == self.sign).map_or("", |(text, _)| text);
        write!(f, "{}{sign}{}", self.name, self.value)
    }
}

impl Condition {
    /// The column of `runs` that is meant: a metric, of `split` unless it names one, or a field.
    ///
    /// # Errors
    /// [`ResultsError::Field`] if there is none, or several.
    pub(super) fn column(&self, runs: &DataFrame, split: &str) -> Result<String> {
        let metrics = [format!("{METRIC}{split}.{}", self.name), format!("{METRIC}{}", self.name), self.name.clone()];
        match metrics.into_iter().find(|name| runs.column(name).is_ok()) {
            Some(column) => Ok(column),
            None => fields::find(runs, &self.name),
        }
    }

    /// Whether a value meets it.
    pub(super) fn holds(&self, value: Option<&Scalar>) -> bool {
        let number = |value: &Scalar| match value {
            Scalar::Int(value) => Some(*value as f64),
            Scalar::Float(value) => Some(*value),
            Scalar::Bool(_) | Scalar::Text(_) => None,
        };
        let wanted = self.value.parse::<f64>().ok();
        let order = value.and_then(number).zip(wanted).and_then(|(own, wanted)| own.partial_cmp(&wanted));
        let is = match order {
            Some(order) => order.is_eq(),
            None => value.is_some_and(|value| value.to_string() == self.value),
        };
        match self.sign {
            Sign::Is => is,
            Sign::Differs => !is,
            Sign::Below => order.is_some_and(std::cmp::Ordering::is_lt),
            Sign::AtMost => order.is_some_and(std::cmp::Ordering::is_le),
            Sign::Above => order.is_some_and(std::cmp::Ordering::is_gt),
            Sign::AtLeast => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}
