//! Exact retrieval evaluation: average precision, inverse negative penalty and CMC.
//!
//! The Market-1501 protocol, unless [`RankSpec`] says otherwise. A query's gallery loses the pictures of its own
//! identity taken by its own camera; what is left is ranked by distance, ties in gallery order. A query without a match
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

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;
use reid_backbones::ops;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::distance::{distances_of_products, squared_norms};

/// Values in one block of distances: 64 MiB, so that the gallery is not packed for a product too often.
const BLOCK_VALUES: usize = 1 << 24;
/// Values in one block of distances from a large gallery: 128 MiB.
const MOST_VALUES: usize = 1 << 25;
/// Rows from which on a matrix product is at its full rate.
const EFFICIENT_ROWS: usize = 512;

/// Distances that are compared at a time.
const ABREAST: usize = 16;

/// What counts in a ranked gallery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankSpec {
    /// What becomes of pictures of the query's identity by the query's camera.
    pub same_camera: SameCamera,
    /// How precision is averaged.
    pub average_precision: AveragePrecision,
    /// What CMC counts.
    pub cmc: CmcShots,
}

/// What becomes of gallery pictures that show the query's identity to the query's camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameCamera {
    /// They are left out, as in all protocols with cameras: next to the query in time, they are no test.
    #[default]
    Removed,
    /// They are matches like others, for data whose pictures all come from one camera or from unknown ones. Such numbers
    /// are higher, and no paper's.
    Kept,
}

/// How precision is averaged over the matches of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AveragePrecision {
    /// `(1/m) sum_i i / r_i`: fast-reid, torchreid and the `TransReID` family.
    #[default]
    Steps,
    /// Under the curve through the points before and after each match: `(1/m) sum_i (p_i + q_i) / 2` with
    /// `p_i = i / r_i` and `q_i = (i - 1) / (r_i - 1)`, 1 where `r_i` is 1. Market-1501's own evaluation; it reads 0.5
    /// to 2 points lower.
    Trapezoid,
}

/// What the cumulative matching characteristic counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CmcShots {
    /// All pictures of the gallery.
    #[default]
    All,
    /// One picture of every identity of the gallery, drawn at random: `CUHK03`'s classic protocol. The mean over all
    /// draws is computed exactly; references average ten draws. Average precision is over all pictures as ever.
    Single,
}

/// Identities and cameras of a set of pictures.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// `[n]`, identity of each picture.
    pub pids: &'a [i64],
    /// `[n]`, camera of each picture.
    pub cameras: &'a [u32],
}

impl Labels<'_> {
    /// Number of pictures.
    fn len(&self) -> usize {
        assert_eq!(self.pids.len(), self.cameras.len(), "identities and cameras differ in number");
        self.pids.len()
    }
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

/// Distances of queries from a gallery, computed in blocks of queries.
pub trait Distances: Sync {
    /// What is computed for all rows at once, of some queries and the whole gallery.
    ///
    /// # Shapes
    /// - `out`: `[queries.len(), g]`, row-major
    fn begin(&self, queries: Range<usize>, out: &mut [f32]);

    /// Makes distances of a row that has been begun: apart from that, so that whoever goes through the row next finds it
    /// in the processor's cache.
    ///
    /// # Shapes
    /// - `row`: `[g]`
    fn finish(&self, query: usize, row: &mut [f32]);

    /// Distances of some queries from the whole gallery.
    ///
    /// # Shapes
    /// - `out`: `[queries.len(), g]`, row-major
    fn rows(&self, queries: Range<usize>, out: &mut [f32]) {
        let (first, width) = (queries.start, out.len() / queries.len().max(1));
        self.begin(queries, out);
        let finish = |(offset, row): (usize, &mut [f32])| self.finish(first + offset, row);
        out.par_chunks_exact_mut(width.max(1)).enumerate().for_each(finish);
    }
}

/// Squared Euclidean distances of features.
///
/// Features are compared as they are: where the protocol wants it, they have gone through
/// [`normalize_rows`](super::distance::normalize_rows) before.
pub struct SquaredEuclidean<'a> {
    query: &'a [f32],
    query_norms: Vec<f32>,
    gallery: &'a [f32],
    gallery_norms: Vec<f32>,
    width: usize,
}

