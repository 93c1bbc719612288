//! k-means clusters of features: to show what patches an encoder takes for alike.

use rayon::prelude::*;
use reid_data::rng::Rng;

/// Rounds at most; it has settled long before.
const ROUNDS: usize = 100;

/// Cluster of each row: Lloyd's rounds (IEEE Trans. Inf. Theory 28, 1982) from centers that are drawn one after the
/// other with a probability proportional to the squared distance from those that there are (k-means++, Arthur and
/// Vassilvitskii, SODA 2007). Sums are in the order of the rows: the same clusters for any number of threads. Clusters are
/// numbered by size, the largest first.
///
/// # Shapes
/// - `features`: `[n, d]`, row-major, `d = width`; output: `[n]`, below `k`
pub fn kmeans(features: &[f32], width: usize, k: usize, mut rng: Rng) -> Vec<u32> {
    let rows: Vec<&[f32]> = features.chunks_exact(width.max(1)).collect();
    if rows.is_empty() || k == 0 {
        return vec![0; rows.len()];
    }
    let mut centers = seeds(&rows, k.min(rows.len()), &mut rng);
    let mut nearest = assign(&rows, &centers);
    for _ in 0..ROUNDS {
        let mut sums = vec![vec![0.0_f64; width]; centers.len()];
        let mut counts = vec![0_usize; centers.len()];
        for (row, &of) in rows.iter().zip(&nearest) {
            counts[of as usize] += 1;
            for (sum, value) in sums[of as usize].iter_mut().zip(*row) {
                *sum += f64::from(*value);
            }
        }
        for ((center, sum), &count) in centers.iter_mut().zip(&sums).zip(&counts) {
            // A cluster that nobody is in stays where it is.
            if count > 0 {
                *center = sum.iter().map(|sum| (sum / count as f64) as f32).collect();
            }
        }
        let moved = assign(&rows, &centers);
        if moved == nearest {
            break;
        }
        nearest = moved;
    }
    by_size(&nearest, centers.len())
}

fn seeds(rows: &[&[f32]], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut centers = vec![rows[rng.below(rows.len())].to_vec()];
    let mut distances: Vec<f64> = rows.iter().map(|row| squared(row, &centers[0])).collect();
    while centers.len() < k {
        let mut left = rng.uniform() * distances.iter().sum::<f64>();
        // Where rounding leaves something at the end, the last row that is no center.
        let last = distances.iter().rposition(|distance| *distance > 0.0).unwrap_or(0);
        let drawn = distances.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        let center = rows[drawn.unwrap_or(last)].to_vec();
        for (distance, row) in distances.iter_mut().zip(rows) {
            *distance = distance.min(squared(row, &center));
        }
        centers.push(center);
    }
    centers
}

fn assign(rows: &[&[f32]], centers: &[Vec<f32>]) -> Vec<u32> {
    let nearest = |row: &&[f32]| {
        let of = |(index, center): (u32, &Vec<f32>)| (squared(row, center), index);
        let by_distance = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        (0..).zip(centers).map(of).min_by(by_distance).map_or(0, |(_, index)| index)
    };
    rows.par_iter().map(nearest).collect()
}

fn squared(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b) * f64::from(a - b)).sum()
}

/// The same clusters under numbers by their size, equally large ones by their first row.
fn by_size(of: &[u32], k: usize) -> Vec<u32> {
    let mut clusters: Vec<(usize, usize, usize)> = (0..k).map(|cluster| (0, of.len(), cluster)).collect();
    for (row, &cluster) in of.iter().enumerate() {
        let (count, first, _) = &mut clusters[cluster as usize];
        *count += 1;
        *first = (*first).min(row);
    }
    clusters.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut number = vec![0; k];
    for (at, (_, _, cluster)) in (0..).zip(clusters) {
        number[cluster] = at;
    }
    of.iter().map(|&cluster| number[cluster as usize]).collect()
}
