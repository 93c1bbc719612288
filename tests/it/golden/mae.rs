//! Golden: masks, patches, positions and the loss of masked autoencoders, and a whole one.

use candle_core::{DType, Device, Tensor, Var};
use reid_backbones::Result;
use reid_backbones::ops::squared_error;
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::vit::{sincos_2d, sincos_at};
use reid_backbones::{Keep, ParamStore, Vit};
use reid_data::rng::{Key, Rng, Stream};
use reid_objectives::math::mask::{BlockLaw, Draws, Grid, mae_keep_count, mask_by_noise};
use reid_objectives::math::patch::{patchify, pixel_targets, unpatchify};
use reid_objectives::person_mae::spec::{
    DecoderInput, DecoderKind, DecoderSpec, LossOn, MaskKind, PersonMaeSpec, PixelNorm, Region, Target,
};
use reid_objectives::person_mae::{PersonMae, Regions};
use reid_objectives::protocols::ENCODER;
use reid_objectives::task::Task;
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::gradient_of;

/// Reconstruction loss, relative.
const F32_LOSS: f64 = 1e-6;
/// Its gradient, relative to the largest.
const F32_GRADIENT: f64 = 1e-5;
/// Positions in f64 and f32.
const POSITION: [f64; 2] = [1e-12, 1e-6];
/// Encoder's and decoder's outputs of a whole MAE, absolute.
const OUTPUT: f64 = 3e-5;
/// Loss of a whole MAE, relative.
const MODEL_LOSS: f64 = 1e-5;
/// Its gradients, relative to each tensor's largest.
const MODEL_GRADIENT: f64 = 1e-4;
/// Frequency with which a cell is masked.
const CELL_FREQUENCY: f64 = 0.06;

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

#[test]
fn mae_patchify() -> Result<()> {
    let golden = Golden::load("mae_patchify");
    let patch: usize = golden.param("patch");
    for (input, output, back) in [("in.square", "out.square", Some("out.square_back")), ("in.rect", "out.rect", None)] {
        let image = golden.tensor(input);
        let (_b, _c, h, w) = image.dims4()?;
        let tokens = patchify(&image, patch)?;
        assert_eq!(tokens.dims(), golden.shape(output), "{output}");
        assert_eq!(values(&tokens)?, golden.f64s(output), "{output}");
        let restored = unpatchify(&tokens, patch, h / patch, w / patch)?;
        assert_eq!(restored.dims(), image.dims());
        assert_eq!(values(&restored)?, golden.f64s(back.unwrap_or(input)), "{output} put back");
    }
    Ok(())
}

#[test]
fn mae_random_masking() -> Result<()> {
    let golden = Golden::load("mae_random_masking");
    let tokens = golden.tensor("in.tokens");
    let (_b, n, _d) = tokens.dims3()?;
    let noise = golden.f32s("in.noise");
    let keys = golden.keys("in.");
    let cases: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix("in.")?.strip_suffix(".ratio")).collect();
    assert!(!cases.is_empty());
    for case in cases {
        let keep = mae_keep_count(n, golden.scalar(&format!("in.{case}.ratio")));
        let (mut kept, mut hidden, mut restore) = (Vec::new(), Vec::new(), Vec::new());
        for (sample, noise) in noise.chunks(n).enumerate() {
            let mask = mask_by_noise(noise, keep);
            let index = Tensor::new(mask.keep, &Device::Cpu)?;
            kept.extend(values(&tokens.get(sample)?.index_select(&index, 0)?)?);
            hidden.extend(mask.hidden.iter().map(|&hidden| f64::from(u8::from(hidden))));
            restore.extend(mask.restore.iter().map(|&place| i64::from(place)));
        }
        assert_eq!(kept, golden.f64s(&format!("out.{case}.kept")), "{case}: kept tokens");
        assert_eq!(hidden, golden.f64s(&format!("out.{case}.mask")), "{case}: mask");
        assert_eq!(restore, golden.i64s(&format!("out.{case}.ids_restore")), "{case}: order");
    }
    Ok(())
}

