//! Clusters and the protocol that trains on them.

use std::collections::BTreeSet;

use candle_core::Device;
use proptest::prelude::*;
use reid_data::dataset::{Record, Split};
use reid_data::views::ViewBatch;
use reid_objectives::cluster::dbscan::{dbscan, dbscan_in};
use reid_objectives::cluster::jaccard::{JaccardSpec, jaccard};
use reid_objectives::cluster::memory::ClusterMemory;
use reid_objectives::cluster::quality::{Quality, quality};
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::math::neighbours::{Near, Neighbours};
use reid_objectives::math::reciprocal::Scratch;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::usl::Usl;
use reid_objectives::spec::{DbscanSpec, NeckBatch, UslSpec};
use reid_objectives::task::{Features, Task};
use reid_tests::golden::max_abs;
use reid_tests::tensors::values;

use super::fixture::{Archive, backbone, batch, clock, reordered};

/// Features of length 1 around centres of their own; another spread mixes them.
fn features(people: usize, each: usize, width: usize, spread: f32, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut all = Vec::new();
    for _ in 0..people {
        let centre: Vec<f32> = (0..width).map(|_| draw()).collect();
        for _ in 0..each {
            all.extend(centre.iter().map(|value| value + spread * draw()));
        }
    }
    normalize_rows(&mut all, width);
    all
}

