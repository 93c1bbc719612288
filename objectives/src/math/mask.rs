//! Masks over a grid of patches: block-wise (BEiT, arXiv 2106.08254) and cell by cell (MAE).

use reid_data::rng::Rng;

/// Smallest and largest height / width of a block (BEiT's generator).
const ASPECT: [f64; 2] = [0.3, 1.0 / 0.3];

/// Smallest block as a share of the grid: four cells of 16 x 8 (iBOT's rule on that grid), and in
/// proportion on others.
const MIN_BLOCK_SHARE: f64 = 4.0 / 128.0;

/// A side of at most this many cells may be covered whole by [`block_mask`]: with the reference's
/// strict rule a grid two cells wide could only get blocks of one column, and one a single cell
/// wide none at all.
const COVERABLE_SIDE: usize = 2;

/// Blocks that may fail in a row before [`block_mask`] turns to single cells.
const MAX_FAILURES: usize = 100;

/// Rows and columns of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Patches from top to bottom.
    pub rows: usize,
    /// Patches from left to right.
    pub cols: usize,
}

impl Grid {
    /// Patches in all.
    pub fn cells(self) -> usize {
        self.rows * self.cols
    }
}

/// The random choices that a mask makes. A seeded stream in training; the recorded choices of the
/// reference in a test.
pub trait Draws {
    /// Uniform in `[low, high]`; where `high < low`, between the two all the same.
    fn real(&mut self, low: f64, high: f64) -> f64;
    /// Uniform in `low..=high`.
    fn integer(&mut self, low: usize, high: usize) -> usize;
    /// One of `count` things.
    fn choice(&mut self, count: usize) -> usize {
        self.integer(0, count - 1)
    }
}

impl Draws for Rng {
    fn real(&mut self, low: f64, high: f64) -> f64 {
        self.range(low, high)
    }

    fn integer(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }
}

/// Which patches are hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// `[n]`, row-major.
    pub hidden: Vec<bool>,
    /// Hidden cells that a block covered; the others were drawn one by one.
    pub from_blocks: usize,
}

impl Mask {
    /// Hidden cells.
    pub fn count(&self) -> usize {
        self.hidden.iter().filter(|&&hidden| hidden).count()
    }

    /// Indices of the visible cells, ascending.
    pub fn visible(&self) -> Vec<u32> {
        self.indices(false)
    }

    /// Indices of the hidden cells, ascending.
    pub fn masked(&self) -> Vec<u32> {
        self.indices(true)
    }

    fn indices(&self, wanted: bool) -> Vec<u32> {
        (0_u32..).zip(&self.hidden).filter(|&(_, &hidden)| hidden == wanted).map(|(cell, _)| cell).collect()
    }
}

/// Number of cells that a ratio in [0, 1) hides: the nearest, but at least one stays visible.
pub fn hidden_count(cells: usize, ratio: f64) -> usize {
    ((cells as f64 * ratio).round() as usize).min(cells.saturating_sub(1))
}

/// Number of tokens that MAE keeps: `int(n (1 - ratio))`, rounded down as its code does.
pub fn mae_keep_count(cells: usize, ratio: f64) -> usize {
    (cells as f64 * (1.0 - ratio)) as usize
}

/// Hides exactly `count` of `cells`, every subset equally likely.
///
/// # Panics
/// If `count` exceeds `cells`: our bug.
pub fn random_mask(draws: &mut impl Draws, cells: usize, count: usize) -> Mask {
    let mut hidden = vec![false; cells];
    hide_single_cells(draws, &mut hidden, count);
    Mask { hidden, from_blocks: 0 }
}

/// Hides exactly `count` cells of any grid: blocks as long as they fit, then single cells.
///
/// # Panics
/// If `count` exceeds the grid: our bug.
pub fn block_mask(draws: &mut impl Draws, grid: Grid, count: usize) -> Mask {
    let law = BlockLaw {
        min_area: (grid.cells() as f64 * MIN_BLOCK_SHARE).max(1.0),
        max_area: grid.cells(),
        coverable_side: COVERABLE_SIDE,
        max_failures: Some(MAX_FAILURES),
    };
    let mut mask = law.draw(draws, grid, count as f64);
    hide_single_cells(draws, &mut mask.hidden, count - mask.from_blocks);
    mask
}

/// Hides `count` of the cells that are still visible (the first steps of a Fisher-Yates shuffle).
fn hide_single_cells(draws: &mut impl Draws, hidden: &mut [bool], count: usize) {
    let mut visible: Vec<usize> = (0..hidden.len()).filter(|&cell| !hidden[cell]).collect();
    assert!(count <= visible.len(), "cannot hide {count} of {} visible cells", visible.len());
    for next in 0..count {
        let chosen = draws.integer(next, visible.len() - 1);
        visible.swap(next, chosen);
        hidden[visible[next]] = true;
    }
}

