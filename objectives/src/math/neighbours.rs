//! The nearest of n features to each of them, exactly.

use rayon::prelude::*;

use super::distance::{distances_into, squared_norms};
use super::ranking::{block_rows, distance_of, order_key};

/// Features whose lists one task extends while it walks down a block's columns.
const COLUMNS: usize = 64;
/// Distances that are compared at a time.
const ABREAST: usize = 16;

/// The k nearest of every feature, itself among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours of each.
    pub k: usize,
    /// `[n, k]`, row-major: indices by squared Euclidean distance, ties by index.
    pub indices: Vec<u32>,
    /// `[n]`: squared Euclidean distance of the farthest of all features.
    pub farthest: Vec<f32>,
}

impl Neighbours {
    /// The nearest of `features`, by blocks of rows whose size depends on n alone. A distance is computed once and told
    /// to both.
    ///
    /// # Shapes
    /// - `features`: `[n, d]`, row-major, `d = width`; output: `[n, min(k, n)]`
    pub fn of(features: &[f32], width: usize, k: usize) -> Self {
        let n = features.len() / width;
        let k = k.min(n);
        let norms = squared_norms(features, width);
        let mut lists: Vec<Nearest> = (0..n).map(|_| Nearest::new(k)).collect();
        let (block, mut values) = (block_rows(n), Vec::new());
        for first in (0..n).step_by(block) {
            let last = (first + block).min(n);
            let columns = n - first;
            values.resize((last - first) * columns, 0.0);
            let rows = (&features[first * width..last * width], &norms[first..last]);
            distances_into(rows, (&features[first * width..], &norms[first..]), width, &mut values); // [rows, columns]
            let (own, others) = lists[first..].split_at_mut(last - first);
            own.par_iter_mut().zip(values.par_chunks_exact(columns)).for_each(|(list, row)| list.offer_row(row, first));
            let below = others.par_chunks_mut(COLUMNS).enumerate();
            below.for_each(|(chunk, lists)| {
                let start = last - first + chunk * COLUMNS;
                let end = start + lists.len();
                let rows = values.chunks_exact(columns).map(|row| &row[start..end]);
                offer_columns(lists, rows, first);
            });
        }
        let farthest = lists.iter().map(|list| list.farthest).collect();
        let indices = lists.into_par_iter().flat_map_iter(Nearest::into_indices).collect();
        Self { k, indices, farthest }
    }

    /// The nearest of one, itself first unless a copy of it has a smaller index.
    pub fn row(&self, i: usize) -> &[u32] {
        &self.indices[i * self.k..][..self.k]
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.farthest.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.farthest.is_empty()
    }
}

/// Neighbours of n pictures, each among its own. Who is another's neighbour has that one as a neighbour.
pub trait Near: Sync {
    /// Number of pictures.
    fn count(&self) -> usize;

    /// Neighbours of some of them, ascending; the same whenever they are asked for.
    fn lists(&self, rows: &[usize]) -> Vec<Vec<u32>>;
}

/// The k smallest keys of those that were offered, in whatever order.
struct Nearest {
    k: usize,
    /// Among up to twice as many.
    keys: Vec<u64>,
    /// No larger distance can be among them.
    bound: f32,
    farthest: f32,
}

impl Nearest {
    fn new(k: usize) -> Self {
        Self { k, keys: Vec::with_capacity(2 * k), bound: f32::INFINITY, farthest: f32::NEG_INFINITY }
    }

    /// Distances of the features from `first` on. Most are too far, and a vector of comparisons says so of many at a time.
    fn offer_row(&mut self, row: &[f32], first: usize) {
        let mut farthest = [self.farthest; ABREAST];
        let (chunks, rest) = row.as_chunks::<ABREAST>();
        for (at, chunk) in chunks.iter().enumerate() {
            if any_near(chunk, &[self.bound; ABREAST], &mut farthest) {
                (first + at * ABREAST..).zip(chunk).for_each(|(index, &distance)| self.offer(distance, index));
            }
        }
        self.farthest = rest.iter().chain(&farthest).copied().fold(f32::NEG_INFINITY, f32::max);
        (first + row.len() - rest.len()..).zip(rest).for_each(|(index, &distance)| self.offer(distance, index));
    }

    /// NaN is never too far, and comes last by its key.
    fn offer(&mut self, distance: f32, index: usize) {
        if distance > self.bound {
            return;
        }
        self.keys.push(order_key(distance, index));
        if self.keys.len() == 2 * self.k {
            self.keys.select_nth_unstable(self.k - 1);
            self.keys.truncate(self.k);
            let largest = self.keys.iter().max().copied().unwrap_or(u64::MAX);
            self.bound = distance_of(largest);
        }
    }

    fn into_indices(mut self) -> impl Iterator<Item = u32> {
        self.keys.sort_unstable();
        self.keys.truncate(self.k);
        // The lower half of a key is the index.
        self.keys.into_iter().map(|key| key as u32)
    }
}

/// What a vector of distances, one to each of so many lists, is compared with.
struct Lanes {
    bounds: [f32; ABREAST],
    farthest: [f32; ABREAST],
}

/// Distances of the features from `first` on, a row of each, in which there is one for each list.
fn offer_columns<'a>(lists: &mut [Nearest], rows: impl Iterator<Item = &'a [f32]>, first: usize) {
    let of_lists = |lists: &[Nearest]| {
        let mut lanes = Lanes { bounds: [f32::INFINITY; ABREAST], farthest: [f32::NEG_INFINITY; ABREAST] };
        lists
            .iter()
            .enumerate()
            .for_each(|(at, list)| (lanes.bounds[at], lanes.farthest[at]) = (list.bound, list.farthest));
        lanes
    };
    let mut lanes: Vec<Lanes> = lists.chunks(ABREAST).map(of_lists).collect();
    for (index, row) in (first..).zip(rows) {
        for ((Lanes { bounds, farthest }, lists), part) in
            lanes.iter_mut().zip(lists.chunks_mut(ABREAST)).zip(row.chunks(ABREAST))
        {
            if let Some(whole) = part.as_array() {
                if !any_near(whole, bounds, farthest) {
                    continue;
                }
            } else {
                farthest.iter_mut().zip(part).for_each(|(farthest, &distance)| *farthest = farthest.max(distance));
            }
            for ((list, bound), &distance) in lists.iter_mut().zip(bounds).zip(part) {
                list.offer(distance, index);
                *bound = list.bound;
            }
        }
    }
    let farthest = lanes.iter().flat_map(|lanes| lanes.farthest);
    lists.iter_mut().zip(farthest).for_each(|(list, farthest)| list.farthest = farthest);
}

/// Whether any of the distances is within its bound, which NaN always is; `farthest` takes the larger of each.
fn any_near(distances: &[f32; ABREAST], bounds: &[f32; ABREAST], farthest: &mut [f32; ABREAST]) -> bool {
    let mut all_beyond = true;
    for at in 0..ABREAST {
        farthest[at] = farthest[at].max(distances[at]);
        all_beyond &= distances[at] > bounds[at];
    }
    !all_beyond
}
