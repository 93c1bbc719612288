//! Tests of the objectives: what must hold for any input, against slow twins and by invariance.

#![expect(clippy::float_cmp, reason = "what is compared exactly is exact by construction")]

mod cost;
mod evaluation;
mod fixture;
mod frozen;
mod frozen_teacher;
mod health;
mod mim_dino;
mod person_mae;
mod positions;
mod random;
mod ranking;
mod shown;
mod spcl;
mod supervised;
mod up_reid;
mod up_reid_terms;
mod usl;

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;
use reid_backbones::Result;
use reid_backbones::ops::squared_error;
use reid_backbones::vit::{sincos_2d, sincos_at};
use reid_data::rng::{Key, Rng, Stream};
use reid_objectives::math::distance::{l2_normalize, normalize_rows};
use reid_objectives::math::mask::{Grid, Mask, block_mask, hidden_count, random_mask};
use reid_objectives::math::patch::{normalize_patches, patchify, pixel_targets};
use reid_objectives::math::schedule::{RunLength, ema_momentum, learning_rate, ramp};
use reid_objectives::person_mae::spec::PixelNorm;
use reid_objectives::protocols::losses::{accuracy, id_loss, triplet_loss};
use reid_objectives::protocols::neck::{RunningStats, normalize_batch};
use reid_objectives::spec::{Duration, Hard, ScheduleSpec, Soft, TransreidCosine, TripletMargin, WarmupCosine};

fn rng(seed: u64) -> Rng {
    Rng::new(Key { seed, stream: Stream::Mask, epoch: 0, draw: 0, view: 0 })
}

fn normals(rng: &mut Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.normal() as f32).collect()
}

#[test]
fn normalizations_agree_and_leave_zero_rows_alone() -> Result<()> {
    let mut features = normals(&mut rng(7), 5 * 8);
    features[8..16].fill(0.0);
    let tensor = Var::from_tensor(&Tensor::from_slice(&features, (5, 8), &Device::Cpu)?)?;
    let normalized = l2_normalize(&tensor)?;
    let gradients = normalized.sum_all()?.backward()?;
    let gradient: Vec<f32> = gradients.get(&tensor).expect("a gradient").flatten_all()?.to_vec1()?;
    assert!(gradient.iter().all(|value| value.is_finite()));
    normalize_rows(&mut features, 8);
    assert_eq!(features[8..16], [0.0; 8]);
    for (a, b) in features.iter().zip(normalized.flatten_all()?.to_vec1::<f32>()?) {
        assert!((a - b).abs() < 1e-6);
    }
    Ok(())
}

// Masks.

