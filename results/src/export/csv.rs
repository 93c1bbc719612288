//! Comma-separated values after RFC 4180, below comment lines that begin with `#`.
//!
//! Values are the stored ones (fractions, not per cent), each with its deviation, counts and mark.

use super::{Exporter, clean, is_best, machine_name, notes, provenance};
use crate::Result;
use crate::row::Scalar;
use crate::table::{CellForm, Table};

/// Numbers for spreadsheets.
pub(super) struct Csv;

impl Exporter for Csv {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let mut lines: Vec<String> =
            provenance(table).iter().chain(&notes(table)).map(|line| format!("# {line}")).collect();
        let mut head: Vec<String> = table.fields.iter().map(|field| text_cell(&field.path)).collect();
        head.extend(["runs", "failed"].map(str::to_owned));
        for column in &table.columns {
            let name = machine_name(column);
            head.extend(["mean", "std", "n", "runs", "best"].map(|part| text_cell(&format!("{name}.{part}"))));
            if column.form == CellForm::Difference {
                head.extend(["low", "high"].map(|part| text_cell(&format!("{name}.{part}"))));
            }
        }
        lines.push(head.join(","));
        for (at, row) in table.rows.iter().enumerate() {
            let mut cells: Vec<String> =
                row.key.iter().map(|value| value.as_ref().map_or(String::new(), scalar_cell)).collect();
            cells.extend([row.runs.to_string(), row.failed.to_string()]);
            for (of, (summary, column)) in row.cells.iter().zip(&table.columns).enumerate() {
                let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
                cells.extend([number(summary.mean), number(summary.std), summary.n.to_string()]);
                cells.extend([summary.runs.to_string(), is_best(column, at).to_string()]);
                if column.form == CellForm::Difference {
                    let interval = table.interval(at, of);
                    cells.extend([number(interval.map(|(low, _)| low)), number(interval.map(|(_, high)| high))]);
                }
            }
            lines.push(cells.join(","));
        }
        lines.push(String::new());
        Ok(lines.join("\n").into_bytes())
    }
}

fn scalar_cell(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => text_cell(text),
        Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => value.to_string(),
    }
}

/// Quoted where needed. A text that a spreadsheet would take for a formula gets an apostrophe in front.
pub(crate) fn text_cell(text: &str) -> String {
    let text = clean(text);
    let guarded = if text.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    if guarded.contains([',', '"']) || guarded.starts_with([' ', '#']) {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}
