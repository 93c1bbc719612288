//! Runs of two settings with the same seeds, and the queries that they share.

use std::collections::{BTreeMap, BTreeSet};

use polars::prelude::DataFrame;

use super::reference::Setting;
use super::{CompareOptions, Paired, QueryChange, Verdict, Versus};
use crate::table::select;
use crate::{Result, ResultsError, decode};

/// Two runs with the same seeds.
pub(super) struct Pair {
    /// Its row among the runs, of the first setting.
    pub(super) first: usize,
    /// That of the other.
    pub(super) other: usize,
    first_id: String,
    other_id: String,
    seed: i64,
}

/// Finished runs of two settings that have the same seeds, and what is left over.
pub(super) struct Pairs {
    pub(super) paired: Vec<Pair>,
    /// Finished runs whose seeds the other setting lacks.
    unpaired: usize,
    failed: usize,
}

/// Pairs the finished runs of both settings by their seeds.
pub(super) fn pairs(runs: &DataFrame, first: &Setting, other: &Setting) -> Result<Pairs> {
    let incomparable =
        |reason: String| ResultsError::Incomparable { first: first.name.clone(), other: other.name.clone(), reason };
    if std::ptr::eq(first, other) {
        return Err(incomparable("they are one setting".to_owned()));
    }
    let by_seeds = |setting: &Setting| -> Result<BTreeMap<(i64, i64), usize>> {
        let mut found = BTreeMap::new();
        for &row in setting.rows.iter().filter(|&&row| is_finished(runs, row)) {
            let seed = |column| decode::int(runs, column, row).unwrap_or_default();
            if found.insert((seed("seed_pretrain"), seed("seed_downstream")), row).is_some() {
                let reason = format!(
                    "`{}` has runs of several data sets or evaluations; choose by --experiment or --spec",
                    setting.name
                );
                return Err(incomparable(reason));
            }
        }
        Ok(found)
    };
    // What an experiment itself sweeps is what it asks about.
    let asked: &[(&str, &str)] = if select::is_swept(runs) { &[] } else { &[("protocol", "evaluation protocols")] };
    let others = by_seeds(other)?;
    let mut pairs: Vec<Pair> = Vec::new();
    for (seeds, row) in by_seeds(first)? {
        let Some(&partner) = others.get(&seeds) else { continue };
        for &(column, what) in asked.iter().chain(&[("dataset_fingerprint", "data")]) {
            let text = |row| decode::text(runs, column, row).unwrap_or_default();
            let known = pairs.first().map_or(row, |pair| pair.first);
            for other in [row, partner] {
                if text(known) != text(other) {
                    return Err(incomparable(format!("their {what} differ: `{}` and `{}`", text(known), text(other))));
                }
            }
        }
        let id = |row| decode::text(runs, "run_id", row).unwrap_or_default();
        pairs.push(Pair { first: row, other: partner, first_id: id(row), other_id: id(partner), seed: seeds.0 });
    }
    if pairs.is_empty() {
        let reason = "no seed of theirs is finished in both; run them with the same seeds".to_owned();
        return Err(incomparable(reason));
    }
    let all = || first.rows.iter().chain(&other.rows);
    let failed = all().filter(|&&row| !is_finished(runs, row)).count();
    let unpaired = all().count() - failed - 2 * pairs.len();
    Ok(Pairs { paired: pairs, unpaired, failed })
}

fn is_finished(runs: &DataFrame, row: usize) -> bool {
    decode::text(runs, "status", row).as_deref() == Some("ok")
}

/// A query: person first, so that queries of a person are neighbours.
type Query = (i64, i64);

/// Average precisions of the queries that all paired runs have.
pub(super) struct Table {
    first: String,
    other: String,
    seeds: Vec<i64>,
    unpaired: usize,
    failed: usize,
    /// Path and camera of each query, by person and index.
    queries: BTreeMap<Query, (String, i64)>,
    /// `[seeds, queries]`, each the mean over the downstream seeds.
    of_first: Vec<Vec<f64>>,
    of_other: Vec<Vec<f64>>,
}

