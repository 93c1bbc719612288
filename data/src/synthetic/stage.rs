//! From meters to samples: how a camera sees a body that stands on the ground.

use super::camera::Camera;
use super::canvas::Point;

/// Height in meters that a camera's zoom refers to.
const AVERAGE: f32 = 1.75;

/// Misalignment of the detector's box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crop {
    /// Shift to the right, in picture heights.
    pub(super) right: f32,
    /// Shift down, in picture heights.
    pub(super) down: f32,
    /// Magnification.
    pub(super) zoom: f32,
}

/// A spot on the ground as a camera sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// The spot, in samples.
    pub(super) foot: Point,
    /// Samples to a meter at half a body's height.
    pub(super) scale: f32,
    /// Lean of upright lines, as a slope.
    pub(super) roll: f32,
    elevation: (f32, f32),
    perspective: f32,
    /// Direction of the light: -1 left, 1 right.
    pub(super) light_side: f32,
}

/// A point of a body, projected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Place on the canvas.
    pub(super) at: Point,
    /// Distance towards the camera, meters.
    pub(super) near: f32,
    /// Samples to a meter there.
    pub(super) scale: f32,
}

impl Stage {
    /// The spot that a person stands on in a canvas of the given height and width in samples.
    pub(super) fn new(camera: &Camera, crop: Crop, height: usize, width: usize) -> Self {
        let (height, width) = (height as f32, width as f32);
        let body = camera.zoom * crop.zoom * height;
        // Boxes are cut to the person: a steep view makes people stouter, not shorter.
        let scale = body / (AVERAGE * camera.elevation.1);
        let middle = height * (0.5 + crop.down);
        Self {
            foot: [width / 2.0 + crop.right * height - camera.roll * scale * AVERAGE / 2.0, middle + body / 2.0],
            scale,
            roll: camera.roll,
            elevation: camera.elevation,
            perspective: camera.perspective,
            light_side: camera.light_side,
        }
    }

    /// The same view of a spot `right` meters to the side and `near` meters nearer.
    pub(super) fn moved(mut self, right: f32, near: f32) -> Self {
        self.foot[0] += right * self.scale;
        self.foot[1] += near * self.elevation.0 * self.scale;
        self.scale *= 1.0 + 0.1 * near;
        self
    }

    /// Projects a point (right, up, towards the camera), in meters from the spot.
    pub(super) fn project(&self, point: [f32; 3]) -> Spot {
        let [right, up, near] = point;
        let (sin, cos) = self.elevation;
        let scale = self.scale * (1.0 + self.perspective * (up / AVERAGE - 0.5));
        let x = self.foot[0] + scale * right + self.scale * self.roll * up;
        let y = self.foot[1] - self.scale * (up * cos - near * sin);
        Spot { at: [x, y], near, scale }
    }
}
