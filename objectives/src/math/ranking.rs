//! Exact retrieval evaluation: average precision, inverse negative penalty and CMC.
//!
//! The Market-1501 protocol. A query's gallery loses the pictures of its own identity taken by its
//! own camera; what is left is ranked by distance, ties in gallery order. A query without a match
//! left is skipped and counts nowhere. With `r_1 < ... < r_m` the ranks of the `m` matches,
//!
//! - `AP = (1/m) sum_i i / r_i` (steps, no interpolation),
//! - `INP = m / r_m` (Ye et al., arXiv 2001.04193),
//! - `CMC[k]` is the share of valid queries with `r_1 <= k + 1`.
//!
//! Only the ranks of matches matter, so no row is ever sorted: the matches are, and every other
//! kept picture is counted into the gap between two of them. Distances exist for one block of
//! queries at a time. Blocks depend on the gallery's size alone and every sum has a fixed order, so
//! the result does not depend on the number of threads.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use reid_backbones::{Result, ops};

use super::distance::squared_norm;

/// Values in one block of distances: 32 MiB.
const BLOCK_VALUES: usize = 1 << 23;

/// Identities and cameras of a set of pictures.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// `[n]`, identity of each picture.
    pub pids: &'a [i64],
    /// `[n]`, camera of each picture.
    pub cameras: &'a [u32],
}

/// Features of a set of pictures with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// `[n, d]`, row-major.
    pub features: &'a [f32],
    /// `[n]`.
    pub labels: Labels<'a>,
}

/// How one query fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryScore {
    /// Average precision, in (0, 1].
    pub ap: f64,
    /// Inverse negative penalty, in (0, 1].
    pub inp: f64,
    /// Rank of the first match among the kept pictures, from 1.
    pub first_hit: u32,
    /// Matches among the kept pictures.
    pub matches: u32,
}

/// How all queries fared.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    /// `[q]`, in query order; none where a query has no match.
    pub per_query: Vec<Option<QueryScore>>,
    /// `cmc[k]`: share of valid queries with a match among the first `k + 1` kept pictures. As long
    /// as the gallery or the asked rank, whichever is smaller.
    pub cmc: Vec<f64>,
    /// Mean average precision over valid queries; NaN if there are none.
    pub map: f64,
    /// Mean inverse negative penalty over valid queries; NaN if there are none.
    pub minp: f64,
    /// Queries with at least one match. Where it is 0, `map`, `minp` and `cmc` mean nothing.
    pub valid: usize,
}

/// Ranks the gallery for each query by squared Euclidean distance.
///
/// Features are compared as they are: where the protocol wants it, they have gone through
/// [`normalize_rows`](super::distance::normalize_rows) before.
///
/// # Shapes
/// - `query.features`: `[q, d]`, `gallery.features`: `[g, d]`, `d = width`
///
/// # Errors
/// If the matrix product fails.
///
/// # Panics
/// If features and labels disagree in number: our bug.
pub fn rank(query: Samples<'_>, gallery: Samples<'_>, width: usize, max_rank: usize) -> Result<Ranking> {
    let gallery_len = check(gallery, width);
    let query_len = check(query, width);
    if gallery_len == 0 || query_len == 0 {
        return Ok(Ranking::summarize(vec![None; query_len], max_rank.min(gallery_len)));
    }
    let gallery_norms: Vec<f32> = gallery.features.chunks_exact(width).map(|row| squared_norm(row) as f32).collect();
    let others = Tensor::from_slice(gallery.features, (gallery_len, width), &Device::Cpu)?; // [g, d]

    let block_rows = (BLOCK_VALUES / gallery_len).clamp(16, 512);
    let mut per_query = Vec::with_capacity(query_len);
    for (block_idx, rows) in query.features.chunks(block_rows * width).enumerate() {
        let block = Tensor::from_slice(rows, (rows.len() / width, width), &Device::Cpu)?; // [rows, d]
        let mut distances: Vec<f32> = ops::dot_products(&block, &others)?.flatten_all()?.to_vec1()?; // [rows, g]
        let first = block_idx * block_rows;
        let scores = distances.par_chunks_exact_mut(gallery_len).zip(rows.par_chunks_exact(width)).enumerate().map(
            |(offset, (row, feature))| {
                let query_norm = squared_norm(feature) as f32;
                for (value, gallery_norm) in row.iter_mut().zip(&gallery_norms) {
                    *value = query_norm + gallery_norm - 2.0 * *value;
                }
                let at = first + offset;
                score(row, query.labels.pids[at], query.labels.cameras[at], gallery.labels)
            },
        );
        per_query.par_extend(scores);
    }
    Ok(Ranking::summarize(per_query, max_rank.min(gallery_len)))
}

