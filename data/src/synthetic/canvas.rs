//! A supersampled picture that remembers whose each sample is.

use super::palette::{Rgb, scaled};

/// A point in samples, x to the right, y down.
pub(super) type Point = [f32; 2];

/// What is being drawn; decides how samples change hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Scene and shadow.
    Background,
    /// The person the picture is of.
    Person,
    /// Whatever stands before the person.
    Occluder,
}

/// Whose a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Scene,
    Person,
    HiddenPerson,
}

/// Samples of a picture, `factor` by `factor` of them to a pixel.
#[derive(Clone)]
pub(super) struct Canvas {
    /// Samples down.
    pub(super) height: usize,
    /// Samples across.
    pub(super) width: usize,
    /// Colors, rows from the top.
    pub(super) color: Vec<Rgb>,
    owner: Vec<Owner>,
    /// Layer that the following shapes belong to.
    pub(super) layer: Layer,
}

impl Canvas {
    /// An empty canvas.
    pub(super) fn new(height: usize, width: usize) -> Self {
        let samples = height * width;
        Self {
            height,
            width,
            color: vec![[0.0; 3]; samples],
            owner: vec![Owner::Scene; samples],
            layer: Layer::Background,
        }
    }

    /// Colors the samples of a box (left, top, right, bottom) for which `paint(x, y)` has a color.
    pub(super) fn fill(&mut self, area: [f32; 4], mut paint: impl FnMut(f32, f32) -> Option<Rgb>) {
        let columns = clip(area[0], area[2], self.width);
        for row in clip(area[1], area[3], self.height) {
            for column in columns.clone() {
                if let Some(color) = paint(column as f32 + 0.5, row as f32 + 0.5) {
                    let at = row * self.width + column;
                    self.color[at] = color;
                    self.owner[at] = match (self.layer, self.owner[at]) {
                        (Layer::Person, _) => Owner::Person,
                        (Layer::Occluder, Owner::Person) => Owner::HiddenPerson,
                        (_, owner) => owner,
                    };
                }
            }
        }
    }

    /// Every sample of the picture.
    pub(super) fn everything(&self) -> [f32; 4] {
        [0.0, 0.0, self.width as f32, self.height as f32]
    }

    /// A limb from `a` (radius `radii[0]`) to `b` (radius `radii[1]`). `paint(s, t)` gets the
    /// place across (-1..1) and along (0..1).
    pub(super) fn capsule(&mut self, a: Point, b: Point, radii: [f32; 2], mut paint: impl FnMut(f32, f32) -> Rgb) {
        let reach = radii[0].max(radii[1]);
        let area = [a[0].min(b[0]) - reach, a[1].min(b[1]) - reach, a[0].max(b[0]) + reach, a[1].max(b[1]) + reach];
        let axis = [b[0] - a[0], b[1] - a[1]];
        let square = (axis[0] * axis[0] + axis[1] * axis[1]).max(1e-6);
        let length = square.sqrt();
        self.fill(area, |x, y| {
            let (dx, dy) = (x - a[0], y - a[1]);
            let t = ((dx * axis[0] + dy * axis[1]) / square).clamp(0.0, 1.0);
            let radius = radii[0] + (radii[1] - radii[0]) * t;
            let (ex, ey) = (dx - axis[0] * t, dy - axis[1] * t);
            // Across is positive to the right of the picture for a limb that hangs down.
            (ex * ex + ey * ey < radius * radius)
                .then(|| paint(((dx * axis[1] - dy * axis[0]) / (length * radius)).clamp(-1.0, 1.0), t))
        });
    }

    /// An upright ellipse. `paint(u, v)` gets the place in it, both -1..1.
    pub(super) fn ellipse(&mut self, center: Point, radii: [f32; 2], mut paint: impl FnMut(f32, f32) -> Option<Rgb>) {
        let area = [center[0] - radii[0], center[1] - radii[1], center[0] + radii[0], center[1] + radii[1]];
        self.fill(area, |x, y| {
            let (u, v) = ((x - center[0]) / radii[0], (y - center[1]) / radii[1]);
            if u * u + v * v < 1.0 { paint(u, v) } else { None }
        });
    }

