//! Honest claims about differences: t tests over seeds with Holm's correction.
//!
//! A table's best row is marked only if it beats the runner-up at [`LEVEL`] after correction over all comparisons
//! with the best row of that column, by a paired test of at least [`MIN_SEEDS`] seeds. With one seed there is no test;
//! nor is there one when nothing varies between seeds, because the t test then has no noise to compare a difference with.

use std::collections::BTreeMap;

use crate::aggregate::Summary;
use crate::schema::Direction;

/// Significance level of a claim.
pub const LEVEL: f64 = 0.05;

/// Seeds that two settings must have in common before one of them may be called better. A t test of three pairs finds
/// differences that the next seed takes back: its level holds only where seeds are as the normal law would have them,
/// which three cannot show.
pub const MIN_SEEDS: usize = 5;

/// Spread below this share of the values' size is rounding, not variation over seeds.
const NO_SPREAD: f64 = 1e-12;

/// Which test was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Paired t test: both rows have the same seeds.
    Paired,
    /// Welch's t test, variances unequal: the seeds differ.
    Welch,
}

impl Test {
    /// Name in footers and exports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired t",
            Self::Welch => "Welch t",
        }
    }
}

/// Outcome of a two-sided t test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TTest {
    /// Which test.
    pub test: Test,
    /// Statistic.
    pub t: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Two-sided p value, uncorrected.
    pub p: f64,
}

/// Comparison of a column's best row with another row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Index of the other row.
    pub other: usize,
    /// The test; `None` when either row has one seed, or nothing varies.
    pub test: Option<TTest>,
    /// p value after Holm's correction over the tests of this column.
    pub p_holm: Option<f64>,
}

/// Ranking of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Index of the row with the best mean.
    pub best: usize,
    /// Comparisons with all other rows that have a mean, from the runner-up down.
    pub comparisons: Vec<Comparison>,
    /// Whether enough seeds are paired with the runner-up's to call either better.
    pub testable: bool,
    /// Whether the best row may be called the best.
    pub significant: bool,
}

/// Ranks rows by their mean over seeds and tests the best against the others.
///
/// `samples`: per row, the value of each seed. Rows without a value or with an undefined one are left out. `None`
/// when the metric has no direction or no row is left.
pub fn rank(samples: &[&BTreeMap<i64, f64>], direction: Direction) -> Option<Verdict> {
    let sign = match direction {
        Direction::Higher => 1.0,
        Direction::Lower => -1.0,
        Direction::None => return None,
    };
    let mut order: Vec<(usize, f64)> = samples
        .iter()
        .enumerate()
        .filter(|(_, seeds)| !seeds.is_empty())
        .map(|(row, seeds)| (row, sign * mean(seeds.values().copied())))
        .filter(|(_, mean)| mean.is_finite())
        .collect();
    // The sort is stable: of equal means the upper row comes first.
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let (&(best, _), others) = order.split_first()?;
    let tests: Vec<Option<TTest>> = others.iter().map(|&(row, _)| t_test(samples[best], samples[row])).collect();
    let mut adjusted = holm(&tests.iter().flatten().map(|test| test.p).collect::<Vec<_>>()).into_iter();
    let comparisons: Vec<Comparison> = others
        .iter()
        .zip(tests)
        .map(|(&(other, _), test)| Comparison { other, test, p_holm: test.and_then(|_| adjusted.next()) })
        .collect();
    let runner_up = comparisons.first();
    let paired = |runner_up: &Comparison| {
        let common = samples[runner_up.other].keys().filter(|seed| samples[best].contains_key(seed)).count();
        common >= MIN_SEEDS && runner_up.test.is_some_and(|test| test.test == Test::Paired)
    };
    let testable = runner_up.is_some_and(paired);
    // Where the best has seeds that the runner-up lacks, it may be worse at those that both have.
    let is_ahead = runner_up.and_then(|runner_up| runner_up.test).is_some_and(|test| test.t * sign > 0.0);
    let significant = testable && is_ahead && runner_up.and_then(|it| it.p_holm).is_some_and(|p| p < LEVEL);
    Some(Verdict { best, comparisons, testable, significant })
}

/// Paired test when both rows have the same seeds, or [`MIN_SEEDS`] in common, of these; else Welch's. `None` when
/// neither can be made.
pub fn t_test(a: &BTreeMap<i64, f64>, b: &BTreeMap<i64, f64>) -> Option<TTest> {
    let (left, right): (Vec<f64>, Vec<f64>) =
        a.iter().filter_map(|(seed, value)| Some((*value, *b.get(seed)?))).unzip();
    if a.keys().eq(b.keys()) || left.len() >= MIN_SEEDS {
        return paired_t(&left, &right);
    }
    let values = |of: &BTreeMap<i64, f64>| of.values().copied().collect::<Vec<f64>>();
    welch_t(&values(a), &values(b))
}

/// Paired two-sided t test of `a - b`; `None` below two pairs or when the difference does not vary.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<TTest> {
    let n = a.len();
    if n < 2 || n != b.len() {
        return None;
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let error = (variance(&differences) / n as f64).sqrt();
    if !varies(error, a.iter().chain(b)) {
        return None;
    }
    let t = mean(differences.iter().copied()) / error;
    let df = (n - 1) as f64;
    Some(TTest { test: Test::Paired, t, df, p: student_t_two_sided(t, df) })
}

