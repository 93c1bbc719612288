//! Distances between rows of features.

use candle_core::{D, Tensor};
use rayon::prelude::*;
use reid_backbones::{Result, ops};

/// Smallest norm that a feature is divided by, as in `torch.nn.functional.normalize`.
pub const NORM_EPS: f64 = 1e-12;

/// Squared Euclidean distances `|q|^2 + |g|^2 - 2 q g`.
///
/// Not clamped: where a query and a gallery item agree, rounding may leave a tiny value of either
/// sign, exactly as in the reference code, so that no ties appear that are not there.
///
/// # Shapes
/// - `query`: `[q, d]`, `gallery`: `[g, d]`; output: `[q, g]`
///
/// # Errors
/// If the widths differ.
pub fn squared_euclidean(query: &Tensor, gallery: &Tensor) -> Result<Tensor> {
    let query_norms = query.sqr()?.sum_keepdim(D::Minus1)?; // [q, 1]
    let gallery_norms = gallery.sqr()?.sum_keepdim(D::Minus1)?.t()?; // [1, g]
    let products = ops::dot_products(query, gallery)?; // [q, g]
    let norms = query_norms.broadcast_add(&gallery_norms)?; // [q, g]
    Ok((norms - (products * 2.0)?)?)
}

/// Cosine distances `1 - cos(q, g)`.
///
/// # Shapes
/// - `query`: `[q, d]`, `gallery`: `[g, d]`; output: `[q, g]`
///
/// # Errors
/// If the widths differ.
pub fn cosine(query: &Tensor, gallery: &Tensor) -> Result<Tensor> {
    let similarity = ops::dot_products(&l2_normalize(query)?, &l2_normalize(gallery)?)?; // [q, g]
    Ok((1.0 - similarity)?)
}

/// Rows divided by their Euclidean norm, or by [`NORM_EPS`] where the norm is smaller.
///
/// # Shapes
/// - `features`: `[n, d]`; output: `[n, d]`
///
/// # Errors
/// If the tensor has no dimension.
pub fn l2_normalize(features: &Tensor) -> Result<Tensor> {
    ops::l2_normalize(features, NORM_EPS)
}

/// [`l2_normalize`] on the host, in place, with the norm accumulated in f64.
///
/// `features` is `[n, d]`, row-major, with `d = width`.
///
/// # Panics
/// If `features` is no whole number of rows.
pub fn normalize_rows(features: &mut [f32], width: usize) {
    assert!(width > 0 && features.len().is_multiple_of(width), "{} values are no rows of {width}", features.len());
    for row in features.chunks_exact_mut(width) {
        let norm = squared_norm(row).sqrt().max(NORM_EPS);
        for value in row {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
}

/// Squared Euclidean distances between rows on the host, as [`squared_euclidean`]; each side is rows and their
/// [`squared_norms`].
///
/// # Shapes
/// - `query`: `[q, d]` and `[q]`, `gallery`: `[g, d]` and `[g]`, row-major, `d = width`; `out`: `[q, g]`
///
/// # Panics
/// If sizes differ: our bug.
pub(crate) fn distances_into(
    (query, query_norms): (&[f32], &[f32]),
    (gallery, gallery_norms): (&[f32], &[f32]),
    width: usize,
    out: &mut [f32],
) {
    ops::dot_products_into(query, gallery, width, out);
    let rows = out.par_chunks_exact_mut(gallery_norms.len().max(1)).zip(query_norms);
    rows.for_each(|(row, &query_norm)| distances_of_products(row, query_norm, gallery_norms));
}

/// Squared distances of one row from the scalar products that stand in their place.
///
/// # Shapes
/// - `row`, `gallery_norms`: `[g]`
pub(crate) fn distances_of_products(row: &mut [f32], query_norm: f32, gallery_norms: &[f32]) {
    for (value, gallery_norm) in row.iter_mut().zip(gallery_norms) {
        *value = query_norm + gallery_norm - 2.0 * *value;
    }
}

/// Squared norms of rows.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, `d = width`; output: `[n]`
pub(crate) fn squared_norms(features: &[f32], width: usize) -> Vec<f32> {
    features.par_chunks_exact(width).map(|row| squared_norm(row) as f32).collect()
}

/// Sum of squares of one row, in f64 and in order.
pub(crate) fn squared_norm(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}
