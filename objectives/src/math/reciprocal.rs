//! Pictures by their k-reciprocal neighbours, and the Jaccard distance between two (Zhong et al., CVPR 2017).
//!
//! With `N(i, k)` the k nearest of i, itself among them, and `R(i, k) = { j in N(i, k) : i in N(j, k) }`:
//!
//! - `R*(i)` is `R(i, a)` with every `H = R(j, b)` of a j in it of which more than two thirds are in `R(i, a)`.
//! - `V(i, j)` is the softmax over j in `R*(i)` of `-distance(i, j)`, and 0 elsewhere.
//! - With `k2 > 1`, V's rows become the means of those of the k2 nearest.
//! - `d(i, j) = 1 - m / (2 - m)` with `m = sum_l min(V(i, l), V(j, l))`, at least 0.
//!
//! The sizes `a` and `b` and the distance differ between its two uses, [re-ranking](super::rerank) and
//! [clustering](crate::cluster::jaccard).
//!
//! Exact, as rows of V sum to 1. Rows are sparse: the distance of two pictures that share no column is 1, and is never
//! computed. Sums run over columns in ascending order, whatever the number of threads.

use rayon::prelude::*;

use super::neighbours::{Near, Neighbours};

/// Share of a half set that must be in the set that it is to extend.
const OVERLAP: (usize, usize) = (2, 3);

/// Sizes of neighbourhoods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Neighbours that may be reciprocal.
    pub whole: usize,
    /// Neighbours of those that extend them.
    pub half: usize,
    /// Neighbours over which rows are averaged.
    pub averaged: usize,
}