impl<'a> SquaredEuclidean<'a> {
    /// Between the rows of two sets.
    ///
    /// # Shapes
    /// - `query`: `[q, d]`, `gallery`: `[g, d]`, row-major, `d = width`
    pub fn new(query: &'a [f32], gallery: &'a [f32], width: usize) -> Self {
        let (query_norms, gallery_norms) = (squared_norms(query, width), squared_norms(gallery, width));
        Self { query, query_norms, gallery, gallery_norms, width }
    }
}

impl Distances for SquaredEuclidean<'_> {
    fn begin(&self, queries: Range<usize>, out: &mut [f32]) {
        let rows = &self.query[queries.start * self.width..queries.end * self.width];
        ops::dot_products_into(rows, self.gallery, self.width, out);
    }

    fn finish(&self, query: usize, row: &mut [f32]) {
        distances_of_products(row, self.query_norms[query], &self.gallery_norms);
    }
}

/// Distances that are known already.
pub struct Given<'a> {
    /// `[q, g]`, row-major.
    pub values: &'a [f32],
    /// Pictures of the gallery.
    pub gallery: usize,
}

impl Distances for Given<'_> {
    fn begin(&self, queries: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.values[queries.start * self.gallery..queries.end * self.gallery]);
    }

    fn finish(&self, _: usize, _: &mut [f32]) {}
}

/// Queries in one block of distances from a gallery of `gallery` pictures: few of a large one, but not so few that its
/// features are read more often than they are worked on.
pub(crate) fn block_rows(gallery: usize) -> usize {
    let of = |values: usize| values / gallery.max(1);
    of(BLOCK_VALUES).max(of(MOST_VALUES).min(EFFICIENT_ROWS)).clamp(16, 1024)
}

/// Ranks the gallery for each query; CMC goes as far as `max_rank`.
///
/// # Panics
/// If labels and distances disagree in number: our bug.
pub fn rank(
    distances: &(impl Distances + ?Sized),
    query: Labels<'_>,
    gallery: Labels<'_>,
    spec: RankSpec,
    max_rank: usize,
) -> Ranking {
    let (query_len, gallery_len) = (query.len(), gallery.len());
    let depth = max_rank.min(gallery_len);
    if gallery_len == 0 || query_len == 0 {
        return Ranking::summarize(&vec![None; query_len], depth);
    }
    let people = (spec.cmc == CmcShots::Single).then(|| People::of(gallery.pids));
    let mut pictures: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (index, &pid) in (0..).zip(gallery.pids) {
        pictures.entry(pid).or_default().push(index);
    }
    let scorer = Scorer { gallery, pictures, people, spec, depth };
    let mut scored = Vec::with_capacity(query_len);
    let (block, mut rows) = (block_rows(gallery_len), Vec::new());
    for first in (0..query_len).step_by(block) {
        let last = (first + block).min(query_len);
        rows.resize((last - first) * gallery_len, 0.0);
        distances.begin(first..last, &mut rows); // [rows, g]
        let of_row = |near: &mut Vec<u32>, (offset, row): (usize, &mut [f32])| {
            let at = first + offset;
            distances.finish(at, row);
            scorer.score(row, query.pids[at], query.cameras[at], near)
        };
        scored.par_extend(rows.par_chunks_exact_mut(gallery_len).enumerate().map_init(Vec::new, of_row));
    }
    Ranking::summarize(&scored, depth)
}

/// The nearest `k` of a gallery to each query: index and distance, nearest first, equally near ones by index.
pub fn nearest(
    distances: &(impl Distances + ?Sized),
    queries: usize,
    gallery: usize,
    k: usize,
) -> Vec<Vec<(u32, f32)>> {
    let (block, mut rows) = (block_rows(gallery.max(1)), Vec::new());
    let mut found = Vec::with_capacity(queries);
    if gallery == 0 {
        return vec![Vec::new(); queries];
    }
    for first in (0..queries).step_by(block) {
        let last = (first + block).min(queries);
        rows.resize((last - first) * gallery, 0.0);
        distances.rows(first..last, &mut rows); // [rows, g]
        let of_row = |row: &[f32]| {
            let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            // As the evaluation orders them: NaN last, whatever its sign.
            let key = |&(index, distance): &(u32, f32)| order_key(distance, index as usize);
            if k < all.len() {
                all.select_nth_unstable_by_key(k, key);
                all.truncate(k);
                all.shrink_to_fit();
            }
            all.sort_unstable_by_key(key);
            all
        };
        found.par_extend(rows.par_chunks_exact(gallery).map(of_row));
    }
    found
}

