//! Golden: resizing, normalizing, mirroring, padding, random-resized crops and random erasing.

use reid_data::draws::Draws;
use reid_data::image::Image;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::{ErasingLaw, ErasingSpec, Filter, Normalisation, Size};
use reid_data::transform::{Region, Resizer, flip, normalise, pad_crop, random_resized_crop};
use reid_tests::golden::{Golden, max_abs};

/// Largest difference in levels that the fixtures allow for 8-bit resizing.
const LEVELS: u8 = 1;

/// Absolute tolerance of normalized pixels.
const NORMALIZED: f64 = 1e-6;

/// Black pixels on each side of the padded picture: the fixture's formula.
const PAD: usize = 10;

/// Absolute tolerance of quantiles of the area share, and of mean places.
const AREA_QUANTILE: f64 = 0.03;

/// Relative tolerance of quantiles of the aspect.
const RATIO_QUANTILE: f64 = 0.05;

pub(super) fn bytes(golden: &Golden, key: &str) -> Vec<u8> {
    golden.i64s(key).into_iter().map(|v| u8::try_from(v).expect("a byte")).collect()
}

pub(super) fn image(golden: &Golden, key: &str) -> Image {
    let shape = golden.shape(key);
    Image::new(shape[0], shape[1], bytes(golden, key))
}

fn floats(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').map(|v| v.trim().parse().unwrap_or_else(|_| panic!("number {v:?}"))).collect()
}

/// Compares a resized picture; returns how many samples differ at all.
fn differing(actual: &Image, expected: &Image, what: &str) -> usize {
    assert_eq!((actual.height, actual.width), (expected.height, expected.width), "{what}");
    let pairs = || actual.data.iter().zip(&expected.data);
    let worst = pairs().map(|(a, e)| a.abs_diff(*e)).max().unwrap_or(0);
    assert!(worst <= LEVELS, "{what}: {worst} levels off");
    pairs().filter(|(a, e)| a != e).count()
}

#[test]
fn resize_is_pils() {
    let golden = Golden::load("aug_resize");
    let source = image(&golden, "in.image");
    let mut resizer = Resizer::new();
    let mut cases = 0;
    for (prefix, filter) in [("out.bilinear_", Filter::Bilinear), ("out.bicubic_", Filter::Bicubic)] {
        for key in golden.keys(prefix) {
            let expected = image(&golden, &key);
            let size = Size(expected.height, expected.width);
            let actual = resizer.resize(&source, Region::whole(&source), size, filter);
            assert_eq!(differing(&actual, &expected, &key), 0, "{key}: not exact");
            cases += 1;
        }
    }
    assert!(cases > 0, "no resized picture in the file");
}

#[test]
fn normalise_flip_and_pad_crop_are_torchvisions() {
    let golden = Golden::load("aug_normalise_flip_pad_crop");
    let source = image(&golden, "in.image");
    let (mean, std) = Normalisation::Imagenet.mean_std();
    assert_eq!(numbers::<f32>(golden.text("mean")), mean);
    assert_eq!(numbers::<f32>(golden.text("std")), std);
    for (key, normalisation) in [("out.imagenet", Normalisation::Imagenet), ("out.half", Normalisation::Half)] {
        let mut actual = vec![0.0; source.data.len()];
        normalise(&source, normalisation, &mut actual);
        let worst = max_abs(&floats(&actual), &golden.f64s(key));
        assert!(worst <= NORMALIZED, "{key}: {worst:e}");
    }
    let mut mirrored = source.clone();
    flip(&mut mirrored);
    assert_eq!(mirrored, image(&golden, "out.flip"));
    let corner: Vec<usize> = numbers(golden.text("crop"));
    let expected = image(&golden, "out.pad_crop");
    assert_eq!(pad_crop(&source, PAD, (corner[0], corner[1])), expected);
}

#[test]
fn random_resized_crop_cuts_as_torchvision() {
    let golden = Golden::load("aug_random_resized_crop");
    let source = image(&golden, "in.image");
    let mut resizer = Resizer::new();
    let mut cases = 0;
    for size_key in golden.keys("in.box").into_iter().filter(|key| key.ends_with("_size")) {
        let name = size_key.trim_start_matches("in.").trim_end_matches("_size");
        let window: Vec<usize> = golden.i64s(&format!("in.{name}")).into_iter().map(|v| v as usize).collect();
        let size: Vec<usize> = golden.i64s(&size_key).into_iter().map(|v| v as usize).collect();
        let region = Region { top: window[0], left: window[1], height: window[2], width: window[3] };
        for (suffix, filter) in [("bilinear", Filter::Bilinear), ("bicubic", Filter::Bicubic)] {
            let key = format!("out.{name}.{suffix}");
            let actual = resizer.resize(&source, region, Size(size[0], size[1]), filter);
            differing(&actual, &image(&golden, &key), &key);
            // A window is nothing but a part of the picture that is resized.
            let cut = resizer.resize(&source, region, Size(region.height, region.width), filter);
            assert_eq!(resizer.resize(&cut, Region::whole(&cut), Size(size[0], size[1]), filter), actual);
            cases += 1;
        }
    }
    assert!(cases > 0, "no window in the file");
}

