//! Draws a posed person, part by part from far to near.

use super::canvas::Canvas;
use super::cloth::{TrunkPoint, cloth_color, color, trunk_color};
use super::identity::{BagKind, HairStyle, HatKind, Identity, LowerKind, UpperKind};
use super::math::asin;
use super::palette::{HAIR, Rgb, SKIN, scaled};
use super::pose::{Limb, Pose, Skeleton};
use super::stage::Stage;

/// A part of the body with its own depth.
#[derive(Clone, Copy)]
enum Part {
    Arm(f32),
    Trunk,
    Backpack,
    ShoulderBag,
    HairBehind,
    Head,
    Hat,
}

/// A person about to be drawn.
pub(super) struct Figure<'a> {
    identity: &'a Identity,
    pose: &'a Pose,
    stage: &'a Stage,
    bones: Skeleton<'a>,
}

impl<'a> Figure<'a> {
    /// The person in the pose at the stage's spot.
    pub(super) fn new(identity: &'a Identity, pose: &'a Pose, stage: &'a Stage) -> Self {
        Self { identity, pose, stage, bones: Skeleton::new(identity, pose, stage) }
    }

    /// Darkens the ground under the feet.
    pub(super) fn draw_shadow(&self, canvas: &mut Canvas) {
        let under = self.bones.spot(0.0, 0.0, 0.0);
        let center = [under.at[0] - 0.12 * self.stage.light_side * under.scale, under.at[1]];
        canvas.darken(center, [0.26 * under.scale, 0.07 * under.scale], 0.55);
    }

