//! Scenes: a wall, a ground and a few things along the wall, repeating every few meters.

use super::canvas::Canvas;
use super::draw::{pick, uniform};
use super::math::{blotches, lattice, smooth_step};
use super::palette::{Rgb, mixed, scaled};
use super::stage::Stage;
use crate::rng::Rng;
use crate::spec::SyntheticDomain;

/// Meters after which a scene repeats.
pub(super) const PERIOD: f32 = 8.0;

/// Surface of a wall. The two worlds have none in common.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wall {
    Brick,
    Plaster,
    Hedge,
    Slats,
    Tiles,
    Glass,
    Concrete,
    Shutter,
}

/// Surface of a ground. The two worlds have none in common.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ground {
    Asphalt,
    Paving,
    Grass,
    Polished,
    Planks,
    Markings,
}

/// Something along the wall.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Thing {
    Door,
    Window,
    Pillar,
    Bush,
    Poster,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Feature {
    thing: Thing,
    /// Left edge along the wall, meters.
    left: f32,
    width: f32,
    color: Rgb,
}

/// A background, in meters along and up the wall.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    wall: Wall,
    wall_colors: [Rgb; 2],
    ground: Ground,
    ground_colors: [Rgb; 2],
    /// How far above the person's feet the wall begins, meters on the picture plane.
    base: f32,
    features: Vec<Feature>,
    /// Left edge and width of a cast shadow, meters, and the light that is left in it.
    shadow: [f32; 3],
    grain: u32,
}

impl Scene {
    /// A scene of a world.
    pub(super) fn drawn(rng: &mut Rng, domain: SyntheticDomain) -> Self {
        let (walls, grounds, tints): (&[Wall], &[Ground], [Rgb; 4]) = match domain {
            SyntheticDomain::First => (
                &[Wall::Brick, Wall::Plaster, Wall::Hedge, Wall::Slats],
                &[Ground::Asphalt, Ground::Paving, Ground::Grass],
                [[0.58, 0.36, 0.28], [0.76, 0.72, 0.62], [0.50, 0.55, 0.60], [0.68, 0.58, 0.44]],
            ),
            SyntheticDomain::Second => (
                &[Wall::Tiles, Wall::Glass, Wall::Concrete, Wall::Shutter],
                &[Ground::Polished, Ground::Planks, Ground::Markings],
                [[0.62, 0.66, 0.68], [0.42, 0.46, 0.50], [0.72, 0.70, 0.60], [0.36, 0.42, 0.40]],
            ),
        };
        let wall = pick(rng, walls);
        let ground = pick(rng, grounds);
        let tint = if wall == Wall::Hedge { [0.22, 0.38, 0.16] } else { pick(rng, &tints) };
        let first = jittered(rng, tint);
        let second = scaled(first, if rng.chance(0.5) { uniform(rng, 0.6, 0.85) } else { uniform(rng, 1.1, 1.3) });
        let soil = jittered(rng, if ground == Ground::Grass { [0.34, 0.45, 0.20] } else { [0.52, 0.51, 0.49] });
        let features = (0..2 + rng.below(3)).map(|_| Feature::drawn(rng)).collect();
        Self {
            wall,
            wall_colors: [first, second],
            ground,
            ground_colors: [soil, scaled(soil, uniform(rng, 0.72, 0.9))],
            base: uniform(rng, 0.12, 1.25),
            features,
            shadow: [uniform(rng, 0.0, PERIOD), uniform(rng, 1.5, 4.5), uniform(rng, 0.7, 0.92)],
            grain: rng.next_u32(),
        }
    }

    /// Paints the whole canvas; the person stands `place` meters along the wall.
    pub(super) fn paint(&self, canvas: &mut Canvas, stage: &Stage, place: f32) {
        let area = canvas.everything();
        canvas.fill(area, |px, py| {
            let up = (stage.foot[1] - py) / stage.scale;
            let along = (px - stage.foot[0]) / stage.scale - stage.roll * up;
            Some(if up > self.base {
                self.wall_at(along + place, up - self.base)
            } else {
                self.ground_at(along, up, place)
            })
        });
    }

    /// Light that reaches a person or wall at `along` meters: a soft-edged cast shadow.
    pub(super) fn light(&self, along: f32, up: f32) -> f32 {
        let [left, width, dark] = self.shadow;
        let inside = wrapped(along + 0.4 * up - left);
        let shade = smooth_step(0.0, 0.25, inside) * (1.0 - smooth_step(width, width + 0.25, inside));
        1.0 - (1.0 - dark) * shade
    }

    fn wall_at(&self, along: f32, up: f32) -> Rgb {
        for feature in &self.features {
            let x = wrapped(along - feature.left);
            if x < feature.width
                && let Some(color) = feature.color_at(x / feature.width, up, self.grain)
            {
                return color;
            }
        }
        let [first, second] = self.wall_colors;
        let cell =
            |size: f32, x: f32, y: f32| lattice((x / size).floor() as i32, (y / size).floor() as i32, self.grain);
        let along = wrapped(along);
        match self.wall {
            Wall::Brick => {
                let row = (up / 0.16).floor();
                let x = along / 0.4 + 0.5 * (row - 2.0 * (row / 2.0).floor());
                if joint(up, 0.16, 0.025) || x - x.floor() < 0.07 {
                    second
                } else {
                    scaled(first, 0.88 + 0.24 * lattice(x.floor() as i32, row as i32, self.grain))
                }
            }
            Wall::Plaster => scaled(mixed(first, second, (up / 4.0).min(1.0)), 0.95 + 0.1 * cell(0.12, along, up)),
            Wall::Hedge => {
                let leaves = blotches(along / 0.16, up / 0.13, self.grain);
                scaled(first, 0.45 + 0.85 * leaves + 0.35 * cell(0.045, along, up))
            }
            Wall::Slats => {
                if joint(along, 0.25, 0.07) {
                    second
                } else {
                    first
                }
            }
            Wall::Tiles => {
                if joint(along, 0.4, 0.035) || joint(up, 0.4, 0.035) {
                    second
                } else {
                    scaled(first, 0.94 + 0.12 * cell(0.4, along, up))
                }
            }
            Wall::Glass => {
                if joint(along, 1.3, 0.1) {
                    scaled(second, 0.6)
                } else {
                    mixed(first, [0.75, 0.85, 0.95], smooth_step(0.0, 2.2, up + 0.5 * (along - along.floor())))
                }
            }
            Wall::Concrete => {
                if joint(along, 1.6, 0.04) || joint(up, 1.1, 0.04) {
                    second
                } else {
                    scaled(first, 0.92 + 0.16 * cell(0.2, along, up))
                }
            }
            Wall::Shutter => {
                if joint(up, 0.18, 0.06) {
                    second
                } else {
                    first
                }
            }
        }
    }

