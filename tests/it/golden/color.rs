//! Golden: color jitter's operations, grayscale, solarising and blur, on PIL's pictures.

use reid_data::image::Image;
use reid_data::transform::{
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, gaussian_blur, grayscale, solarise,
};
use reid_tests::golden::Golden;

use super::augment::image;

/// Largest difference in levels that the fixtures allow for anything but hue.
const LEVELS: u8 = 1;

/// The same where hue is turned.
const HUE_LEVELS: u8 = 2;

/// The same for blur within the picture and where its kernel meets the border.
const BLUR_LEVELS: [u8; 2] = [1, 2];

type Adjust = fn(&mut Image, f64);

/// Largest difference of any value.
fn worst(actual: &Image, expected: &Image) -> u8 {
    assert_eq!((actual.height, actual.width), (expected.height, expected.width));
    actual.data.iter().zip(&expected.data).map(|(a, e)| a.abs_diff(*e)).max().unwrap_or(0)
}

fn changed(source: &Image, change: impl FnOnce(&mut Image)) -> Image {
    let mut image = source.clone();
    change(&mut image);
    image
}

#[test]
fn color_is_adjusted_as_by_pil() {
    let golden = Golden::load("aug_color");
    let source = image(&golden, "in.image");
    let adjustments: [(&str, Adjust, u8); 4] = [
        ("brightness", adjust_brightness, LEVELS),
        ("contrast", adjust_contrast, LEVELS),
        ("saturation", adjust_saturation, LEVELS),
        ("hue", adjust_hue, HUE_LEVELS),
    ];
    for (name, adjust, allowed) in adjustments {
        let prefix = format!("out.{name}_");
        let keys = golden.keys(&prefix);
        assert!(!keys.is_empty(), "no {name} in the file");
        for key in keys {
            let factor = key[prefix.len()..].parse().unwrap_or_else(|_| panic!("factor of {key}"));
            let actual = changed(&source, |image| adjust(image, factor));
            let worst = worst(&actual, &image(&golden, &key));
            assert!(worst <= allowed, "{key}: {worst} levels off");
        }
    }
}

/// The file's formula has the chain's factors.
#[test]
fn a_chain_of_adjustments_is_pils() {
    let golden = Golden::load("aug_color");
    let actual = changed(&image(&golden, "in.image"), |image| {
        adjust_brightness(image, 1.2);
        adjust_contrast(image, 0.8);
        adjust_saturation(image, 1.15);
        adjust_hue(image, -0.05);
    });
    let worst = worst(&actual, &image(&golden, "out.chain"));
    assert!(worst <= HUE_LEVELS, "{worst} levels off");
}

#[test]
fn grayscale_and_solarise_are_pils() {
    let golden = Golden::load("aug_color");
    let source = image(&golden, "in.image");
    let grey = worst(&changed(&source, grayscale), &image(&golden, "out.grayscale3"));
    assert!(grey <= LEVELS, "{grey} levels off");
    let solarised = changed(&source, |image| solarise(image, 128));
    let solarised = worst(&solarised, &image(&golden, "out.solarize128"));
    assert!(solarised <= LEVELS, "{solarised} levels off");
}

#[test]
fn blur_is_pils() {
    let golden = Golden::load("aug_blur");
    let source = image(&golden, "in.image");
    let keys = golden.keys("out.pil_");
    assert!(!keys.is_empty(), "no blurred picture in the file");
    for key in keys {
        let radius: f64 = key["out.pil_".len()..].parse().unwrap_or_else(|_| panic!("radius of {key}"));
        let (actual, expected) = (changed(&source, |image| gaussian_blur(image, radius)), image(&golden, &key));
        let reach = (3.0 * radius).ceil() as usize + 3;
        let pixels = actual.data.as_chunks::<3>().0.iter().zip(expected.data.as_chunks::<3>().0);
        for (at, (actual, expected)) in pixels.enumerate() {
            let (row, column) = (at / source.width, at % source.width);
            let inside = row.min(source.height - 1 - row) >= reach && column.min(source.width - 1 - column) >= reach;
            for (a, e) in actual.iter().zip(expected) {
                assert!(a.abs_diff(*e) <= BLUR_LEVELS[usize::from(!inside)], "{key} ({row}, {column}): {a} not {e}");
            }
        }
    }
}
