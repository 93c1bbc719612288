//! Views of one picture.

use proptest::prelude::*;
use reid_data::augment::{DrawKey, View, load_views};
use reid_data::image::Image;
use reid_data::spec::{ErasingSpec, Filter, Normalisation, Size};
use reid_data::transform::{Region, Resizer, flip, normalise, pad_crop};
use reid_data::views::{Crop, ViewPlan, ViewSpec};

use super::fixture::{noise, picture};

const KEY: DrawKey = DrawKey { seed: 1, epoch: 2, draw: 3 };

fn plan(views: Vec<ViewSpec>) -> ViewPlan {
    ViewPlan { views, shared_flip: 0.0 }
}

fn whole() -> ViewSpec {
    ViewSpec::whole(Size(32, 16), Normalisation::Half)
}

fn random() -> ViewSpec {
    ViewSpec { crop: Crop::RandomResized { scale: [0.2, 1.0], ratio: [0.3, 1.0] }, flip: 0.5, ..whole() }
}

fn pixels(image: &Image) -> Vec<f32> {
    let mut out = vec![0.0; image.data.len()];
    normalise(image, Normalisation::Half, &mut out);
    out
}

fn draws(image: &Image, plan: &ViewPlan, count: u32) -> Vec<Vec<View>> {
    (0..count).map(|draw| load_views(image, plan, DrawKey { draw, ..KEY })).collect()
}

#[test]
fn the_whole_picture_is_resized_and_normalized() {
    let image = picture(1, 50, 30);
    let resized = Resizer::new().resize(&image, Region::whole(&image), Size(32, 16), Filter::Bilinear);
    let view = &load_views(&image, &ViewPlan::evaluation(Size(32, 16), Normalisation::Half), KEY)[0];
    assert_eq!(view.pixels, pixels(&resized));
    assert_eq!((view.window.top, view.window.height, view.window.width), (0.0, 50.0, 30.0));
}

#[test]
fn a_view_of_the_same_window_is_the_same_view() {
    let image = picture(1, 50, 30);
    let same = ViewSpec { crop: Crop::SameAs { view: 0 }, ..random() };
    let small = ViewSpec { size: Size(16, 8), crop: Crop::SameAs { view: 1 }, ..random() };
    for views in draws(&image, &plan(vec![random(), same, small]), 20) {
        assert_eq!(views[0], views[1]);
        assert_eq!(views[0].window, views[2].window);
        assert_eq!(views[2].pixels.len(), 3 * 16 * 8);
    }
}

#[test]
fn views_are_drawn_independently_and_by_key() {
    let image = picture(1, 50, 30);
    let plan = plan(vec![random(), random()]);
    let views = load_views(&image, &plan, KEY);
    assert_eq!(views, load_views(&image, &plan, KEY));
    assert_ne!(views[0].window, views[1].window);
    for other in [DrawKey { seed: 9, ..KEY }, DrawKey { epoch: 9, ..KEY }, DrawKey { draw: 9, ..KEY }] {
        assert_ne!(views[0].window, load_views(&image, &plan, other)[0].window);
    }
}

#[test]
fn shared_mirroring_is_one_decision_for_all_views() {
    let image = picture(1, 32, 16);
    let mut turned = image.clone();
    flip(&mut turned);
    let (plain, mirrored) = (pixels(&image), pixels(&turned));
    let mut seen = [0; 2];
    let plan = ViewPlan { views: vec![whole(), whole()], shared_flip: 0.5 };
    for views in draws(&image, &plan, 40) {
        assert_eq!(views[0], views[1]);
        assert!(views[0].pixels == plain || views[0].pixels == mirrored);
        seen[usize::from(views[0].pixels == mirrored)] += 1;
    }
    assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
    let always = ViewPlan { views: vec![whole()], shared_flip: 1.0 };
    assert_eq!(load_views(&image, &always, KEY)[0].pixels, mirrored);
}