/// BEiT's block-wise generator. A block has an area uniform in `[min_area, what is left]`, a
/// log-uniform aspect in 0.3..1/0.3 and a uniform place; it is taken if it hides at least one new
/// cell and no more than are left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockLaw {
    /// Smallest area that is drawn, in cells.
    pub min_area: f64,
    /// Most cells that one block may newly hide.
    pub max_area: usize,
    /// A side of the grid with at most this many cells may be covered whole; longer sides never
    /// are. The reference's rule is 0.
    pub coverable_side: usize,
    /// Blocks that may fail in a row before the generator stops short; none tries for ever, as
    /// BootMAE does, which on small or nearly full grids may not end.
    pub max_failures: Option<usize>,
}

impl BlockLaw {
    /// iBOT's generator (arXiv 2111.07832): the smallest block has a third of the shorter side in both directions,
    /// and ten blocks that do not fit end the mask, which then hides fewer cells than asked for.
    pub fn ibot(grid: Grid) -> Self {
        let third = grid.rows.min(grid.cols) / 3;
        Self { min_area: (third * third) as f64, max_area: grid.cells(), coverable_side: 0, max_failures: Some(10) }
    }

    /// Hides up to `target` cells, which need not be a whole number; as many as fit into it where failures are not
    /// limited.
    pub fn draw(&self, draws: &mut impl Draws, grid: Grid, target: f64) -> Mask {
        let mut hidden = vec![false; grid.cells()];
        let (mut count, mut failures) = (0, 0);
        while (count as f64) < target && self.max_failures.is_none_or(|limit| failures < limit) {
            let budget = (self.max_area as f64).min(target - count as f64);
            let covered = self.place_block(draws, grid, &mut hidden, budget);
            count += covered;
            failures = if covered == 0 { failures + 1 } else { 0 };
        }
        Mask { hidden, from_blocks: count }
    }

    /// Tries one block; returns how many cells it newly hid, 0 if it was refused.
    fn place_block(&self, draws: &mut impl Draws, grid: Grid, hidden: &mut [bool], budget: f64) -> usize {
        let area = draws.real(self.min_area, budget);
        let aspect = draws.real(ASPECT[0].ln(), ASPECT[1].ln()).exp();
        // Python's `round`: half to even.
        let height = (area * aspect).sqrt().round_ties_even() as usize;
        let width = (area / aspect).sqrt().round_ties_even() as usize;
        if !self.fits(height, grid.rows) || !self.fits(width, grid.cols) {
            return 0;
        }
        let top = draws.integer(0, grid.rows - height);
        let left = draws.integer(0, grid.cols - width);
        let rows = (top..top + height).map(|row| row * grid.cols + left);
        let new = rows.clone().flat_map(|start| &hidden[start..start + width]).filter(|&&hidden| !hidden).count();
        if new as f64 > budget {
            return 0;
        }
        for start in rows {
            hidden[start..start + width].fill(true);
        }
        new
    }

    fn fits(&self, length: usize, side: usize) -> bool {
        length < side || (length == side && side <= self.coverable_side)
    }
}

/// MAE's random masking of one picture, given its noise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseMask {
    /// Indices of the kept tokens, in ascending order of their noise: the order in which MAE's
    /// encoder sees them.
    pub keep: Vec<u32>,
    /// `[n]`, place of each token in the order of noise: gathers (kept, removed) back to the grid.
    pub restore: Vec<u32>,
    /// `[n]`, whether a token was removed.
    pub hidden: Vec<bool>,
}

/// Keeps the `keep` tokens with the smallest noise; equal noise in token order.
///
/// # Panics
/// If `keep` exceeds the number of tokens: our bug.
pub fn mask_by_noise(noise: &[f32], keep: usize) -> NoiseMask {
    let mut order: Vec<u32> = (0..noise.len() as u32).collect();
    order.sort_by(|&a, &b| noise[a as usize].total_cmp(&noise[b as usize]));
    let mut restore = vec![0; noise.len()];
    let mut hidden = vec![true; noise.len()];
    for (place, &token) in (0_u32..).zip(&order) {
        restore[token as usize] = place;
        hidden[token as usize] = place as usize >= keep;
    }
    assert!(keep <= order.len(), "cannot keep {keep} of {} tokens", order.len());
    order.truncate(keep);
    NoiseMask { keep: order, restore, hidden }
}
