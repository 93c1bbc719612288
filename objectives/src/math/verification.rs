//! Verification: whether two pictures show one person, told by a threshold on their distance.
//!
//! Over all pairs of a query and a kept gallery picture, those of one person are *same* pairs, the others *different*
//! ones. The receiver operating characteristic is exact: between two neighbouring distances of same pairs the different
//! ones are only counted. Distances exist for one block of queries at a time, and are computed twice: once for the same
//! pairs, which are few, and once to count the others.

use rayon::prelude::*;

use super::ranking::{Distances, Labels, SameCamera, block_rows};

/// Cells of the table that finds a distance's place.
const CELLS: usize = 1 << 20;

/// An exact receiver operating characteristic.
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    /// Distances of same pairs in ascending order; NaN is none.
    same: Vec<f32>,
    /// `[same + 1]`: different pairs farther than so many same pairs, and than no more.
    gaps: Vec<u64>,
    /// `[same]`: those of them at exactly the distance of the same pair that follows; 0 but at the first of equal ones.
    ties: Vec<u64>,
    /// Different pairs.
    different: u64,
}

impl Roc {
    /// Of all pairs but those that a protocol with cameras leaves out; none without both kinds of pairs.
    pub fn of(
        distances: &(impl Distances + ?Sized),
        query: Labels<'_>,
        gallery: Labels<'_>,
        same_camera: SameCamera,
    ) -> Option<Self> {
        let (queries, width) = (query.pids.len(), gallery.pids.len());
        let keeps_camera = same_camera == SameCamera::Kept;
        let is_same = |q: usize, g: usize| query.pids[q] == gallery.pids[g];
        let is_kept = |q: usize, g: usize| keeps_camera || query.cameras[q] != gallery.cameras[g];
        let block = block_rows(width);
        let blocks = || (0..queries).step_by(block).map(|first| first..(first + block).min(queries));

        let (mut same, mut values) = (Vec::new(), Vec::new());
        for rows in blocks().filter(|_| width > 0) {
            values.resize(rows.len() * width, 0.0);
            distances.rows(rows.clone(), &mut values); // [rows, g]
            let of_row = |(q, row): (usize, &[f32])| {
                let of_pair = |(g, &distance): (usize, &f32)| {
                    // Adding zero makes -0 and 0 one value.
                    (is_same(q, g) && is_kept(q, g) && !distance.is_nan()).then_some(distance + 0.0)
                };
                row.iter().enumerate().filter_map(of_pair).collect::<Vec<f32>>()
            };
            let found: Vec<Vec<f32>> =
                rows.clone().into_par_iter().zip(values.par_chunks_exact(width)).map(of_row).collect();
            same.extend(found.into_iter().flatten());
        }
        same.par_sort_unstable_by(f32::total_cmp);
        let place = Place::of(&same)?;

        let empty = || (vec![0_u64; same.len() + 1], vec![0_u64; same.len()]);
        let (mut gaps, mut ties) = empty();
        for rows in blocks() {
            values.resize(rows.len() * width, 0.0);
            distances.rows(rows.clone(), &mut values); // [rows, g]
            let count = |(mut gaps, mut ties): (Vec<u64>, Vec<u64>), (q, row): (usize, &[f32])| {
                for (_, &distance) in row.iter().enumerate().filter(|&(g, _)| !is_same(q, g)) {
                    let at = place.of_distance(&same, distance);
                    gaps[at] += 1;
                    if same.get(at).is_some_and(|other| other.total_cmp(&(distance + 0.0)).is_eq()) {
                        ties[at] += 1;
                    }
                }
                (gaps, ties)
            };
            let add = |(mut gaps, mut ties): (Vec<u64>, Vec<u64>), (more_gaps, more_ties): (Vec<u64>, Vec<u64>)| {
                gaps.iter_mut().zip(more_gaps).for_each(|(sum, more)| *sum += more);
                ties.iter_mut().zip(more_ties).for_each(|(sum, more)| *sum += more);
                (gaps, ties)
            };
            let first = rows.start;
            let numbered = values.par_chunks_exact(width).enumerate().map(|(offset, row)| (first + offset, row));
            // Counts are whole numbers: no order of addition changes them.
            (gaps, ties) = add((gaps, ties), numbered.fold(empty, count).reduce(empty, add));
        }
        let different = gaps.iter().sum();
        (different > 0).then_some(Self { same, gaps, ties, different })
    }