/// Ranks the gallery for each query by distances that are given row by row.
///
/// # Panics
/// If there are fewer or more rows than queries, or a row is not as long as the gallery: our bug.
pub fn rank_by_distances<'a>(
    rows: impl IntoIterator<Item = &'a [f32]>,
    query: Labels<'_>,
    gallery: Labels<'_>,
    max_rank: usize,
) -> Ranking {
    let mut rows = rows.into_iter();
    let per_query = query.pids.iter().zip(query.cameras).map(|(&pid, &camera)| {
        let row = rows.next().expect("one row of distances for each query");
        score(row, pid, camera, gallery)
    });
    let per_query = per_query.collect();
    assert!(rows.next().is_none(), "more rows of distances than queries");
    Ranking::summarize(per_query, max_rank.min(gallery.pids.len()))
}

impl Ranking {
    /// Means over valid queries, in query order; `depth` entries of CMC.
    fn summarize(per_query: Vec<Option<QueryScore>>, depth: usize) -> Self {
        let mut first_hits = vec![0_usize; depth];
        let (mut ap_sum, mut inp_sum, mut valid) = (0.0, 0.0, 0);
        for score in per_query.iter().flatten() {
            ap_sum += score.ap;
            inp_sum += score.inp;
            valid += 1;
            if let Some(count) = first_hits.get_mut(score.first_hit as usize - 1) {
                *count += 1;
            }
        }
        let mut hits = 0;
        let cmc = first_hits.iter().map(|count| {
            hits += count;
            hits as f64 / valid as f64
        });
        let cmc = cmc.collect();
        Self { per_query, cmc, map: ap_sum / valid as f64, minp: inp_sum / valid as f64, valid }
    }

    /// Share of valid queries with a match among the first `rank` kept pictures; the last entry of
    /// the CMC where the gallery is smaller than that, 0 where there is no gallery.
    pub fn cmc_at(&self, rank: usize) -> f64 {
        self.cmc.get(rank.saturating_sub(1)).or(self.cmc.last()).copied().unwrap_or(0.0)
    }
}

/// Number of samples.
fn check(samples: Samples<'_>, width: usize) -> usize {
    let Labels { pids, cameras } = samples.labels;
    assert_eq!(pids.len(), cameras.len(), "identities and cameras differ in number");
    assert_eq!(samples.features.len(), pids.len() * width, "features and labels differ in number");
    pids.len()
}

/// Scores one query; none if it has no match.
fn score(distances: &[f32], pid: i64, camera: u32, gallery: Labels<'_>) -> Option<QueryScore> {
    assert_eq!(distances.len(), gallery.pids.len(), "a row of distances and the gallery differ in length");
    let same_pid = gallery.pids.iter().enumerate().filter(|&(_, &other)| other == pid);
    let mut matches: Vec<u64> = same_pid
        .filter(|&(index, _)| gallery.cameras[index] != camera)
        .map(|(index, _)| order_key(distances[index], index))
        .collect();
    matches.sort_unstable();
    let last = *matches.last()?;

    // `ahead[i]`: other people's pictures between match `i - 1` and match `i`. Those behind the last
    // match change nothing.
    let mut ahead = vec![0_u32; matches.len()];
    for (index, (&distance, &other)) in distances.iter().zip(gallery.pids).enumerate() {
        let key = order_key(distance, index);
        if other != pid && key < last {
            ahead[matches.partition_point(|&at| at < key)] += 1;
        }
    }

    let (mut rank, mut precision_sum) = (0_u32, 0.0);
    for (found, others) in (1_u32..).zip(&ahead) {
        rank += others + 1;
        precision_sum += f64::from(found) / f64::from(rank);
    }
    let count = matches.len() as f64;
    Some(QueryScore {
        ap: precision_sum / count,
        inp: count / f64::from(rank),
        first_hit: ahead[0] + 1,
        matches: matches.len() as u32,
    })
}

/// A number that orders pictures by distance, then by gallery index; NaN comes last.
pub(crate) fn order_key(distance: f32, index: usize) -> u64 {
    // Adding zero makes -0 and 0 one value.
    let bits = (distance + 0.0).to_bits();
    let ordered = match (distance.is_nan(), bits >> 31) {
        (true, _) => u32::MAX,
        (false, 1) => !bits,
        (false, _) => bits | 1 << 31,
    };
    u64::from(ordered) << 32 | index as u64
}
