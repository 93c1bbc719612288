//! Colors and markers that tell lines apart.

use plotters::prelude::{Color, PathElement, Polygon, RGBColor};

use super::Theme;
use super::settings::MOST_LINES;
use super::svg::{Canvas, Drawn};

/// Colors of everything that is no line.
#[derive(Clone, Copy)]
pub(super) struct Colors {
    /// Behind everything; the page's own.
    pub(super) background: RGBColor,
    /// Texts, axes, and the edges of markers.
    pub(super) text: RGBColor,
    /// Lines behind the points.
    pub(super) grid: RGBColor,
}

impl Colors {
    /// Of a theme. Texts have a contrast of more than 15 to 1.
    pub(super) fn of(theme: Theme) -> Self {
        match theme {
            Theme::Light => Self {
                background: RGBColor(0xff, 0xff, 0xff),
                text: RGBColor(0x1b, 0x1f, 0x24),
                grid: RGBColor(0xd0, 0xd7, 0xde),
            },
            Theme::Dark => Self {
                background: RGBColor(0x0d, 0x11, 0x17),
                text: RGBColor(0xe6, 0xed, 0xf3),
                grid: RGBColor(0x30, 0x36, 0x3d),
            },
        }
    }

    /// Color of a line, by its place in the legend: the palette of Okabe and Ito (2008), which readers who do not see
    /// all colors can tell apart. Its black is the color of texts, and its yellow, which is hard to see on white, comes
    /// last.
    pub(super) fn line(self, at: usize) -> RGBColor {
        let palette: [RGBColor; MOST_LINES] = [
            RGBColor(0x00, 0x72, 0xb2),
            RGBColor(0xd5, 0x5e, 0x00),
            RGBColor(0x00, 0x9e, 0x73),
            RGBColor(0xcc, 0x79, 0xa7),
            RGBColor(0xe6, 0x9f, 0x00),
            RGBColor(0x56, 0xb4, 0xe9),
            self.text,
            RGBColor(0xf0, 0xe4, 0x42),
        ];
        palette[at % palette.len()]
    }
}

/// Corners of the markers around their center, in pixels: disc, square, two triangles, diamond, plus, cross, hourglass.
const SHAPES: [&[(i32, i32)]; MOST_LINES] = [
    &[(4, 2), (2, 4), (-2, 4), (-4, 2), (-4, -2), (-2, -4), (2, -4), (4, -2)],
    &[(-4, -4), (4, -4), (4, 4), (-4, 4)],
    &[(0, -5), (5, 4), (-5, 4)],
    &[(0, -6), (5, 0), (0, 6), (-5, 0)],
    &[(0, 5), (5, -4), (-5, -4)],
    &[(-2, -5), (2, -5), (2, -2), (5, -2), (5, 2), (2, 2), (2, 5), (-2, 5), (-2, 2), (-5, 2), (-5, -2), (-2, -2)],
    &[(0, -2), (3, -5), (5, -3), (2, 0), (5, 3), (3, 5), (0, 2), (-3, 5), (-5, 3), (-2, 0), (-5, -3), (-3, -5)],
    &[(-5, -5), (5, -5), (1, 0), (5, 5), (-5, 5), (-1, 0)],
];

/// Draws the marker of the line at place `at` of the legend. Its edge has the color of texts, so that it is seen on any
/// background.
pub(super) fn marker(canvas: &Canvas<'_>, at: usize, center: (i32, i32), colors: Colors) -> Drawn {
    // Where there are more lines than colors, a color comes back with another marker.
    let shape = SHAPES[(at + at / SHAPES.len()) % SHAPES.len()];
    let mut corners: Vec<(i32, i32)> = shape.iter().map(|(x, y)| (center.0 + x, center.1 + y)).collect();
    canvas.draw(&Polygon::new(corners.clone(), colors.line(at)))?;
    corners.push(corners[0]);
    canvas.draw(&PathElement::new(corners, colors.text.stroke_width(1)))
}