    fn ground_at(&self, along: f32, up: f32, place: f32) -> Rgb {
        // Nearer ground (further below the wall) is seen at a larger scale.
        let near = 0.7 + 0.5 * (self.base - up);
        let (x, z) = (along / near + place, 4.0 / near);
        let [first, second] = self.ground_colors;
        let cell = |size: f32| lattice((x / size).floor() as i32, (z / size).floor() as i32, self.grain);
        match self.ground {
            Ground::Asphalt => scaled(first, 0.85 + 0.3 * cell(0.06)),
            Ground::Paving => {
                if joint(x, 0.5, 0.05) || joint(z, 0.5, 0.06) {
                    second
                } else {
                    scaled(first, 0.92 + 0.16 * cell(0.5))
                }
            }
            Ground::Grass => scaled(first, 0.6 + 0.4 * blotches(x / 0.2, z / 0.15, self.grain) + 0.35 * cell(0.05)),
            Ground::Polished => {
                if joint(x, 0.8, 0.03) || joint(z, 0.8, 0.04) {
                    second
                } else {
                    mixed(first, self.wall_colors[0], 0.35)
                }
            }
            Ground::Planks => {
                if joint(x, 0.3, 0.05) {
                    second
                } else {
                    mixed(first, [0.5, 0.36, 0.22], 0.6)
                }
            }
            Ground::Markings => {
                if joint(x, 1.2, 0.35) {
                    [0.85, 0.84, 0.78]
                } else {
                    scaled(second, 0.9 + 0.2 * cell(0.08))
                }
            }
        }
    }
}

impl Feature {
    fn drawn(rng: &mut Rng) -> Self {
        let thing = pick(rng, &[Thing::Door, Thing::Window, Thing::Pillar, Thing::Bush, Thing::Poster]);
        let width = match thing {
            Thing::Door => uniform(rng, 0.8, 1.3),
            Thing::Window => uniform(rng, 0.9, 1.8),
            Thing::Pillar => uniform(rng, 0.2, 0.45),
            Thing::Bush => uniform(rng, 0.8, 1.8),
            Thing::Poster => uniform(rng, 0.5, 1.1),
        };
        let color = match thing {
            Thing::Window => [0.30, 0.40, 0.48],
            Thing::Bush => [0.20, 0.36, 0.15],
            _ => {
                let gray = uniform(rng, 0.2, 0.75);
                [0; 3].map(|_| gray + uniform(rng, -0.16, 0.16))
            }
        };
        Self { thing, left: uniform(rng, 0.0, PERIOD), width, color: jittered(rng, color) }
    }

    /// Color at `x` (0..1 across) and `up` meters; none where the wall shows.
    fn color_at(&self, x: f32, up: f32, grain: u32) -> Option<Rgb> {
        let edge = !(0.08..0.92).contains(&x);
        match self.thing {
            Thing::Door if up < 2.05 => Some(scaled(self.color, if edge || up > 1.97 { 0.6 } else { 1.0 })),
            Thing::Window if (0.8..1.9).contains(&up) => {
                let frame = edge || (x - 0.5).abs() < 0.03 || !(0.86..1.84).contains(&up);
                Some(if frame { [0.82, 0.82, 0.80] } else { scaled(self.color, 0.8 + 0.5 * x) })
            }
            Thing::Pillar => Some(scaled(self.color, 1.1 - 0.5 * (x - 0.35).abs())),
            Thing::Bush => {
                let dome = 1.0 - (2.0 * x - 1.0) * (2.0 * x - 1.0);
                let leaf = blotches(x * self.width / 0.07, up / 0.06, grain);
                (up < 1.1 * dome.sqrt() * (0.85 + 0.15 * leaf)).then(|| scaled(self.color, 0.6 + 0.8 * leaf))
            }
            Thing::Poster if (0.9..1.7).contains(&up) => Some(if up > 1.35 || edge {
                self.color
            } else {
                scaled([1.0 - self.color[2], self.color[0], self.color[1]], 0.9)
            }),
            Thing::Door | Thing::Window | Thing::Poster => None,
        }
    }
}

/// Place along the repeating wall, 0..[`PERIOD`].
fn wrapped(x: f32) -> f32 {
    x - (x / PERIOD).floor() * PERIOD
}

/// Whether `x` falls into a joint of the given width that recurs every `period`.
fn joint(x: f32, period: f32, width: f32) -> bool {
    x - (x / period).floor() * period < width
}

/// The color with each channel up to 15 % lighter or darker.
fn jittered(rng: &mut Rng, color: Rgb) -> Rgb {
    color.map(|channel| channel * uniform(rng, 0.85, 1.15))
}