    /// Draws the person on the canvas's current layer.
    pub(super) fn draw(&self, canvas: &mut Canvas) {
        let mut legs = [-1.0, 1.0].map(|side| (side, self.bones.leg(side)));
        legs.sort_by(|a, b| a.1.bend.near.total_cmp(&b.1.bend.near));
        for (_, leg) in &legs {
            self.draw_leg(canvas, leg);
        }
        self.draw_hips(canvas);

        let depth = |side: f32, up: f32, ahead: f32| self.bones.spot(side, up, ahead).near;
        let mut parts: Vec<(f32, Part)> = vec![(0.0, Part::Trunk), (0.06, Part::Head), (0.07, Part::Hat)];
        parts.extend([-1.0, 1.0].map(|side| (depth(side * 0.1, 0.65, 0.0) + 0.02, Part::Arm(side))));
        if matches!(self.identity.hair, HairStyle::Long | HairStyle::Ponytail) {
            parts.push((3.0 * depth(0.0, 0.9, -0.05), Part::HairBehind));
        }
        match self.identity.bag {
            Some((BagKind::Backpack, _)) => parts.push((depth(0.0, 0.7, -0.12), Part::Backpack)),
            Some((BagKind::Shoulder, _)) => parts.push((depth(0.13, 0.5, 0.0) + 0.03, Part::ShoulderBag)),
            _ => {}
        }
        parts.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, part) in parts {
            match part {
                Part::Arm(side) => self.draw_arm(canvas, side),
                Part::Trunk => self.draw_trunk(canvas),
                Part::Backpack => self.draw_backpack(canvas),
                Part::ShoulderBag => self.draw_shoulder_bag(canvas),
                Part::HairBehind => self.draw_hair_behind(canvas),
                Part::Head => self.draw_head(canvas),
                Part::Hat => self.draw_hat(canvas),
            }
        }
    }

    /// Light on a rounded surface at `s` across (-1..1).
    fn lit(&self, color: Rgb, s: f32) -> Rgb {
        scaled(color, 1.03 - 0.25 * s * s + 0.14 * self.stage.light_side * s)
    }

    /// Angle around an upright part at `s` across, in turns -1/2..1/2, 0 at the front.
    fn angle(&self, s: f32) -> f32 {
        let angle = asin(s) - self.pose.heading;
        angle - (angle + 0.5).floor()
    }

    fn skin(&self) -> Rgb {
        SKIN[usize::from(self.identity.skin) % SKIN.len()]
    }

    fn hair(&self) -> Rgb {
        HAIR[usize::from(self.identity.hair_color) % HAIR.len()]
    }

    fn draw_leg(&self, canvas: &mut Canvas, leg: &Limb) {
        let thickness = self.identity.limbs * self.identity.height;
        let loose = if self.identity.lower == LowerKind::Skirt { 1.0 } else { 1.15 };
        let radii = [0.050, 0.036, 0.026].map(|radius| radius * thickness * loose * leg.root.scale);
        let length = 0.24 * self.identity.height;
        let cloth = |s: f32, down: f32, lower: bool| {
            self.lit(cloth_color(self.identity.lower_cloth, asin(s) * 0.35, down, lower), s)
        };
        let skin = self.skin();
        let shoe = color(self.identity.shoes);
        let sole = 0.024 * self.identity.height * leg.end.scale;
        let covered = |t: f32| self.identity.lower == LowerKind::Shorts && t < 0.12;
        canvas.capsule(leg.bend.at, leg.end.at, [radii[1], radii[2]], |s, t| {
            if self.identity.lower == LowerKind::Trousers {
                cloth(s, length * (1.0 + t), t > 0.1)
            } else if covered(t) {
                cloth(s, length * (1.0 + t), true)
            } else {
                self.lit(skin, s)
            }
        });
        canvas.capsule(leg.root.at, leg.bend.at, [radii[0], radii[1]], |s, t| {
            if self.identity.lower == LowerKind::Skirt {
                self.lit(skin, s)
            } else {
                cloth(s, length * t, self.identity.lower == LowerKind::Shorts && t > 0.55)
            }
        });
        canvas.capsule(leg.end.at, leg.tip.at, [sole * 1.25, sole * 1.1], |s, _| self.lit(shoe, s * 0.6));
    }

    fn draw_hips(&self, canvas: &mut Canvas) {
        let (h, girth) = (self.identity.height, self.identity.girth);
        let skirt = self.identity.lower == LowerKind::Skirt;
        let bottom = if skirt { 0.27 } else { 0.47 };
        let (a, b) = (self.bones.spot(0.0, 0.545, 0.0), self.bones.spot(0.0, bottom, 0.0));
        let hips = self.pose.apparent(0.092 * h * girth, 0.07 * h * girth) * a.scale;
        let hem = if skirt { 1.45 } else { 1.0 };
        let length = (0.545 - bottom) * h;
        canvas.taper(a.at, b.at, &[[0.0, hips * 0.92], [0.3, hips], [1.0, hips * hem]], |s, t| {
            let around = self.angle(s) * 0.9 * girth;
            Some(self.lit(cloth_color(self.identity.lower_cloth, around, t * length, skirt && t > 0.55), s))
        });
    }

    fn draw_trunk(&self, canvas: &mut Canvas) {
        let (h, girth) = (self.identity.height, self.identity.girth);
        let coat = self.identity.upper == UpperKind::Coat;
        let bottom = if coat { 0.36 } else { 0.495 };
        let (a, b) = (self.bones.spot(0.0, 0.842, 0.0), self.bones.spot(0.0, bottom, 0.0));
        let bulk = if coat { 1.1 } else { 1.0 };
        let at = |width: f32, depth: f32| self.pose.apparent(width * h, depth * h * girth) * bulk * a.scale;
        let shoulder = at(0.085 + 0.032 * girth, 0.062);
        let waist = at(0.086 * girth, 0.064);
        let hips = at(0.094 * girth, 0.072);
        // Points of the profile keep their height above ground whether or not the hem is lower.
        let share = |up: f32| (0.842 - up) / (0.842 - bottom);
        let profile = [
            [0.0, 0.35 * shoulder],
            [share(0.825), 0.85 * shoulder],
            [share(0.795), shoulder],
            [share(0.62), waist],
            [share(0.50), hips],
            [1.0, if coat { hips * 1.12 } else { hips }],
        ];
        let neck = [self.bones.spot(0.0, 0.83, 0.0), self.bones.spot(0.0, 0.885, 0.01)];
        let throat = 0.032 * h * neck[0].scale;
        let skin = self.skin();
        canvas.capsule(neck[0].at, neck[1].at, [throat, throat], |s, _| scaled(self.lit(skin, s), 0.88));
        // The trunk's own coordinate ends at the hips; a coat's tail goes on beyond 1.
        let (down, length) = (1.0 / share(0.495), (0.842 - 0.495) * h);
        canvas.taper(a.at, b.at, &profile, |s, t| {
            let point = TrunkPoint { angle: self.angle(s), down: t * down, circumference: 0.9 * girth, length };
            Some(self.lit(trunk_color(self.identity, point), s))
        });
    }

    fn draw_arm(&self, canvas: &mut Canvas, side: f32) {
        let arm = self.bones.arm(side);
        let thickness = self.identity.limbs * self.identity.height * arm.root.scale;
        let bulk = if self.identity.upper == UpperKind::Coat { 1.2 } else { 1.0 };
        let radii = [0.033 * bulk, 0.027 * bulk, 0.021 * bulk].map(|radius| radius * thickness);
        let skin = self.skin();
        let short = self.identity.upper == UpperKind::ShortSleeve;
        let sleeve =
            |s: f32, down: f32| self.lit(cloth_color(self.identity.upper_cloth, asin(s) * 0.3, down, false), s);
        canvas.ellipse(arm.tip.at, [0.024 * thickness, 0.03 * thickness], |u, _| Some(self.lit(skin, u)));
        canvas.capsule(arm.bend.at, arm.end.at, [radii[1], radii[2]], |s, t| {
            if short { self.lit(skin, s) } else { sleeve(s, 0.28 + 0.25 * t) }
        });
        canvas.capsule(arm.root.at, arm.bend.at, [radii[0], radii[1]], |s, t| {
            if short && t > 0.62 { self.lit(skin, s) } else { sleeve(s, 0.28 * t) }
        });
        if let Some((BagKind::Hand, tone)) = self.identity.bag
            && side > 0.0
        {
            let size = 0.075 * self.identity.height * arm.tip.scale;
            let width = self.pose.apparent(0.55, 1.25) * size;
            let (top, tone) = (arm.tip.at, color(tone));
            canvas.taper(top, [top[0], top[1] + 1.9 * size], &[[0.0, width * 0.75], [1.0, width]], |s, t| {
                let handle = t < 0.22 && s.abs() < 0.7;
                (!handle).then(|| scaled(self.lit(tone, s), if t < 0.34 { 0.8 } else { 1.0 }))
            });
        }
    }

    fn draw_backpack(&self, canvas: &mut Canvas) {
        let Some((_, tone)) = self.identity.bag else { return };
        let (h, tone) = (self.identity.height, color(tone));
        let (a, b) = (self.bones.spot(0.0, 0.815, -0.085), self.bones.spot(0.0, 0.565, -0.095));
        let width = self.pose.apparent(0.085 * h, 0.05 * h) * a.scale;
        let profile = [[0.0, 0.55 * width], [0.12, 0.92 * width], [0.5, width], [1.0, 0.92 * width]];
        canvas.taper(a.at, b.at, &profile, |s, t| {
            let pocket = (t - 0.55).abs() < 0.04;
            Some(scaled(self.lit(tone, s), if pocket { 0.65 } else { 1.0 }))
        });
    }

    fn draw_shoulder_bag(&self, canvas: &mut Canvas) {
        let Some((_, tone)) = self.identity.bag else { return };
        let (h, tone) = (self.identity.height, color(tone));
        let side = 0.105 * self.identity.girth;
        let (a, b) = (self.bones.spot(side, 0.545, 0.0), self.bones.spot(side, 0.415, 0.0));
        let width = self.pose.apparent(0.032 * h, 0.085 * h) * a.scale;
        canvas.taper(a.at, b.at, &[[0.0, width * 0.9], [0.2, width], [1.0, width * 0.95]], |s, t| {
            Some(scaled(self.lit(tone, s), if (t - 0.4).abs() < 0.07 { 0.7 } else { 1.0 }))
        });
    }

    fn draw_hair_behind(&self, canvas: &mut Canvas) {
        let (h, hair) = (self.identity.height, self.hair());
        let long = self.identity.hair == HairStyle::Long;
        let (a, b) = (self.bones.spot(0.0, 0.955, -0.02), self.bones.spot(0.0, if long { 0.80 } else { 0.81 }, -0.05));
        if long {
            let width = self.pose.apparent(0.066 * h, 0.042 * h) * a.scale;
            canvas.taper(a.at, b.at, &[[0.0, width * 0.6], [0.4, width], [1.0, width * 0.95]], |s, _| {
                Some(self.lit(hair, s))
            });
        } else {
            let root = self.bones.spot(0.0, 0.945, -0.055);
            canvas.capsule(root.at, b.at, [0.024 * h * a.scale, 0.014 * h * a.scale], |s, _| self.lit(hair, s));
        }
    }

    fn draw_head(&self, canvas: &mut Canvas) {
        let (skin, hair, style) = (self.skin(), self.hair(), self.identity.hair);
        let center = self.bones.spot(0.0, 0.928, 0.012);
        let size = self.identity.height * center.scale;
        if style == HairStyle::Bun {
            let knot = self.bones.spot(0.0, 0.995, -0.03);
            canvas.ellipse(knot.at, [0.03 * size, 0.028 * size], |u, _| Some(self.lit(hair, u)));
        }
        canvas.ellipse(center.at, [0.054 * size, 0.070 * size], |u, v| {
            let angle = self.angle((u / (1.0 - v * v).sqrt().max(0.05)).clamp(-1.0, 1.0));
            let bare =
                style == HairStyle::Bald || (angle.abs() < 0.17 && v > -0.42) || (style != HairStyle::Long && v > 0.45);
            let eye = (angle.abs() - 0.065).abs() < 0.025 && (v + 0.05).abs() < 0.09;
            let tone = match (bare, eye) {
                (false, _) => hair,
                (true, true) => [0.12, 0.10, 0.10],
                (true, false) => skin,
            };
            Some(self.lit(tone, u))
        });
    }

    fn draw_hat(&self, canvas: &mut Canvas) {
        let Some((kind, tone)) = self.identity.hat else { return };
        let tone = color(tone);
        let center = self.bones.spot(0.0, 0.940, 0.010);
        let size = self.identity.height * center.scale;
        let brim = match kind {
            HatKind::Cap => -0.12,
            HatKind::Beanie => 0.08,
        };
        canvas.ellipse(center.at, [0.062 * size, 0.072 * size], |u, v| {
            let band = kind == HatKind::Beanie && v > brim - 0.28;
            (v < brim).then(|| scaled(self.lit(tone, u), if band { 0.8 } else { 1.0 }))
        });
        if kind == HatKind::Cap {
            // The peak: a flat disc before the forehead, seen edge-on from the front.
            let peak = self.bones.spot(0.0, 0.950, 0.065);
            if peak.near > -0.04 {
                let width = self.pose.apparent(0.045, 0.048) * size;
                canvas.ellipse(peak.at, [width, 0.013 * size], |u, _| Some(scaled(self.lit(tone, u), 0.75)));
            }
        }
    }
}