impl Ranking {
    /// Means over valid queries, in query order; `depth` entries of CMC.
    fn summarize(scored: &[Option<Scored>], depth: usize) -> Self {
        let mut hits = vec![0.0; depth];
        let (mut ap_sum, mut inp_sum, mut valid) = (0.0, 0.0, 0);
        for Scored { score, hits: drawn } in scored.iter().flatten() {
            ap_sum += score.ap;
            inp_sum += score.inp;
            valid += 1;
            match drawn {
                Some(drawn) => hits.iter_mut().zip(drawn).for_each(|(sum, share)| *sum += share),
                None => hits.iter_mut().skip(score.first_hit as usize - 1).take(1).for_each(|sum| *sum += 1.0),
            }
        }
        let mut found = 0.0;
        let cmc = hits.into_iter().map(|share| {
            found += share;
            found / valid as f64
        });
        let cmc = cmc.collect();
        let per_query = scored.iter().map(|scored| scored.as_ref().map(|scored| scored.score)).collect();
        Self { per_query, cmc, map: ap_sum / valid as f64, minp: inp_sum / valid as f64, valid }
    }

    /// Share of valid queries with a match among the first `rank` kept pictures; the last entry of
    /// the CMC where the gallery is smaller than that, 0 where there is no gallery.
    pub fn cmc_at(&self, rank: usize) -> f64 {
        self.cmc.get(rank.saturating_sub(1)).or(self.cmc.last()).copied().unwrap_or(0.0)
    }
}

/// One query's score.
#[derive(Clone)]
struct Scored {
    score: QueryScore,
    /// `[depth]`, where one picture of each identity is drawn: the probability of the match to be at that rank.
    hits: Option<Vec<f64>>,
}

/// The identities of a gallery, numbered.
struct People {
    /// `[g]`.
    of: Vec<u32>,
    /// Pictures of each.
    pictures: Vec<u32>,
}

impl People {
    fn of(pids: &[i64]) -> Self {
        let mut numbers = BTreeMap::new();
        let mut pictures = Vec::new();
        let number = |pid| {
            let number = *numbers.entry(pid).or_insert(pictures.len() as u32);
            pictures.resize(pictures.len().max(number as usize + 1), 0);
            pictures[number as usize] += 1;
            number
        };
        let of = pids.iter().map(number).collect();
        Self { of, pictures }
    }
}

struct Scorer<'a> {
    gallery: Labels<'a>,
    /// Of each identity, its pictures in the gallery.
    pictures: BTreeMap<i64, Vec<u32>>,
    people: Option<People>,
    spec: RankSpec,
    depth: usize,
}

