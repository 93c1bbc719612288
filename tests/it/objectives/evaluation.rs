//! Evaluation end to end, on features that are given.

use candle_core::Tensor;
use proptest::prelude::*;
use reid_data::dataset::{Record, Split};
use reid_data::spec::{Normalisation, Size};
use reid_data::views::ViewPlan;
use reid_objectives::Result;
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::math::expansion::{AlphaSpec, expand};
use reid_objectives::math::ranking::{
    AveragePrecision, CmcShots, Labels, RankSpec, Ranking, SameCamera, SquaredEuclidean, rank,
};
use reid_objectives::math::rerank::{KReciprocalSpec, Reranked};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::evaluation::spec::{EvaluationSpec, ExpansionSpec, RerankingSpec};
use reid_objectives::protocols::evaluation::{Scores, evaluate};
use reid_objectives::task::{Embed, Features};
use reid_tests::tensors::rng;

use super::fixture::{Archive, record};

/// Stands where a model would: the archive's features are already there.
struct NoModel;

impl Embed for NoModel {
    fn embed(&self, _: &Tensor, _: &[u32]) -> Result<Tensor> {
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
fn ranking(archive: &Archive, query: Split, gallery: Split) -> Ranking {
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
    let distances = SquaredEuclidean::new(&query.0, &gallery.0, width);
    let query = Labels { pids: &query.1, cameras: &query.2 };
    let gallery = Labels { pids: &gallery.1, cameras: &gallery.2 };
    rank(&distances, query, gallery, RankSpec::default(), 50)
}

fn check(scores: &Scores, archive: &Archive, expected: &Ranking) {
    let bits = |key: MetricKey, value: f64| (key, value.to_bits());
    let metrics: Vec<_> = scores.metrics.iter().map(|&(key, value)| bits(key, value)).collect();
    let expected_metrics = [
        bits(MetricKey::Map, expected.map),
        bits(MetricKey::Rank1, expected.cmc_at(1)),
        bits(MetricKey::Rank5, expected.cmc_at(5)),
        bits(MetricKey::Rank10, expected.cmc_at(10)),
        bits(MetricKey::Rank20, expected.cmc_at(20)),
        bits(MetricKey::Rank50, expected.cmc_at(50)),
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
    scores_by(&EvaluationSpec::default(), archive)
}

fn scores_by(spec: &EvaluationSpec, archive: &Archive) -> Result<Vec<Scores>> {
    evaluate(&NoModel, &ViewPlan::evaluation(Size(32, 16), Normalisation::Half), spec, archive)
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
            check(scores, &archive, &ranking(&archive, queries, galleries));
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

/// What the spec asks for is what is computed: the same as from the parts by hand.
#[test]
fn evaluation_expands_and_reranks() -> Result<()> {
    let mut archive = Archive::default();
    let width = 6;
    archive.splits.insert(Split::Query, split(3, 20, 4, width));
    archive.splits.insert(Split::Gallery, split(4, 60, 4, width));
    let side = |split| {
        let (records, features) = &archive.splits[&split];
        let of = |at: &u32| &records[*at as usize];
        let pids: Vec<i64> = features.records.iter().map(|at| of(at).pid).collect();
        let cameras: Vec<u32> = features.records.iter().map(|at| of(at).camera).collect();
        (features.values.clone(), pids, cameras)
    };
    let ((mut query, query_pids, query_cameras), (mut gallery, gallery_pids, gallery_cameras)) =
        (side(Split::Query), side(Split::Gallery));
    let query_labels = Labels { pids: &query_pids, cameras: &query_cameras };
    let gallery_labels = Labels { pids: &gallery_pids, cameras: &gallery_cameras };
    let rule = RankSpec {
        same_camera: SameCamera::Kept,
        average_precision: AveragePrecision::Trapezoid,
        cmc: CmcShots::Single,
    };
    let spec = EvaluationSpec {
        same_camera: rule.same_camera,
        average_precision: rule.average_precision,
        cmc: rule.cmc,
        ..EvaluationSpec::default()
    };

    let how = KReciprocalSpec { k1: 7, k2: 3, ..KReciprocalSpec::default() };
    let alpha = AlphaSpec { k: 4, alpha: 2, rounds: 1 };
    let mut expanded = [query.clone(), gallery.clone()].concat();
    expand(&mut expanded, width, alpha);
    normalize_rows(&mut expanded, width);
    let (expanded_query, expanded_gallery) = expanded.split_at(query.len());
    normalize_rows(&mut query, width);
    normalize_rows(&mut gallery, width);

    let reranking = RerankingSpec::KReciprocal(how);
    let reranked = Reranked::new(&query, &gallery, width, how);
    let expected = rank(&reranked, query_labels, gallery_labels, rule, 50);
    check(&scores_by(&EvaluationSpec { reranking, ..spec.clone() }, &archive)?[0], &archive, &expected);

    let expansion = ExpansionSpec::Alpha(alpha);
    let distances = SquaredEuclidean::new(expanded_query, expanded_gallery, width);
    let expected = rank(&distances, query_labels, gallery_labels, rule, 50);
    check(&scores_by(&EvaluationSpec { expansion, ..spec.clone() }, &archive)?[0], &archive, &expected);

    let both = Reranked::new(expanded_query, expanded_gallery, width, how);
    let expected = rank(&both, query_labels, gallery_labels, rule, 50);
    check(&scores_by(&EvaluationSpec { expansion, reranking, ..spec.clone() }, &archive)?[0], &archive, &expected);
    // None of them is what is ranked by default.
    assert_ne!(scores_by(&spec, &archive)?[0].metrics, scores_of(&archive)?[0].metrics);
    Ok(())
}
