//! Rows against a baseline: the mean difference over the seeds that both have, and how sure it is.

use std::collections::BTreeMap;

use super::{CellForm, Field, Table, TableColumn, TableRow};
use crate::aggregate::Summary;
use crate::schema::Direction;
use crate::{Result, ResultsError};

/// Column that names rows.
const LABEL: &str = "label";

/// Adds to the first metric, behind each of its columns, the difference of every row to the row of that label; of
/// several such rows to the one with the same values in the fields that tell them apart.
///
/// # Errors
/// [`ResultsError::Baseline`] if labels name no rows, or none of them is called so.
pub(super) fn add(
    columns: &mut Vec<TableColumn>,
    rows: &mut [TableRow],
    fields: &[Field],
    baseline: &str,
) -> Result<()> {
    let at = fields.iter().position(|field| field.column == LABEL);
    let label = |row: &TableRow| Some(row.key[at?].as_ref()?.to_string());
    let baselines: Vec<usize> = (0..rows.len()).filter(|&row| label(&rows[row]).as_deref() == Some(baseline)).collect();
    if baselines.is_empty() {
        let mut choices: Vec<String> = rows.iter().filter_map(label).collect();
        choices.dedup();
        return Err(ResultsError::Baseline { name: baseline.to_owned(), choices: choices.join(", ") });
    }
    // Only fields in which the baseline's own rows differ decide which of them is meant.
    let deciding: Vec<usize> = (0..fields.len())
        .filter(|&field| Some(field) != at)
        .filter(|&field| {
            let mut values = baselines.iter().filter_map(|&row| rows[row].key[field].as_ref());
            let first = values.next();
            values.any(|value| Some(value) != first)
        })
        .collect();
    let fits = |row: &TableRow, other: &TableRow| {
        deciding.iter().all(|&field| other.key[field].is_none() || other.key[field] == row.key[field])
    };
    let partner: Vec<Option<usize>> = (0..rows.len())
        .map(|row| {
            let mut fitting = baselines.iter().copied().filter(|&other| fits(&rows[row], &rows[other]));
            fitting.next().filter(|other| *other != row && fitting.next().is_none() && !baselines.contains(&row))
        })
        .collect();

    let Some(metric) = columns.first().map(|column| column.column.clone()) else { return Ok(()) };
    for column in (0..columns.len()).rev().filter(|&at| columns[at].column == metric).collect::<Vec<_>>() {
        let cells: Vec<Summary> = partner
            .iter()
            .enumerate()
            .map(|(row, partner)| {
                let of = |row: usize| &rows[row].cells[column].seeds;
                partner.map_or_else(Summary::default, |partner| difference(of(row), of(partner)))
            })
            .collect();
        for (row, cell) in rows.iter_mut().zip(cells) {
            row.cells.insert(column + 1, cell);
        }
        let of = &columns[column];
        let added = TableColumn {
            column: format!("{}.vs.{baseline}", of.column),
            title: format!("{} vs {baseline}", of.title),
            unit: of.unit,
            direction: Direction::None,
            form: CellForm::Difference,
            over: of.over.clone(),
            verdict: None,
        };
        columns.insert(column + 1, added);
    }
    Ok(())
}

/// Seed by seed, where both have the seed.
fn difference(a: &BTreeMap<i64, f64>, b: &BTreeMap<i64, f64>) -> Summary {
    let seeds: BTreeMap<i64, f64> = a.iter().filter_map(|(seed, value)| Some((*seed, value - b.get(seed)?))).collect();
    let n = seeds.len();
    let mean = seeds.values().sum::<f64>() / n as f64;
    let squares: f64 = seeds.values().map(|value| (value - mean).powi(2)).sum();
    Summary {
        mean: (n > 0).then_some(mean),
        std: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        n,
        runs: n,
        even: true,
        seeds,
    }
}

/// What such columns are, for the notes; none without one.
pub(super) fn note(columns: &[TableColumn], baseline: Option<&str>) -> Option<String> {
    let baseline = baseline.filter(|_| columns.iter().any(|column| column.form == CellForm::Difference))?;
    Some(format!(
        "vs {baseline}: mean difference over the seeds that both rows have, and its 95 % confidence interval (paired t)"
    ))
}

impl Table {
    /// The 95 % confidence interval of a difference; none in other columns, below two seeds, or where nothing varies.
    pub fn interval(&self, row: usize, column: usize) -> Option<(f64, f64)> {
        let is_difference = self.columns[column].form == CellForm::Difference;
        is_difference.then(|| crate::significance::interval(&self.rows[row].cells[column]))?
    }
}
