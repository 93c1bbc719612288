//! JSON for programs: stored values, and everything that a verdict rests on.

use serde_json::{Value, json};

use super::{Exporter, is_best};
use crate::Result;
use crate::row::Scalar;
use crate::table::{Table, TableColumn, TableRow};

/// Version of this layout.
const LAYOUT: u32 = 1;

/// One object, pretty-printed.
pub(super) struct Json;

impl Exporter for Json {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let rows: Vec<Value> = table.rows.iter().enumerate().map(|(at, row)| row_json(table, at, row)).collect();
        let value = json!({
            "table_version": LAYOUT,
            "commits": table.commits,
            "command": table.command,
            "fields": table.fields.iter().map(|field| field.path.as_str()).collect::<Vec<_>>(),
            "columns": table.columns.iter().map(column_json).collect::<Vec<_>>(),
            "rows": rows,
            "notes": table.notes,
        });
        Ok(format!("{value:#}\n").into_bytes())
    }
}

fn column_json(column: &TableColumn) -> Value {
    let comparisons = column.verdict.iter().flat_map(|verdict| &verdict.comparisons).map(|comparison| {
        let test = comparison.test;
        json!({
            "row": comparison.other,
            "test": test.map(|test| test.test.name()),
            "t": test.map(|test| number(test.t)),
            "df": test.map(|test| number(test.df)),
            "p": test.map(|test| number(test.p)),
            "p_holm": comparison.p_holm.map(number),
        })
    });
    json!({
        "name": column.column,
        "unit": column.unit.name(),
        "direction": column.direction.name(),
        "over": column.over.as_ref().map(|(field, value)| json!({"field": field.path, "value": scalar(value.as_ref())})),
        "best_row": column.verdict.as_ref().map(|verdict| verdict.best),
        "significant": column.verdict.as_ref().is_some_and(|verdict| verdict.significant),
        "comparisons": comparisons.collect::<Vec<_>>(),
    })
}

fn row_json(table: &Table, at: usize, row: &TableRow) -> Value {
    let key: serde_json::Map<String, Value> =
        table.fields.iter().zip(&row.key).map(|(field, value)| (field.path.clone(), scalar(value.as_ref()))).collect();
    let cells = row.cells.iter().zip(&table.columns).enumerate().map(|(of, (summary, column))| {
        let seeds: serde_json::Map<String, Value> =
            summary.seeds.iter().map(|(seed, value)| (seed.to_string(), number(*value))).collect();
        json!({
            "mean": summary.mean.map(number),
            "std": summary.std.map(number),
            "n": summary.n,
            "runs": summary.runs,
            "best": is_best(column, at),
            "interval": table.interval(at, of).map(|(low, high)| [number(low), number(high)]),
            "seeds": seeds,
        })
    });
    json!({
        "key": key,
        "runs": row.runs,
        "failed": row.failed,
        "dagger": row.dagger,
        "chosen": row.chosen,
        "cells": cells.collect::<Vec<_>>(),
    })
}

fn scalar(value: Option<&Scalar>) -> Value {
    match value {
        None => Value::Null,
        Some(Scalar::Bool(value)) => json!(value),
        Some(Scalar::Int(value)) => json!(value),
        Some(Scalar::Float(value)) => number(*value),
        Some(Scalar::Text(value)) => json!(value),
    }
}

/// JSON has no NaN, and null already means "not computed": undefined and infinite values become texts.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}
