//! Work along a picture's rows, done in vectors.
//!
//! The three bytes of a pixel are no vector, but the pixels of one column in [`BAND`] rows are a few. So a band of rows is
//! laid on its side, worked on column by column, and stood up again. A band of a picture some hundreds of pixels wide stays
//! in the first cache.

use crate::simd::vectorized;

/// Rows of a band.
pub(super) const BAND: usize = 16;

/// Bytes of one column of a band, in vectors.
pub(super) type Column = [[u8; BAND]; 3];

/// Four pixels that follow each other in a row, or in a column.
type Run = [u8; 12];

/// A band on its side before and after some work: memory that serves one picture after the other.
#[derive(Default)]
pub(super) struct Sideways {
    before: Vec<Column>,
    after: Vec<Column>,
}

impl Sideways {
    /// Lays every band of a picture with the rows `row(0..height)` on its side, lets `work` make `width` columns (its
    /// second argument) of the picture's columns (its first, which it may spoil), and writes the rows of those to `out`.
    /// `out` ends with rows of no meaning where `height` does not fill the last band.
    pub(super) fn each_band<'a>(
        &mut self,
        row: impl Fn(usize) -> &'a [u8],
        height: usize,
        width: usize,
        out: &mut Vec<u8>,
        mut work: impl FnMut(&mut [Column], &mut [Column]),
    ) {
        let Self { before, after } = self;
        before.resize(row(0).len() / 3, [[0; BAND]; 3]);
        after.resize(width, [[0; BAND]; 3]);
        out.resize(height.next_multiple_of(BAND) * width * 3, 0);
        for (band, out) in out.chunks_exact_mut(BAND * width * 3).enumerate() {
            let rows: [&[u8]; BAND] = std::array::from_fn(|at| row((band * BAND + at).min(height - 1)));
            vectorized(
                #[inline(always)]
                || lay_down(&rows, before),
            );
            work(before, after);
            vectorized(
                #[inline(always)]
                || stand_up(after, out),
            );
        }
    }
}

/// The columns of a band of rows.
#[inline(always)]
fn lay_down(rows: &[&[u8]; BAND], columns: &mut [Column]) {
    let (squares, rest) = columns.as_chunks_mut::<4>();
    for (at, [a, b, c, d]) in rows.as_chunks::<4>().0.iter().enumerate() {
        let from = runs(a).iter().zip(runs(b)).zip(runs(c)).zip(runs(d));
        for ([e, f, g, h], (((a, b), c), d)) in squares.iter_mut().zip(from) {
            turn([a, b, c, d], [run_mut(e, at), run_mut(f, at), run_mut(g, at), run_mut(h, at)]);
        }
    }
    let turned = squares.len() * 4;
    for (at, row) in rows.iter().enumerate() {
        for (column, pixel) in rest.iter_mut().zip(&row.as_chunks::<3>().0[turned..]) {
            column.as_flattened_mut().as_chunks_mut().0[at] = *pixel;
        }
    }
}

/// The rows of a band of columns, one after the other.
#[inline(always)]
fn stand_up(columns: &[Column], rows: &mut [u8]) {
    let (squares, rest) = columns.as_chunks::<4>();
    let stride = columns.len() * 3;
    for (at, rows) in rows.chunks_exact_mut(4 * stride).enumerate() {
        let (a, rows) = rows.split_at_mut(stride);
        let (b, rows) = rows.split_at_mut(stride);
        let (c, d) = rows.split_at_mut(stride);
        let to = runs_mut(a).iter_mut().zip(runs_mut(b)).zip(runs_mut(c)).zip(runs_mut(d));
        for ([e, f, g, h], (((a, b), c), d)) in squares.iter().zip(to) {
            turn([run(e, at), run(f, at), run(g, at), run(h, at)], [a, b, c, d]);
        }
    }
    let turned = squares.len() * 4;
    for (at, row) in rows.chunks_exact_mut(stride).enumerate() {
        for (pixel, column) in row.as_chunks_mut::<3>().0[turned..].iter_mut().zip(rest) {
            *pixel = column.as_flattened().as_chunks().0[at];
        }
    }
}

#[inline(always)]
fn runs(row: &[u8]) -> &[Run] {
    row.as_chunks().0
}

#[inline(always)]
fn runs_mut(row: &mut [u8]) -> &mut [Run] {
    row.as_chunks_mut().0
}

#[inline(always)]
fn run(column: &Column, at: usize) -> &Run {
    &column.as_flattened().as_chunks().0[at]
}

#[inline(always)]
fn run_mut(column: &mut Column, at: usize) -> &mut Run {
    &mut column.as_flattened_mut().as_chunks_mut().0[at]
}

/// Exchanges the rows and columns of a square of 4 x 4 pixels.
#[inline(always)]
fn turn(from: [&Run; 4], [a, b, c, d]: [&mut Run; 4]) {
    *a = across::<0, 1, 2>(from);
    *b = across::<3, 4, 5>(from);
    *c = across::<6, 7, 8>(from);
    *d = across::<9, 10, 11>(from);
}

/// The pixel with these bytes of each run.
#[inline(always)]
fn across<const R: usize, const G: usize, const B: usize>([a, b, c, d]: [&Run; 4]) -> Run {
    [a[R], a[G], a[B], b[R], b[G], b[B], c[R], c[G], c[B], d[R], d[G], d[B]]
}