fn check_loss(name: &str) -> Result<()> {
    let golden = Golden::load(name);
    let images = golden.tensor("in.image");
    let (prediction, mask) = (Var::from_tensor(&golden.tensor("in.pred"))?, golden.tensor("in.mask"));
    for (case, norm) in [("raw", PixelNorm::None), ("norm", PixelNorm::Patch)] {
        let target = pixel_targets(&images, golden.param("patch"), norm)?;
        if norm == PixelNorm::Patch {
            let worst = relative_to_max(&values(&target)?, &golden.f64s("out.target_norm"));
            assert!(worst <= F32_GRADIENT, "{name}: target {worst:e}");
        }
        let loss = squared_error(&prediction, &target, Some(&mask))?;
        let gradients = loss.backward()?;
        let gradient = gradients.get(&prediction).expect("the loss depends on the prediction");
        let worst = relative_to_max(&values(&loss)?, &golden.f64s(&format!("out.{case}.loss")));
        assert!(worst <= F32_LOSS, "{name} {case}: loss {worst:e}");
        let worst = relative_to_max(&values(gradient)?, &golden.f64s(&format!("out.{case}.grad_pred")));
        assert!(worst <= F32_GRADIENT, "{name} {case}: gradient {worst:e}");
    }
    Ok(())
}

#[test]
fn mae_losses() -> Result<()> {
    check_loss("mae_loss")?;
    check_loss("mae_loss_rect")
}

/// Rows and columns of a case of `mae_sincos_pos_embed`: `square_*` or `rect_<rows>x<cols>_*`.
fn grid_of(golden: &Golden, case: &str) -> (usize, usize) {
    match case.split('_').nth(1).and_then(|size| size.split_once('x')) {
        Some((rows, cols)) => (rows.parse().expect("rows"), cols.parse().expect("columns")),
        None => (golden.param("square"), golden.param("square")),
    }
}

#[test]
fn mae_sincos_pos_embed() {
    let golden = Golden::load("mae_sincos_pos_embed");
    let width: usize = golden.param("dim");
    let cases = golden.keys("out.");
    assert!(!cases.is_empty());
    for key in cases {
        let case = key.trim_start_matches("out.");
        let (rows, cols) = grid_of(&golden, case);
        let mut expected = golden.f64s(&key);
        if case.ends_with("_cls") {
            let class_token: Vec<f64> = expected.drain(..width).collect();
            assert!(class_token.iter().all(|&value| value == 0.0), "{case}: the class token has no position");
        }
        let points: Vec<(f64, f64)> =
            (0..rows * cols).map(|cell| ((cell % cols) as f64, (cell / cols) as f64)).collect();
        let single: Vec<f64> = sincos_2d(width, rows, cols).into_iter().map(f64::from).collect();
        assert!(max_abs(&sincos_at(width, &points), &expected) <= POSITION[0], "{case}: f64");
        assert!(max_abs(&single, &expected) <= POSITION[1], "{case}: f32");
    }
}

/// Recorded choices of the reference: `(kind, low, high, value)`, kind 0 real, 1 integer, 3 one of several.
pub(super) struct Replay<'a> {
    pub(super) choices: std::slice::Iter<'a, [f64; 4]>,
}

impl Replay<'_> {
    fn next(&mut self, kind: f64, low: f64, high: f64) -> f64 {
        let &[expected_kind, expected_low, expected_high, value] = self.choices.next().expect("a recorded choice");
        let asked = max_abs(&[kind, low, high], &[expected_kind, expected_low, expected_high]);
        assert!(
            asked <= 1e-12,
            "asked for kind {kind} in [{low}, {high}], recorded {expected_kind} in [{expected_low}, {expected_high}]"
        );
        value
    }
}

impl Draws for Replay<'_> {
    fn real(&mut self, low: f64, high: f64) -> f64 {
        self.next(0.0, low, high)
    }

    fn integer(&mut self, low: usize, high: usize) -> usize {
        self.next(1.0, low as f64, high as f64) as usize
    }

    fn choice(&mut self, count: usize) -> usize {
        self.next(3.0, 0.0, (count - 1) as f64) as usize
    }
}

