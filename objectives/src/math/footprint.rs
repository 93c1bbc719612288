//! The most memory that ranking, re-ranking and clustering take, by formula: beside the model, the pictures and the
//! program itself, bytes.
//!
//! Features are `[n, d]` in f32. A matrix product packs the side that it walks through, which is a copy of it. Rows of
//! weights have at most as many columns as the sizes of neighbourhoods allow, so these bound what grows with the number
//! of pictures; scratch of each thread is linear in it and left out. What was measured is between a third and all of them.

use super::ranking::block_rows;
use super::reciprocal::round_to_even_half;
use crate::cluster::dbscan::ROOM;

/// Bytes of an f32 and of an index.
const WORD: usize = 4;
/// Bytes of a list without its entries.
const LIST: usize = 24;
/// Bytes that are kept of each ranked query.
const QUERY: usize = 128;

/// An eighth more, which allocators may round up.
fn rounded(bytes: usize) -> u64 {
    (bytes + bytes / 8) as u64
}

/// Ranking a gallery for queries: features, the packed gallery, a block of distances.
pub fn ranking(queries: usize, gallery: usize, width: usize) -> u64 {
    let features = WORD * (width + 1) * (queries + gallery);
    let block = WORD * gallery * block_rows(gallery).min(queries.max(1));
    // What is near enough to count, of one query for each thread.
    let near = WORD * (gallery + 1) * rayon::current_num_threads().min(block_rows(gallery));
    rounded(features + WORD * width * gallery + block + near + QUERY * queries)
}

/// Neighbourhoods and their Jaccard distances among n features: their product, lists of the nearest, sets, rows of weights.
fn neighbourhoods(n: usize, width: usize, k1: usize, k2: usize) -> u64 {
    let half = round_to_even_half(k1) + 1;
    let product = WORD * width * n + WORD * n * block_rows(n).min(n.max(1));
    // Up to twice as many candidates of 8 bytes, then the list.
    let nearest = n * (16 * (k1 + 1) + 2 * LIST + WORD * (k1 + 1));
    let sets = n * (2 * LIST + WORD * (k1 + 1 + half));
    // Of a half set that extends a row, less than a third is new.
    let own = ((k1 + 1) * (1 + (half - 1) / 3)).min(n);
    let row = (own * k2.max(1)).min(n);
    // An index and a value for each; twice at a time: before and after averaging, as lists and joined, by rows and columns.
    let weights = n * (2 * LIST + 2 * 2 * WORD * row.max(own));
    rounded(product + nearest + sets + weights)
}

/// Re-ranking by k-reciprocal neighbours, beside [`ranking`].
pub fn reranking(queries: usize, gallery: usize, width: usize, k1: usize, k2: usize) -> u64 {
    let n = queries + gallery;
    rounded(WORD * width * n + 8 * n) + neighbourhoods(n, width, k1, k2)
}

/// Clustering n features by DBSCAN on Jaccard distances.
pub fn clustering(n: usize, width: usize, k1: usize, k2: usize, min_samples: usize) -> u64 {
    let features = WORD * (width + 1) * n;
    // Kept lists, those of what is no core, and a block of those that are made again.
    let room = |entries: usize| WORD * entries.min(n * n);
    let lists = room(ROOM) + n * (LIST + WORD * min_samples) + room((ROOM / 4).max(16 * n));
    rounded(features + lists) + neighbourhoods(n, width, k1, k2)
}
