//! Changes of color and sharpness: which are made, and with what chance.

use proptest::prelude::*;
use reid_data::augment::{DrawKey, load_views};
use reid_data::draws::Draws;
use reid_data::image::Image;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::{
    BlurSpec, ErasingFill, ErasingLaw, ErasingSpec, JitterSpec, Normalisation, PhotometricSpec, Size,
};
use reid_data::transform::{
    adjust_brightness, adjust_hue, adjust_saturation, color_jitter, gaussian_blur, grayscale, photometric, solarise,
};
use reid_data::views::{ViewPlan, ViewSpec};

use super::fixture::{noise, picture};

fn rng(draw: u32) -> Rng {
    Rng::new(Key { seed: 3, stream: Stream::Augment, epoch: 0, draw, view: 0 })
}

fn apply(image: &Image, spec: PhotometricSpec, draw: u32) -> Image {
    let mut image = image.clone();
    photometric(&mut image, &spec, &mut rng(draw));
    image
}

/// A source that has no numbers to give.
struct Empty;

impl Draws for Empty {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        panic!("asked for a number in {low}..{high}")
    }

    fn integer(&mut self, low: usize, high: usize) -> usize {
        panic!("asked for a number in {low}..={high}")
    }

    fn gaussian(&mut self) -> f64 {
        panic!("asked for a normal number")
    }
}

#[test]
fn what_is_off_draws_nothing_and_changes_nothing() {
    let image = picture(1, 20, 10);
    let mut same = image.clone();
    photometric(&mut same, &PhotometricSpec::default(), &mut Empty);
    assert_eq!(same, image);
}

#[test]
fn operations_come_in_order() {
    let image = picture(1, 20, 10);
    let blur = BlurSpec { probability: 1.0, radius: [1.5, 1.5] };
    let spec =
        PhotometricSpec { grayscale: 1.0, blur, solarise: 1.0, solarise_threshold: 100, ..PhotometricSpec::default() };
    let mut expected = image.clone();
    grayscale(&mut expected);
    gaussian_blur(&mut expected, 1.5);
    solarise(&mut expected, 100);
    assert_eq!(apply(&image, spec, 0), expected);
}

#[test]
fn each_probability_is_kept() {
    const DRAWS: u32 = 2000;
    let image = picture(1, 8, 4);
    let jitter = JitterSpec { probability: 0.3, ..JitterSpec::default() };
    let blur = BlurSpec { probability: 0.3, radius: [1.0, 2.0] };
    for spec in [
        PhotometricSpec { jitter, ..PhotometricSpec::default() },
        PhotometricSpec { grayscale: 0.3, ..PhotometricSpec::default() },
        PhotometricSpec { blur, ..PhotometricSpec::default() },
        PhotometricSpec { solarise: 0.3, ..PhotometricSpec::default() },
    ] {
        let changed = (0..DRAWS).filter(|&draw| apply(&image, spec, draw) != image).count();
        let share = changed as f64 / f64::from(DRAWS);
        // Three standard deviations of a share of 0.3, and a jitter that happens to change nothing.
        assert!((share - 0.3).abs() < 0.035, "{spec:?}: {share}");
    }
}

type Adjust = fn(&mut Image, f64);