    /// Same pairs and different pairs.
    pub fn pairs(&self) -> (u64, u64) {
        (self.same.len() as u64, self.different)
    }

    /// Share of same pairs that are nearer than a threshold within which no more than this share of different pairs
    /// lie: the true positive rate at a false positive rate, without interpolation.
    pub fn tpr_at_fpr(&self, fpr: f64) -> f64 {
        let mut within = 0;
        let mut accepted = 0;
        for (at, gap) in self.gaps.iter().take(self.same.len()).enumerate() {
            within += gap;
            if within as f64 / self.different as f64 > fpr {
                break;
            }
            accepted = at + 1;
        }
        accepted as f64 / self.same.len() as f64
    }

    /// What fast-reid reports by that name. It takes *different* pairs, which are far, for positives: of the points of the
    /// curve at which some share of same pairs lies at or beyond a threshold, that whose share is closest to `fpr`, and
    /// there the share of different pairs at or beyond it. Points in the middle of a straight run are none, as
    /// scikit-learn drops them.
    pub fn fast_reid_tpr_at_fpr(&self, fpr: f64) -> f64 {
        // From the farthest on: same pairs at a distance, different ones at it, different ones before the next.
        struct Step {
            same: u64,
            different: u64,
            between: u64,
        }
        let farthest = self.gaps[self.same.len()];
        let (mut steps, mut end): (Vec<Step>, usize) = (Vec::new(), self.same.len());
        while end > 0 {
            let value = self.same[end - 1];
            let start = self.same[..end].partition_point(|other| *other < value);
            // All that lie between this value and the one before, this value included, are in the gap of its first.
            let different = self.ties[start];
            steps.push(Step { same: (end - start) as u64, different, between: self.gaps[start] - different });
            end = start;
        }
        let (mut best, mut best_error) = (0.0, fpr);
        let (mut same, mut beyond) = (0, farthest);
        for (at, step) in steps.iter().enumerate() {
            same += step.same;
            beyond += step.different;
            // The first point of all is always one.
            let next = steps.get(at + 1).filter(|_| step.between == 0 && (at > 0 || farthest > 0));
            let is_inside = next.is_some_and(|next| (next.same, next.different) == (step.same, step.different));
            let error = (same as f64 / self.same.len() as f64 - fpr).abs();
            if !is_inside && error < best_error {
                (best, best_error) = (beyond as f64 / self.different as f64, error);
            }
            beyond += step.between;
        }
        best
    }

    /// Probability that a same pair is nearer than a different one, ties counting half: the area under the curve.
    pub fn area(&self) -> f64 {
        let mut nearer = 0.0;
        let mut at = 0;
        let mut before = 0;
        while at < self.same.len() {
            let value = self.same[at];
            let equal = self.same[at..].partition_point(|other| *other <= value);
            before += self.gaps[at];
            let beyond = self.different - before;
            nearer += equal as f64 * (beyond as f64 + 0.5 * self.ties[at] as f64);
            at += equal;
        }
        nearer / (self.same.len() as f64 * self.different as f64)
    }
}

/// Where distances stand among sorted ones, by a table of equal steps.
struct Place {
    first: f32,
    scale: f32,
    /// `[CELLS + 1]`: values before each cell.
    starts: Vec<u32>,
}

impl Place {
    /// None without values.
    fn of(sorted: &[f32]) -> Option<Self> {
        let (&first, &last) = (sorted.first()?, sorted.last()?);
        let scale = CELLS as f32 / (last - first).max(f32::MIN_POSITIVE);
        let mut place = Self { first, scale: if scale.is_finite() { scale } else { 0.0 }, starts: vec![0; CELLS + 1] };
        for &value in sorted {
            let cell = place.cell(value);
            place.starts[cell + 1] += 1;
        }
        for cell in 0..CELLS {
            place.starts[cell + 1] += place.starts[cell];
        }
        Some(place)
    }

    /// Never decreases with the value; NaN is in the last.
    fn cell(&self, value: f32) -> usize {
        if value.is_nan() { CELLS - 1 } else { (((value - self.first) * self.scale) as usize).min(CELLS - 1) }
    }

    /// Number of values below a distance.
    fn of_distance(&self, sorted: &[f32], distance: f32) -> usize {
        if distance.is_nan() {
            return sorted.len();
        }
        let cell = self.cell(distance);
        let (start, end) = (self.starts[cell] as usize, self.starts[cell + 1] as usize);
        start + sorted[start..end].partition_point(|value| *value < distance)
    }
}
