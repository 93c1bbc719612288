//! Things that stand between the camera and the person.

use super::canvas::{Canvas, Layer};
use super::draw::{Draws, Group, pick, uniform};
use super::identity::Identity;
use super::math::blotches;
use super::palette::{Rgb, mixed, scaled};
use super::person::Figure;
use super::pose::Pose;
use super::stage::Stage;
use crate::rng::Rng;

/// Another person has one of this many faces; they appear in no other role.
const PASSERS: usize = 4096;

/// Paint of cars, posts and pots.
const PAINTS: [Rgb; 6] = [
    [0.75, 0.76, 0.78],
    [0.12, 0.12, 0.14],
    [0.62, 0.10, 0.10],
    [0.16, 0.26, 0.48],
    [0.85, 0.84, 0.80],
    [0.34, 0.36, 0.35],
];

/// An occluder, in meters from the person's spot.
#[derive(Clone, Debug)]
pub(super) enum Occluder {
    /// Middle to the right, height of the roof, paint.
    Car { middle: f32, roof: f32, paint: Rgb },
    /// Middle to the right, half-width, paint.
    Pole { middle: f32, half_width: f32, paint: Rgb },
    /// Middle to the right, height, half-width, pattern of the leaves.
    Plant { middle: f32, height: f32, half_width: f32, grain: u32 },
    /// Another person: to the right, nearer.
    Person { identity: Box<Identity>, pose: Pose, right: f32, near: f32 },
    /// A plain board from the bottom up to a row of samples; the fallback that always fits.
    Board { row: usize, paint: Rgb },
}

impl Occluder {
    /// A car, pole, plant or another person somewhere near the person.
    pub(super) fn drawn(rng: &mut Rng, draws: Draws) -> Self {
        let paint = pick(rng, &PAINTS);
        match rng.below(4) {
            0 => Self::Car { middle: uniform(rng, -1.7, 1.7), roof: uniform(rng, 0.7, 1.45), paint },
            1 => Self::Pole { middle: uniform(rng, -0.3, 0.3), half_width: uniform(rng, 0.05, 0.22), paint },
            2 => Self::Plant {
                middle: uniform(rng, -0.35, 0.35),
                height: uniform(rng, 0.6, 1.6),
                half_width: uniform(rng, 0.25, 0.6),
                grain: rng.next_u32(),
            },
            _ => Self::Person {
                identity: Box::new(Identity::of(draws, Group::Passer, rng.below(PASSERS) as u32)),
                pose: Pose::drawn(rng),
                right: uniform(rng, -0.5, 0.5),
                near: uniform(rng, 0.4, 1.2),
            },
        }
    }

    /// A board of a random paint from `row` down.
    pub(super) fn board(rng: &mut Rng, row: usize) -> Self {
        Self::Board { row, paint: pick(rng, &PAINTS) }
    }

    /// Draws it over everything.
    pub(super) fn draw(&self, canvas: &mut Canvas, stage: &Stage) {
        canvas.layer = Layer::Occluder;
        let [x, y] = stage.foot;
        let scale = stage.scale;
        match *self {
            Self::Car { middle, roof, paint } => {
                let bonnet = 0.62 * roof;
                let area = [0.0, y - roof * scale, canvas.width as f32, canvas.height as f32];
                canvas
                    .fill(area, |px, py| car_color((px - x) / scale - middle, (y - py) / scale, [roof, bonnet], paint));
            }
            Self::Pole { middle, half_width, paint } => {
                let center = x + middle * scale;
                let reach = half_width * scale;
                let area = [center - reach, 0.0, center + reach, canvas.height as f32];
                canvas.fill(area, |px, _| {
                    let s = (px - center) / reach;
                    Some(scaled(paint, 1.05 - 0.4 * s * s + 0.15 * stage.light_side * s))
                });
            }
            Self::Plant { middle, height, half_width, grain } => {
                let reach = half_width * scale;
                let center = x + middle * scale;
                let area = [center - reach, y - height * scale, center + reach, canvas.height as f32];
                canvas.fill(area, |px, py| plant_color((px - center) / reach, (y - py) / scale, height, grain));
            }
            Self::Person { ref identity, ref pose, right, near } => {
                Figure::new(identity, pose, &stage.moved(right, near)).draw(canvas);
            }
            Self::Board { row, paint } => {
                let area = [0.0, row as f32, canvas.width as f32, canvas.height as f32];
                canvas.fill(area, |_, _| Some(paint));
            }
        }
    }
}

/// Side view of a car; `along` from its middle and `up` from the ground, in meters.
fn car_color(along: f32, up: f32, [roof, bonnet]: [f32; 2], paint: Rgb) -> Option<Rgb> {
    let along_abs = along.abs();
    for wheel in [-1.35, 1.35] {
        let (dx, dy) = (along - wheel, up - 0.02);
        let radius = dx * dx + dy * dy;
        if radius < 0.1 {
            return Some(if radius < 0.03 { [0.6, 0.6, 0.62] } else { [0.06, 0.06, 0.07] });
        }
    }
    // The cabin narrows towards the roof.
    let cabin = 1.25 - 0.45 * ((up - bonnet) / (roof - bonnet)).clamp(0.0, 1.0);
    if up > bonnet {
        let glass = along_abs < cabin - 0.1 && up < roof - 0.07 && (along - 0.05).abs() > 0.05;
        return (along_abs < cabin).then_some(if glass { [0.22, 0.28, 0.33] } else { paint });
    }
    if along_abs > 2.1 || up < -0.1 {
        return if along_abs < 2.1 && up > -0.25 { Some([0.08, 0.08, 0.09]) } else { None };
    }
    Some(scaled(paint, 0.8 + 0.3 * (up / bonnet).max(0.0)))
}

/// A potted shrub; `s` across (-1..1), `up` in meters.
fn plant_color(s: f32, up: f32, height: f32, grain: u32) -> Option<Rgb> {
    let pot = 0.22 * height;
    if up < pot {
        return (s.abs() < 0.55 && up > -0.08).then(|| scaled([0.55, 0.33, 0.24], 1.0 - 0.3 * s * s));
    }
    let middle = f32::midpoint(pot, height);
    let y = (up - middle) / (height - middle);
    let leaf = blotches(s * 7.0, up * 15.0, grain);
    let tone = mixed([0.16, 0.34, 0.12], [0.42, 0.58, 0.26], leaf);
    (s * s + y * y < 0.8 + 0.2 * leaf && leaf > 0.12).then_some(tone)
}
