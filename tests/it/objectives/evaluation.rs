//! Evaluation end to end, on features that are given.

use candle_core::Tensor;
use proptest::prelude::*;
use reid_data::dataset::{Record, Split};
use reid_data::spec::{Normalisation, Size};
use reid_data::views::ViewPlan;
use reid_objectives::Result;
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::math::ranking::{Labels, Ranking, Samples, rank};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::evaluation::{Scores, evaluate};
use reid_objectives::task::{Embed, Features};
use reid_tests::tensors::rng;

use super::fixture::{Archive, record};

/// Stands where a model would: the archive's features are already there.
struct NoModel;

impl Embed for NoModel {
    fn embed(&self, _: &Tensor) -> Result<Tensor> {
        unreachable!("the archive needs no model")
    }
}

/// A split of random features, norms far from 1, some of its pictures unusable.
fn split(seed: u64, pictures: usize, people: usize, width: usize) -> (Vec<Record>, Features) {
    let mut rng = rng(seed, 0);
    let (mut records, mut features) = (Vec::new(), Features { values: Vec::new(), width, records: Vec::new() });
    for at in 0..pictures {
        let (pid, camera, usable) = (rng.below(people) as i64, rng.below(3) as u32, rng.chance(0.8));
        records.push(record(pid, camera, usable));
        if usable {
            features.records.push(at as u32);
            let size = rng.range(0.1, 30.0);
            features.values.extend((0..width).map(|axis| {
                let center = if axis as i64 % people as i64 == pid { 1.0 } else { 0.0 };
                (size * (center + rng.normal())) as f32
            }));
        }
    }
    (records, features)
}

/// What the ranking itself says, from features that are normalized here.
fn ranking(archive: &Archive, query: Split, gallery: Split) -> Result<Ranking> {
    let side = |split| {
        let (records, features) = &archive.splits[&split];
        let mut values = features.values.clone();
        normalize_rows(&mut values, features.width);
        let of = |at: &u32| &records[*at as usize];
        let pids: Vec<i64> = features.records.iter().map(|at| of(at).pid).collect();
        let cameras: Vec<u32> = features.records.iter().map(|at| of(at).camera).collect();
        (values, pids, cameras)
    };
    let width = archive.splits[&query].1.width;
    let (query, gallery) = (side(query), side(gallery));
    let query = Samples { features: &query.0, labels: Labels { pids: &query.1, cameras: &query.2 } };
    let gallery = Samples { features: &gallery.0, labels: Labels { pids: &gallery.1, cameras: &gallery.2 } };
    Ok(rank(query, gallery, width, 50)?)
}

fn check(scores: &Scores, archive: &Archive, expected: &Ranking) {
    let bits = |key: MetricKey, value: f64| (key, value.to_bits());
    let metrics: Vec<_> = scores.metrics.iter().map(|&(key, value)| bits(key, value)).collect();
    let expected_metrics = [
        bits(MetricKey::Map, expected.map),
        bits(MetricKey::Rank1, expected.cmc_at(1)),
        bits(MetricKey::Rank5, expected.cmc_at(5)),
        bits(MetricKey::Rank10, expected.cmc_at(10)),
        bits(MetricKey::Minp, expected.minp),
        bits(MetricKey::ValidQueries, expected.valid as f64),
    ];
    assert_eq!(metrics, expected_metrics);
    let records = &archive.splits[&scores.split].1.records;
    let valid = records.iter().zip(&expected.per_query).filter_map(|(&record, score)| Some((record, (*score)?)));
    let ours: Vec<_> = scores.queries.iter().map(|query| (query.record, query.score)).collect();
    assert_eq!(ours, valid.collect::<Vec<_>>());
}

fn scores_of(archive: &Archive) -> Result<Vec<Scores>> {
    evaluate(&NoModel, &ViewPlan::evaluation(Size(32, 16), Normalisation::Half), 4, archive)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn evaluation_ranks_normalized_features(
        seed: u32, query in 1..20_usize, gallery in 1..40_usize, people in 1..6_usize, width in 1..9_usize,
    ) {
        let seed = u64::from(seed);
        let mut archive = Archive::default();
        let sets = [
            (Split::Query, Split::Gallery),
            (Split::OccludedQuery, Split::Gallery),
            (Split::ValidationQuery, Split::ValidationGallery),
        ];
        for (at, (queries, galleries)) in (0..).zip(sets) {
            archive.splits.insert(queries, split(seed + 10 * at, query, people, width));
            archive.splits.insert(galleries, split(seed + 10 * at + 5, gallery, people, width));
        }
        let scores = scores_of(&archive).unwrap();
        prop_assert_eq!(scores.len(), 3);
        for (scores, (queries, galleries)) in scores.iter().zip(sets) {
            prop_assert_eq!(scores.split, queries);
            check(scores, &archive, &ranking(&archive, queries, galleries).unwrap());
        }
    }
}

#[test]
fn evaluation_leaves_out_what_the_data_lack() -> Result<()> {
    let mut archive = Archive::default();
    assert_eq!(scores_of(&archive)?, []);
    archive.splits.insert(Split::Query, split(1, 12, 3, 4));
    archive.splits.insert(Split::Gallery, split(2, 30, 3, 4));
    let scores = scores_of(&archive)?;
    assert_eq!(scores.iter().map(|scores| scores.split).collect::<Vec<_>>(), [Split::Query]);
    Ok(())
}