/// Quantiles 0, 5, .. 100 % with linear interpolation, as numpy computes them.
fn quantiles(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let place = q * (values.len() - 1) as f64;
        let low = place.floor() as usize;
        let high = (low + 1).min(values.len() - 1);
        values[low] + (values[high] - values[low]) * place.fract()
    };
    (0..=20).map(|step| at(f64::from(step) / 20.0)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn random_resized_crop_draws_torchvisions_law() {
    const DRAWS: u32 = 20_000;
    let golden = Golden::load("aug_random_resized_crop");
    let keys = golden.keys("in.").into_iter().filter(|key| key.ends_with(".scale_ratio"));
    let mut cases = 0;
    for key in keys {
        let name = key.trim_start_matches("in.").trim_end_matches(".scale_ratio");
        let law = golden.f64s(&key);
        let size = golden.f64s(&format!("in.{name}.size"));
        let (height, width) = (size[0] as usize, size[1] as usize);
        let (mut areas, mut ratios, mut tops, mut lefts) = (vec![], vec![], vec![], vec![]);
        for draw in 0..DRAWS {
            let mut rng = Rng::new(Key { seed: 5, stream: Stream::Augment, epoch: 0, draw, view: 0 });
            let region = random_resized_crop((height, width), [law[0], law[1]], [law[2], law[3]], &mut rng);
            assert!(region.fits(height, width), "{name}: {region:?}");
            areas.push((region.height * region.width) as f64 / (height * width) as f64);
            ratios.push(region.width as f64 / region.height as f64);
            if region.height < height {
                tops.push(region.top as f64 / (height - region.height) as f64);
            }
            if region.width < width {
                lefts.push(region.left as f64 / (width - region.width) as f64);
            }
        }
        let inner = |values: Vec<f64>| values[1..values.len() - 1].to_vec();
        let areas = max_abs(&inner(quantiles(areas)), &inner(golden.f64s(&format!("out.{name}.area_q"))));
        assert!(areas <= AREA_QUANTILE, "{name}: area quantiles {areas}");
        for (ours, theirs) in
            inner(quantiles(ratios)).into_iter().zip(inner(golden.f64s(&format!("out.{name}.ratio_q"))))
        {
            assert!((ours / theirs - 1.0).abs() <= RATIO_QUANTILE, "{name}: aspect {ours} instead of {theirs}");
        }
        for (values, side) in [(tops, "top_mean"), (lefts, "left_mean")] {
            let expected = golden.scalar(&format!("out.{name}.{side}"));
            assert!((mean(&values) - expected).abs() <= AREA_QUANTILE, "{name} {side}: {}", mean(&values));
        }
        cases += 1;
    }
    assert!(cases > 0, "no law in the file");
}

/// Numbers that another program drew, with the bounds it asked for: `[lower, upper, value]`.
struct Recorded(std::vec::IntoIter<[f64; 3]>);

impl Recorded {
    fn take(&mut self, low: f64, high: f64) -> f64 {
        let [recorded_low, recorded_high, value] = self.0.next().expect("the law draws more than was recorded");
        let same = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
        assert!(
            same(low, recorded_low) && same(high, recorded_high),
            "drew from {low}..{high} instead of {recorded_low}..{recorded_high}"
        );
        value
    }
}

impl Draws for Recorded {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.take(low, high)
    }

    fn integer(&mut self, low: usize, high: usize) -> usize {
        self.take(low as f64, high as f64) as usize
    }

    fn gaussian(&mut self) -> f64 {
        unreachable!("only boxes are recorded")
    }
}

fn replay_erasing(name: &str, law: impl Fn(f64) -> ErasingSpec) {
    let golden = Golden::load("aug_random_erasing");
    let (height, width): (usize, usize) = (golden.param("height"), golden.param("width"));
    let law = law(golden.param("p"));
    // Rows of kind, lower bound, upper bound, value.
    let rows: Vec<[f64; 3]> =
        golden.f64s(&format!("in.{name}.draws")).chunks_exact(4).map(|row| [row[1], row[2], row[3]]).collect();
    let offsets: Vec<usize> = golden.i64s(&format!("in.{name}.offsets")).into_iter().map(|v| v as usize).collect();
    let masks = bytes(&golden, &format!("out.{name}.mask"));
    assert_eq!(masks.len(), (offsets.len() - 1) * height * width);
    for (picture, mask) in masks.chunks_exact(height * width).enumerate() {
        let own = rows[offsets[picture]..offsets[picture + 1]].to_vec();
        let mut recorded = Recorded(own.into_iter());
        let region = law.region(height, width, &mut recorded);
        assert_eq!(recorded.0.len(), 0, "{name} {picture}: numbers left over");
        let mut actual = vec![0; height * width];
        if let Some(region) = region {
            for row in actual.chunks_exact_mut(width).skip(region.top).take(region.height) {
                row[region.left..][..region.width].fill(1);
            }
        }
        assert_eq!(actual, mask, "{name} {picture}: {region:?}");
    }
}

#[test]
fn random_erasing_is_timms() {
    replay_erasing("timm", |probability| ErasingSpec { probability, ..ErasingSpec::default() });
}

#[test]
fn random_erasing_with_linear_aspect_is_the_papers() {
    let law = ErasingLaw::Zhong;
    replay_erasing("old", |probability| ErasingSpec { probability, area: [0.02, 0.4], law, ..ErasingSpec::default() });
}