/// Every order is tried, and an amount of zero leaves an adjustment out.
#[test]
fn jitter_adjusts_in_any_order() {
    let mut image = picture(1, 8, 4);
    color_jitter(
        &mut image,
        &JitterSpec { probability: 1.0, brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
        &mut rng(0),
    );
    assert_eq!(image, picture(1, 8, 4));
    let both = JitterSpec { probability: 1.0, brightness: 0.9, contrast: 0.0, saturation: 0.9, hue: 0.0 };
    let mut seen = [0; 2];
    for draw in 0..200 {
        let mut jittered = picture(1, 8, 4);
        color_jitter(&mut jittered, &both, &mut rng(draw));
        let mut draws = rng(draw);
        for last in (1..4_usize).rev() {
            draws.integer(0, last);
        }
        let factors = [draws.between(0.1, 1.9), draws.between(0.1, 1.9)];
        let orders: [[Adjust; 2]; 2] = [[adjust_brightness, adjust_saturation], [adjust_saturation, adjust_brightness]];
        let matching: Vec<bool> = orders
            .iter()
            .map(|order| {
                let mut image = picture(1, 8, 4);
                order.iter().zip(factors).for_each(|(adjust, factor)| adjust(&mut image, factor));
                image == jittered
            })
            .collect();
        assert!(matching.contains(&true), "draw {draw}");
        if matching != [true, true] {
            seen[usize::from(matching[1])] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
}

/// The same view as without, but for its own changes: the crop and the mirroring stay.
#[test]
fn a_view_s_geometry_does_not_depend_on_its_colors() {
    let image = picture(1, 50, 30);
    let plain = ViewSpec { flip: 0.5, ..ViewSpec::whole(Size(32, 16), Normalisation::Half) };
    let solar = PhotometricSpec { solarise: 1.0, solarise_threshold: 0, ..PhotometricSpec::default() };
    let inverted = ViewSpec { photometric: solar, ..plain.clone() };
    for draw in 0..20 {
        let key = DrawKey { seed: 1, epoch: 0, draw };
        let view = |spec: &ViewSpec| load_views(&image, &ViewPlan { views: vec![spec.clone()], shared_flip: 0.0 }, key);
        for (a, b) in view(&plain)[0].pixels.iter().zip(&view(&inverted)[0].pixels) {
            assert!((a + b).abs() < 1e-6, "{a} {b}");
        }
    }
}

#[test]
fn erasing_with_zeros_leaves_the_mean() {
    let image = Image::black(32, 16);
    let erasing = ErasingSpec { probability: 1.0, area: [0.1, 0.2], fill: ErasingFill::Zero, ..ErasingSpec::default() };
    let spec = ViewSpec { erasing: Some(erasing), ..ViewSpec::whole(Size(32, 16), Normalisation::Half) };
    let key = DrawKey { seed: 1, epoch: 0, draw: 0 };
    let view = &load_views(&image, &ViewPlan { views: vec![spec], shared_flip: 0.0 }, key)[0];
    let zeros = view.pixels.iter().filter(|value| value.to_bits() == 0).count();
    assert!(
        zeros > 0 && view.pixels.iter().all(|value| value.to_bits() == 0 || value.to_bits() == (-1.0_f32).to_bits())
    );
}

/// The paper's code fills with the raw means of the channels, though the picture is normalised already.
#[test]
fn erasing_with_raw_means_fills_each_channel_with_its_own() {
    let image = Image::black(32, 16);
    let (law, fill) = (ErasingLaw::Zhong, ErasingFill::RawMean);
    let erasing = ErasingSpec { probability: 1.0, area: [0.1, 0.2], law, fill };
    let spec = ViewSpec { erasing: Some(erasing), ..ViewSpec::whole(Size(32, 16), Normalisation::Half) };
    let key = DrawKey { seed: 1, epoch: 0, draw: 0 };
    let view = &load_views(&image, &ViewPlan { views: vec![spec], shared_flip: 0.0 }, key)[0];
    for (plane, mean) in view.pixels.chunks_exact(32 * 16).zip([0.485_f32, 0.456, 0.406]) {
        let erased = plane.iter().filter(|value| value.to_bits() == mean.to_bits()).count();
        let untouched = plane.iter().filter(|value| value.to_bits() == (-1.0_f32).to_bits()).count();
        assert!(erased > 0 && erased + untouched == 32 * 16, "{erased} of {mean}");
    }
}

/// PIL's conversion from RGB to HSV, a turn, and the conversion back, in the types in which C evaluates them.
fn hue_turned(pixel: [u8; 3], steps: u8) -> [u8; 3] {
    let [r, g, b] = pixel;
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return pixel;
    }
    let range = f32::from(max - min);
    let [red, green, blue] = pixel.map(|channel| f32::from(max - channel) / range);
    let sixths = if r == max {
        blue - green
    } else if g == max {
        (2.0 + f64::from(red) - f64::from(blue)) as f32
    } else {
        (4.0 + f64::from(green) - f64::from(red)) as f32
    };
    let hue = (f64::from(sixths) / 6.0 + 1.0).rem_euclid(1.0) as f32;
    let hue = ((f64::from(hue) * 255.0) as u8).wrapping_add(steps);
    let saturation = (f64::from(range / f32::from(max)) * 255.0) as u8;
    let place = f64::from(hue) * 6.0 / 255.0;
    let sector = place as u8;
    let place = (place - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let level = |missing: f64| (f64::from(max) * (1.0 - missing) + 0.5) as u8;
    let low = level(f64::from(saturation));
    let falling = level(f64::from(saturation * place));
    let rising = level(f64::from(saturation) * (1.0 - f64::from(place)));
    match sector {
        1 => [falling, max, low],
        2 => [low, max, rising],
        3 => [low, falling, max],
        4 => [rising, low, max],
        5 => [max, low, falling],
        _ => [max, rising, low],
    }
}

#[test]
fn the_hue_of_every_color_is_pils() {
    let colors: Vec<[u8; 3]> =
        (0..1_u32 << 24).map(|color| [color as u8, (color >> 8) as u8, (color >> 16) as u8]).collect();
    for share in [0.0, 0.1, -0.5] {
        let mut image = Image::new(1 << 12, 1 << 12, colors.as_flattened().to_vec());
        adjust_hue(&mut image, share);
        let steps = (share * 255.0) as i32 as u8;
        for (&color, &turned) in colors.iter().zip(image.data.as_chunks().0) {
            assert_eq!(hue_turned(color, steps), turned, "{color:?} by {share}");
        }
    }
}

proptest! {
    /// A color does not depend on how many pixels there are, and where it is among them.
    #[test]
    fn a_pixel_is_changed_alone(seed in 0..50_u64, width in 1..200_usize, factor in 0.0..3.0_f64, share in -0.5..=0.5_f64) {
        let image = noise(seed, 1, width);
        let changes: [&dyn Fn(&mut Image); 3] =
            [&|image| adjust_saturation(image, factor), &|image| adjust_hue(image, share), &grayscale];
        for change in changes {
            let mut together = image.clone();
            change(&mut together);
            for (pixel, changed) in image.data.chunks(3).zip(together.data.chunks(3)) {
                let mut alone = Image::new(1, 1, pixel.to_vec());
                change(&mut alone);
                prop_assert_eq!(&alone.data[..], changed);
            }
        }
    }

    /// No picture is too small, no radius too large, and an even picture stays what it is.
    #[test]
    fn blur_takes_every_picture(height in 0..6_usize, width in 0..6_usize, radius in 0.0..20.0_f64, level in 0..=255_u8) {
        let even = Image::new(height, width, vec![level; height * width * 3]);
        let mut blurred = even.clone();
        gaussian_blur(&mut blurred, radius);
        for value in &blurred.data {
            // The fixed-point weights of one pass sum to one less some millionths.
            prop_assert!(value.abs_diff(level) <= 1, "{value} of {level}");
        }
    }

    /// Along a picture one pixel wide or high, blur has nothing to mix: so each direction can be seen alone.
    #[test]
    fn blur_is_that_of_each_row_then_that_of_each_column(height in 1..40_usize, width in 1..40_usize, seed in 0..50_u64, radius in 0.0..5.0_f64) {
        let image = noise(seed, height, width);
        let blurred = |image: &Image| {
            let mut image = image.clone();
            gaussian_blur(&mut image, radius);
            image
        };
        let rows = image.data.chunks(width * 3).map(|row| blurred(&Image::new(1, width, row.to_vec())).data);
        let wide: Vec<u8> = rows.flatten().collect();
        let pixels = wide.as_chunks::<3>().0;
        let columns = (0..width).map(|x| {
            let column: Vec<u8> = pixels[x..].iter().step_by(width).flatten().copied().collect();
            blurred(&Image::new(height, 1, column)).data
        });
        let columns: Vec<Vec<u8>> = columns.collect();
        let whole = blurred(&image);
        for (at, pixel) in whole.data.chunks(3).enumerate() {
            prop_assert_eq!(pixel, &columns[at % width][at / width * 3..][..3]);
        }
    }

    #[test]
    fn colors_take_every_picture(height in 0..4_usize, width in 0..4_usize, seed in 0..50_u64, draw in 0..50_u32) {
        let jitter = JitterSpec { probability: 1.0, brightness: 3.0, contrast: 3.0, saturation: 3.0, hue: 0.5 };
        let image = picture(seed, height, width);
        let spec = PhotometricSpec { jitter, ..PhotometricSpec::default() };
        prop_assert_eq!(apply(&image, spec, draw).data.len(), image.data.len());
    }

    /// Greys have no hue to turn and no saturation to change.
    #[test]
    fn greys_stay(level in 0..=255_u8, factor in 0.0..3.0_f64, share in -0.5..=0.5_f64) {
        let grey = Image::new(2, 2, vec![level; 12]);
        let mut image = grey.clone();
        adjust_saturation(&mut image, factor);
        adjust_hue(&mut image, share);
        prop_assert_eq!(image, grey);
    }
}
