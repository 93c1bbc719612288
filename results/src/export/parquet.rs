//! Parquet for data frames: one row per table row, stored values.

use polars::prelude::{Column, DataFrame, ParquetCompression};
use serde_json::json;

use super::{Exporter, is_best, machine_name, provenance};
use crate::row::Scalar;
use crate::schema::{KEY_COMMIT, KEY_UNITS};
use crate::table::{CellForm, Table};
use crate::writer::to_parquet;
use crate::{Result, ResultsError};

/// Columns `<field>`, `runs`, `failed`, and for each column of the table `.mean`, `.std`, `.n`, `.runs`, `.best`, for
/// differences also `.low` and `.high`.
pub(super) struct Parquet;

impl Exporter for Parquet {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let count = |name: String, values: Vec<usize>| {
            Column::new(name.into(), values.into_iter().map(|value| value as i64).collect::<Vec<i64>>())
        };
        let mut columns: Vec<Column> = Vec::new();
        for (at, field) in table.fields.iter().enumerate() {
            columns.push(key_column(&field.path, table.rows.iter().map(|row| row.key[at].as_ref()).collect()));
        }
        columns.push(count("runs".to_owned(), table.rows.iter().map(|row| row.runs).collect()));
        columns.push(count("failed".to_owned(), table.rows.iter().map(|row| row.failed).collect()));
        for (at, column) in table.columns.iter().enumerate() {
            let name = machine_name(column);
            let cells = || table.rows.iter().map(|row| &row.cells[at]);
            columns.push(Column::new(format!("{name}.mean").into(), cells().map(|cell| cell.mean).collect::<Vec<_>>()));
            columns.push(Column::new(format!("{name}.std").into(), cells().map(|cell| cell.std).collect::<Vec<_>>()));
            columns.push(count(format!("{name}.n"), cells().map(|cell| cell.n).collect()));
            columns.push(count(format!("{name}.runs"), cells().map(|cell| cell.runs).collect()));
            let best: Vec<bool> = (0..table.rows.len()).map(|row| is_best(column, row)).collect();
            columns.push(Column::new(format!("{name}.best").into(), best));
            if column.form == CellForm::Difference {
                let interval = || (0..table.rows.len()).map(|row| table.interval(row, at));
                let low: Vec<Option<f64>> = interval().map(|interval| Some(interval?.0)).collect();
                let high: Vec<Option<f64>> = interval().map(|interval| Some(interval?.1)).collect();
                columns.push(Column::new(format!("{name}.low").into(), low));
                columns.push(Column::new(format!("{name}.high").into(), high));
            }
        }
        let mut frame =
            DataFrame::new(table.rows.len(), columns).map_err(ResultsError::internal("collecting the table"))?;
        to_parquet(&mut frame, ParquetCompression::Zstd(None), metadata(table))
    }
}

/// Values of a field: their own type if all share it, else text.
fn key_column(name: &str, values: Vec<Option<&Scalar>>) -> Column {
    let present = || values.iter().flatten();
    if present().all(|value| matches!(value, Scalar::Bool(_))) && present().next().is_some() {
        let flag = |value: Option<&Scalar>| if let Some(Scalar::Bool(value)) = value { Some(*value) } else { None };
        return Column::new(name.into(), values.into_iter().map(flag).collect::<Vec<_>>());
    }
    if present().all(|value| matches!(value, Scalar::Int(_))) && present().next().is_some() {
        let int = |value: Option<&Scalar>| if let Some(Scalar::Int(value)) = value { Some(*value) } else { None };
        return Column::new(name.into(), values.into_iter().map(int).collect::<Vec<_>>());
    }
    if present().all(|value| matches!(value, Scalar::Float(_))) && present().next().is_some() {
        let float = |value: Option<&Scalar>| if let Some(Scalar::Float(value)) = value { Some(*value) } else { None };
        return Column::new(name.into(), values.into_iter().map(float).collect::<Vec<_>>());
    }
    let texts: Vec<Option<String>> = values.into_iter().map(|value| value.map(Scalar::to_string)).collect();
    Column::new(name.into(), texts.iter().map(Option::as_deref).collect::<Vec<Option<&str>>>())
}

fn metadata(table: &Table) -> Vec<(String, String)> {
    let units: serde_json::Map<String, serde_json::Value> = table
        .columns
        .iter()
        .map(|column| (machine_name(column), json!({"unit": column.unit.name(), "direction": column.direction.name()})))
        .collect();
    vec![
        (KEY_COMMIT.to_owned(), table.commits.join(", ")),
        (KEY_UNITS.to_owned(), json!(units).to_string()),
        ("reid_run.provenance".to_owned(), json!(provenance(table)).to_string()),
        ("reid_run.notes".to_owned(), json!(table.notes).to_string()),
    ]
}