impl Scorer<'_> {
    /// Scores one query; none if it has no match. `near` is room for indices.
    fn score(&self, distances: &[f32], pid: i64, camera: u32, near: &mut Vec<u32>) -> Option<Scored> {
        let gallery = self.gallery;
        let keeps_camera = self.spec.same_camera == SameCamera::Kept;
        let own = self.pictures.get(&pid)?.iter().map(|&index| index as usize);
        let mut matches: Vec<u64> = own
            .filter(|&index| keeps_camera || gallery.cameras[index] != camera)
            .map(|index| order_key(distances[index], index))
            .collect();
        matches.sort_unstable();
        let last = *matches.last()?;
        let farthest = distance_of(last);

        // `ahead[i]`: other people's pictures between match `i - 1` and match `i`. Those behind the last
        // match change nothing.
        let mut ahead = vec![0_u32; matches.len()];
        for index in not_farther(distances, farthest, near).iter().map(|&index| index as usize) {
            let key = order_key(distances[index], index);
            if key < last && gallery.pids[index] != pid {
                ahead[matches.partition_point(|&at| at < key)] += 1;
            }
        }

        let (mut rank, mut precision_sum) = (0_u32, 0.0);
        for (found, others) in (1_u32..).zip(&ahead) {
            rank += others + 1;
            let precision = f64::from(found) / f64::from(rank);
            precision_sum += match self.spec.average_precision {
                AveragePrecision::Steps => precision,
                AveragePrecision::Trapezoid if rank == 1 => 1.0,
                AveragePrecision::Trapezoid => f64::midpoint(f64::from(found - 1) / f64::from(rank - 1), precision),
            };
        }
        let count = matches.len() as f64;
        let score = QueryScore {
            ap: precision_sum / count,
            inp: count / f64::from(rank),
            first_hit: ahead[0] + 1,
            matches: matches.len() as u32,
        };
        let hits = self.people.as_ref().map(|people| self.single_shot(people, distances, pid, &matches));
        Some(Scored { score, hits })
    }

    /// `[depth]`: the probability that, of one picture drawn of each identity, the match is at that rank.
    ///
    /// Of another identity with `n` pictures, `a` of them nearer than the match, the drawn one is nearer with probability
    /// `a / n`, independently of others: the number of those that are nearer has a Poisson binomial distribution.
    fn single_shot(&self, people: &People, distances: &[f32], pid: i64, matches: &[u64]) -> Vec<f64> {
        let mut hits = vec![0.0; self.depth];
        let mut nearer = vec![0_u32; people.pictures.len()];
        let mut others: Vec<(u64, u32)> = (distances.iter().zip(self.gallery.pids).zip(&people.of).enumerate())
            .filter(|(_, ((_, other), _))| **other != pid)
            .map(|(index, ((distance, _), person))| (order_key(*distance, index), *person))
            .filter(|(key, _)| matches.last().is_some_and(|last| key < last))
            .collect();
        others.sort_unstable();
        let mut others = others.into_iter().peekable();
        for drawn in matches {
            while let Some((_, person)) = others.next_if(|(key, _)| key < drawn) {
                nearer[person as usize] += 1;
            }
            // `at[c]`: the probability that so far `c` identities are nearer.
            let mut at = vec![0.0; self.depth];
            at[0] = 1.0;
            for (&nearer, &all) in nearer.iter().zip(&people.pictures).filter(|(nearer, _)| **nearer > 0) {
                let share = f64::from(nearer) / f64::from(all);
                for c in (1..self.depth).rev() {
                    at[c] = at[c] * (1.0 - share) + at[c - 1] * share;
                }
                at[0] *= 1.0 - share;
            }
            hits.iter_mut().zip(at).for_each(|(sum, share)| *sum += share / matches.len() as f64);
        }
        hits
    }
}

/// Indices of the distances that are not greater than `farthest`, NaN among them.
///
/// Most are farther, and a vector of comparisons says so of many at a time. Among the others there is no branch: which of
/// them are nearer is as good as random, and processors guess.
#[expect(clippy::needless_bitwise_bool, reason = "a lazy operator would be a branch for every comparison")]
fn not_farther<'a>(distances: &[f32], farthest: f32, room: &'a mut Vec<u32>) -> &'a [u32] {
    room.resize(distances.len() + 1, 0);
    let mut count = 0;
    let mut collect = |first: u32, distances: &[f32]| {
        for (index, &distance) in (first..).zip(distances) {
            room[count] = index;
            count += 1 - usize::from(distance > farthest);
        }
    };
    let (chunks, rest) = distances.as_chunks::<ABREAST>();
    for (at, chunk) in (0_u32..).zip(chunks) {
        if !chunk.iter().fold(true, |all, &distance| all & (distance > farthest)) {
            collect(at * ABREAST as u32, chunk);
        }
    }
    collect((distances.len() - rest.len()) as u32, rest);
    &room[..count]
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

/// The distance that a key is of; infinite for NaN.
pub(crate) fn distance_of(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    let distance = f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered });
    if distance.is_nan() { f32::INFINITY } else { distance }
}
