//! Tables as plain data: which rows and columns, what stands in the cells, and what must be said below.

mod condition;
mod costs;
mod difference;
pub(crate) mod fields;
mod notes;
mod options;
pub(crate) mod select;

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, DataType};

use crate::aggregate::{Group, Summary, aggregate};
use crate::reader::Frames;
use crate::row::Scalar;
use crate::schema::{self, Direction, METRIC, Unit};
use crate::significance::{self, Verdict};
use crate::{Result, ResultsError, decode};

pub use condition::Condition;
pub use options::{ChooseOn, Costs, Format, TableOptions};

/// Metric by which a sweep's best row is picked.
const CHOICE_METRIC: &str = "map";

/// A field that names rows or columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Column of `runs`.
    pub column: String,
    /// Full name: the dotted path of a swept field, or the column itself.
    pub path: String,
    /// Last part of the path that still tells it from the table's other fields.
    pub short: String,
}

/// A column of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct TableColumn {
    /// Column of `runs` that is averaged.
    pub column: String,
    /// Heading for people, without the unit and without the value of `over`.
    pub title: String,
    /// Unit of the stored values.
    pub unit: Unit,
    /// Which way is better.
    pub direction: Direction,
    /// How its cells are shown to people.
    pub form: CellForm,
    /// Field value that the column stands for, when a field is spread over columns.
    pub over: Option<(Field, Option<Scalar>)>,
    /// Ranking of the rows; `None` when nothing can be ranked.
    pub verdict: Option<Verdict>,
}

/// How cells are shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellForm {
    /// Mean, deviation and counts.
    Statistic,
    /// The mean alone, in few characters.
    Amount,
    /// Mean of a difference between two rows, with its interval.
    Difference,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// Values of [`Table::fields`]; `None` where the field does not apply.
    pub key: Vec<Option<Scalar>>,
    /// Runs, failed ones included.
    pub runs: usize,
    /// Failed runs.
    pub failed: usize,
    /// Whether its commits need a look; a note says why.
    pub dagger: bool,
    /// Whether validation picks this row (in any column group).
    pub chosen: bool,
    /// One summary per column.
    pub cells: Vec<Summary>,
}

/// An aggregated table.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Fields that name the rows.
    pub fields: Vec<Field>,
    /// Columns of numbers.
    pub columns: Vec<TableColumn>,
    /// Rows, in the order of the sweep.
    pub rows: Vec<TableRow>,
    /// What must be said below the table.
    pub notes: Vec<String>,
    /// Commits of the program that computed the numbers.
    pub commits: Vec<String>,
    /// Command that made the table.
    pub command: Option<String>,
}