#[test]
fn pad_crop_moves_the_picture_over_black() {
    const PAD: usize = 5;
    let image = picture(1, 64, 32);
    let resized = Resizer::new().resize(&image, Region::whole(&image), Size(32, 16), Filter::Bilinear);
    let spec = ViewSpec { crop: Crop::PadCrop { pad: PAD }, ..whole() };
    let mut corners = std::collections::BTreeSet::new();
    for view in draws(&image, &plan(vec![spec]), 50).into_iter().flatten() {
        // Half as many pixels as the picture in both directions.
        let (top, left) = ((view.window.top / 2.0) as isize, (view.window.left / 2.0) as isize);
        assert!(top.unsigned_abs() <= PAD && left.unsigned_abs() <= PAD);
        corners.insert((top, left));
        let mut expected = Image::black(32, 16);
        for (at, pixel) in expected.data.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (row, column) = ((at / 16) as isize + top, (at % 16) as isize + left);
            if (0..32).contains(&row) && (0..16).contains(&column) {
                let from = (row * 16 + column) as usize;
                *pixel = resized.data.as_chunks::<3>().0[from];
            }
        }
        assert_eq!(view.pixels, pixels(&expected));
    }
    assert!(corners.len() > 20, "{corners:?}");
}

#[test]
fn erasing_puts_noise_into_one_box() {
    let image = Image::black(32, 16);
    let spec = ViewSpec {
        erasing: Some(ErasingSpec { probability: 1.0, area: [0.1, 0.2], ..ErasingSpec::default() }),
        ..whole()
    };
    for view in draws(&image, &plan(vec![spec]), 20).into_iter().flatten() {
        let erased: Vec<usize> = (0..32 * 16).filter(|&at| view.pixels[at].to_bits() != (-1.0_f32).to_bits()).collect();
        let share = erased.len() as f64 / (32.0 * 16.0);
        assert!((0.05..0.3).contains(&share), "{share}");
        let rows = erased.last().expect("a box") / 16 - erased[0] / 16 + 1;
        let columns: std::collections::BTreeSet<usize> = erased.iter().map(|at| at % 16).collect();
        assert_eq!(rows * columns.len(), erased.len());
    }
    let never = ViewSpec { erasing: Some(ErasingSpec { probability: 0.0, ..ErasingSpec::default() }), ..whole() };
    assert_eq!(load_views(&image, &plan(vec![never]), KEY), load_views(&image, &plan(vec![whole()]), KEY));
}

/// Rows and columns change places.
fn on_its_side(image: &Image) -> Image {
    let mut turned = Image::black(image.width, image.height);
    for (at, pixel) in turned.data.as_chunks_mut().0.iter_mut().enumerate() {
        let (x, y) = (at / image.height, at % image.height);
        *pixel = image.data.as_chunks::<3>().0[y * image.width + x];
    }
    turned
}

proptest! {
    /// Both directions are the same law, columns come first, and no size is special.
    #[test]
    fn resizing_columns_is_resizing_rows_of_the_picture_on_its_side(
        seed in 0..50_u64,
        (height, width) in (1..40_usize, 1..40_usize),
        (to_height, to_width) in (1..40_usize, 1..40_usize),
        filter in prop_oneof![Just(Filter::Bilinear), Just(Filter::Bicubic)],
    ) {
        let image = noise(seed, height, width);
        // One after the other with the same memory, which must not show.
        let mut resizer = Resizer::new();
        let mut resize = |image: &Image, height, width| {
            resizer.resize(image, Region::whole(image), Size(height, width), filter)
        };
        let wide = resize(&image, height, to_width);
        let turned = resize(&on_its_side(&image), to_width, height);
        prop_assert_eq!(&wide, &on_its_side(&turned));
        prop_assert_eq!(resize(&image, to_height, to_width), resize(&wide, to_height, to_width));
    }

    #[test]
    fn pad_crop_shows_the_picture_or_black(
        (height, width) in (1..8_usize, 1..8_usize),
        (border, top, left) in (0..12_usize).prop_flat_map(|border| (Just(border), 0..=2 * border, 0..=2 * border)),
    ) {
        let image = noise(1, height, width);
        let cut = pad_crop(&image, border, (top, left));
        for (at, &pixel) in cut.data.as_chunks::<3>().0.iter().enumerate() {
            let (y, x) = ((at / width + top).checked_sub(border), (at % width + left).checked_sub(border));
            let inside = y.zip(x).filter(|&(y, x)| y < height && x < width);
            let expected = inside.map_or([0; 3], |(y, x)| image.data.as_chunks::<3>().0[y * width + x]);
            prop_assert_eq!(pixel, expected);
        }
    }
}
