//! Textures: patterns, prints and straps on a surface measured in meters.

use super::identity::{BagKind, Cloth, Identity, Logo, LogoShape, Pattern};
use super::palette::{CLOTHES, Rgb};

/// Color of a palette index.
pub(super) fn color(index: u8) -> Rgb {
    CLOTHES[usize::from(index) % CLOTHES.len()]
}

/// Color of a cloth at `around` and `down` meters; `lower_half` says where a color block ends.
pub(super) fn cloth_color(cloth: Cloth, around: f32, down: f32, lower_half: bool) -> Rgb {
    let second = match cloth.pattern {
        None => return color(cloth.base),
        Some((pattern, second)) if patterned(pattern, around, down, lower_half) => second,
        Some(_) => cloth.base,
    };
    color(second)
}

/// Whether a pattern shows its second color.
fn patterned(pattern: Pattern, around: f32, down: f32, lower_half: bool) -> bool {
    match pattern {
        Pattern::HorizontalStripes => odd(down / 0.085),
        Pattern::VerticalStripes => odd(around / 0.07 + 0.5),
        Pattern::Checks => odd(down / 0.11) != odd(around / 0.10 + 0.5),
        Pattern::Dots => {
            let (x, y) = (around / 0.14, down / 0.14);
            let (x, y) = (x - (x + 0.5).floor(), y - y.floor() - 0.5);
            x * x + y * y < 0.11
        }
        Pattern::ColorBlock => lower_half,
    }
}

fn odd(x: f32) -> bool {
    let half = x * 0.5;
    half - half.floor() >= 0.5
}

/// A point of the trunk's surface.
#[derive(Clone, Copy)]
pub(super) struct TrunkPoint {
    /// Angle around the body in turns, -1/2..1/2; 0 at the middle of the chest.
    pub(super) angle: f32,
    /// 0 at the neck, 1 at the hips.
    pub(super) down: f32,
    /// Meters to a turn of `angle`.
    pub(super) circumference: f32,
    /// Meters from neck to hips.
    pub(super) length: f32,
}

/// Color of the trunk: strap over print over cloth.
pub(super) fn trunk_color(identity: &Identity, point: TrunkPoint) -> Rgb {
    if let Some((kind, strap)) = identity.bag
        && on_strap(kind, point)
    {
        return color(strap);
    }
    if let Some(logo) = identity.logo
        && on_logo(logo, point)
    {
        return color(logo.color);
    }
    let TrunkPoint { angle, down, circumference, length } = point;
    cloth_color(identity.upper_cloth, angle * circumference, down * length, down > 0.52)
}

fn on_logo(logo: Logo, point: TrunkPoint) -> bool {
    let x = (point.angle - 0.07 * f32::from(logo.place)) * point.circumference / 0.085;
    let y = (point.down - 0.32) * point.length / 0.085;
    match logo.shape {
        LogoShape::Disc => x * x + y * y < 1.0,
        LogoShape::Square => x.abs() < 0.88 && y.abs() < 0.88,
        LogoShape::Cross => (x.abs() < 0.36 && y.abs() < 1.1) || (y.abs() < 0.36 && x.abs() < 1.1),
        LogoShape::Bar => x.abs() < 1.45 && y.abs() < 0.5,
    }
}

fn on_strap(kind: BagKind, point: TrunkPoint) -> bool {
    match kind {
        BagKind::Backpack => (point.angle.abs() - 0.10).abs() * point.circumference < 0.026 && point.down < 0.62,
        BagKind::Shoulder => {
            // From one shoulder to the other hip, on the chest and, mirrored, on the back.
            let across = if point.angle.abs() <= 0.25 {
                point.angle
            } else if point.angle > 0.0 {
                0.5 - point.angle
            } else {
                -0.5 - point.angle
            };
            (point.down - (0.05 + (across + 0.25) * 1.8)).abs() * point.length < 0.045
        }
        BagKind::Hand => false,
    }
}
