//! Fixed sine-cosine positions in two dimensions, MAE's layout.

/// Sine-cosine embedding of points: the first half of the channels encodes x (the column), the
/// second y; each half is `[sin(p w_i), cos(p w_i)]` with `w_i = 10000^(-i / (d/4))`
/// (MAE, arXiv 2111.06377, `pos_embed.py`; points need not be whole cells).
///
/// Returns `[points, width]`, row-major.
///
/// # Panics
/// If `width` is not a multiple of 4.
pub fn sincos_at(width: usize, points: &[(f64, f64)]) -> Vec<f64> {
    assert!(width % 4 == 0, "sine-cosine positions need a width divisible by 4, got {width}");
    let quarter = width / 4;
    let frequencies: Vec<f64> = (0..quarter).map(|i| 10_000_f64.powf(-(i as f64) / quarter as f64)).collect();
    let mut out = Vec::with_capacity(points.len() * width);
    for &(x, y) in points {
        for coordinate in [x, y] {
            out.extend(frequencies.iter().map(|w| (coordinate * w).sin()));
            out.extend(frequencies.iter().map(|w| (coordinate * w).cos()));
        }
    }
    out
}

/// [`sincos_at`] for every cell of a grid, row-major: `[rows * cols, width]`.
pub fn sincos_grid(width: usize, rows: usize, cols: usize) -> Vec<f64> {
    let cells: Vec<(f64, f64)> = (0..rows * cols).map(|i| ((i % cols) as f64, (i / cols) as f64)).collect();
    sincos_at(width, &cells)
}
