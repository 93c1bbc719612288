//! DBSCAN (Ester et al., KDD 1996) on neighbour lists, with scikit-learn's numbering.

/// Clusters by density. A picture with at least `min_samples` neighbours, itself among them, is a core; cores that are
/// neighbours share a cluster, and what is only a core's neighbour belongs to the first cluster that reaches it. Clusters
/// are numbered in the order of their first cores; outliers are none.
///
/// # Shapes
/// - `neighbours`: `[n]` lists; output: `[n]`
pub fn dbscan(neighbours: &[Vec<u32>], min_samples: usize) -> Vec<Option<u32>> {
    let is_core = |i: usize| neighbours[i].len() >= min_samples;
    let mut labels: Vec<Option<u32>> = vec![None; neighbours.len()];
    let mut clusters = 0;
    let mut waiting: Vec<u32> = Vec::new();
    for first in 0..neighbours.len() {
        if labels[first].is_some() || !is_core(first) {
            continue;
        }
        labels[first] = Some(clusters);
        waiting.push(first as u32);
        while let Some(i) = waiting.pop() {
            for &j in &neighbours[i as usize] {
                if labels[j as usize].is_none() {
                    labels[j as usize] = Some(clusters);
                    if is_core(j as usize) {
                        waiting.push(j);
                    }
                }
            }
        }
        clusters += 1;
    }
    labels
}
