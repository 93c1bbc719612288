//! Position tables: fixed sine and cosine in MAE's layout, and the resampling of any table to another grid.

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

/// MoCo v3's positions of the cells of a grid, without a class token: row `n` of the table belongs to column
/// `n / rows` and row `n % rows` of the grid, although token `n` is cell `n` along rows. The published code
/// has it so.
///
/// # Shapes
/// - output: `[rows * cols, d]`, `d = width`
///
/// # Panics
/// If `width` is no multiple of 4; the checks of a spec see to it.
pub fn sincos_moco(width: usize, rows: usize, cols: usize) -> Vec<f32> {
    let cells = (0..cols).flat_map(|col| (0..rows).map(move |row| (col as f64, row as f64)));
    let table = sincos_at(width, &cells.collect::<Vec<_>>());
    table.into_iter().map(|value| value as f32).collect()
}

/// How a position table is resampled to another grid, each as the code that made it famous calls
/// PyTorch's `interpolate` (corners not aligned).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resampling {
    /// Two neighbors along each axis: TransReID when it loads a checkpoint.
    Bilinear,
    /// Four neighbors, Keys' kernel with a = -0.75, distances `old / new`: MAE when it loads a checkpoint.
    Bicubic,
    /// [`Self::Bicubic`] with distances `old / (new + 0.1)`: DINO, iBOT and TransReID-SSL at run time,
    /// which add 0.1 against rounding and let the sampling see it.
    BicubicOffset,
    /// Keys' kernel with a = -0.5, widened where the grid shrinks: timm's `resample_abs_pos_embed`.
    BicubicAntialias,
}

/// What DINO adds to the number of cells before it divides (`interpolate_pos_encoding`).
const OFFSET: f64 = 0.1;

/// Weights that resample a table of `old` rows and columns to `new` ones; the identity where they agree.
///
/// The resampled table is this matrix times the table, so that gradients flow through it.
///
/// # Shapes
/// - output: `[new rows * new cols, old rows * old cols]`, row-major
///
/// # Panics
/// If a grid has no cell; the checks of a spec see to it.
pub fn resize_weights(rule: Resampling, old: (usize, usize), new: (usize, usize)) -> Vec<f32> {
    assert!(old.0 * old.1 * new.0 * new.1 > 0, "positions resampled from {old:?} to {new:?} cells");
    // Of two differing grids the run-time rule samples both axes: its 0.1 moves the points of an unchanged axis too.
    let along = |from: usize, to: usize| if old == new { identity(from) } else { axis_weights(rule, from, to) };
    let (vertical, horizontal) = (along(old.0, new.0), along(old.1, new.1));
    let mut weights = Vec::with_capacity(old.0 * old.1 * new.0 * new.1);
    for of_row in vertical.chunks_exact(old.0) {
        for of_col in horizontal.chunks_exact(old.1) {
            weights.extend(of_row.iter().flat_map(|row| of_col.iter().map(move |col| (row * col) as f32)));
        }
    }
    weights
}

/// Rows and columns of a table of `cells` with this height over width: TransReID's `resize_pos_embed`.
/// None if there is no such grid.
pub fn grid_of(cells: usize, ratio: f64) -> Option<(usize, usize)> {
    let rows = (cells as f64 * ratio).sqrt() as usize;
    let cols = (rows as f64 / ratio) as usize;
    (rows * cols == cells && cells > 0).then_some((rows, cols))
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect()
}

/// `[new, old]`, the weights along one axis.
fn axis_weights(rule: Resampling, old: usize, new: usize) -> Vec<f64> {
    let mut weights = vec![0.0; new * old];
    let step = match rule {
        Resampling::BicubicOffset => old as f64 / (new as f64 + OFFSET),
        _ => old as f64 / new as f64,
    };
    for (i, row) in weights.chunks_exact_mut(old).enumerate() {
        let centre = (i as f64 + 0.5) * step; // in cells of the old axis, whose first begins at 0
        match rule {
            Resampling::Bilinear => {
                let at = (centre - 0.5).max(0.0);
                let first = (at as usize).min(old - 1);
                let share = at - first as f64;
                row[first] += 1.0 - share;
                row[(first + 1).min(old - 1)] += share;
            }
            Resampling::Bicubic | Resampling::BicubicOffset => {
                let at = centre - 0.5;
                let first = at.floor() - 1.0;
                for tap in 0..4 {
                    let cell = first + f64::from(tap);
                    row[cell.clamp(0.0, old as f64 - 1.0) as usize] += keys(at - cell, -0.75);
                }
            }
            Resampling::BicubicAntialias => {
                let stretch = step.max(1.0);
                let reach = 2.0 * stretch;
                let first = (centre - reach + 0.5).max(0.0) as usize;
                let end = ((centre + reach + 0.5) as usize).min(old);
                let kernel = |cell: usize| keys((cell as f64 + 0.5 - centre) / stretch, -0.5);
                let sum: f64 = (first..end).map(kernel).sum();
                (first..end).for_each(|cell| row[cell] = kernel(cell) / sum);
            }
        }
    }
    weights
}

/// Keys' cubic convolution kernel (IEEE Trans. ASSP 29(6), 1981) at distance `x`.
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    } else {
        0.0
    }
}
