//! Aggregation and significance against known numbers and brute force.

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use reid_results::aggregate::{Summary, aggregate};
use reid_results::schema::Direction;
use reid_results::significance::{Test, holm, paired_t, rank, student_t_two_sided, t_test, welch_t};

use super::*;

/// Relative tolerance against values computed elsewhere in double precision.
const KNOWN: f64 = 1e-9;

/// Relative tolerance between two orders of summation.
const ROUNDING: f64 = 1e-12;

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs().max(f64::MIN_POSITIVE)
}

#[test]
fn student_t_matches_the_incomplete_beta_function_at_forty_digits() {
    // mpmath 1.3, 40 digits: betainc(df/2, 1/2, 0, df/(df+t^2), regularized=True).
    let known = [
        (0.0, 3.0, 1.0),
        (1.0, 1.0, 0.5),
        (2.0, 2.0, 0.183_503_419_072_273_97),
        (0.001, 7.5, 0.999_228_198_674_655_6),
        (2.5, 4.0, 0.066_766_544_811_988_14),
        (12.706_204_736_432_095, 1.0, 0.049_999_999_998_991_31),
        (4.0, 29.3, 0.000_394_408_438_962_699_14),
        (-3.2, 2.7, 0.057_078_155_844_629_773),
        (1.96, 1e6, 0.049_996_067_585_269_79),
        (1.5, 200.0, 0.135_191_321_227_034_96),
        (40.0, 3.0, 3.438_068_078_915_852_8e-5),
        (1e-9, 2.0, 0.999_999_999_292_893_2),
        (6.0, 1000.0, 2.755_369_173_377_469e-9),
    ];
    for (t, df, p) in known {
        let ours = student_t_two_sided(t, df);
        assert!(close(ours, p, KNOWN), "t {t}, df {df}: {ours} is not {p}");
    }
    assert_eq!(student_t_two_sided(f64::INFINITY, 3.0).to_bits(), 0.0_f64.to_bits());
    assert!(student_t_two_sided(f64::NAN, 3.0).is_nan());
}

#[test]
fn t_tests_match_scipy() {
    // scipy 1.17.1: ttest_rel(a, b); ttest_ind(a, c, equal_var=False); and so on.
    let a = [0.712, 0.698, 0.725, 0.704, 0.719];
    let b = [0.689, 0.691, 0.702, 0.688, 0.701];
    let c = [0.655, 0.701, 0.62];
    let known = [
        (paired_t(&a, &b), 5.912_760_694_466_088, 4.0, 0.004_096_389_890_588_18),
        (welch_t(&a, &c), 2.209_450_246_082_742, 2.175_208_642_600_493_3, 0.147_450_825_693_608_62),
        (paired_t(&[0.5, 0.6], &[0.45, 0.52]), 4.333_333_333_333_336, 1.0, 0.144_384_631_021_294_42),
        (
            welch_t(&[0.1, 0.3], &[5.0, 5.1, 5.4, 5.2]),
            -37.833_337_756_311_316,
            2.539_879_562_492_323,
            0.000_145_698_778_733_161_7,
        ),
    ];
    for (test, t, df, p) in known {
        let test = test.expect("two values a side");
        assert!(close(test.t, t, KNOWN) && close(test.df, df, KNOWN) && close(test.p, p, KNOWN), "{test:?}, {t}");
    }
}

fn seeds(values: &[(i64, f64)]) -> BTreeMap<i64, f64> {
    values.iter().copied().collect()
}

#[test]
fn tests_are_paired_only_over_the_same_seeds() {
    let a = seeds(&[(0, 0.5), (1, 0.6), (2, 0.55)]);
    let same = seeds(&[(0, 0.4), (1, 0.52), (2, 0.44)]);
    let other = seeds(&[(0, 0.4), (1, 0.52), (7, 0.44)]);
    assert_eq!(t_test(&a, &same).map(|test| test.test), Some(Test::Paired));
    assert_eq!(t_test(&a, &other).map(|test| test.test), Some(Test::Welch));
}

#[test]
fn one_seed_or_no_variation_makes_no_claim() {
    let one = seeds(&[(0, 0.9)]);
    let two = seeds(&[(0, 0.1), (1, 0.11)]);
    assert_eq!(t_test(&one, &one), None);
    assert_eq!(t_test(&one, &two), None);
    // The differences are equal up to rounding: there is no noise to compare them with.
    let shifted = seeds(&[(0, 0.1 + 0.2), (1, 0.11 + 0.2)]);
    assert_eq!(t_test(&shifted, &two), None);
    let constant = seeds(&[(3, 0.7), (4, 0.7)]);
    assert_eq!(t_test(&constant, &seeds(&[(5, 0.2), (6, 0.2)])), None);
    assert!(t_test(&constant, &two).is_some(), "one side that varies is enough for Welch");
    let verdict = rank(&[&one, &two], Direction::Higher).expect("both have a mean");
    assert_eq!((verdict.best, verdict.significant), (0, false));
}

#[test]
fn ranking_follows_the_direction_and_skips_the_undefined() {
    let low = seeds(&[(0, 0.10), (1, 0.11), (2, 0.12), (3, 0.11), (4, 0.10)]);
    let high = seeds(&[(0, 0.50), (1, 0.52), (2, 0.51), (3, 0.52), (4, 0.50)]);
    let undefined = seeds(&[(0, f64::NAN), (1, 0.9), (2, 0.9)]);
    let empty = seeds(&[]);
    let rows = [&empty, &low, &undefined, &high];
    let verdict = rank(&rows, Direction::Higher).expect("ranked");
    assert_eq!((verdict.best, verdict.comparisons.len(), verdict.significant), (3, 1, true));
    assert_eq!(rank(&rows, Direction::Lower).map(|verdict| verdict.best), Some(1));
    assert_eq!(rank(&rows, Direction::None), None);
    assert_eq!(rank(&[&empty, &undefined], Direction::Higher), None);
}

