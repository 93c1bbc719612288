//! Grids of pictures, with frames that tell right from wrong without color too.

use reid_data::image::Image;
use reid_data::spec::{Filter, Size};
use reid_data::transform::{Region, Resizer};

/// Height of a picture in a grid, pixels: persons are twice as high as wide.
const HEIGHT: usize = 128;
/// White pixels between cells.
const GAP: usize = 6;
/// Pixels of a frame.
const FRAME: usize = 4;
/// Length of a dash and of the space behind it, pixels.
const DASH: usize = 8;

/// Colors that are told apart with any kind of color vision (Okabe and Ito, Color Universal Design, 2008).
pub(super) const OKABE_ITO: [[u8; 3]; 8] = [
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [213, 94, 0],
    [86, 180, 233],
    [204, 121, 167],
    [240, 228, 66],
    [0, 0, 0],
];

/// Frame of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// None.
    None,
    /// Black: the query.
    Query,
    /// Blue, whole: the right person.
    Right,
    /// Vermilion, dashed: another one.
    Wrong,
}

/// A grid of cells of one size on white.
pub(super) struct Grid {
    image: Image,
    cell: Size,
    resizer: Resizer,
}

impl Grid {
    /// `rows` x `columns` cells for pictures of the aspect of `size`.
    pub(super) fn new(rows: usize, columns: usize, size: Size) -> Self {
        let width = (HEIGHT * size.1).div_ceil(size.0.max(1)).max(1);
        let cell = Size(HEIGHT, width);
        let side = |count: usize, length: usize| count * (length + 2 * FRAME + GAP) + GAP;
        let mut image = Image::black(side(rows, HEIGHT), side(columns, width));
        image.data.fill(255);
        Self { image, cell, resizer: Resizer::new() }
    }

    /// Puts a picture into a cell, resized.
    pub(super) fn put(&mut self, row: usize, column: usize, picture: &Image, frame: Frame) {
        let picture = self.resizer.resize(picture, Region::whole(picture), self.cell, Filter::Bilinear);
        self.paste(row, column, &picture, frame);
    }

    /// Puts a picture into a cell, its pixels as squares: for maps, whose cells mean something.
    pub(super) fn put_map(&mut self, row: usize, column: usize, map: &Image) {
        let Size(height, width) = self.cell;
        let mut picture = Image::black(height, width);
        for y in 0..height {
            for x in 0..width {
                let from = ((y * map.height / height) * map.width + x * map.width / width) * 3;
                picture.data[(y * width + x) * 3..][..3].copy_from_slice(&map.data[from..from + 3]);
            }
        }
        self.paste(row, column, &picture, Frame::None);
    }

    fn paste(&mut self, row: usize, column: usize, picture: &Image, frame: Frame) {
        let Size(height, width) = self.cell;
        let step = |length: usize| length + 2 * FRAME + GAP;
        let (top, left) = (GAP + row * step(height), GAP + column * step(width));
        for y in 0..height + 2 * FRAME {
            for x in 0..width + 2 * FRAME {
                let inside = (FRAME..height + FRAME).contains(&y) && (FRAME..width + FRAME).contains(&x);
                let color = if inside {
                    let from = ((y - FRAME) * width + x - FRAME) * 3;
                    [picture.data[from], picture.data[from + 1], picture.data[from + 2]]
                } else {
                    frame.color(x + y)
                };
                let to = ((top + y) * self.image.width + left + x) * 3;
                self.image.data[to..to + 3].copy_from_slice(&color);
            }
        }
    }

    /// The whole grid.
    pub(super) fn finish(self) -> Image {
        self.image
    }
}

impl Frame {
    /// Color at a place along the frame.
    fn color(self, along: usize) -> [u8; 3] {
        match self {
            Self::Query => [0, 0, 0],
            Self::Right => OKABE_ITO[0],
            Self::Wrong if along % (2 * DASH) < DASH => OKABE_ITO[3],
            Self::None | Self::Wrong => [255, 255, 255],
        }
    }
}

/// Color of a share in [0, 1]: dark blue over green to yellow, its brightness rising evenly (the anchors of
/// matplotlib's viridis, S. van der Walt and N. Smith, 2015).
pub(super) fn viridis(share: f32) -> [u8; 3] {
    const ANCHORS: [[f32; 3]; 5] =
        [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];
    let at = share.clamp(0.0, 1.0) * (ANCHORS.len() - 1) as f32;
    let from = (at as usize).min(ANCHORS.len() - 2);
    let part = at - from as f32;
    std::array::from_fn(|c| (ANCHORS[from][c] + part * (ANCHORS[from + 1][c] - ANCHORS[from][c])).round() as u8)
}
