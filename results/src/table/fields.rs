//! Fields that name rows and columns: how they are found, shortened and shown.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::DataFrame;

use super::{Field, TableOptions};
use crate::row::Scalar;
use crate::schema::{CFG, Kind, RUN_COLUMNS, TUNED, is_setting};
use crate::{Result, ResultsError, decode};

/// Fields of the rows, and the one spread over columns.
pub(crate) fn resolve(runs: &DataFrame, options: &TableOptions) -> Result<(Vec<Field>, Option<Field>)> {
    let over = options.cols.as_ref().map(|name| find(runs, name)).transpose()?;
    let mut rows = match &options.rows {
        Some(names) => names.iter().map(|name| find(runs, name)).collect::<Result<Vec<_>>>()?,
        None => default_rows(runs, options),
    };
    let mut seen = BTreeSet::new();
    rows.retain(|column| over.as_ref() != Some(column) && seen.insert(column.clone()));
    let columns: Vec<String> = rows.iter().chain(&over).cloned().collect();
    let mut fields: Vec<Field> = columns.iter().map(|column| field(column, &columns)).collect();
    let over = over.and_then(|_| fields.pop());
    Ok((fields, over))
}

/// Experiment when there are several, label, and every swept field that varies, less those that the label tells.
fn default_rows(runs: &DataFrame, options: &TableOptions) -> Vec<String> {
    let mut rows = Vec::new();
    if varies(runs, "experiment") {
        rows.push("experiment".to_owned());
    }
    rows.push("label".to_owned());
    let swept = decode::names(runs).into_iter().filter(|name| options.tells_apart(name) && varies(runs, name));
    rows.extend(swept.filter(|name| !is_told_by_label(runs, name)).map(str::to_owned));
    rows
}

/// Whether the field holds names of choices, and all runs of a label have the same: `none` has no pre-training
/// objective, which needs no column of its own.
fn is_told_by_label(runs: &DataFrame, column: &str) -> bool {
    let mut told: BTreeMap<(Option<String>, Option<String>), Option<Scalar>> = BTreeMap::new();
    (0..runs.height()).all(|row| {
        let value = decode::scalar(runs, column, row);
        let label = (decode::text(runs, "experiment", row), decode::text(runs, "label", row));
        let is_name = matches!(value, None | Some(Scalar::Text(_)));
        is_name && *told.entry(label).or_insert_with(|| value.clone()) == value
    })
}

fn varies(runs: &DataFrame, column: &str) -> bool {
    let first = decode::scalar(runs, column, 0);
    (1..runs.height()).any(|row| decode::scalar(runs, column, row) != first)
}

/// Column of the field that a user names: a column, a dotted path, or the end of one path only.
pub(crate) fn find(runs: &DataFrame, name: &str) -> Result<String> {
    let fixed = RUN_COLUMNS.iter().filter(|def| matches!(def.kind, Kind::Text | Kind::Int | Kind::Bool));
    let swept = decode::names(runs).into_iter().filter(|column| is_setting(column));
    let columns: Vec<&str> = fixed.map(|def| def.name).chain(swept).collect();
    let exact = columns.iter().find(|column| **column == name || path_of(column) == name);
    let ends: Vec<&&str> = columns.iter().filter(|column| column.ends_with(&format!(".{name}"))).collect();
    let choices = |columns: Vec<&str>| columns.into_iter().map(path_of).collect::<Vec<_>>().join(", ");
    match (exact, ends.as_slice()) {
        (Some(column), _) => Ok((*column).to_owned()),
        (None, [column]) => Ok((**column).to_owned()),
        (None, []) => Err(ResultsError::Field { problem: "unknown", name: name.to_owned(), choices: choices(columns) }),
        (None, several) => {
            let choices = choices(several.iter().map(|column| **column).collect());
            Err(ResultsError::Field { problem: "ambiguous", name: name.to_owned(), choices })
        }
    }
}

/// Dotted path of a swept or tuned field's column, or the column itself.
pub(crate) fn path_of(column: &str) -> &str {
    column.strip_prefix(CFG).or_else(|| column.strip_prefix(TUNED)).unwrap_or(column)
}

/// The field with its shortest name: the fewest last segments of its path that end no other field's path.
fn field(column: &str, all: &[String]) -> Field {
    let path = path_of(column);
    let others: Vec<&str> = all.iter().map(String::as_str).filter(|other| *other != column).map(path_of).collect();
    let unique = |tail: &str| !others.iter().any(|other| *other == tail || other.ends_with(&format!(".{tail}")));
    let starts = path.rmatch_indices('.').map(|(dot, _)| dot + 1);
    let short = starts.map(|start| &path[start..]).find(|tail| unique(tail)).unwrap_or(path);
    Field { column: column.to_owned(), path: path.to_owned(), short: short.to_owned() }
}

/// A row's name in notes and errors: the label alone, other fields as `name=value`, inapplicable ones left out.
pub(crate) fn row_label(fields: &[Field], key: &[Option<Scalar>]) -> String {
    let part = |(field, value): (&Field, &Option<Scalar>)| {
        let value = value.as_ref()?;
        Some(if field.column == "label" { value.to_string() } else { format!("{}={value}", field.short) })
    };
    let parts: Vec<String> = fields.iter().zip(key).filter_map(part).collect();
    if parts.is_empty() { "all runs".to_owned() } else { parts.join(", ") }
}