/// The cases of `block_mask_beit` with their laws and targets.
fn block_cases(golden: &Golden) -> Vec<(String, BlockLaw, usize)> {
    let keys = golden.keys("in.");
    let names = keys.iter().filter_map(|key| key.strip_prefix("in.")?.strip_suffix(".target"));
    let cases = names.map(|name| {
        let law = BlockLaw {
            min_area: golden.scalar(&format!("in.{name}.min_block")),
            max_area: golden.scalar(&format!("in.{name}.max_block")) as usize,
            coverable_side: 0,
            max_failures: None,
        };
        (name.to_owned(), law, golden.scalar(&format!("in.{name}.target")) as usize)
    });
    let cases: Vec<_> = cases.collect();
    assert!(!cases.is_empty());
    cases
}

fn block_grid(golden: &Golden) -> Grid {
    let (rows, cols) = golden.text("grid").split_once('x').expect("rows x columns");
    Grid { rows: rows.parse().expect("rows"), cols: cols.parse().expect("columns") }
}

#[test]
fn block_mask_beit_traces() {
    let golden = Golden::load("block_mask_beit");
    let grid = block_grid(&golden);
    for (name, law, target) in block_cases(&golden) {
        let draws = golden.f64s(&format!("in.{name}.trace.draws"));
        let (draws, _) = draws.as_chunks::<4>();
        let offsets = golden.i64s(&format!("in.{name}.trace.offsets"));
        let masks = golden.i64s(&format!("out.{name}.trace.masks"));
        for (bounds, expected) in offsets.windows(2).zip(masks.chunks(grid.cells())) {
            let mut replay = Replay { choices: draws[bounds[0] as usize..bounds[1] as usize].iter() };
            let mask = law.draw(&mut replay, grid, target as f64);
            let hidden: Vec<i64> = mask.hidden.iter().map(|&hidden| i64::from(hidden)).collect();
            assert_eq!(hidden, expected, "{name}: mask of choices {bounds:?}");
            assert_eq!(replay.choices.len(), 0, "{name}: choices left over");
        }
    }
}

#[test]
fn block_mask_beit_statistics() {
    let golden = Golden::load("block_mask_beit");
    let grid = block_grid(&golden);
    // Ten times the reference's draws, so that only its own noise counts.
    let n: u32 = 10 * golden.param::<u32>("draws");
    for (name, law, target) in block_cases(&golden) {
        let mut counts = Vec::new();
        let mut frequency = vec![0.0; grid.cells()];
        for draw in 0..n {
            let key = Key { seed: 0, stream: Stream::Mask, epoch: 0, draw, view: 0 };
            let mask = law.draw(&mut Rng::new(key), grid, target as f64);
            counts.push(mask.count() as f64);
            for (share, _) in frequency.iter_mut().zip(&mask.hidden).filter(|&(_, &hidden)| hidden) {
                *share += 1.0 / f64::from(n);
            }
        }
        let mean = counts.iter().sum::<f64>() / f64::from(n);
        let standard_error = golden.scalar(&format!("out.{name}.count_std")) / golden.param::<f64>("draws").sqrt();
        let off = (mean - golden.scalar(&format!("out.{name}.count_mean"))).abs();
        assert!(off <= 4.0 * standard_error + 1e-9, "{name}: {mean} cells on average, off by {off}");
        let worst = max_abs(&frequency, &golden.f64s(&format!("out.{name}.cell_freq")));
        assert!(worst <= CELL_FREQUENCY, "{name}: a cell's frequency is off by {worst}");
    }
}

/// Our name of one of MAE's parameters.
fn our_name(name: &str) -> String {
    match name.strip_prefix("decoder_") {
        Some(rest) => format!("pixel_decoder.{rest}"),
        None if name == "mask_token" => format!("pixel_decoder.{name}"),
        None => format!("{ENCODER}{name}"),
    }
}