impl Table {
    /// # Errors
    /// [`ResultsError::Incomparable`] if a run has no rows of queries, or other queries than the rest.
    pub(super) fn new(rows: &DataFrame, of: &Pairs, first: &Setting, other: &Setting) -> Result<Self> {
        let pairs = &of.paired;
        let incomparable = |reason: String| ResultsError::Incomparable {
            first: first.name.clone(),
            other: other.name.clone(),
            reason,
        };
        let mut queries: BTreeMap<Query, (String, i64)> = BTreeMap::new();
        let mut of_run: BTreeMap<String, BTreeMap<Query, f64>> = BTreeMap::new();
        for row in 0..rows.height() {
            let Some(id) = decode::text(rows, "run_id", row) else { continue };
            let number = |column| decode::int(rows, column, row).unwrap_or_default();
            let query = (number("pid"), number("query"));
            let known = of_run.entry(id).or_default();
            // Without a match there is no average precision, with whatever features.
            if let Some(ap) = decode::float(rows, "ap", row).filter(|ap| ap.is_finite()) {
                known.insert(query, ap);
                let path = || decode::text(rows, "path", row).unwrap_or_default();
                queries.entry(query).or_insert_with(|| (path(), number("camera")));
            }
        }
        let seeds: Vec<i64> = pairs.iter().map(|pair| pair.seed).collect::<BTreeSet<_>>().into_iter().collect();
        let average = |id: fn(&Pair) -> &str| -> Result<Vec<Vec<f64>>> {
            let of_seed = |seed: &i64| {
                let ids: Vec<&str> = pairs.iter().filter(|pair| pair.seed == *seed).map(id).collect();
                let mut sums = vec![0.0; queries.len()];
                for id in &ids {
                    let known = of_run.get(*id).filter(|known| known.len() == queries.len() && !known.is_empty());
                    let known = known.ok_or_else(|| {
                        incomparable(format!("run {id} has no average precisions of the same queries; run it again"))
                    })?;
                    for (sum, ap) in sums.iter_mut().zip(known.values()) {
                        *sum += ap / ids.len() as f64;
                    }
                }
                Ok(sums)
            };
            seeds.iter().map(of_seed).collect()
        };
        let (of_first, of_other) = (average(|pair| &pair.first_id)?, average(|pair| &pair.other_id)?);
        Ok(Self {
            first: first.name.clone(),
            other: other.name.clone(),
            unpaired: of.unpaired,
            failed: of.failed,
            seeds,
            queries,
            of_first,
            of_other,
        })
    }

    /// The comparison; its verdict is left open.
    pub(super) fn versus<D: FnMut(usize) -> usize>(
        &self,
        options: &CompareOptions,
        draws: impl Fn(u32) -> D,
    ) -> Result<Versus> {
        let mut of_identity: BTreeMap<i64, usize> = BTreeMap::new();
        for &(pid, _) in self.queries.keys() {
            *of_identity.entry(pid).or_default() += 1;
        }
        let differences = self.of_first.iter().zip(&self.of_other);
        let differences = differences.flat_map(|(first, other)| first.iter().zip(other).map(|(a, b)| a - b)).collect();
        let paired = Paired { queries: of_identity.values().copied().collect(), differences };
        let difference = paired.estimate(options.replicates, draws).ok_or_else(|| ResultsError::Incomparable {
            first: self.first.clone(),
            other: self.other.clone(),
            reason: format!("they have no queries in `{}`", options.table.split),
        })?;
        let (first, other) = (over_seeds(&self.of_first), over_seeds(&self.of_other));
        let map = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (gained, lost) = self.changes(&first, &other, options.queries);
        Ok(Versus {
            first: self.first.clone(),
            other: self.other.clone(),
            seeds: self.seeds.clone(),
            unpaired: self.unpaired,
            failed: self.failed,
            identities: of_identity.len(),
            queries: self.queries.len(),
            first_map: map(&first),
            other_map: map(&other),
            difference,
            p_holm: None,
            verdict: Verdict::Open,
            gained,
            lost,
        })
    }

    /// The queries that gained and lost most.
    fn changes(&self, first: &[f64], other: &[f64], most: usize) -> (Vec<QueryChange>, Vec<QueryChange>) {
        let mut changes = Vec::with_capacity(first.len());
        for ((&(pid, _), (path, camera)), (&first, &other)) in self.queries.iter().zip(first.iter().zip(other)) {
            changes.push(QueryChange { path: path.clone(), pid, camera: *camera, first, other });
        }
        let gain = |change: &QueryChange| change.first - change.other;
        changes.sort_by(|a, b| gain(b).total_cmp(&gain(a)).then_with(|| a.path.cmp(&b.path)));
        let gained = changes.iter().take(most).filter(|change| gain(change) > 0.0).cloned().collect();
        let lost = changes.iter().rev().take(most).filter(|change| gain(change) < 0.0).cloned().collect();
        (gained, lost)
    }
}

/// Mean over seeds of each query.
fn over_seeds(values: &[Vec<f64>]) -> Vec<f64> {
    let width = values.first().map_or(0, Vec::len);
    (0..width).map(|at| values.iter().map(|of_seed| of_seed[at]).sum::<f64>() / values.len() as f64).collect()
}
