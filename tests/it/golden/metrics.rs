//! Golden: metrics and distances.

use candle_core::DType;
use reid_objectives::math::distance::{cosine, l2_normalize, squared_euclidean};
use reid_objectives::math::ranking::{Labels, QueryScore, Ranking, rank_by_distances};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};

/// Average precision and its means, f64.
const F64_AP: f64 = 1e-9;
/// CMC, stored as f32.
const F32_CMC: f64 = 1e-6;
/// Distances, relative to the largest.
const F32_DISTANCE: f64 = 1e-5;

fn cameras(golden: &Golden, key: &str) -> Vec<u32> {
    golden.i64s(key).into_iter().map(|camera| camera as u32).collect()
}

/// Ranks the stored distances and compares everything that the file holds.
fn check_metrics(name: &str) {
    let golden = Golden::load(name);
    let distances = golden.f32s("in.distmat");
    let (query_pids, gallery_pids) = (golden.i64s("in.q_pids"), golden.i64s("in.g_pids"));
    let (query_cameras, gallery_cameras) = (cameras(&golden, "in.q_camids"), cameras(&golden, "in.g_camids"));
    let ranking = rank_by_distances(
        distances.chunks(gallery_pids.len()),
        Labels { pids: &query_pids, cameras: &query_cameras },
        Labels { pids: &gallery_pids, cameras: &gallery_cameras },
        golden.param("max_rank"),
    );
    let Ranking { per_query, cmc, map, minp, valid } = ranking;

    let is_valid: Vec<i64> = per_query.iter().map(|score| i64::from(score.is_some())).collect();
    assert_eq!(is_valid, golden.i64s("out.valid_query"), "{name}: valid queries");
    let scores: Vec<QueryScore> = per_query.into_iter().flatten().collect();
    assert_eq!(valid, scores.len());
    let (aps, inps): (Vec<f64>, Vec<f64>) = scores.iter().map(|score| (score.ap, score.inp)).unzip();
    assert!(max_abs(&aps, &golden.f64s("out.all_ap")) <= F64_AP, "{name}: AP");
    assert!(max_abs(&inps, &golden.f64s("out.all_inp")) <= F64_AP, "{name}: INP");
    assert!((map - golden.scalar("out.map")).abs() <= F64_AP, "{name}: mAP {map}");
    assert!((minp - golden.scalar("out.minp")).abs() <= F64_AP, "{name}: mINP {minp}");
    assert!(max_abs(&cmc, &golden.f64s("out.cmc")) <= F32_CMC, "{name}: CMC");
    for key in golden.keys("out.cc_cmc") {
        assert!(max_abs(&cmc, &golden.f64s(&key)) <= F32_CMC, "{name}: {key}");
    }
    // Bounds that hold for any rule of breaking ties.
    for (key, sign) in [("out.best_ap", 1.0), ("out.worst_ap", -1.0)] {
        for key in golden.keys(key) {
            let bounds = golden.f64s(&key);
            assert!(aps.iter().zip(&bounds).all(|(ap, bound)| (bound - ap) * sign >= -F64_AP), "{name}: {key}");
        }
    }
}

#[test]
fn metrics_market() {
    check_metrics("metrics_market");
}

#[test]
fn metrics_market_small_gallery() {
    check_metrics("metrics_market_small_gallery");
}

#[test]
fn metrics_market_ties() {
    check_metrics("metrics_market_ties");
}

#[test]
fn distances() -> reid_backbones::Result<()> {
    let golden = Golden::load("distances");
    let (query, gallery) = (golden.tensor("in.query"), golden.tensor("in.gallery"));
    let cases = [
        ("out.sq_euclidean", squared_euclidean(&query, &gallery)?),
        ("out.cosine", cosine(&query, &gallery)?),
        ("out.norm_sq_euclidean", squared_euclidean(&l2_normalize(&query)?, &l2_normalize(&gallery)?)?),
    ];
    for (key, distances) in cases {
        assert_eq!(distances.dims(), golden.shape(key), "{key}");
        let distances: Vec<f64> = distances.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        let worst = relative_to_max(&distances, &golden.f64s(key));
        assert!(worst <= F32_DISTANCE, "{key}: {worst:e}");
    }
    Ok(())
}