/// Rows of weights that are mostly 0.
#[derive(Clone, Debug, Default)]
struct Sparse {
    /// `[n + 1]`: where each row begins.
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Sparse {
    fn from_rows(rows: Vec<Vec<(u32, f32)>>) -> Self {
        let entries = rows.iter().map(Vec::len).sum();
        let mut sparse =
            Self { starts: vec![0], columns: Vec::with_capacity(entries), values: Vec::with_capacity(entries) };
        for row in rows {
            sparse.columns.extend(row.iter().map(|(column, _)| column));
            sparse.values.extend(row.iter().map(|(_, value)| value));
            sparse.starts.push(sparse.columns.len());
        }
        sparse
    }

    fn row(&self, i: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let range = self.starts[i]..self.starts[i + 1];
        self.columns[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    fn transposed(&self) -> Self {
        let n = self.starts.len() - 1;
        let mut starts = vec![0; n + 1];
        for &column in &self.columns {
            starts[column as usize + 1] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let mut next = starts.clone();
        let (mut columns, mut values) = (vec![0; self.columns.len()], vec![0.0; self.values.len()]);
        for i in 0..n {
            for (column, value) in self.row(i) {
                let at = &mut next[column as usize];
                (columns[*at], values[*at]) = (i as u32, value);
                *at += 1;
            }
        }
        Self { starts, columns, values }
    }
}

/// Jaccard distances between n pictures.
#[derive(Clone, Debug)]
pub struct Jaccard {
    rows: Sparse,
    columns: Sparse,
}

impl Jaccard {
    /// From lists of the nearest of features; `distance(i, j, product)` weighs j among the neighbours of i by the dot
    /// product of the two.
    ///
    /// # Shapes
    /// - `features`: `[n, d]`, row-major, `d = width`
    pub(crate) fn of_neighbours(
        near: &Neighbours,
        sizes: Sizes,
        (features, width): (&[f32], usize),
        distance: impl Fn(usize, usize, f64) -> f64 + Sync,
    ) -> Self {
        let n = near.len();
        let reciprocal = |k: usize| -> Vec<Vec<u32>> {
            let row = |i: usize| {
                let mutual = |&j: &u32| near.row(j as usize).iter().take(k).any(|&back| back as usize == i);
                let mut row: Vec<u32> = near.row(i).iter().take(k).copied().filter(mutual).collect();
                row.sort_unstable();
                row
            };
            (0..n).into_par_iter().map(row).collect()
        };
        let (whole, halves) = (reciprocal(sizes.whole), reciprocal(sizes.half));
        let weights = |i: usize| {
            let own = &whole[i];
            let mut extended = own.clone();
            for &j in own {
                let half = &halves[j as usize];
                let shared = half.iter().filter(|l| own.binary_search(l).is_ok()).count();
                if OVERLAP.1 * shared > OVERLAP.0 * half.len() {
                    extended.extend(half);
                }
            }
            extended.sort_unstable();
            extended.dedup();
            let products = dots(features, width, i, &extended);
            let distances = extended.iter().zip(products).map(|(&j, product)| distance(i, j as usize, product));
            softmax(&extended, distances)
        };
        let mut rows: Vec<Vec<(u32, f32)>> = (0..n).into_par_iter().map(weights).collect();
        if sizes.averaged > 1 {
            let of = &rows;
            let averaged =
                |i: usize| mean_row(near.row(i).iter().take(sizes.averaged).map(|&j| of[j as usize].as_slice()));
            rows = (0..n).into_par_iter().map(averaged).collect();
        }
        let rows = Sparse::from_rows(rows);
        let columns = rows.transposed();
        Self { rows, columns }
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.rows.starts.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pictures that share a column with one, in ascending order, and their distances from it. All others are at
    /// distance 1. `scratch` is kept between calls.
    pub fn near(&self, i: usize, scratch: &mut Scratch) -> Vec<(u32, f32)> {
        let mut near = Vec::new();
        self.visit(i, scratch, |j, distance| near.push((j, distance)));
        near.sort_unstable_by_key(|(j, _)| *j);
        near
    }

    /// Those within `eps`, which is below 1, of each picture.
    pub fn within(&self, eps: f32) -> Within<'_> {
        Within { jaccard: self, eps }
    }

    /// Says the distances of all pictures that share a column with one, in no order.
    fn visit(&self, i: usize, scratch: &mut Scratch, mut say: impl FnMut(u32, f32)) {
        scratch.sums.resize(self.len(), 0.0);
        for (column, own) in self.rows.row(i) {
            for (j, other) in self.columns.row(column as usize) {
                let sum = &mut scratch.sums[j as usize];
                // A sum of positive weights is 0 only before the first of them.
                if *sum == 0.0 {
                    scratch.touched.push(j);
                }
                *sum += own.min(other);
            }
        }
        for j in scratch.touched.drain(..) {
            let shared = std::mem::take(&mut scratch.sums[j as usize]);
            say(j, (1.0 - shared / (2.0 - shared)).max(0.0));
        }
    }
}

/// Pictures within a distance of each other; each is within it of itself.
#[derive(Clone, Copy, Debug)]
pub struct Within<'a> {
    jaccard: &'a Jaccard,
    eps: f32,
}

impl Near for Within<'_> {
    fn count(&self) -> usize {
        self.jaccard.len()
    }

    fn lists(&self, rows: &[usize]) -> Vec<Vec<u32>> {
        let row = |scratch: &mut Scratch, &i: &usize| {
            let mut near = std::mem::take(&mut scratch.near);
            self.jaccard.visit(i, scratch, |j, distance| near.extend((distance <= self.eps).then_some(j)));
            near.sort_unstable();
            // A list of its own length: few of those that share a column are near.
            let row = near.clone();
            near.clear();
            scratch.near = near;
            row
        };
        rows.par_iter().map_init(Scratch::default, row).collect()
    }
}

/// Sums that a row of distances is made of.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// `[n]`, all 0 between two rows.
    sums: Vec<f32>,
    touched: Vec<u32>,
    near: Vec<u32>,
}

/// `round(k / 2)`, halves to even, as `numpy.around` does.
pub(crate) fn round_to_even_half(k: usize) -> usize {
    let floor = k / 2;
    if k.is_multiple_of(2) { floor } else { floor + floor % 2 }
}

/// The dot product of two rows of `[n, d]` features, in f64 and in order.
pub(crate) fn dot(features: &[f32], width: usize, i: usize, j: usize) -> f64 {
    let row = |at: usize| &features[at * width..][..width];
    row(i).iter().zip(row(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// [`dot`] of a row with each of others, several at a time: a sum in order waits for each of its additions, and others
/// fill the gap.
fn dots(features: &[f32], width: usize, i: usize, others: &[u32]) -> Vec<f64> {
    const ABREAST: usize = 4;
    let row = |at: usize| &features[at * width..][..width];
    let of_some = |some: &[u32]| {
        let rows: [&[f32]; ABREAST] = std::array::from_fn(|at| row(some[at.min(some.len() - 1)] as usize));
        let mut sums = [0.0; ABREAST];
        for (column, &value) in row(i).iter().enumerate() {
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum += f64::from(value) * f64::from(row[column]);
            }
        }
        sums.into_iter().take(some.len())
    };
    others.chunks(ABREAST).flat_map(of_some).collect()
}

/// Weights of a row: softmax of minus the distances over its columns.
fn softmax(columns: &[u32], distances: impl Iterator<Item = f64>) -> Vec<(u32, f32)> {
    let weights: Vec<f64> = distances.map(|distance| (-distance).exp()).collect();
    let sum: f64 = weights.iter().sum();
    columns.iter().copied().zip(weights).map(|(j, weight)| (j, (weight / sum) as f32)).collect()
}

/// The mean of rows, columns in ascending order.
fn mean_row<'a>(rows: impl Iterator<Item = &'a [(u32, f32)]>) -> Vec<(u32, f32)> {
    let mut count = 0;
    let mut all: Vec<(u32, f32)> = Vec::new();
    for row in rows {
        count += 1;
        all.extend(row);
    }
    // Stable, so that the weights of a column are added in the order of the rows.
    all.sort_by_key(|(column, _)| *column);
    let of_column = |weights: &[(u32, f32)]| {
        let sum: f64 = weights.iter().map(|(_, weight)| f64::from(*weight)).sum();
        (weights[0].0, (sum / f64::from(count)) as f32)
    };
    all.chunk_by(|a, b| a.0 == b.0).map(of_column).collect()
}