/// Aggregates runs over seeds into a table.
///
/// Runs are grouped by experiment, label and all swept fields; the point only orders them, so that a sweep whose
/// points were renumbered by an edit keeps its groups. Of several rows with the same setting and seeds (computed by
/// different versions) the newest counts.
///
/// # Errors
/// [`ResultsError::NoRuns`], [`ResultsError::Field`], [`ResultsError::UnknownMetric`] when the options fit no run;
/// [`ResultsError::MixedProtocols`] and [`ResultsError::MixedCell`] when numbers would be compared or pooled that
/// must not be.
pub fn tabulate(frames: &Frames, options: &TableOptions) -> Result<Table> {
    let selection = select::select(&frames.runs, options)?;
    let mut runs = selection.runs;
    let (fields, over) = fields::resolve(&runs, options)?;
    let shown: Vec<&Field> = fields.iter().chain(&over).collect();
    let protocols = select::check_protocols(&runs, &shown)?;

    let mut columns = metric_columns(&runs, options)?;
    columns.extend(costs::columns(&runs, options.costs, &columns));
    let n_shown = columns.len();
    let mut metrics: Vec<String> = columns.iter().map(|column| column.column.clone()).collect();
    metrics.extend(["validation", "test"].map(|split| format!("{METRIC}{split}.{CHOICE_METRIC}")));
    let mut unique: Vec<String> = Vec::new();
    for metric in &metrics {
        if !unique.contains(metric) {
            unique.push(metric.clone());
        }
    }
    add_missing(&mut runs, &unique)?;
    let keys = identity(&runs, &shown, options);
    select::check_datasets(&runs, &keys)?;
    let mut groups = aggregate(&runs, &keys, &unique)?;
    for group in &mut groups {
        // Back to one summary per asked metric, then the two of the choice.
        let of = |metric: &String| unique.iter().position(|name| name == metric).map(|at| group.summaries[at].clone());
        group.summaries = metrics.iter().filter_map(of).collect();
    }
    let grid = Grid::place(&groups, &keys, &fields, over.as_ref())?;

    columns = grid.spread(columns, over.as_ref());
    let mut rows = grid.rows(&groups, n_shown);
    for (at, column) in columns.iter_mut().enumerate() {
        let samples: Vec<&BTreeMap<i64, f64>> = rows.iter().map(|row| &row.cells[at].seeds).collect();
        // Different protocols are not comparable, even where the user lays them side by side.
        let verdict = if protocols > 1 { None } else { significance::rank(&samples, column.direction) };
        // A mean over the seeds that did not fail is too good to win by.
        column.verdict = verdict.filter(|verdict| rows[verdict.best].failed == 0);
    }
    if let Some(baseline) = &options.against {
        difference::add(&mut columns, &mut rows, &fields, baseline)?;
    }
    let notes =
        notes::Notes { runs: &runs, groups: &groups, grid: &grid, fields: &fields, over: over.as_ref(), options };
    let lines = notes.compose(&columns, &mut rows, selection.superseded);
    let commits = notes::computed_commits(&runs);
    Ok(Table { fields, columns, rows, notes: lines, commits, command: options.command.clone() })
}

/// Columns that tell one setting from another, and the shown fields beyond them.
fn identity(runs: &DataFrame, shown: &[&Field], options: &TableOptions) -> Vec<String> {
    let mut keys = vec!["experiment".to_owned(), "label".to_owned()];
    keys.extend(decode::names(runs).into_iter().filter(|name| options.tells_apart(name)).map(str::to_owned));
    for field in shown {
        if !keys.contains(&field.column) {
            keys.push(field.column.clone());
        }
    }
    keys
}

/// Columns of numbers that the options ask for, before a field is spread over them.
fn metric_columns(runs: &DataFrame, options: &TableOptions) -> Result<Vec<TableColumn>> {
    let known: Vec<&str> = decode::names(runs).into_iter().filter_map(|name| name.strip_prefix(METRIC)).collect();
    let split_exists = known.is_empty() || known.iter().any(|name| name.starts_with(&format!("{}.", options.split)));
    options
        .metrics
        .iter()
        .map(|name| {
            let of_split = format!("{}.{name}", options.split);
            if known.contains(&of_split.as_str()) || (split_exists && schema::metric_def(name).is_some()) {
                Ok(metric_column(&of_split))
            } else if known.contains(&name.as_str()) {
                Ok(metric_column(name))
            } else if let Some(def) = schema::run_column(name).filter(|def| def.unit != Unit::Plain) {
                let title = def.name.trim_end_matches("_bytes").replace('_', " ");
                let (unit, direction) = (def.unit, def.direction);
                Ok(TableColumn {
                    column: name.clone(),
                    title,
                    unit,
                    direction,
                    form: CellForm::Statistic,
                    over: None,
                    verdict: None,
                })
            } else {
                let quantities = schema::RUN_COLUMNS.iter().filter(|def| def.unit != Unit::Plain).map(|def| def.name);
                let choices: Vec<&str> = known.iter().copied().chain(quantities).collect();
                Err(ResultsError::UnknownMetric { name: name.clone(), choices: choices.join(", ") })
            }
        })
        .collect()
}

/// Column of `<split>.<name>`.
fn metric_column(key: &str) -> TableColumn {
    let (split, name) = key.split_once('.').unwrap_or(("", key));
    let def = schema::metric_def(name);
    let title = def.map_or(name, |def| def.title);
    TableColumn {
        column: format!("{METRIC}{key}"),
        title: if split == "test" { title.to_owned() } else { format!("{title} ({})", split.replace('_', " ")) },
        unit: def.map_or(Unit::Plain, |def| def.unit),
        direction: def.map_or(Direction::None, |def| def.direction),
        form: CellForm::Statistic,
        over: None,
        verdict: None,
    }
}