proptest! {
    #[test]
    fn masks_are_exact_and_repeatable(rows in 1..25_usize, cols in 1..17_usize, share in 0.0..=1.0_f64, seed: u64) {
        let grid = Grid { rows, cols };
        let count = (grid.cells() as f64 * share).round() as usize;
        let blocks = block_mask(&mut rng(seed), grid, count);
        prop_assert_eq!(blocks.count(), count);
        prop_assert!(blocks.from_blocks <= count);
        prop_assert_eq!(&block_mask(&mut rng(seed), grid, count), &blocks);
        let cells = random_mask(&mut rng(seed), grid.cells(), count);
        prop_assert_eq!((cells.count(), cells.from_blocks), (count, 0));
        let mut indices = [blocks.visible(), blocks.masked()].concat();
        indices.sort_unstable();
        prop_assert_eq!(indices, (0..grid.cells() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn a_ratio_below_one_leaves_a_cell(cells in 1..600_usize, ratio in 0.0..1.0_f64) {
        let count = hidden_count(cells, ratio);
        prop_assert!(count < cells);
        prop_assert!((count as f64 - cells as f64 * ratio).abs() <= 1.0);
    }
}

/// Every count on the smallest grids that a spec may ask for.
#[test]
fn block_masks_are_exact_on_tiny_grids() {
    for (rows, cols) in [(4, 2), (2, 4), (2, 2), (8, 4), (3, 3)] {
        let grid = Grid { rows, cols };
        for count in 0..=grid.cells() {
            for seed in 0..50 {
                assert_eq!(block_mask(&mut rng(seed), grid, count).count(), count, "{rows} x {cols}, {count} cells");
            }
        }
    }
}

/// Hidden cells whose right and lower neighbors are hidden as well, per hidden cell.
fn clumping(mask: &Mask, grid: Grid) -> f64 {
    let hidden = |row: usize, col: usize| row < grid.rows && col < grid.cols && mask.hidden[row * grid.cols + col];
    let cells = (0..grid.rows).flat_map(|row| (0..grid.cols).map(move |col| (row, col)));
    let clumped = cells.filter(|&(row, col)| hidden(row, col) && hidden(row, col + 1) && hidden(row + 1, col)).count();
    clumped as f64 / mask.count() as f64
}

#[test]
fn block_masks_are_blocks() {
    for (rows, cols, count, least_share) in [(16, 8, 64, 0.99), (16, 8, 96, 0.99), (8, 4, 16, 0.99), (4, 2, 4, 0.95)] {
        let grid = Grid { rows, cols };
        let (mut from_blocks, mut clumped, mut clumped_at_random) = (0, 0.0, 0.0);
        for seed in 0..200 {
            let mask = block_mask(&mut rng(seed), grid, count);
            from_blocks += mask.from_blocks;
            clumped += clumping(&mask, grid);
            clumped_at_random += clumping(&random_mask(&mut rng(seed), grid.cells(), count), grid);
        }
        let share = from_blocks as f64 / (200 * count) as f64;
        assert!(share >= least_share, "{rows} x {cols}: {share} from blocks");
        assert!(clumped > 1.1 * clumped_at_random, "{rows} x {cols}: {clumped} against {clumped_at_random}");
    }
}

// Schedules.

#[test]
fn warmup_cosine_rises_then_falls_to_its_floor() {
    let spec = ScheduleSpec::WarmupCosine(WarmupCosine { warmup: Duration::Fraction(0.1), floor: 0.25 });
    let run = RunLength { steps: 100, epochs: 5.0 };
    let rate = |step| learning_rate(&spec, 2.0, 0.5, step, run);
    let expect = |step, value: f64| assert!((rate(step) - value).abs() < 1e-12, "step {step}: {}", rate(step));
    expect(0, 0.0);
    expect(5, 0.5);
    expect(10, 1.0);
    expect(55, 0.625);
    expect(100, 0.25);
    expect(1000, 0.25);
    assert!((10..100).all(|step| rate(step + 1) < rate(step)));
}

#[test]
fn schedules_without_warmup_begin_at_the_peak() {
    let run = RunLength { steps: 12, epochs: 3.0 };
    let none = Duration::Steps(0.0);
    let cosine = ScheduleSpec::WarmupCosine(WarmupCosine { warmup: none, floor: 0.0 });
    let transreid = ScheduleSpec::TransreidCosine(TransreidCosine { warmup: none, ..TransreidCosine::default() });
    for spec in [cosine, transreid] {
        assert!((learning_rate(&spec, 0.1, 2.0, 0, run) - 0.2).abs() < 1e-15);
    }
}

#[test]
fn ramps_and_momenta_follow_their_durations() {
    let run = RunLength { steps: 40, epochs: 4.0 };
    let quarter = Duration::Fraction(0.25);
    assert!((ramp(quarter, 0, run) - 0.1).abs() < 1e-15);
    assert!((ramp(quarter, 9, run) - 1.0).abs() < 1e-15);
    assert_eq!(ramp(quarter, 39, run), 1.0);
    assert_eq!(ramp(Duration::Epochs(0.0), 0, run), 1.0);
    let momentum = ema_momentum(Duration::Epochs(0.5), run);
    assert!((momentum.powi(5) - 0.5).abs() < 1e-12);
    assert_eq!(ema_momentum(Duration::Steps(0.0), run), 0.0);
}

// Losses.

#[test]
fn id_loss_holds_at_large_logits() -> Result<()> {
    let logits = Tensor::new(&[[100.0_f32, -100.0], [100.0, -100.0]], &Device::Cpu)?;
    let labels = Tensor::new(&[0_u32, 1], &Device::Cpu)?;
    assert_eq!(id_loss(&logits, &labels, 0.0)?.to_scalar::<f32>()?, 100.0);
    assert_eq!(accuracy(&logits, &labels)?.to_scalar::<f32>()?, 0.5);
    Ok(())
}

#[test]
fn triplet_loss_ignores_shifts_and_order() -> Result<()> {
    let features = Tensor::from_vec(normals(&mut rng(8), 12 * 6), (12, 6), &Device::Cpu)?;
    let labels = Tensor::new(&[0_u32, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], &Device::Cpu)?;
    let order = Tensor::new(&[7_u32, 2, 11, 0, 4, 9, 1, 3, 10, 5, 8, 6], &Device::Cpu)?;
    for margin in [TripletMargin::Soft(Soft {}), TripletMargin::Hard(Hard { margin: 0.3 })] {
        let loss = |features: &Tensor, labels: &Tensor| -> Result<f32> {
            Ok(triplet_loss(features, labels, margin)?.loss.to_scalar()?)
        };
        let plain = loss(&features, &labels)?;
        assert!((loss(&(&features + 0.5)?, &labels)? - plain).abs() < 1e-5);
        assert!((loss(&features.index_select(&order, 0)?, &labels.index_select(&order, 0)?)? - plain).abs() < 1e-6);
    }
    Ok(())
}

/// A collapsed encoder must not end in NaN: every distance is at the clamp.
#[test]
fn triplet_loss_of_one_point_has_no_gradient() -> Result<()> {
    let features = Var::ones((4, 3), candle_core::DType::F32, &Device::Cpu)?;
    let labels = Tensor::new(&[0_u32, 0, 1, 1], &Device::Cpu)?;
    let triplet = triplet_loss(&features, &labels, TripletMargin::Soft(Soft {}))?;
    assert!((triplet.loss.to_scalar::<f32>()? - 2.0_f32.ln()).abs() < 1e-6);
    let gradients = triplet.loss.backward()?;
    let gradient: Vec<f32> = gradients.get(&features).expect("a gradient").flatten_all()?.to_vec1()?;
    assert_eq!(gradient, [0.0; 12]);
    Ok(())
}

#[test]
fn neck_ignores_shift_and_scale_and_refuses_one_sample() -> Result<()> {
    let x = Tensor::from_vec(normals(&mut rng(9), 16 * 4), (16, 4), &Device::Cpu)?;
    let weight = Tensor::new(&[1.0_f32, 2.0, 0.5, 1.5], &Device::Cpu)?;
    let (plain, _) = normalize_batch(&x, &weight)?;
    let (moved, _) = normalize_batch(&((&x * 3.0)? + 2.0)?, &weight)?;
    let off: f32 = (plain - moved)?.abs()?.max_all()?.to_scalar()?;
    assert!(off < 1e-4, "{off}");
    assert!(normalize_batch(&x.narrow(0, 0, 1)?, &weight).is_err());
    Ok(())
}

#[test]
fn running_statistics_survive_saving() -> Result<()> {
    let x = Tensor::from_vec(normals(&mut rng(10), 16 * 4), (16, 4), &Device::Cpu)?;
    let weight = Tensor::ones(4, candle_core::DType::F32, &Device::Cpu)?;
    let mut stats = RunningStats::new(4, &Device::Cpu)?;
    stats.update(&normalize_batch(&x, &weight)?.1)?;
    let [(_, mean), (_, variance)] = stats.tensors();
    let restored = RunningStats::from_tensors(mean, variance)?;
    let [before, after] =
        [&stats, &restored].map(|stats| stats.normalize(&x, &weight).and_then(|y| y.to_vec2::<f32>()));
    assert_eq!(before?, after?);
    Ok(())
}

#[test]
fn pixel_targets_are_standardized_as_asked() -> Result<()> {
    let patches = ((Tensor::from_vec(normals(&mut rng(11), 2 * 3 * 48), (2, 3, 48), &Device::Cpu)? * 5.0)? + 1.0)?;
    let pixels = normalize_patches(&patches, PixelNorm::Channel)?.reshape((2, 3, 16, 3))?;
    let mean: f32 = pixels.mean(2)?.abs()?.max_all()?.to_scalar()?;
    let square_off: f32 = (pixels.sqr()?.mean(2)? - 1.0)?.abs()?.max_all()?.to_scalar()?;
    assert!(mean < 1e-5 && square_off < 1e-5, "{mean} {square_off}");
    Ok(())
}

/// One pass over the pictures gives what cutting and then normalizing gives.
#[test]
fn pixel_targets_are_the_normalized_patches() -> Result<()> {
    for (height, width, patch) in [(8, 8, 4), (16, 8, 8), (6, 9, 3), (2, 4, 2)] {
        let images = normals(&mut rng(14), 2 * 3 * height * width);
        let images = Tensor::from_vec(images, (2, 3, height, width), &Device::Cpu)?;
        for norm in [PixelNorm::None, PixelNorm::Patch, PixelNorm::Channel] {
            let apart = normalize_patches(&patchify(&images, patch)?, norm)?;
            let worst: f32 = (pixel_targets(&images, patch, norm)? - apart)?.abs()?.max_all()?.to_scalar()?;
            assert!(worst < 1e-5, "{height} x {width} in {patch}, {norm:?}: {worst:e}");
        }
    }
    Ok(())
}

#[test]
fn reconstruction_loss_without_a_mask_is_that_of_a_full_mask() -> Result<()> {
    let draw = |seed| Tensor::from_vec(normals(&mut rng(seed), 2 * 3 * 12), (2, 3, 12), &Device::Cpu);
    let (prediction, target) = (draw(12)?, draw(13)?);
    let ones = Tensor::ones((2, 3), candle_core::DType::F32, &Device::Cpu)?;
    let [all, full, none]: [Result<f32>; 3] = [None, Some(&ones), Some(&ones.zeros_like()?)]
        .map(|mask| Ok(squared_error(&prediction, &target, mask)?.to_scalar::<f32>()?));
    assert!((all? - full?).abs() < 1e-6);
    assert_eq!(none?, 0.0);
    Ok(())
}

#[test]
fn continuous_positions_pass_through_the_cells() {
    let cells: Vec<(f64, f64)> = (0..6).map(|cell| (f64::from(cell % 2), f64::from(cell / 2))).collect();
    let table: Vec<f32> = sincos_at(16, &cells).into_iter().map(|value| value as f32).collect();
    assert_eq!(table, sincos_2d(16, 3, 2));
}
