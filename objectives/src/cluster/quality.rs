//! How well clusters agree with identities. For reports only: no training looks at it.

use std::collections::BTreeMap;

/// Agreement of clusters with identities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Clusters.
    pub clusters: usize,
    /// Pictures in no cluster.
    pub outliers: usize,
    /// Adjusted Rand index (Hubert and Arabie, 1985): 1 for equal partitions, 0 on average for random ones.
    pub ari: f64,
    /// Mutual information over the mean of the two entropies: 1 for equal partitions.
    pub nmi: f64,
}

/// Compares clusters with identities; every outlier counts as a cluster of one.
///
/// # Shapes
/// - `labels`, `pids`: `[n]`
///
/// # Panics
/// If the two differ in length: our bug.
pub fn quality(labels: &[Option<u32>], pids: &[i64]) -> Quality {
    assert_eq!(labels.len(), pids.len(), "labels and identities differ in number");
    let clusters = labels.iter().flatten().max().map_or(0, |last| *last as usize + 1);
    let outliers = labels.iter().filter(|label| label.is_none()).count();
    let mut alone = clusters as u32;
    let mut table: BTreeMap<(u32, i64), usize> = BTreeMap::new();
    let (mut by_cluster, mut by_person) = (BTreeMap::new(), BTreeMap::new());
    for (label, &pid) in labels.iter().zip(pids) {
        let cluster = label.unwrap_or_else(|| {
            alone += 1;
            alone - 1
        });
        *table.entry((cluster, pid)).or_default() += 1;
        *by_cluster.entry(cluster).or_default() += 1;
        *by_person.entry(pid).or_default() += 1;
    }
    let n = labels.len() as f64;
    let pairs = |count: &usize| *count as f64 * (*count as f64 - 1.0) / 2.0;
    let both: f64 = table.values().map(pairs).sum();
    let (of_clusters, of_people): (f64, f64) =
        (by_cluster.values().map(pairs).sum(), by_person.values().map(pairs).sum());
    let all = n * (n - 1.0) / 2.0;
    let expected = if all > 0.0 { of_clusters * of_people / all } else { 0.0 };
    let most = f64::midpoint(of_clusters, of_people);
    // Two partitions of singletons, or of one part, are equal.
    let ari = if (most - expected).abs() < f64::EPSILON * most.max(1.0) {
        1.0
    } else {
        (both - expected) / (most - expected)
    };

    let entropy = |counts: &mut dyn Iterator<Item = &usize>| -> f64 {
        counts.map(|count| *count as f64 / n).map(|share| -share * share.ln()).sum()
    };
    let (h_clusters, h_people) = (entropy(&mut by_cluster.values()), entropy(&mut by_person.values()));
    let mutual: f64 = table
        .iter()
        .map(|((cluster, pid), count)| {
            let share = *count as f64 / n;
            share * (share * n * n / (by_cluster[cluster] as f64 * by_person[pid] as f64)).ln()
        })
        .sum();
    let mean = f64::midpoint(h_clusters, h_people);
    let nmi = if mean == 0.0 { 1.0 } else { (mutual / mean).clamp(0.0, 1.0) };
    Quality { clusters, outliers, ari, nmi }
}
