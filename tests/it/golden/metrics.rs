//! Golden: metrics and distances.

use candle_core::DType;
use reid_objectives::math::distance::{cosine, l2_normalize, normalize_rows, squared_euclidean};
use reid_objectives::math::expansion::{AlphaSpec, expand};
use reid_objectives::math::ranking::{
    CmcShots, Distances, Given, Labels, QueryScore, RankSpec, Ranking, SameCamera, rank,
};
use reid_objectives::math::rerank::{KReciprocalSpec, RerankVariant, Reranked};
use reid_objectives::math::verification::Roc;
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
    let ranking = rank(
        &Given { values: &distances, gallery: gallery_pids.len() },
        Labels { pids: &query_pids, cameras: &query_cameras },
        Labels { pids: &gallery_pids, cameras: &gallery_cameras },
        RankSpec::default(),
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

/// Means of CMC over draws of the reference lie this many standard errors from their expectation at most.
const STANDARD_ERRORS: f64 = 4.0;

#[test]
fn metrics_cuhk03() {
    let golden = Golden::load("metrics_cuhk03");
    let (max_rank, repeats): (usize, f64) = (golden.param("max_rank"), golden.param("num_repeats"));
    let ranked = |case: &str| {
        let key = |name: &str| format!("in.{case}.{name}");
        let distances = golden.f32s(&key("distmat"));
        let (query_pids, gallery_pids) = (golden.i64s(&key("q_pids")), golden.i64s(&key("g_pids")));
        let (query_cameras, gallery_cameras) = (cameras(&golden, &key("q_camids")), cameras(&golden, &key("g_camids")));
        rank(
            &Given { values: &distances, gallery: gallery_pids.len() },
            Labels { pids: &query_pids, cameras: &query_cameras },
            Labels { pids: &gallery_pids, cameras: &gallery_cameras },
            RankSpec { cmc: CmcShots::Single, ..RankSpec::default() },
            max_rank,
        )
    };
    let single = ranked("single");
    assert!(max_abs(&single.cmc, &golden.f64s("out.single.cmc")) <= F32_CMC, "CMC of one picture an identity");
    assert!((single.map - golden.scalar("out.single.map")).abs() <= F64_AP, "mAP {}", single.map);

    let multi = ranked("multi");
    assert!((multi.map - golden.scalar("out.multi.map")).abs() <= F64_AP, "mAP {}", multi.map);
    let (means, stds) = (golden.f64s("out.multi.cmc_mean"), golden.f64s("out.multi.cmc_std"));
    for (k, ((ours, mean), std)) in multi.cmc.iter().zip(&means).zip(&stds).enumerate() {
        // The stored spread is that of one evaluation, which averages `repeats` draws; the stored mean is of hundreds.
        let tolerance = STANDARD_ERRORS * std / repeats.sqrt() + F32_CMC;
        assert!((ours - mean).abs() <= tolerance, "CMC[{k}] {ours}, reference {mean} ± {std}");
    }
}

/// Re-ranked distances, absolute.
const F32_RERANKED: f64 = 1e-5;
/// The same of a reference in half precision.
const F16_RERANKED: f64 = 3e-3;

#[test]
fn rerank_kreciprocal() {
    let golden = Golden::load("rerank_kreciprocal");
    let (query, gallery) = (golden.f32s("in.query"), golden.f32s("in.gallery"));
    let width = *golden.shape("in.query").last().expect("a width");
    let queries = query.len() / width;
    let (k1, k2, lambda) = (golden.param("k1"), golden.param("k2"), golden.param("lambda_"));
    let zhong = |k1, k2, lambda| KReciprocalSpec { k1, k2, lambda, variant: RerankVariant::Zhong };
    let cases = [
        ("out.final", zhong(k1, k2, lambda), F32_RERANKED),
        ("out.final_k1_10_k2_1", zhong(10, 1, lambda), F32_RERANKED),
        ("out.final_k1_25_k2_4_l05", zhong(25, 4, 0.5), F32_RERANKED),
        ("out.personvit_k20_6", zhong(20, 6, lambda), F16_RERANKED),
        ("out.personvit_k30_8", zhong(30, 8, lambda), F16_RERANKED),
        (
            "out.fastreid_eval_final",
            KReciprocalSpec { variant: RerankVariant::FastReid, ..zhong(k1, k2, lambda) },
            F32_RERANKED,
        ),
        // The Jaccard part alone.
        (
            "out.fastreid_jaccard_qg",
            KReciprocalSpec { variant: RerankVariant::FastReid, ..zhong(k1, k2, 0.0) },
            F32_RERANKED,
        ),
    ];
    let (mut query, mut gallery) = (query, gallery);
    normalize_rows(&mut query, width);
    normalize_rows(&mut gallery, width);
    for (key, spec, tolerance) in cases {
        let mut rows = vec![0.0; queries * gallery.len() / width];
        Reranked::new(&query, &gallery, width, spec).rows(0..queries, &mut rows);
        let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
        let worst = max_abs(&rows, &golden.f64s(key));
        assert!(worst <= tolerance, "{key}: {worst:e}");
    }
}

/// Expanded features, relative to the largest.
const F32_EXPANDED: f64 = 1e-5;

#[test]
fn aqe() {
    let golden = Golden::load("aqe");
    let width = *golden.shape("in.query").last().expect("a width");
    for case in ["a", "b", "c"] {
        let settings = golden.f64s(&format!("in.{case}.times_k_alpha"));
        let [rounds, k, alpha] = [settings[0] as usize, settings[1] as usize, settings[2] as usize];
        let mut features = [golden.f32s("in.query"), golden.f32s("in.gallery")].concat();
        expand(&mut features, width, AlphaSpec { k, alpha: alpha as u32, rounds });
        let expanded: Vec<f64> = features.into_iter().map(f64::from).collect();
        let expected = [golden.f64s(&format!("out.{case}.query")), golden.f64s(&format!("out.{case}.gallery"))];
        let worst = relative_to_max(&expanded, &expected.concat());
        assert!(worst <= F32_EXPANDED, "{case}: {worst:e}");
    }
}

/// Rates of verification, f64.
const F64_RATES: f64 = 1e-9;

#[test]
fn metrics_roc() {
    let golden = Golden::load("metrics_roc");
    let distances = golden.f32s("in.distmat");
    let (query_pids, gallery_pids) = (golden.i64s("in.q_pids"), golden.i64s("in.g_pids"));
    let (query_cameras, gallery_cameras) = (cameras(&golden, "in.q_camids"), cameras(&golden, "in.g_camids"));
    let roc = Roc::of(
        &Given { values: &distances, gallery: gallery_pids.len() },
        Labels { pids: &query_pids, cameras: &query_cameras },
        Labels { pids: &gallery_pids, cameras: &gallery_cameras },
        SameCamera::Removed,
    )
    .expect("pairs of both kinds");
    let pairs = (golden.i64s("out.n_same")[0] as u64, golden.i64s("out.n_diff")[0] as u64);
    assert_eq!(roc.pairs(), pairs);
    let targets = golden.f64s("in.targets");
    let ours: Vec<f64> = targets.iter().map(|&fpr| roc.tpr_at_fpr(fpr)).collect();
    assert!(max_abs(&ours, &golden.f64s("out.std_tpr_at_fpr")) <= F64_RATES, "{ours:?}");
    let theirs: Vec<f64> = targets.iter().map(|&fpr| roc.fast_reid_tpr_at_fpr(fpr)).collect();
    assert!(max_abs(&theirs, &golden.f64s("out.fastreid_tpr_at_fpr")) <= F64_RATES, "{theirs:?}");
}