/// PersonMAE with the switches that make it MAE, and MAE's weights.
fn build_mae(golden: &Golden) -> reid_objectives::Result<PersonMae> {
    let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
    let backbone = VitSpec {
        size: VitSize::Micro,
        image: [golden.param("height"), golden.param("width")],
        patch: golden.param("patch"),
        positions: Positions::Learned,
        drop_path: 0.0,
        ..VitSpec::default()
    };
    let spec = PersonMaeSpec {
        mask: MaskKind::Random,
        mask_ratio: golden.param("mask_ratio"),
        region: Region::Same,
        target: Target::Pixel,
        loss_on: LossOn::Masked,
        pixel_norm: if golden.param::<u8>("norm_pix_loss") == 1 { PixelNorm::Patch } else { PixelNorm::None },
        pixel_decoder: DecoderSpec {
            kind: DecoderKind::Unshuffle,
            depth: golden.param("dec_depth"),
            width: golden.param("dec_dim"),
            heads: golden.param("dec_heads"),
            input: DecoderInput::Last,
        },
        ..PersonMaeSpec::default()
    };
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &backbone, ENCODER, &mut store, &|_| Box::new(|| 0.5))?;
    let task = PersonMae::assemble(spec, backbone, 1, vit, store, &|_| Box::new(|| 0.5))?;
    let mut stored = 0;
    for key in golden.keys("in.w.") {
        let name = key.trim_start_matches("in.w.");
        // A fixed table in MAE; ours is computed, and checked below to be the same.
        if name != "decoder_pos_embed" {
            task.trainable().set(&our_name(name), &golden.tensor(&key))?;
            stored += 1;
        }
    }
    assert_eq!(stored, task.trainable().names().count(), "our parameters are MAE's");
    Ok(task)
}

/// The decoder's stored positions are the table that ours computes: nothing for the class token, sines
/// and cosines for the cells.
fn check_decoder_positions(golden: &Golden, grid: (usize, usize)) {
    let width: usize = golden.param("dec_dim");
    let ours = [vec![0.0; width], sincos_2d(width, grid.0, grid.1)].concat();
    let ours: Vec<f64> = ours.into_iter().map(f64::from).collect();
    assert!(max_abs(&ours, &golden.f64s("in.w.decoder_pos_embed")) <= POSITION[1], "decoder's positions");
}

fn check_model(name: &str) -> reid_objectives::Result<()> {
    let golden = Golden::load(name);
    let task = build_mae(&golden)?;
    let image = golden.tensor("in.image");
    let (b, _c, h, w) = image.dims4()?;
    let patch: usize = golden.param("patch");
    check_decoder_positions(&golden, (h / patch, w / patch));

    let cells = h / patch * (w / patch);
    let per_sample = mae_keep_count(cells, golden.param("mask_ratio"));
    let masks: Vec<_> = golden.f32s("in.noise").chunks(cells).map(|noise| mask_by_noise(noise, per_sample)).collect();
    let keep = Keep { cells: masks.iter().flat_map(|mask| mask.keep.clone()).collect(), per_sample };
    let hidden: Vec<f32> = masks.iter().flat_map(|mask| &mask.hidden).map(|&h| f32::from(u8::from(h))).collect();
    let hidden = Tensor::from_vec(hidden, (b, cells), &Device::Cpu)?;
    assert_eq!(values(&hidden)?, golden.f64s("out.mask"), "{name}: mask");

    let regions = Regions { a: image.clone(), b: image, windows: None };
    let losses = task.losses(&regions, &keep, &hidden, None)?;
    let worst = max_abs(&values(&losses.tokens.all)?, &golden.f64s("out.latent"));
    assert!(worst <= OUTPUT, "{name}: latent {worst:e}");
    let predicted = losses.predicted_pixels.expect("the target is pixels");
    let worst = max_abs(&values(&predicted)?, &golden.f64s("out.pred"));
    assert!(worst <= OUTPUT, "{name}: prediction {worst:e}");
    let loss = losses.pixel.expect("the target is pixels");
    let worst = relative_to_max(&values(&loss)?, &golden.f64s("out.loss"));
    assert!(worst <= MODEL_LOSS, "{name}: loss {worst:e}");

    let store = task.trainable();
    let gradients = store.gradients(&mut loss.backward()?)?;
    let keys = golden.keys("out.grad.");
    assert!(keys.len() >= 10, "{} gradients", keys.len());
    for key in keys {
        let gradient = gradient_of(store, &gradients, &our_name(key.trim_start_matches("out.grad.")));
        let worst = relative_to_max(&values(&gradient)?, &golden.f64s(&key));
        assert!(worst <= MODEL_GRADIENT, "{name}: {key} {worst:e}");
    }
    Ok(())
}

#[test]
fn mae_full() -> reid_objectives::Result<()> {
    check_model("mae_full")
}

#[test]
fn mae_full_rect() -> reid_objectives::Result<()> {
    check_model("mae_full_rect")
}
