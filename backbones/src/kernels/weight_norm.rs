//! Weight normalisation by row: `w = g v / |v|` (Salimans and Kingma, arXiv 1602.07868, eq. 2), and back.

use rayon::prelude::*;

use super::losses::{unit_rows, unit_rows_backward};
use super::rows::{CHUNK, sum_of};
use super::simd::vectorized;

/// A norm below this is taken for it, so that a row of zeros gives zeros.
const SMALLEST: f32 = f32::MIN_POSITIVE;

/// The rows of `v [rows, width]` at the lengths `g [rows]`, or at length 1.
pub(crate) fn weight_norm(g: Option<&[f32]>, v: &[f32], width: usize) -> Vec<f32> {
    let (mut out, _) = unit_rows(v, width, SMALLEST);
    if let Some(g) = g {
        scale_rows(&mut out, g, width);
    }
    out
}

/// Gradients of `g` (if there is one) and `v`, given that of the weight, which it overwrites.
pub(crate) fn weight_norm_backward(
    g: Option<&[f32]>,
    v: &[f32],
    width: usize,
    mut dweight: Vec<f32>,
) -> (Option<Vec<f32>>, Vec<f32>) {
    let (unit, scales) = unit_rows(v, width, SMALLEST);
    let dg = g.map(|g| {
        let mut dg = vec![0.0; g.len()];
        let chunks =
            dg.par_chunks_mut(CHUNK).zip(unit.par_chunks(CHUNK * width)).zip(dweight.par_chunks(CHUNK * width));
        chunks.for_each(|((dg, unit), dweight)| {
            vectorized(
                #[inline(always)]
                || {
                    for ((dg, unit), row) in
                        dg.iter_mut().zip(unit.chunks_exact(width)).zip(dweight.chunks_exact(width))
                    {
                        *dg = sum_of(unit, row, |a, b| a * b);
                    }
                },
            );
        });
        scale_rows(&mut dweight, g, width);
        dg
    });
    unit_rows_backward(&unit, &scales, width, &mut dweight);
    (dg, dweight)
}

fn scale_rows(rows: &mut [f32], factors: &[f32], width: usize) {
    rows.par_chunks_mut(CHUNK * width).zip(factors.par_chunks(CHUNK)).for_each(|(rows, factors)| {
        vectorized(
            #[inline(always)]
            || {
                for (row, factor) in rows.chunks_exact_mut(width).zip(factors) {
                    for value in row {
                        *value *= factor;
                    }
                }
            },
        );
    });
}
