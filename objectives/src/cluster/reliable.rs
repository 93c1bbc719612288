//! Which clusters are to be believed (SpCL, Ge et al., arXiv 2006.02713, section 3.2): those that stay what they are when the
//! radius of the clustering is changed a little.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Criteria of reliability.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReliabilitySpec {
    /// How much narrower and wider the two other clusterings' radius is.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub gap: f64,
    /// Share of the first epoch's clusters that count as independent; what they have sets the bound of all epochs.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub independent: f64,
}

impl Default for ReliabilitySpec {
    /// SpCL's script.
    fn default() -> Self {
        Self { gap: 0.02, independent: 0.9 }
    }
}

/// Clusterings of the same pictures with three radii.
#[derive(Clone, Copy, Debug)]
pub struct Clusterings<'a> {
    /// `[n]`, with the radius that counts.
    pub labels: &'a [Option<u32>],
    /// `[n]`, with a smaller one.
    pub tight: &'a [Option<u32>],
    /// `[n]`, with a larger one.
    pub loose: &'a [Option<u32>],
}

/// What is believed of a clustering.
#[derive(Clone, Debug, PartialEq)]
pub struct Reliable {
    /// `[n]`: clusters by new numbers, and none for pictures that stand alone.
    pub labels: Vec<Option<u32>>,
    /// Clusters that are left.
    pub clusters: usize,
    /// How dissimilar a cluster may be from its loose one.
    pub bound: f64,
}

/// Leaves the clusters that are independent, and of these the pictures that are compact.
///
/// With sets A of a picture's cluster, T of its tight and L of its loose one, `1 - |A and L| / |A or L|` says how much the
/// cluster depends on others; it is believed where that is at most the bound. `1 - |A and T| / |A or T|` says how loosely
/// the picture belongs; those as firm as the firmest of the cluster stay. All others stand alone, and so does a cluster of
/// which one picture is left. The bound, if there is none yet, is the quantile `independent` of the first clusters.
///
/// The reference holds four n x n matrices; here sets are counted by pairs of labels.
pub fn reliable(of: Clusterings<'_>, bound: Option<f64>, spec: ReliabilitySpec) -> Reliable {
    let firmness = dissimilarity(of.labels, of.tight); // [n]
    let dependence = dissimilarity(of.labels, of.loose); // [n]
    let mut clusters: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for ((label, &firm), &depends) in of.labels.iter().zip(&firmness).zip(&dependence) {
        let Some(label) = label else { continue };
        let least = clusters.entry(*label).or_insert((f64::INFINITY, f64::INFINITY));
        *least = (least.0.min(firm), least.1.min(depends));
    }
    let bound = bound.unwrap_or_else(|| {
        let mut all: Vec<f64> = clusters.values().map(|(_, depends)| *depends).collect();
        all.sort_by(f64::total_cmp);
        let at = (all.len() as f64 * spec.independent).round_ties_even() as usize;
        all.get(at.min(all.len().saturating_sub(1))).copied().unwrap_or(1.0)
    });
    let is_kept = |i: usize| {
        of.labels[i].is_some_and(|label| {
            let (firmest, depends) = clusters[&label];
            depends <= bound && firmness[i] <= firmest
        })
    };
    let mut labels: Vec<Option<u32>> = (0..of.labels.len()).map(|i| of.labels[i].filter(|_| is_kept(i))).collect();
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for label in labels.iter().flatten() {
        *sizes.entry(*label).or_default() += 1;
    }
    let left = sizes.iter().filter(|(_, size)| **size > 1).map(|(label, _)| *label);
    let numbers: BTreeMap<u32, u32> = left.zip(0..).collect();
    for label in &mut labels {
        *label = label.and_then(|label| numbers.get(&label).copied());
    }
    Reliable { labels, clusters: numbers.len(), bound }
}

/// For every picture, 1 less the share that its two clusters have in common; what is in none is a cluster of one.
fn dissimilarity(a: &[Option<u32>], b: &[Option<u32>]) -> Vec<f64> {
    let (a, b) = (alone(a), alone(b));
    let (mut of_a, mut of_b, mut of_both) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (&a, &b) in a.iter().zip(&b) {
        *of_a.entry(a).or_insert(0_usize) += 1;
        *of_b.entry(b).or_insert(0_usize) += 1;
        *of_both.entry((a, b)).or_insert(0_usize) += 1;
    }
    let of_picture = |(a, b): (&u32, &u32)| {
        let both = of_both[&(*a, *b)];
        1.0 - both as f64 / (of_a[a] + of_b[b] - both) as f64
    };
    a.iter().zip(&b).map(of_picture).collect()
}

/// A number of its own for every picture in no cluster.
pub fn alone(labels: &[Option<u32>]) -> Vec<u32> {
    let mut next = labels.iter().flatten().max().map_or(0, |last| last + 1);
    let mut own = || {
        next += 1;
        next - 1
    };
    labels.iter().map(|label| label.unwrap_or_else(&mut own)).collect()
}
