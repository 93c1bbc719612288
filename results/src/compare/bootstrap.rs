//! How sure a difference in mAP is: a bootstrap over seeds and identities.
//!
//! Two settings were trained with the same seeds and evaluated on the same queries; `d(s, q)` is the difference of
//! their average precisions at seed s and query q, and its mean over both is the difference in mAP. It would be
//! another one with other seeds, and with other people: queries of one identity share its gallery pictures and are
//! not independent. A replicate therefore draws seeds, and identities with all their queries, with replacement. Queries
//! are not drawn once more within an identity: what they vary is in the variance between identities already, and would
//! count nearly twice (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
//!
//! What is drawn of identities holds for all drawn seeds: every seed was evaluated on the same queries, and drawing
//! them anew for each seed would average out what the queries have in common. For such crossed effects the bootstrap is
//! exact but for what single identities do at single seeds, of which it counts too much (A. B. Owen, "The pigeonhole
//! bootstrap", Ann. Appl. Stat. 1, 2007): where that is all there is, intervals are too wide.
//!
//! Percentiles of such replicates are too narrow where there are five seeds: they have 126 different samples. So the
//! replicates give the variance; of it, the parts of seeds and of identities, which n draws from n make too small by
//! (n - 1) / n, are made whole, and the interval is that of Student's t with the degrees of freedom of the parts
//! (Satterthwaite, Biometrics Bull. 2, 1946): few where seeds differ most, many where people do. `it::results::compare`
//! simulates coverage and false positives.

use crate::significance::{LEVEL, student_t_quantile, student_t_two_sided};

/// Differences of average precisions of queries that both settings have, at seeds that both have.
#[derive(Clone, Debug, PartialEq)]
pub struct Paired {
    /// Queries of each identity, as many entries as identities; none is 0.
    pub queries: Vec<usize>,
    /// Differences `[seeds, queries]`, row by row, queries in the order of their identities.
    pub differences: Vec<f64>,
}

/// A mean difference and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Mean difference, a fraction.
    pub mean: f64,
    /// Its standard error; without the seeds' part where there is one seed. NaN where nothing varies.
    pub error: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// Confidence interval at 1 - [`LEVEL`]; `None` where nothing varies.
    pub interval: Option<(f64, f64)>,
    /// Two-sided p value of no difference, uncorrected; `None` where nothing varies.
    pub p: Option<f64>,
    /// Variance of the mean that is due to seeds; `None` with one seed.
    pub from_seeds: Option<f64>,
    /// Variance of the mean that is due to identities and queries.
    pub from_queries: f64,
}

impl Paired {
    /// Queries of all identities.
    pub fn width(&self) -> usize {
        self.queries.iter().sum()
    }

    /// Seeds.
    pub fn seeds(&self) -> usize {
        self.differences.len() / self.width().max(1)
    }

    /// Mean over queries of each seed.
    fn seed_means(&self) -> Vec<f64> {
        let width = self.width();
        self.differences.chunks_exact(width).map(|row| row.iter().sum::<f64>() / width as f64).collect()
    }

    /// The estimate from `replicates` replicates. `draws` gives a replicate, by its number, its own source of
    /// uniform whole numbers below the one it is asked with.
    ///
    /// None of an empty set of queries or seeds.
    pub fn estimate<D: FnMut(usize) -> usize>(&self, replicates: u32, draws: impl Fn(u32) -> D) -> Option<Estimate> {
        let (n, width) = (self.seeds(), self.width());
        if n == 0 || width == 0 {
            return None;
        }
        let seeds = self.seed_means();
        let mean = mean(&seeds);
        let sums = self.identity_sums();
        let drawn: Vec<f64> = (0..replicates).map(|replicate| self.replicate(&sums, &mut draws(replicate))).collect();
        let spread = variance(&drawn);
        // Variance of a mean over n seeds, and the part of it that n draws from them have.
        let from_seeds = (n > 1).then(|| variance(&seeds) / n as f64);
        let drawn_of_seeds = from_seeds.map_or(0.0, |variance| variance * (n - 1) as f64 / n as f64);
        let identities = self.queries.len();
        let whole = if identities > 1 { identities as f64 / (identities - 1) as f64 } else { 1.0 };
        let from_queries = (spread - drawn_of_seeds).max(0.0) * whole;
        let total = from_seeds.unwrap_or(0.0) + from_queries;
        let part = |variance: f64, members: usize| variance * variance / (members.max(2) - 1) as f64;
        let df =
            total * total / (from_seeds.map_or(0.0, |variance| part(variance, n)) + part(from_queries, identities));
        let error = total.sqrt();
        // Below this, what is left is rounding.
        let largest = self.differences.iter().fold(0.0_f64, |size, value| size.max(value.abs()));
        let varies = error > 1e-12 * largest;
        let reach = error * student_t_quantile(LEVEL, df);
        Some(Estimate {
            mean,
            error: if varies { error } else { f64::NAN },
            df,
            interval: varies.then_some((mean - reach, mean + reach)),
            p: varies.then(|| student_t_two_sided(mean / error, df)),
            from_seeds,
            from_queries,
        })
    }

    /// Sum over the queries of each identity `[seeds, identities]`.
    fn identity_sums(&self) -> Vec<f64> {
        let mut sums = Vec::with_capacity(self.seeds() * self.queries.len());
        for row in self.differences.chunks_exact(self.width()) {
            let mut rest = row;
            for &count in &self.queries {
                let (own, after) = rest.split_at(count);
                sums.push(own.iter().sum());
                rest = after;
            }
        }
        sums
    }

    /// Mean difference of one replicate, of sums over the queries of identities.
    fn replicate(&self, sums: &[f64], draw: &mut impl FnMut(usize) -> usize) -> f64 {
        let (n, identities) = (self.seeds(), self.queries.len());
        let mut of_identity = vec![0.0; identities];
        for _ in 0..n {
            let seed = draw(n);
            for (sum, value) in of_identity.iter_mut().zip(&sums[seed * identities..(seed + 1) * identities]) {
                *sum += value;
            }
        }
        let (mut sum, mut count) = (0.0, 0);
        for _ in 0..identities {
            let identity = draw(identities);
            sum += of_identity[identity];
            count += self.queries[identity];
        }
        sum / (n * count) as f64
    }
}

impl Estimate {
    /// Seeds with which a difference of this size, at this spread, would be told from none in four of five studies;
    /// `None` where no number of seeds would do, because people differ too much, or where the spread of seeds is
    /// not known.
    pub fn seeds_needed(&self, seeds: usize, identities: usize) -> Option<usize> {
        /// Enough to be out of anyone's reach.
        const MOST: usize = 1000;
        /// Of five studies, four.
        const POWER: f64 = 0.8;
        let one = self.from_seeds? * seeds as f64;
        let enough = |n: &usize| {
            let from_seeds = one / *n as f64;
            let total = from_seeds + self.from_queries;
            let df = total * total
                / (from_seeds * from_seeds / (*n - 1) as f64
                    + self.from_queries * self.from_queries / (identities.max(2) - 1) as f64);
            // The quantile is two-sided: what is exceeded on one side with 1 - POWER is exceeded on both with twice that.
            let reach = student_t_quantile(LEVEL, df) + student_t_quantile(2.0 * (1.0 - POWER), df);
            self.mean.abs() >= reach * total.sqrt()
        };
        (2..=MOST).find(enough)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sample variance; 0 of a single value.
fn variance(values: &[f64]) -> f64 {
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center) * (value - center)).sum();
    squares / (values.len().max(2) - 1) as f64
}
