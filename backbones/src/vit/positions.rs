//! Fixed sine and cosine positions in two dimensions, in MAE's layout.

/// Longest wavelength over shortest (Vaswani et al., arXiv 1706.03762).
const BASE: f64 = 10_000.0;

/// Positions at any points, not only at cells.
///
/// A point is `(x, y)`: column and row in units of cells, cell centers at whole numbers. The first
/// half of the channels encodes `x`, the second `y`; each half is `[sin(p w_i), cos(p w_i)]` with
/// `w_i = 10000^(-i / (d/4))`.
///
/// # Shapes
/// - output: `[n, d]`, row-major, `d = width`
///
/// # Panics
/// If `width` is no multiple of 4; the checks of a spec see to it.
pub fn sincos_at(width: usize, points: &[(f64, f64)]) -> Vec<f64> {
    assert!(width.is_multiple_of(4), "sine-cosine positions of width {width}, which is no multiple of 4");
    let quarter = width / 4;
    let frequencies: Vec<f64> = (0..quarter).map(|i| 1.0 / BASE.powf(i as f64 / quarter as f64)).collect();
    let mut table = Vec::with_capacity(points.len() * width);
    for &(x, y) in points {
        for coordinate in [x, y] {
            table.extend(frequencies.iter().map(|w| (coordinate * w).sin()));
            table.extend(frequencies.iter().map(|w| (coordinate * w).cos()));
        }
    }
    table
}

/// Positions of the cells of a grid, without a class token.
///
/// # Shapes
/// - output: `[rows * cols, d]`, row-major, `d = width`
///
/// # Panics
/// If `width` is no multiple of 4; the checks of a spec see to it.
pub fn sincos_2d(width: usize, rows: usize, cols: usize) -> Vec<f32> {
    let cells = (0..rows).flat_map(|row| (0..cols).map(move |col| (col as f64, row as f64)));
    let table = sincos_at(width, &cells.collect::<Vec<_>>());
    table.into_iter().map(|value| value as f32).collect()
}