    /// Lets the share `left` of the light through in the middle of an ellipse, and all at its edge.
    pub(super) fn darken(&mut self, center: Point, radii: [f32; 2], left: f32) {
        for row in clip(center[1] - radii[1], center[1] + radii[1], self.height) {
            for column in clip(center[0] - radii[0], center[0] + radii[0], self.width) {
                let u = (column as f32 + 0.5 - center[0]) / radii[0];
                let v = (row as f32 + 0.5 - center[1]) / radii[1];
                let light = left + (1.0 - left) * (u * u + v * v).min(1.0);
                let sample = &mut self.color[row * self.width + column];
                *sample = scaled(*sample, light);
            }
        }
    }

    /// A body of varying half-width around the axis from `a` to `b`; `profile` holds (t, half-width)
    /// with t rising from 0 to 1. `paint(s, t)` gets the place across (-1..1) and along (0..1).
    pub(super) fn taper(
        &mut self,
        a: Point,
        b: Point,
        profile: &[[f32; 2]],
        mut paint: impl FnMut(f32, f32) -> Option<Rgb>,
    ) {
        let reach = profile.iter().fold(0.0_f32, |widest, knot| widest.max(knot[1]));
        let area = [a[0].min(b[0]) - reach, a[1].min(b[1]) - reach, a[0].max(b[0]) + reach, a[1].max(b[1]) + reach];
        let axis = [b[0] - a[0], b[1] - a[1]];
        let square = (axis[0] * axis[0] + axis[1] * axis[1]).max(1e-6);
        let length = square.sqrt();
        self.fill(area, |x, y| {
            let (dx, dy) = (x - a[0], y - a[1]);
            let t = (dx * axis[0] + dy * axis[1]) / square;
            if !(0.0..=1.0).contains(&t) {
                return None;
            }
            let knots = profile.windows(2).find(|pair| t <= pair[1][0])?;
            let part = (t - knots[0][0]) / (knots[1][0] - knots[0][0]);
            let half_width = knots[0][1] + (knots[1][1] - knots[0][1]) * part;
            let s = (dx * axis[1] - dy * axis[0]) / (length * half_width.max(1e-3));
            if s.abs() < 1.0 { paint(s, t) } else { None }
        });
    }

    /// Share of the person's samples that an occluder covers; 0 if there is no person.
    pub(super) fn hidden(&self) -> f32 {
        let hidden = self.owner.iter().filter(|&&owner| owner == Owner::HiddenPerson).count();
        let seen = self.owner.iter().filter(|&&owner| owner == Owner::Person).count();
        if hidden == 0 { 0.0 } else { hidden as f32 / (hidden + seen) as f32 }
    }

    /// The row from which down to the bottom as near as possible to `share` of the person lies.
    pub(super) fn row_above(&self, share: f32) -> usize {
        let persons = |row: usize| {
            let owners = &self.owner[row * self.width..(row + 1) * self.width];
            owners.iter().filter(|&&owner| owner == Owner::Person).count()
        };
        let total: usize = (0..self.height).map(persons).sum();
        let (mut below, mut best) = (0, (f32::INFINITY, self.height));
        for row in (0..self.height).rev() {
            below += persons(row);
            let distance = (below as f32 - share * total as f32).abs();
            if distance < best.0 {
                best = (distance, row);
            }
        }
        best.1
    }
}

/// Whole samples whose centers lie in [low, high), within the picture.
fn clip(low: f32, high: f32, bound: usize) -> std::ops::Range<usize> {
    // A float cast saturates: below 0 it gives 0.
    let first = (low - 0.5).ceil() as usize;
    let last = (high - 0.5).ceil() as usize;
    first.min(bound)..last.min(bound)
}