/// The formulas with dense rows in f64.
fn dense_jaccard(features: &[f32], width: usize, JaccardSpec { k1, k2 }: JaccardSpec) -> Vec<Vec<f64>> {
    let rows: Vec<&[f32]> = features.chunks_exact(width).collect();
    let n = rows.len();
    let dot =
        |i: usize, j: usize| -> f64 { rows[i].iter().zip(rows[j]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let near = Neighbours::of(features, width, k1);
    let set = |i: usize, k: usize| -> BTreeSet<u32> { near.row(i).iter().take(k).copied().collect() };
    let mutual = |i: usize, k: usize| -> BTreeSet<u32> {
        set(i, k).into_iter().filter(|&j| set(j as usize, k).contains(&(i as u32))).collect()
    };
    let half = (k1 as f64 / 2.0).round_ties_even() as usize + 1;
    let mut weights = vec![vec![0.0; n]; n];
    for (i, row) in weights.iter_mut().enumerate() {
        let own = mutual(i, k1);
        let mut all = own.clone();
        for &j in &own {
            let other = mutual(j as usize, half);
            if own.intersection(&other).count() as f64 > 2.0 / 3.0 * other.len() as f64 {
                all.extend(other);
            }
        }
        let sum: f64 = all.iter().map(|&j| (2.0 * dot(i, j as usize) - 2.0).exp()).sum();
        for j in all {
            row[j as usize] = (2.0 * dot(i, j as usize) - 2.0).exp() / sum;
        }
    }
    if k2 > 1 {
        let of = weights.clone();
        for (i, row) in weights.iter_mut().enumerate() {
            let few: Vec<usize> = near.row(i).iter().take(k2).map(|&j| j as usize).collect();
            for (column, value) in row.iter_mut().enumerate() {
                *value = few.iter().map(|&j| of[j][column]).sum::<f64>() / few.len() as f64;
            }
        }
    }
    let distance = |i: usize, j: usize| {
        let shared: f64 = weights[i].iter().zip(&weights[j]).map(|(a, b)| a.min(*b)).sum();
        (1.0 - shared / (2.0 - shared)).max(0.0)
    };
    (0..n).map(|i| (0..n).map(|j| distance(i, j)).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sparse_distances_are_those_of_the_formula(
        people in 1_usize..6,
        each in 1_usize..7,
        k1 in 2_usize..16,
        k2 in 1_usize..7,
        spread in 0.1_f32..2.0,
        seed: u32,
    ) {
        let (width, spec) = (7, JaccardSpec { k1, k2 });
        let features = features(people, each, width, spread, seed);
        let expected = dense_jaccard(&features, width, spec);
        let jaccard = jaccard(&features, width, spec);
        prop_assert_eq!(jaccard.len(), people * each);
        let mut scratch = Scratch::default();
        for (i, expected) in expected.iter().enumerate() {
            let mut row = vec![1.0; expected.len()];
            for (j, distance) in jaccard.near(i, &mut scratch) {
                row[j as usize] = f64::from(distance);
            }
            for (found, expected) in row.iter().zip(expected) {
                prop_assert!((found - expected).abs() < 1e-5, "{} instead of {}", found, expected);
            }
        }
    }

    #[test]
    fn dbscan_is_what_its_definition_says(
        edges in prop::collection::vec((0_usize..24, 0_usize..24), 0..60),
        min_samples in 1_usize..6,
    ) {
        let mut lists: Vec<BTreeSet<u32>> = (0..24).map(|i| BTreeSet::from([i])).collect();
        for (i, j) in edges {
            lists[i].insert(j as u32);
            lists[j].insert(i as u32);
        }
        let neighbours: Vec<Vec<u32>> = lists.iter().map(|list| list.iter().copied().collect()).collect();
        let labels = dbscan(&neighbours, min_samples);
        // Whatever of the lists is kept.
        for room in [0, 3, 20, 60] {
            prop_assert_eq!(&dbscan_in(&neighbours, min_samples, room), &labels);
        }
        let is_core = |i: usize| neighbours[i].len() >= min_samples;
        for (i, list) in neighbours.iter().enumerate() {
            let cores: Vec<u32> = list.iter().copied().filter(|&j| is_core(j as usize)).collect();
            match labels[i] {
                // Cores that are neighbours share a cluster.
                Some(label) if is_core(i) => prop_assert!(cores.iter().all(|&j| labels[j as usize] == Some(label))),
                // What is not a core belongs to the first cluster that reaches it.
                Some(label) => {
                    prop_assert_eq!(cores.iter().filter_map(|&j| labels[j as usize]).min(), Some(label));
                }
                None => prop_assert!(!is_core(i) && cores.is_empty()),
            }
        }
        // Clusters are numbered by their first cores.
        let first: Vec<u32> = (0..24).filter(|&i| is_core(i)).filter_map(|i| labels[i]).collect();
        let mut seen = BTreeSet::new();
        let order: Vec<u32> = first.into_iter().filter(|label| seen.insert(*label)).collect();
        prop_assert_eq!(order.clone(), (0..order.len() as u32).collect::<Vec<_>>());
    }
}

#[test]
fn clusters_do_not_depend_on_threads() {
    let features = features(20, 9, 16, 0.8, 5);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let jaccard = jaccard(&features, 16, JaccardSpec { k1: 12, k2: 4 });
            let mut scratch = Scratch::default();
            let rows: Vec<Vec<(u32, u32)>> = (0..jaccard.len())
                .map(|i| jaccard.near(i, &mut scratch).into_iter().map(|(j, d)| (j, d.to_bits())).collect())
                .collect();
            (rows, jaccard.within(0.5).lists(&(0..jaccard.len()).collect::<Vec<_>>()))
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(5) == one);
}

#[test]
fn quality_is_that_of_the_textbook() {
    let labels = |labels: &[i64]| labels.iter().map(|&l| u32::try_from(l).ok()).collect::<Vec<_>>();
    // scikit-learn's own examples: adjusted_rand_score 0.5714285714, normalized_mutual_info_score 0.8.
    let found = quality(&labels(&[0, 0, 1, 2]), &[10, 10, 20, 20]);
    assert!((found.ari - 4.0 / 7.0).abs() < 1e-12 && (found.nmi - 0.8).abs() < 1e-12, "{found:?}");
    // Outliers are clusters of one: the same partition.
    let same = quality(&labels(&[0, 0, -1, -1]), &[10, 10, 20, 20]);
    assert_eq!(Quality { clusters: found.clusters, outliers: 0, ..same }, found);
    assert_eq!((same.clusters, same.outliers), (1, 2));
    let perfect = quality(&labels(&[1, 1, 0, 0]), &[5, 5, 7, 7]);
    assert_eq!((perfect.ari, perfect.nmi), (1.0, 1.0));
    let halves = quality(&labels(&[0, 1, 0, 1]), &[5, 5, 7, 7]);
    assert!((halves.ari + 0.5).abs() < 1e-12 && halves.nmi == 0.0, "{halves:?}");
}

#[test]
fn centres_are_the_means_of_their_members() {
    let features = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, -1.0, 0.0];
    let labels = [Some(1), Some(1), Some(0), None];
    let memory = ClusterMemory::of_members(&features, 2, &labels, 2, &Device::Cpu);
    let centres: Vec<Vec<f32>> = memory.tensor().unwrap().to_vec2().unwrap();
    let half = std::f32::consts::FRAC_1_SQRT_2;
    assert_eq!(centres, [[0.0, 1.0], [half, half]]);
}

/// A task over features that no encoder had to compute.
fn task(spec: &UslSpec) -> Usl {
    let vit = backbone();
    let encoder = EncoderModel::random(&vit, 0, &Device::Cpu).unwrap();
    Usl::build(spec, &vit, encoder, 0, &Device::Cpu).unwrap()
}

fn archive(values: Vec<f32>, width: usize, each: usize) -> Archive {
    let n = values.len() / width;
    let records = (0..n).map(|i| Record::new(format!("{i:03}.jpg"), (i / each) as i64 + 1, (i % 3) as u32)).collect();
    let mut archive = Archive::default();
    archive.splits.insert(Split::Train, (records, Features { values, width, records: (0..n as u32).collect() }));
    archive
}

fn spec(eps: f64) -> UslSpec {
    let mut spec = UslSpec { clusters_per_batch: 4, steps_per_epoch: 5, ..UslSpec::default() };
    spec.train.batch = 16;
    spec.jaccard = JaccardSpec { k1: 8, k2: 2 };
    spec.dbscan = DbscanSpec { eps, min_samples: 3 };
    spec
}

#[test]
fn an_epoch_draws_as_many_batches_of_clusters_as_it_is_told() {
    let (people, each) = (6, 8);
    let archive = archive(features(people, each, 16, 0.2, 3), 16, each);
    let mut usl = task(&spec(0.5));
    let plan = usl.begin_epoch(0, 7, &archive).unwrap();
    assert_eq!((plan.steps(), plan.draws.len(), plan.batch), (5, 80, 16));
    // Far apart as they are, clusters are people; a label stands for one of them.
    let people: BTreeSet<(u32, u32)> = plan.draws.iter().map(|draw| (draw.label, draw.image / each as u32)).collect();
    assert_eq!(people.len(), 6);
    for group in plan.draws.chunks_exact(4) {
        assert!(group.iter().all(|draw| draw.label == group[0].label));
        assert!(group[1..].iter().all(|draw| draw.image % 3 != group[0].image % 3), "other cameras come first");
    }
    assert_eq!(usl.begin_epoch(0, 7, &archive).unwrap(), plan);
    assert_ne!(usl.begin_epoch(1, 7, &archive).unwrap(), plan);
    let state = usl.save().unwrap();
    assert_eq!(state.scalars["clusters"], 6.0);
    assert_eq!((state.scalars["outliers"], state.scalars["cluster_ari"]), (0.0, 1.0));
    assert_eq!(state.tensors["memory"].dims(), [6, 16]);
}

#[test]
fn clusters_that_nothing_can_be_learned_from_are_a_clear_failure() {
    let error = |values: Vec<f32>, each: usize, spec: &UslSpec| {
        task(spec).begin_epoch(2, 0, &archive(values, 16, each)).unwrap_err().to_string()
    };
    // Nobody near anybody.
    let mut strict = spec(0.01);
    strict.dbscan.min_samples = 4;
    let none = error(features(40, 1, 16, 0.0, 1), 1, &strict);
    assert!(none.starts_with("epoch 2: no clusters, all 40 pictures are outliers; raise"), "{none}");
    // One point for all.
    let one = error([[1.0_f32; 16]; 12].concat(), 4, &spec(0.9));
    assert!(one.contains("the features have collapsed; lower `protocol.usl.dbscan.eps` (0.9)"), "{one}");
    let few = error(features(3, 8, 16, 0.1, 2), 8, &spec(0.5));
    assert!(few.contains("3 clusters and 0 outliers, but a batch takes 4 clusters"), "{few}");
}

/// A neck over groups: each is normalised as if it were alone, and the first one's statistics are remembered.
#[test]
fn a_neck_over_groups_sees_each_alone() {
    let width = backbone().size.dims().width;
    let with = |neck_batch| {
        let mut task = task(&UslSpec { neck_batch, ..spec(0.5) });
        task.begin_epoch(0, 7, &archive(features(6, 4, width, 0.2, 3), width, 4)).unwrap();
        task
    };
    let all = batch(16, 1, 2);
    let first = reordered(&all, &(0..8).collect::<Vec<_>>());
    let carried = |neck_batch, batch: &ViewBatch, name: &str| {
        let output = with(neck_batch).step(batch, clock(0, 4)).unwrap();
        values(&output.carried.iter().find(|(key, _)| *key == name).unwrap().1)
    };
    for name in ["mean", "variance"] {
        let expected = carried(NeckBatch::Whole, &first, name);
        assert!(max_abs(&carried(NeckBatch::Pictures(8), &all, name), &expected) < 1e-6, "{name}");
        assert!(max_abs(&carried(NeckBatch::Whole, &all, name), &expected) > 1e-3, "{name}");
    }
    let grouped = carried(NeckBatch::Pictures(8), &all, "feature");
    assert!(max_abs(&grouped[..8 * width], &carried(NeckBatch::Whole, &first, "feature")) < 1e-5);
    let last = reordered(&all, &(8..16).collect::<Vec<_>>());
    assert!(max_abs(&grouped[8 * width..], &carried(NeckBatch::Whole, &last, "feature")) < 1e-5);
}
