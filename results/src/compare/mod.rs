//! Two settings against each other, query by query: by how much they differ, how sure that is, and at which queries.

mod bootstrap;
mod pairing;
pub(crate) mod reference;
mod text;

use polars::prelude::{DataFrame, IntoLazy, col, lit};

use crate::reader::Frames;
use crate::significance::{LEVEL, MIN_SEEDS, holm};
use crate::table::{TableOptions, fields, select};
use crate::{Result, decode};

pub use bootstrap::{Estimate, Paired};
pub use text::{json, text};

/// What is compared and how.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// Which runs, and of which set of queries: `experiment`, `runs` and `split`.
    pub table: TableOptions,
    /// The setting that is compared with the others, named as tables name their rows: `person_mae, mask_ratio=0.5`.
    pub first: String,
    /// The others.
    pub others: Vec<String>,
    /// Replicates of the bootstrap.
    pub replicates: u32,
    /// Queries that are shown of those that gained most, and of those that lost most.
    pub queries: usize,
}

/// One setting against another.
#[derive(Clone, Debug, PartialEq)]
pub struct Versus {
    /// Name of the first setting.
    pub first: String,
    /// Name of the other.
    pub other: String,
    /// Pre-training seeds that both have, in order.
    pub seeds: Vec<i64>,
    /// Finished runs of the two whose seeds the other lacks; they enter nothing.
    pub unpaired: usize,
    /// Failed runs of the two; they enter nothing either.
    pub failed: usize,
    /// Identities of the queries.
    pub identities: usize,
    /// Queries with a match.
    pub queries: usize,
    /// mAP of the first over the paired seeds, a fraction.
    pub first_map: f64,
    /// mAP of the other.
    pub other_map: f64,
    /// The difference, first minus other.
    pub difference: Estimate,
    /// Its p value after Holm's correction over all comparisons.
    pub p_holm: Option<f64>,
    /// What may be said of it.
    pub verdict: Verdict,
    /// Queries by their gain, most first; no more than were asked for, and none that lost.
    pub gained: Vec<QueryChange>,
    /// Queries by their loss, most first.
    pub lost: Vec<QueryChange>,
}

/// What may be said of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first is better.
    Better,
    /// The first is worse.
    Worse,
    /// Neither can be told from the other.
    Open,
    /// There are fewer than [`MIN_SEEDS`] paired seeds: nothing is said. How many would tell a difference of this
    /// size, where that can be estimated.
    TooFewSeeds {
        /// Seeds with which four of five studies would find it.
        needed: Option<usize>,
    },
}

/// A query at two settings, averaged over their paired seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryChange {
    /// Picture, relative to the data set's folder.
    pub path: String,
    /// Person.
    pub pid: i64,
    /// Camera.
    pub camera: i64,
    /// Average precision at the first setting.
    pub first: f64,
    /// Average precision at the other.
    pub other: f64,
}

/// Compares the first setting with each of the others. `draws` gives every replicate its own source of
/// uniform whole numbers below the one it is asked with, the same for all comparisons.
///
/// # Errors
/// [`crate::ResultsError::NoRuns`] if nothing is selected, [`crate::ResultsError::Setting`] if a name fits no setting
/// or several, [`crate::ResultsError::Incomparable`] if two settings have no finished seed in common, or were
/// evaluated on other data or by another protocol; and what [`crate::read`] may meet in the files of query rows.
pub fn compare<D: FnMut(usize) -> usize>(
    frames: &Frames,
    options: &CompareOptions,
    draws: impl Fn(u32) -> D,
) -> Result<Vec<Versus>> {
    let runs = select::select(&frames.runs, &options.table)?.runs;
    let (fields, _) = fields::resolve(&runs, &options.table)?;
    let settings = reference::settings(&runs, &fields, &options.table);
    let first = reference::find(&settings, &options.first)?;
    let mut compared = Vec::with_capacity(options.others.len());
    let mut seen: Vec<&reference::Setting> = Vec::new();
    for name in &options.others {
        let other = reference::find(&settings, name)?;
        // Named twice, it is compared once.
        if seen.iter().any(|known| std::ptr::eq(*known, other)) {
            continue;
        }
        seen.push(other);
        let pairs = pairing::pairs(&runs, first, other)?;
        let queries = query_rows(frames, &runs, &pairs.paired, &options.table.split)?;
        let table = pairing::Table::new(&queries, &pairs, first, other)?;
        compared.push(table.versus(options, &draws)?);
    }

    let p_values: Vec<f64> = compared.iter().filter_map(|versus| versus.difference.p).collect();
    let mut adjusted = holm(&p_values).into_iter();
    for versus in &mut compared {
        versus.p_holm = versus.difference.p.and_then(|_| adjusted.next());
        versus.verdict = verdict(versus);
    }
    Ok(compared)
}

fn verdict(versus: &Versus) -> Verdict {
    let seeds = versus.seeds.len();
    if seeds < MIN_SEEDS {
        let needed = versus.difference.seeds_needed(seeds, versus.identities);
        return Verdict::TooFewSeeds { needed: needed.map(|needed| needed.max(MIN_SEEDS)) };
    }
    match versus.p_holm {
        Some(p) if p < LEVEL && versus.difference.mean > 0.0 => Verdict::Better,
        Some(p) if p < LEVEL => Verdict::Worse,
        _ => Verdict::Open,
    }
}

/// Query rows of the paired runs, of one split.
fn query_rows(frames: &Frames, runs: &DataFrame, pairs: &[pairing::Pair], split: &str) -> Result<DataFrame> {
    let ids =
        pairs.iter().flat_map(|pair| [pair.first, pair.other]).filter_map(|row| decode::text(runs, "run_id", row));
    let rows = frames.queries_of(ids)?;
    rows.lazy().filter(col("split").eq(lit(split))).collect().map_err(crate::ResultsError::internal("choosing a split"))
}
