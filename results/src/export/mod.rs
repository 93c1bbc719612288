//! Tables to bytes, one file per format.

mod csv;
mod html;
mod json;
mod latex;
mod markdown;
mod parquet;
mod terminal;

use crate::Result;
use crate::format::{Signs, amount, cell, difference};
use crate::row::Scalar;
use crate::schema::Unit;
use crate::table::{CellForm, Format, Table, TableColumn, TableOptions};

pub(crate) use csv::text_cell;
pub(crate) use html::fragment;
pub(crate) use terminal::wrap;

/// A format.
trait Exporter {
    /// The whole table; texts are UTF-8 and end in a newline.
    fn export(&self, table: &Table) -> Result<Vec<u8>>;
}

/// The table in the format of `options`.
///
/// # Errors
/// [`crate::ResultsError::Internal`] if the data-frame library refuses to encode Parquet.
pub fn export(table: &Table, options: &TableOptions) -> Result<Vec<u8>> {
    let exporter: Box<dyn Exporter> = match options.format {
        Format::Terminal => Box::new(terminal::Terminal {
            width: options.width.unwrap_or(terminal::DEFAULT_WIDTH),
            color: options.color,
            ascii: options.ascii,
        }),
        Format::Markdown => Box::new(markdown::Markdown),
        Format::Csv => Box::new(csv::Csv),
        Format::Latex => Box::new(latex::Latex),
        Format::Json => Box::new(json::Json),
        Format::Parquet => Box::new(parquet::Parquet),
    };
    exporter.export(table)
}

/// A cell for people.
struct Cell {
    /// `mean ± std (n)`.
    text: String,
    /// Whether it may be called the best of its column.
    best: bool,
}

/// Headings of the fields by short name, then of the columns.
fn headings(table: &Table) -> (Vec<String>, Vec<String>) {
    let fields = table.fields.iter().map(|field| clean(&field.short)).collect();
    (fields, table.columns.iter().map(|column| heading(column, &table.columns)).collect())
}

/// Heading with the unit where it is not obvious, and the value of a field that is spread over columns.
fn heading(column: &TableColumn, all: &[TableColumn]) -> String {
    let unit = match column.unit {
        Unit::Fraction => " %",
        Unit::Bytes => " MiB",
        Unit::Seconds | Unit::Plain | Unit::Count | Unit::Flops => "",
    };
    let Some((field, value)) = &column.over else { return clean(&format!("{}{unit}", column.title)) };
    let value = value.as_ref().map_or("—".to_owned(), Scalar::to_string);
    let alone = all.iter().all(|other| other.column == column.column);
    let metric = if alone { String::new() } else { format!(" {}{unit}", column.title) };
    clean(&format!("{}={value}{metric}", field.short))
}

/// Field texts and cells of each row, for people.
fn body(table: &Table, signs: Signs) -> Vec<(Vec<String>, Vec<Cell>)> {
    let row = |(at, row): (usize, &crate::TableRow)| {
        let mut fields: Vec<String> = row
            .key
            .iter()
            .map(|value| value.as_ref().map_or(signs.missing.to_owned(), |value| clean(&value.to_string())))
            .collect();
        if let Some(first) = fields.first_mut().filter(|_| row.dagger) {
            first.push(' ');
            first.push_str(signs.dagger);
        }
        let cells = row.cells.iter().zip(&table.columns).enumerate().map(|(of, (summary, column))| {
            let text = match column.form {
                CellForm::Statistic => cell(summary, column.unit, signs),
                CellForm::Amount => amount(summary, signs),
                CellForm::Difference => difference(summary, table.interval(at, of), column.unit, signs),
            };
            Cell { text, best: is_best(column, at) }
        });
        (fields, cells.collect())
    };
    table.rows.iter().enumerate().map(row).collect()
}

/// Whether row `row` may be called the best of `column`.
fn is_best(column: &TableColumn, row: usize) -> bool {
    column.verdict.as_ref().is_some_and(|verdict| verdict.significant && verdict.best == row)
}

/// Notes, preceded by what a heading alone does not say: the metric of spread columns, and shortened names.
fn notes(table: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    let first = table.columns.first().filter(|column| column.over.is_some());
    if let Some(first) = first.filter(|first| table.columns.iter().all(|column| column.column == first.column)) {
        let unit = if first.unit == Unit::Fraction { " %" } else { "" };
        notes.push(format!("cells: {}{unit}", first.title));
    }
    let over = table.columns.first().and_then(|column| column.over.as_ref()).map(|(field, _)| field);
    for field in table.fields.iter().chain(over) {
        if field.short != field.path {
            notes.push(format!("{} = {}", field.short, field.path));
        }
    }
    notes.extend(table.notes.iter().cloned());
    notes.iter().map(|note| clean(note)).collect()
}

/// The same where the best cell is bold instead of starred.
fn notes_on_bold(table: &Table) -> Vec<String> {
    let bold = |note: String| note.strip_prefix("* ").map_or(note.clone(), |rest| format!("bold: {rest}"));
    notes(table).into_iter().map(bold).collect()
}

/// Lines for the head of a file: commits and command.
fn provenance(table: &Table) -> Vec<String> {
    let commits = if table.commits.is_empty() { "unknown".to_owned() } else { table.commits.join(", ") };
    let mut lines = vec![format!("commit: {commits}")];
    lines.extend(table.command.iter().map(|command| clean(&format!("command: {command}"))));
    lines
}

/// Name of a column for programs: the stored column, and the value of a field that is spread over columns.
fn machine_name(column: &TableColumn) -> String {
    match &column.over {
        None => column.column.clone(),
        Some((field, value)) => {
            let value = value.as_ref().map_or("null".to_owned(), Scalar::to_string);
            format!("{}[{}={value}]", column.column, field.path)
        }
    }
}

/// One line without control characters, which could break a table or command a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
