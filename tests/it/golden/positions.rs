//! Golden `pos_embed_resize`: position tables resampled to other grids.

use candle_core::Tensor;
use reid_backbones::vit::{Resampling, grid_of, resize_weights};
use reid_tests::Golden;
use reid_tests::golden::max_abs;
use reid_tests::tensors::values;

/// Tolerance of the golden README for f32.
const TABLE_ABS: f64 = 1e-5;
/// Patch side of the cases that name pictures in pixels.
const PATCH: usize = 16;

/// The class token's row as it is, the others resampled.
fn resampled(table: &Tensor, rule: Resampling, old: (usize, usize), new: (usize, usize)) -> Vec<f64> {
    let (_, n, width) = table.dims3().unwrap();
    let shape = (new.0 * new.1, old.0 * old.1);
    let weights = Tensor::from_vec(resize_weights(rule, old, new), shape, table.device()).unwrap();
    let cells = table.narrow(1, 1, n - 1).unwrap().reshape((n - 1, width)).unwrap();
    let mut all = values(&table.narrow(1, 0, 1).unwrap());
    all.extend(values(&weights.matmul(&cells).unwrap()));
    all
}

/// `14` is 14 x 14, `16x8` is 16 x 8.
fn grid(text: &str) -> (usize, usize) {
    let side = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("no number in {text:?}"));
    text.split_once('x').map_or_else(|| (side(text), side(text)), |(rows, cols)| (side(rows), side(cols)))
}

#[test]
fn every_rule() {
    let golden = Golden::load("pos_embed_resize");
    let mut checked = [0; 5];
    for key in golden.keys("out.") {
        let (family, case) = key.strip_prefix("out.").and_then(|key| key.split_once('.')).unwrap();
        let (from, to) = case.split_once("to").unwrap();
        let to = to.split_once('_').map_or(to, |(to, _)| to);
        let new = match to.strip_suffix("px") {
            Some(pixels) => {
                let (h, w) = grid(pixels);
                (h / PATCH, w / PATCH)
            }
            None => grid(to),
        };
        let (index, rule) = match family {
            "transreid" => (0, Resampling::Bilinear),
            "mae" => (1, Resampling::Bicubic),
            "ibot" => (2, Resampling::BicubicOffset),
            "ours_vit" => (3, Resampling::BicubicOffset),
            "timm" => (4, Resampling::BicubicAntialias),
            other => panic!("no rule for {other}"),
        };
        let table = golden.tensor(&format!("in.pos{from}"));
        let old = grid(from);
        assert_eq!(grid_of(table.dim(1).unwrap() - 1, old.0 as f64 / old.1 as f64), Some(old));
        let error = max_abs(&resampled(&table, rule, old, new), &golden.f64s(&key));
        assert!(error <= TABLE_ABS, "{key}: {error:e}");
        checked[index] += 1;
    }
    assert!(checked.iter().all(|&count| count > 0), "every family is compared: {checked:?}");
}

#[test]
fn grids_need_whole_rows_and_columns() {
    assert_eq!(grid_of(196, 1.0), Some((14, 14)));
    assert_eq!(grid_of(128, 2.0), Some((16, 8)));
    for (cells, ratio) in [(197, 1.0), (0, 1.0), (128, 1.0), (128, 0.0), (128, -2.0), (128, f64::NAN)] {
        assert_eq!(grid_of(cells, ratio), None, "{cells} cells at {ratio}");
    }
}