/// Holm by its definition: the k-th smallest p is rejected at level alpha if each of the k smallest passes
/// alpha / (m - j); the adjusted p is the least alpha at which that happens.
fn holm_by_definition(p_values: &[f64]) -> Vec<f64> {
    let m = p_values.len();
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let adjusted = |p: &f64| {
        let rank = sorted.iter().position(|other| other.total_cmp(p).is_eq()).expect("it is one of them");
        (0..=rank).map(|j| (m - j) as f64 * sorted[j]).fold(0.0, f64::max).min(1.0)
    };
    p_values.iter().map(adjusted).collect()
}

/// One run of a nested design: point, seeds, value.
type Nested = (u8, u8, u8, f64);

fn nested() -> impl Strategy<Value = Vec<Nested>> {
    proptest::collection::vec((0..3_u8, 0..4_u8, 0..3_u8, 0.0..1.0_f64), 1..24).prop_map(|mut runs| {
        runs.sort_by_key(|run| (run.0, run.1, run.2));
        runs.dedup_by_key(|run| (run.0, run.1, run.2));
        runs
    })
}

fn nested_rows(runs: &[Nested]) -> Vec<RunRow> {
    runs.iter()
        .map(|&(point, pretrain, downstream, value)| {
            let mut row = with_metric(run(&format!("r{point}-{pretrain}-{downstream}")), "test.map", value);
            (row.point, row.seed_pretrain, row.seed_downstream) = (point.into(), pretrain.into(), downstream.into());
            row.varied.insert("x".to_owned(), Scalar::Int(point.into()));
            row
        })
        .collect()
}

/// Two-stage mean, deviation and counts of one point, written out.
fn brute_force(runs: &[Nested], point: u8) -> Option<(f64, Option<f64>, usize, usize)> {
    let mut means = Vec::new();
    let mut n_runs = 0;
    for pretrain in 0..4 {
        let of_seed = runs.iter().filter(|run| run.0 == point && run.1 == pretrain);
        let values: Vec<f64> = of_seed.map(|run| run.3).collect();
        n_runs += values.len();
        if !values.is_empty() {
            means.push(values.iter().sum::<f64>() / values.len() as f64);
        }
    }
    let n = means.len();
    let mean = means.iter().sum::<f64>() / n as f64;
    let squares: f64 = means.iter().map(|value| (value - mean).powi(2)).sum();
    (n > 0).then(|| (mean, (n > 1).then(|| (squares / (n - 1) as f64).sqrt()), n, n_runs))
}

fn summaries(rows: &[RunRow]) -> Vec<(i64, Summary)> {
    let groups = aggregate(&frames(rows).runs, &["cfg.x".to_owned()], &["metric.test.map".to_owned()]);
    let point = |key: &Option<Scalar>| if let Some(Scalar::Int(x)) = key { *x } else { -1 };
    groups.expect("aggregates").into_iter().map(|group| (point(&group.key[0]), group.summaries[0].clone())).collect()
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    #[test]
    fn holm_equals_its_definition(p_values in proptest::collection::vec(0.0..1.0_f64, 0..12)) {
        prop_assert_eq!(holm(&p_values), holm_by_definition(&p_values));
    }

    #[test]
    fn p_values_fall_with_distance(df in 0.5..500.0_f64, t in 0.0..50.0_f64, more in 0.001..10.0_f64) {
        let (near, far) = (student_t_two_sided(t, df), student_t_two_sided(t + more, df));
        prop_assert!((0.0..=1.0).contains(&far) && far <= near * (1.0 + ROUNDING), "{near} {far}");
    }
}

proptest! {
    // Each case writes and reads files.
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, cases: 24, ..Default::default() })]

    #[test]
    fn nested_seeds_equal_brute_force(runs in nested()) {
        for (point, summary) in summaries(&nested_rows(&runs)) {
            let (mean, std, n, n_runs) = brute_force(&runs, point as u8).expect("the point has runs");
            prop_assert!(close(summary.mean.expect("a mean"), mean, ROUNDING));
            prop_assert_eq!((summary.n, summary.runs), (n, n_runs));
            prop_assert_eq!(summary.std.is_some(), std.is_some());
            if let (Some(ours), Some(std)) = (summary.std, std) {
                // The deviation of nearly equal numbers carries their rounding.
                prop_assert!((ours - std).abs() <= ROUNDING, "{} {}", ours, std);
            }
        }
    }
}

#[test]
fn failed_runs_are_counted_and_enter_no_mean() {
    let mut rows = nested_rows(&[(0, 0, 0, 0.5), (0, 1, 0, 0.7), (0, 2, 0, 0.9), (1, 0, 0, 0.1)]);
    for at in [2, 3] {
        rows[at].status = Status::Failed;
    }
    let groups = aggregate(&frames(&rows).runs, &["cfg.x".to_owned()], &["metric.test.map".to_owned()]);
    let groups = groups.expect("aggregates");
    assert_eq!(groups.iter().map(|group| (group.rows.len(), group.failed)).collect::<Vec<_>>(), [(3, 1), (1, 1)]);
    assert!(close(groups[0].summaries[0].mean.expect("a mean"), 0.6, ROUNDING));
    assert_eq!(groups[0].summaries[0].n, 2);
    assert_eq!(groups[1].summaries[0], Summary::default());
}
