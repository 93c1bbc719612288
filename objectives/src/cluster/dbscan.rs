//! DBSCAN (Ester et al., KDD 1996) with scikit-learn's numbering, in bounded memory.
//!
//! Lists of neighbours may be long: where one picture is everybody's neighbour, all n lists have n entries. So only so many
//! entries are kept as there is room for; of a core beyond that, the list is made a second time when cores are joined.
//! What is no core has few neighbours, whose lists are kept in any case: no third time is needed.

use crate::math::neighbours::Near;

/// Entries of lists that are kept: 64 MiB.
pub const ROOM: usize = 1 << 24;

/// Entries of a block of lists that are made together, at most: 16 MiB.
const BLOCK: usize = 1 << 22;

/// Lists that are there already.
impl Near for Vec<Vec<u32>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn lists(&self, rows: &[usize]) -> Vec<Vec<u32>> {
        rows.iter().map(|&i| self[i].clone()).collect()
    }
}

/// Clusters by density. A picture with at least `min_samples` neighbours, itself among them, is a core; cores that are
/// neighbours share a cluster, and what is only a core's neighbour belongs to the first cluster that reaches it. Clusters
/// are numbered in the order of their first cores; outliers are none.
///
/// # Shapes
/// - output: `[n]`
pub fn dbscan(near: &impl Near, min_samples: usize) -> Vec<Option<u32>> {
    dbscan_in(near, min_samples, ROOM)
}

/// [`dbscan`] with room for other than [`ROOM`] entries: the same clusters.
pub fn dbscan_in(near: &impl Near, min_samples: usize, room: usize) -> Vec<Option<u32>> {
    let n = near.count();
    let block = (BLOCK / n.max(1)).clamp(16, 4096);
    let mut kept: Vec<Option<Vec<u32>>> = Vec::with_capacity(n);
    let mut is_core = Vec::with_capacity(n);
    let mut entries = 0;
    let all: Vec<usize> = (0..n).collect();
    for rows in all.chunks(block) {
        for list in near.lists(rows) {
            is_core.push(list.len() >= min_samples);
            // Lists of what is no core are shorter than `min_samples`.
            let fits = list.len() < min_samples || entries + list.len() <= room;
            entries += if fits && list.len() >= min_samples { list.len() } else { 0 };
            kept.push(fits.then_some(list));
        }
    }
    let mut forest = Forest::new(n);
    let mut join = |i: usize, list: &[u32]| {
        for &j in list.iter().filter(|&&j| (j as usize) < i && is_core[j as usize]) {
            forest.join(i as u32, j);
        }
    };
    for i in (0..n).filter(|&i| is_core[i]) {
        join(i, kept[i].as_deref().unwrap_or_default());
    }
    let lacking: Vec<usize> = (0..n).filter(|&i| kept[i].is_none()).collect();
    for rows in lacking.chunks(block) {
        for (&i, list) in rows.iter().zip(near.lists(rows)) {
            join(i, &list);
        }
    }
    let mut labels: Vec<Option<u32>> = vec![None; n];
    let mut clusters = 0;
    for i in (0..n).filter(|&i| is_core[i]) {
        // The root of a cluster is its first core.
        let root = forest.root(i as u32) as usize;
        if root == i {
            labels[i] = Some(clusters);
            clusters += 1;
        } else {
            labels[i] = labels[root];
        }
    }
    for i in (0..n).filter(|&i| !is_core[i]) {
        let cores = kept[i].iter().flatten().filter(|&&j| is_core[j as usize]);
        labels[i] = cores.filter_map(|&j| labels[j as usize]).min();
    }
    labels
}

/// Disjoint sets, each with its smallest member as the root.
struct Forest {
    above: Vec<u32>,
}

impl Forest {
    fn new(n: usize) -> Self {
        Self { above: (0..n as u32).collect() }
    }

    fn root(&mut self, mut i: u32) -> u32 {
        while self.above[i as usize] != i {
            // Paths are halved on the way.
            let next = self.above[self.above[i as usize] as usize];
            self.above[i as usize] = next;
            i = next;
        }
        i
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.above[a.max(b) as usize] = a.min(b);
    }
}
