//! Mean and standard deviation over seeds, by polars.
//!
//! With several downstream seeds per pre-training seed, the downstream seeds are averaged first; mean and
//! standard deviation (n - 1) are over pre-training seeds. That is the honest n: runs that share a pre-training
//! are not independent. Failed runs enter no mean and are counted.

use std::collections::BTreeMap;

use polars::prelude::{Column, DataFrame, Expr, IntoLazy, col, lit};

use crate::row::Scalar;
use crate::{Result, ResultsError, decode};

/// One metric of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Mean over pre-training seeds; `None` when no run has the metric, NaN when a run's value is undefined.
    pub mean: Option<f64>,
    /// Sample standard deviation over pre-training seeds; `None` below two.
    pub std: Option<f64>,
    /// Pre-training seeds.
    pub n: usize,
    /// Runs behind them.
    pub runs: usize,
    /// Whether each pre-training seed has equally many runs.
    pub even: bool,
    /// Value of each pre-training seed, averaged over its downstream seeds.
    pub seeds: BTreeMap<i64, f64>,
}

/// Runs that share all key columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Values of the key columns; `None` for null.
    pub key: Vec<Option<Scalar>>,
    /// Rows of the input, failed runs included.
    pub rows: Vec<usize>,
    /// How many of them failed.
    pub failed: usize,
    /// One summary per metric, over the runs that ended well.
    pub summaries: Vec<Summary>,
}

/// Groups `runs` by the columns `keys`, in order of first appearance, and summarizes the columns `metrics`.
///
/// # Errors
/// [`ResultsError::Internal`] if a metric column is missing or no number.
pub fn aggregate(runs: &DataFrame, keys: &[String], metrics: &[String]) -> Result<Vec<Group>> {
    let fault = ResultsError::internal;
    let (mut groups, membership) = group_rows(runs, keys, metrics.len());
    let with_group = {
        let mut frame = runs.clone();
        frame.with_column(Column::new("#group".into(), membership)).map_err(fault("numbering the groups"))?;
        frame
    };
    let per_seed = |name: &String| [col(name.as_str()).mean(), col(name.as_str()).count().alias(count_of(name))];
    let by_seed = with_group
        .lazy()
        .filter(col("status").eq(lit("ok")))
        .group_by_stable([col("#group"), col("seed_pretrain")])
        .agg(metrics.iter().flat_map(per_seed).collect::<Vec<Expr>>())
        .collect()
        .map_err(fault("averaging over downstream seeds"))?;
    let per_group = |name: &String| {
        [
            col(name.as_str()).mean(),
            col(name.as_str()).std(1).alias(std_of(name)),
            col(name.as_str()).count().alias(count_of(name)),
        ]
    };
    let by_group = by_seed
        .clone()
        .lazy()
        .group_by_stable([col("#group")])
        .agg(metrics.iter().flat_map(per_group).collect::<Vec<Expr>>())
        .collect()
        .map_err(fault("averaging over pre-training seeds"))?;
    for (index, name) in metrics.iter().enumerate() {
        fill_seeds(&mut groups, &by_seed, index, name).map_err(fault("collecting seeds"))?;
        fill_summaries(&mut groups, &by_group, index, name).map_err(fault("collecting means"))?;
    }
    Ok(groups)
}

fn count_of(metric: &str) -> String {
    format!("#count {metric}")
}

fn std_of(metric: &str) -> String {
    format!("#std {metric}")
}

/// Groups without numbers, and the group of each row.
fn group_rows(runs: &DataFrame, keys: &[String], n_metrics: usize) -> (Vec<Group>, Vec<i64>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut membership = Vec::with_capacity(runs.height());
    for row in 0..runs.height() {
        let key: Vec<Option<Scalar>> = keys.iter().map(|name| decode::scalar(runs, name, row)).collect();
        // The debug form tells a text from the number that it spells, and null from both.
        let index = *known.entry(format!("{key:?}")).or_insert(groups.len());
        if index == groups.len() {
            groups.push(Group { key, rows: Vec::new(), failed: 0, summaries: vec![Summary::default(); n_metrics] });
        }
        let group = &mut groups[index];
        group.rows.push(row);
        group.failed += usize::from(decode::text(runs, "status", row).as_deref() != Some("ok"));
        membership.push(index as i64);
    }
    (groups, membership)
}

type Polars<T> = polars::prelude::PolarsResult<T>;

/// Group index of each row of an aggregated frame.
fn group_indices(frame: &DataFrame) -> Polars<Vec<usize>> {
    Ok(frame.column("#group")?.i64()?.iter().map(|group| group.unwrap_or(0) as usize).collect())
}

/// Counts of an aggregated frame, whatever integer type polars counts in.
fn counts(frame: &DataFrame, metric: &str) -> Polars<Vec<usize>> {
    let counts = frame.column(&count_of(metric))?.cast(&polars::prelude::DataType::Int64)?;
    Ok(counts.i64()?.iter().map(|count| count.unwrap_or(0) as usize).collect())
}

fn fill_seeds(groups: &mut [Group], by_seed: &DataFrame, index: usize, metric: &str) -> Polars<()> {
    let seeds = by_seed.column("seed_pretrain")?.i64()?;
    let values = by_seed.column(metric)?.cast(&polars::prelude::DataType::Float64)?;
    let counts = counts(by_seed, metric)?;
    for (row, group) in group_indices(by_seed)?.into_iter().enumerate() {
        let summary = &mut groups[group].summaries[index];
        if let Some(value) = values.f64()?.get(row) {
            summary.even = if summary.seeds.is_empty() {
                true
            } else {
                summary.even && summary.runs == counts[row] * summary.seeds.len()
            };
            summary.seeds.insert(seeds.get(row).unwrap_or(0), value);
            summary.runs += counts[row];
        }
    }
    Ok(())
}

fn fill_summaries(groups: &mut [Group], by_group: &DataFrame, index: usize, metric: &str) -> Polars<()> {
    let means = by_group.column(metric)?.f64()?;
    let stds = by_group.column(&std_of(metric))?.f64()?;
    let counts = counts(by_group, metric)?;
    for (row, group) in group_indices(by_group)?.into_iter().enumerate() {
        let summary = &mut groups[group].summaries[index];
        summary.mean = means.get(row);
        summary.std = stds.get(row);
        summary.n = counts[row];
    }
    Ok(())
}