/// Welch's two-sided t test of `mean(a) - mean(b)`, degrees of freedom by Welch and Satterthwaite; `None` when
/// either side has fewer than two values, or neither varies.
pub fn welch_t(a: &[f64], b: &[f64]) -> Option<TTest> {
    if a.len() < 2 || b.len() < 2 {
        return None;
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (error_a, error_b) = (variance(a) / n, variance(b) / m);
    let error = (error_a + error_b).sqrt();
    if !varies(error, a.iter().chain(b)) {
        return None;
    }
    let t = (mean(a.iter().copied()) - mean(b.iter().copied())) / error;
    let df = (error_a + error_b).powi(2) / (error_a.powi(2) / (n - 1.0) + error_b.powi(2) / (m - 1.0));
    Some(TTest { test: Test::Welch, t, df, p: student_t_two_sided(t, df) })
}

/// Holm's step-down correction (S. Holm, Scand. J. Statist. 6, 1979), in the order of the input.
///
/// The k-th smallest of m p values, k from 0, is multiplied by m - k; the results are made non-decreasing and
/// capped at 1.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut floor: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        floor = floor.max((p_values.len() - rank) as f64 * p_values[index]).min(1.0);
        adjusted[index] = floor;
    }
    adjusted
}

/// Probability that Student's t with `df` degrees of freedom is at least as far from 0 as `t`:
/// `I_x(df/2, 1/2)` with x = df / (df + t²) (Abramowitz and Stegun, 26.7.1 and 26.5.27).
pub fn student_t_two_sided(t: f64, df: f64) -> f64 {
    if t.is_nan() || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    if t.is_infinite() {
        return 0.0;
    }
    // 1 - x is computed as its own quotient, so that small t lose no digits.
    let square = t * t;
    incomplete_beta(0.5 * df, 0.5, df / (df + square), square / (df + square))
}

/// Distance from 0 that Student's t with `df` degrees of freedom exceeds with probability `p`, both sides together:
/// [`student_t_two_sided`] the other way round, by bisection.
pub fn student_t_quantile(p: f64, df: f64) -> f64 {
    if !(p > 0.0 && p < 1.0) || df.is_nan() || df <= 0.0 {
        return f64::NAN;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while student_t_two_sided(high, df) > p && high.is_finite() {
        (low, high) = (high, 2.0 * high);
    }
    // Until the middle is one of the two.
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if student_t_two_sided(middle, df) > p { low = middle } else { high = middle }
    }
}

/// Confidence interval of a mean over seeds at 1 - [`LEVEL`]; `None` below two seeds, or where nothing varies.
pub fn interval(summary: &Summary) -> Option<(f64, f64)> {
    let (mean, std) = (summary.mean?, summary.std?);
    let error = std / (summary.n as f64).sqrt();
    if !varies(error, summary.seeds.values()) {
        return None;
    }
    let reach = error * student_t_quantile(LEVEL, (summary.n - 1) as f64);
    Some((mean - reach, mean + reach))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Sample variance (n - 1).
fn variance(values: &[f64]) -> f64 {
    let center = mean(values.iter().copied());
    values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// Whether a standard error is more than rounding of these values. False for NaN.
fn varies<'a>(error: f64, values: impl Iterator<Item = &'a f64>) -> bool {
    let size = values.fold(0.0_f64, |size, value| size.max(value.abs()));
    error > NO_SPREAD * size
}

/// Regularized incomplete beta function `I_x(a, b)`; `y` is 1 - x.
///
/// The continued fraction (Abramowitz and Stegun, 26.5.8) converges fast below x = (a + 1) / (a + b + 2); above it
/// the symmetry `I_x(a, b) = 1 - I_y(b, a)` is used.
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * y.ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, y) / b
    }
}

/// Continued fraction of the incomplete beta function by the modified method of Lentz (W. J. Lentz, Appl. Opt. 15,
/// 1976; Thompson and Barnett, J. Comput. Phys. 64, 1986), which carries the ratios of successive numerators and
/// denominators and keeps both away from 0.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    /// Stands in for a ratio of exactly 0.
    const TINY: f64 = 1e-300;
    /// Far more terms than the O(sqrt(max(a, b))) that are needed.
    const MAX_TERMS: u32 = 100_000;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };

    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..=MAX_TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        fraction *= c * d;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        let step = c * d;
        fraction *= step;
        if (step - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    fraction
}

/// Logarithm of the gamma function for x > 0, by Stirling's series (Abramowitz and Stegun, 6.1.40) after shifting
/// x above 15, where eight terms reach machine precision.
fn ln_gamma(x: f64) -> f64 {
    /// `B(2k) / (2k (2k - 1))` with the Bernoulli numbers `B(2k)`, k from 1.
    const SERIES: [f64; 8] = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
        1.0 / 156.0,
        -3617.0 / 122_400.0,
    ];
    let mut shifted = x;
    let mut product = 1.0;
    while shifted < 15.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let inverse_square = (shifted * shifted).recip();
    let tail = SERIES.iter().rev().fold(0.0, |sum, coefficient| sum * inverse_square + coefficient) / shifted;
    let half_ln_tau = 0.5 * std::f64::consts::TAU.ln();
    (shifted - 0.5) * shifted.ln() - shifted + half_ln_tau + tail - f64::ln(product)
}
