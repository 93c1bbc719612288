//! Carries out a [`ViewPlan`] on one picture.

use std::borrow::Cow;

use crate::draws::Draws;
use crate::image::Image;
use crate::rng::{Key, Rng, Stream};
use crate::spec::Size;
use crate::transform::{self, Region, Resizer};
use crate::views::{Crop, ViewPlan, ViewSpec, Window};

/// View number in the key of the choices that all views of a draw share.
const SHARED: u16 = u16::MAX;

/// Which draw of which run: with a view's number, the key of every random choice of augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Position in the epoch's plan.
    pub draw: u32,
}

impl DrawKey {
    fn rng(self, view: u16) -> Rng {
        Rng::new(Key { seed: self.seed, stream: Stream::Augment, epoch: self.epoch, draw: self.draw, view })
    }
}

/// One view of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// `[3, h, w]`, normalized.
    pub pixels: Vec<f32>,
    /// What it was cut from.
    pub window: Window,
}

/// The views of one draw, in the plan's order: a pure function of its arguments.
///
/// # Panics
/// If the plan is inconsistent (a view that refers to itself or a later one), which is our bug.
pub fn load_views(image: &Image, plan: &ViewPlan, key: DrawKey) -> Vec<View> {
    let (image, choices) = choose(image, plan, key);
    let mut resizer = Resizer::new();
    let views = plan.views.iter().zip(choices);
    views
        .map(|(spec, choice)| {
            let mut pixels = vec![0.0; 3 * spec.size.0 * spec.size.1];
            let window = choice.window;
            choice.render(&image, spec, &mut resizer, &mut pixels);
            View { pixels, window }
        })
        .collect()
}

/// Everything random about a view's geometry, and its further random numbers.
pub(crate) struct Choice {
    cut: Cut,
    mirrored: bool,
    /// What the view shows, in pixels of the picture.
    pub(crate) window: Window,
    rng: Rng,
}

/// How a view's pixels are found in the picture.
#[derive(Clone, Copy)]
enum Cut {
    /// Cut the region, resize it.
    Region(Region),
    /// Resize the picture to `size`, pad it, cut a window of `size`.
    Padded { size: Size, pad: usize, top: usize, left: usize },
}

/// Takes every decision of a draw but those on colors, sharpness and erasing, and mirrors the picture if that is one of them.
pub(crate) fn choose<'a>(image: &'a Image, plan: &ViewPlan, key: DrawKey) -> (Cow<'a, Image>, Vec<Choice>) {
    let mirrored = plan.shared_flip > 0.0 && key.rng(SHARED).chance(plan.shared_flip);
    let mut image = Cow::Borrowed(image);
    if mirrored {
        transform::flip(image.to_mut());
    }
    let mut choices: Vec<Choice> = Vec::with_capacity(plan.views.len());
    for (view, spec) in plan.views.iter().enumerate() {
        let mut rng = key.rng(view as u16);
        let choice = if let Crop::SameAs { view: earlier } = spec.crop {
            assert!(earlier < view, "view {view} has the window of view {earlier}, which comes later");
            let Choice { cut, mirrored, window, .. } = choices[earlier];
            Choice { cut, mirrored, window, rng }
        } else {
            let cut = draw_cut(&image, spec, &mut rng);
            let mirrored = spec.flip > 0.0 && rng.chance(spec.flip);
            Choice { cut, mirrored, window: cut.window(&image), rng }
        };
        choices.push(choice);
    }
    (image, choices)
}

fn draw_cut(image: &Image, spec: &ViewSpec, draws: &mut impl Draws) -> Cut {
    match spec.crop {
        Crop::Full | Crop::SameAs { .. } => Cut::Region(Region::whole(image)),
        Crop::PadCrop { pad } => {
            let (top, left) = transform::pad_crop_offset(pad, draws);
            Cut::Padded { size: spec.size, pad, top, left }
        }
        Crop::RandomResized { scale, ratio } => {
            Cut::Region(transform::random_resized_crop((image.height, image.width), scale, ratio, draws))
        }
    }
}

impl Cut {
    fn window(self, image: &Image) -> Window {
        match self {
            Self::Region(Region { top, left, height, width }) => {
                Window { top: top as f32, left: left as f32, height: height as f32, width: width as f32 }
            }
            // The window has the picture's size and may leave it by the padding.
            Self::Padded { size: Size(h, w), pad, top, left } => Window {
                top: (top as f32 - pad as f32) * image.height as f32 / h as f32,
                left: (left as f32 - pad as f32) * image.width as f32 / w as f32,
                height: image.height as f32,
                width: image.width as f32,
            },
        }
    }

    fn pixels(self, image: &Image, spec: &ViewSpec, resizer: &mut Resizer) -> Image {
        match self {
            Self::Region(region) => resizer.resize(image, region, spec.size, spec.filter),
            Self::Padded { size: Size(height, width), pad, top, left } => {
                let resized = resizer.resize(image, Region::whole(image), Size(height, width), spec.filter);
                let cut = transform::pad_crop(&resized, pad, (top, left));
                if spec.size == Size(height, width) {
                    return cut;
                }
                // A view that has the window of another one, and a size of its own.
                resizer.resize(&cut, Region::whole(&cut), spec.size, spec.filter)
            }
        }
    }
}

impl Choice {
    /// Writes the view.
    ///
    /// # Shapes
    /// - `out`: `[3, h, w]`
    pub(crate) fn render(mut self, image: &Image, spec: &ViewSpec, resizer: &mut Resizer, out: &mut [f32]) {
        let mut pixels = self.cut.pixels(image, spec, resizer);
        if self.mirrored {
            transform::flip(&mut pixels);
        }
        transform::photometric(&mut pixels, &spec.photometric, &mut self.rng);
        transform::normalise(&pixels, spec.normalisation, out);
        if let Some(erasing) = spec.erasing {
            erasing.erase(out, spec.size.0, spec.size.1, &mut self.rng);
        }
    }
}
