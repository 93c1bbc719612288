//! Where `PersonMAE`'s queries stand: cells of one window in the grid of another.

use reid_backbones::vit::{sincos_2d, sincos_at};
use reid_data::views::Window;
use reid_objectives::person_mae::relative_positions;
use reid_tests::golden::max_abs;

fn window(top: f32, left: f32, height: f32, width: f32) -> Window {
    Window { top, left, height, width }
}

/// Positions of RegionB's 8 x 4 cells in RegionA's grid; all windows' numbers are exact.
fn positions(a: Window, b: Window) -> Vec<f64> {
    relative_positions(16, (8, 4), &[(a, b)]).into_iter().map(f64::from).collect()
}

#[test]
fn queries_of_the_same_window_stand_in_their_cells() {
    let grid: Vec<f64> = sincos_2d(16, 8, 4).into_iter().map(f64::from).collect();
    for a in [window(0.0, 0.0, 64.0, 32.0), window(3.0, 5.0, 128.0, 16.0)] {
        assert!(max_abs(&positions(a, a), &grid) < 1e-6);
    }
}

#[test]
fn a_window_that_is_one_cell_further_shifts_queries_by_one_cell() {
    // A grid with a row and a column more than the region's; its cells are the shifted ones.
    let larger: Vec<f64> = sincos_2d(16, 9, 5).into_iter().map(f64::from).collect();
    let a = window(10.0, 20.0, 64.0, 16.0);
    for (rows, cols) in [(1, 0), (0, 1), (1, 1)] {
        let b = window(10.0 + 8.0 * rows as f32, 20.0 + 4.0 * cols as f32, 64.0, 16.0);
        let expected: Vec<f64> = (0..8 * 4)
            .flat_map(|cell| {
                let at = (cell / 4 + rows) * 5 + cell % 4 + cols;
                larger[at * 16..(at + 1) * 16].to_vec()
            })
            .collect();
        assert!(max_abs(&positions(a, b), &expected) < 1e-6, "{rows} rows, {cols} columns");
    }
}

/// A window of half the size, centered: its cells are half a cell apart.
#[test]
fn a_smaller_window_has_queries_closer_together() {
    let a = window(0.0, 0.0, 64.0, 32.0);
    let ours = positions(a, window(16.0, 8.0, 32.0, 16.0));
    let points: Vec<(f64, f64)> =
        (0..32).map(|cell| (0.75 + 0.5 * f64::from(cell % 4), 1.75 + 0.5 * f64::from(cell / 4))).collect();
    assert!(max_abs(&ours, &sincos_at(16, &points)) < 1e-6);
}

#[test]
fn only_the_windows_relation_counts() {
    let (a, b) = (window(8.0, 4.0, 64.0, 32.0), window(24.0, 6.0, 32.0, 20.0));
    let moved = |w: Window| window(w.top + 32.0, w.left + 16.0, w.height, w.width);
    let scaled = |w: Window| window(2.0 * w.top, 2.0 * w.left, 2.0 * w.height, 2.0 * w.width);
    assert!(max_abs(&positions(moved(a), moved(b)), &positions(a, b)) < 1e-6);
    assert!(max_abs(&positions(scaled(a), scaled(b)), &positions(a, b)) < 1e-6);
    // Each sample has its own.
    let both = relative_positions(16, (8, 4), &[(a, a), (a, b)]);
    assert_eq!(both[8 * 4 * 16..], relative_positions(16, (8, 4), &[(a, b)]));
}
