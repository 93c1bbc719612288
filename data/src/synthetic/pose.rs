//! How a person stands in one picture: gait, heading, and the skeleton that follows.

use super::draw::uniform;
use super::identity::Identity;
use super::math::sin_cos;
use super::stage::{Spot, Stage};
use crate::rng::Rng;

/// A pose, independent of who takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    /// Where the chest points, in turns: 0 at the camera, 1/4 to the picture's right.
    pub(super) heading: f32,
    /// Sine and cosine of the heading.
    turn: (f32, f32),
    /// Swing of the legs in turns; negative with the other leg in front.
    swing: f32,
    /// Bend of the trailing knee, turns.
    knee: f32,
    /// Bend of the elbows, turns.
    elbow: f32,
}

impl Pose {
    /// One of the eight main headings, give or take, at any moment of a step.
    pub(super) fn drawn(rng: &mut Rng) -> Self {
        let heading = rng.below(8) as f32 / 8.0 + uniform(rng, -0.045, 0.045);
        let stride = if rng.chance(0.25) { uniform(rng, 0.0, 0.02) } else { uniform(rng, 0.03, 0.085) };
        let (sin, cos) = sin_cos(rng.uniform() as f32);
        Self {
            heading,
            turn: sin_cos(heading),
            swing: stride * sin,
            knee: stride * 1.3 * cos.abs(),
            elbow: uniform(rng, 0.01, 0.09),
        }
    }

    /// A body point (to the wearer's side, up, ahead) as (right, up, near) of the picture.
    fn turned(&self, point: [f32; 3]) -> [f32; 3] {
        let (sin, cos) = self.turn;
        [point[0] * cos + point[2] * sin, point[1], point[2] * cos - point[0] * sin]
    }

    /// Half of the width at which an elliptical cross-section (half-width, half-depth) appears.
    pub(super) fn apparent(&self, half_width: f32, half_depth: f32) -> f32 {
        let (sin, cos) = self.turn;
        (half_width * half_width * cos * cos + half_depth * half_depth * sin * sin).sqrt()
    }
}

/// Joints of a leg or an arm, from the trunk outwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limb {
    /// Hip or shoulder.
    pub(super) root: Spot,
    /// Knee or elbow.
    pub(super) bend: Spot,
    /// Ankle or wrist.
    pub(super) end: Spot,
    /// Toe or fingertip.
    pub(super) tip: Spot,
}

/// A posed body on a stage.
pub(super) struct Skeleton<'a> {
    stage: &'a Stage,
    pose: &'a Pose,
    /// How much the body sinks in mid-stride, meters.
    sink: f32,
    height: f32,
    girth: f32,
}

impl<'a> Skeleton<'a> {
    /// The identity's bones in the given pose.
    pub(super) fn new(identity: &Identity, pose: &'a Pose, stage: &'a Stage) -> Self {
        let mut body = Self { stage, pose, sink: 0.0, height: identity.height, girth: identity.girth };
        let lowest = body.leg_points(1.0)[2][1].min(body.leg_points(-1.0)[2][1]);
        body.sink = lowest - 0.045 * identity.height;
        body
    }

    /// Projects a body point: wearer's side, up and ahead, each as a share of the height.
    pub(super) fn spot(&self, side: f32, up: f32, ahead: f32) -> Spot {
        self.project([side * self.height, up * self.height, ahead * self.height])
    }

    /// Leg on the given side (-1 or 1).
    pub(super) fn leg(&self, side: f32) -> Limb {
        let [root, bend, end] = self.leg_points(side);
        let tip = [end[0], end[1] - 0.018 * self.height, end[2] + 0.085 * self.height];
        Limb { root: self.project(root), bend: self.project(bend), end: self.project(end), tip: self.project(tip) }
    }

    /// Arm on the given side (-1 or 1); it swings against the leg of its side.
    pub(super) fn arm(&self, side: f32) -> Limb {
        let h = self.height;
        let root = [side * (0.085 + 0.032 * self.girth) * h, 0.80 * h, 0.0];
        let upper = sin_cos(-0.8 * side * self.pose.swing);
        let lower = sin_cos(-0.8 * side * self.pose.swing + self.pose.elbow);
        let bend = [root[0] + side * 0.022 * h, root[1] - 0.165 * h * upper.1, 0.165 * h * upper.0];
        let end = [bend[0], bend[1] - 0.145 * h * lower.1, bend[2] + 0.145 * h * lower.0];
        let tip = [end[0], end[1] - 0.05 * h * lower.1, end[2] + 0.05 * h * lower.0];
        Limb { root: self.project(root), bend: self.project(bend), end: self.project(end), tip: self.project(tip) }
    }

    fn leg_points(&self, side: f32) -> [[f32; 3]; 3] {
        let h = self.height;
        let angle = side * self.pose.swing;
        let thigh = sin_cos(angle);
        // Only the leg that trails bends its knee.
        let shin = sin_cos(if angle < 0.0 { angle - self.pose.knee } else { angle });
        let root = [side * 0.048 * h * self.girth, 0.52 * h, 0.0];
        let bend = [root[0], root[1] - 0.24 * h * thigh.1, 0.24 * h * thigh.0];
        let end = [bend[0], bend[1] - 0.235 * h * shin.1, bend[2] + 0.235 * h * shin.0];
        [root, bend, end]
    }

    fn project(&self, mut point: [f32; 3]) -> Spot {
        point[1] -= self.sink;
        self.stage.project(self.pose.turned(point))
    }
}