/// Metrics that no file has are null for every run.
fn add_missing(runs: &mut DataFrame, metrics: &[String]) -> Result<()> {
    for name in metrics {
        if runs.column(name).is_err() {
            let nulls = Column::full_null(name.as_str().into(), runs.height(), &DataType::Float64);
            runs.with_column(nulls).map_err(ResultsError::internal("adding an absent metric"))?;
        }
    }
    Ok(())
}

/// Where each group stands in the table.
struct Grid {
    /// Keys of the rows, in order of first appearance.
    rows: Vec<Vec<Option<Scalar>>>,
    /// Values that the spread field takes; one `None` without such a field.
    overs: Vec<Option<Scalar>>,
    /// Group of each (row, over).
    cells: BTreeMap<(usize, usize), usize>,
}

impl Grid {
    fn place(groups: &[Group], keys: &[String], fields: &[Field], over: Option<&Field>) -> Result<Self> {
        let value = |group: &Group, field: &Field| {
            keys.iter().position(|key| *key == field.column).and_then(|at| group.key[at].clone())
        };
        let mut grid = Self { rows: Vec::new(), overs: Vec::new(), cells: BTreeMap::new() };
        for (index, group) in groups.iter().enumerate() {
            let row_key = fields.iter().map(|field| value(group, field)).collect();
            let over_key = over.and_then(|field| value(group, field));
            let at = (position_or_push(&mut grid.rows, row_key), position_or_push(&mut grid.overs, over_key));
            if let Some(taken) = grid.cells.insert(at, index) {
                return Err(mixed_cell(&groups[taken], group, keys, fields, &grid.rows[at.0]));
            }
        }
        Ok(grid)
    }

    /// One set of columns per value of the spread field.
    fn spread(&self, columns: Vec<TableColumn>, over: Option<&Field>) -> Vec<TableColumn> {
        let Some(field) = over else { return columns };
        let of_value = |value: &Option<Scalar>| {
            let over = Some((field.clone(), value.clone()));
            columns.iter().map(|column| TableColumn { over: over.clone(), ..column.clone() }).collect::<Vec<_>>()
        };
        self.overs.iter().flat_map(of_value).collect()
    }

    /// Rows with their cells; the first `n_shown` summaries of a group are shown.
    fn rows(&self, groups: &[Group], n_shown: usize) -> Vec<TableRow> {
        let empty = vec![Summary::default(); n_shown];
        let row = |(at, key): (usize, &Vec<Option<Scalar>>)| {
            let members: Vec<Option<&Group>> =
                (0..self.overs.len()).map(|over| self.cells.get(&(at, over)).map(|&index| &groups[index])).collect();
            TableRow {
                key: key.clone(),
                runs: members.iter().flatten().map(|group| group.rows.len()).sum(),
                failed: members.iter().flatten().map(|group| group.failed).sum(),
                dagger: false,
                chosen: false,
                cells: members
                    .iter()
                    .flat_map(|group| group.map_or(&empty[..], |group| &group.summaries[..n_shown]).to_vec())
                    .collect(),
            }
        };
        self.rows.iter().enumerate().map(row).collect()
    }
}

fn position_or_push<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|known| *known == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

fn mixed_cell(a: &Group, b: &Group, keys: &[String], fields: &[Field], row: &[Option<Scalar>]) -> ResultsError {
    let differing = keys.iter().enumerate().filter(|(at, _)| a.key[*at] != b.key[*at]);
    let missing: Vec<&str> = differing.map(|(_, key)| fields::path_of(key)).collect();
    ResultsError::MixedCell { cell: format!("`{}`", fields::row_label(fields, row)), missing: missing.join(", ") }
}

/// Text of row `row` of a column of `runs`.
fn text_at(runs: &DataFrame, column: &str, row: usize) -> Option<String> {
    decode::text(runs, column, row)
}
