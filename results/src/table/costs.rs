//! What the pre-trainings of a table's rows have cost, beside their metrics.

use std::collections::BTreeSet;

use polars::prelude::DataFrame;

use super::options::Costs;
use super::{CellForm, TableColumn};
use crate::decode;
use crate::schema::{self, Direction};

/// Columns of `runs` and their headings, in the order of the table.
const COLUMNS: [(&str, &str); 4] = [
    ("images_pretrain", "images"),
    ("tokens_pretrain", "tokens"),
    ("flops_pretrain", "FLOPs"),
    ("seconds_pretrain", "seconds"),
];

/// Said below a table with these columns.
pub(super) const NOTE: &str = "images, tokens, FLOPs and seconds are those of one pre-training";

/// The columns that the options ask for beside those in `shown`.
pub(super) fn columns(runs: &DataFrame, costs: Costs, shown: &[TableColumn]) -> Vec<TableColumn> {
    let wanted = match costs {
        Costs::Never => false,
        Costs::WhereTheyDiffer => differ(runs),
        Costs::Always => true,
    };
    let column = |(name, title): (&str, &str)| {
        let unit = schema::run_column(name)?.unit;
        let (column, title) = (name.to_owned(), title.to_owned());
        // What was spent ranks no row.
        let direction = Direction::None;
        Some(TableColumn { column, title, unit, direction, form: CellForm::Amount, over: None, verdict: None })
    };
    let is_new = |(name, _): &(&str, &str)| !shown.iter().any(|column| column.column == *name);
    COLUMNS.into_iter().filter(|_| wanted).filter(is_new).filter_map(column).collect()
}

/// Whether two pre-trainings saw different numbers of pictures or tokens, or took different numbers of operations.
/// Runs without a pre-training spend nothing, which says nothing about the others.
fn differ(runs: &DataFrame) -> bool {
    let cost = |row: usize| {
        let images = decode::int(runs, "images_pretrain", row).filter(|images| *images > 0)?;
        let flops = decode::float(runs, "flops_pretrain", row).map(f64::to_bits);
        Some((images, decode::int(runs, "tokens_pretrain", row), flops))
    };
    (0..runs.height()).filter_map(cost).collect::<BTreeSet<_>>().len() > 1
}
