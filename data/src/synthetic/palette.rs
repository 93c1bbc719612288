//! Colors of people, 0..1 per channel before the camera's cast.

/// A color.
pub(super) type Rgb = [f32; 3];

/// Clothes, shoes, bags, hats and logos.
pub(super) const CLOTHES: [Rgb; 14] = [
    [0.08, 0.08, 0.09], // black
    [0.90, 0.90, 0.88], // white
    [0.50, 0.50, 0.52], // gray
    [0.12, 0.16, 0.35], // navy
    [0.20, 0.45, 0.80], // blue
    [0.78, 0.12, 0.14], // red
    [0.15, 0.50, 0.22], // green
    [0.92, 0.80, 0.18], // yellow
    [0.93, 0.48, 0.12], // orange
    [0.48, 0.20, 0.58], // purple
    [0.92, 0.55, 0.68], // pink
    [0.42, 0.27, 0.16], // brown
    [0.80, 0.71, 0.54], // beige
    [0.15, 0.62, 0.62], // teal
];

/// How often clothes have each color: dark and neutral ones a little more.
pub(super) const CLOTHES_WEIGHTS: [f64; 14] = [1.4, 1.3, 1.1, 1.1, 1.1, 1.1, 1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 1.0, 0.9];

/// Skin, light to dark.
pub(super) const SKIN: [Rgb; 5] =
    [[0.88, 0.72, 0.62], [0.80, 0.61, 0.49], [0.68, 0.48, 0.35], [0.50, 0.34, 0.24], [0.33, 0.22, 0.15]];

/// Hair.
pub(super) const HAIR: [Rgb; 6] = [
    [0.07, 0.06, 0.06],
    [0.28, 0.17, 0.10],
    [0.50, 0.33, 0.18],
    [0.83, 0.69, 0.40],
    [0.60, 0.22, 0.10],
    [0.70, 0.70, 0.72],
];

/// Multiplies all channels.
pub(super) fn scaled(color: Rgb, factor: f32) -> Rgb {
    color.map(|channel| channel * factor)
}

/// `a` at 0, `b` at 1.
pub(super) fn mixed(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}
