//! What must be said below a chart.

use std::collections::BTreeSet;

use polars::prelude::DataFrame;

use super::Series;
use crate::decode;

/// Characters of a commit that are shown.
const COMMIT_DIGITS: usize = 7;

/// Commits that are named one by one.
const NAMED_COMMITS: usize = 3;

/// What the runs behind a chart have in common.
pub(super) struct About {
    /// Commits that computed them, sorted.
    commits: BTreeSet<String>,
    /// How many failed.
    failed: usize,
    /// Whether any of them saw built-in pictures.
    synthetic: bool,
}

impl About {
    /// Of these rows of `runs`.
    pub(super) fn of(runs: &DataFrame) -> Self {
        let mut about = Self { commits: BTreeSet::new(), failed: 0, synthetic: false };
        for row in 0..runs.height() {
            let commit = ["computed_commit", "program_commit"].map(|column| decode::text(runs, column, row));
            about.commits.extend(commit.into_iter().flatten().next().map(|commit| short(&commit)));
            about.failed += usize::from(decode::text(runs, "status", row).as_deref() != Some("ok"));
            about.synthetic |= decode::flag(runs, "synthetic", row) == Some(true);
        }
        about
    }

    /// The note of a chart with these lines: how many of what `counted` names are behind a point, what the error bars
    /// are, which lines were left out, and where the numbers come from.
    pub(super) fn note(&self, series: &[Series], counted: &str, bars: &str, left_out: Option<String>) -> String {
        let points = || series.iter().flat_map(|series| &series.points);
        let least = points().map(|point| point.n).min().unwrap_or(0);
        let most = points().map(|point| point.n).max().unwrap_or(0);
        let kind = if most == 1 { counted.to_owned() } else { format!("{counted}s") };
        let count = if least == most { most.to_string() } else { format!("{least} to {most}") };
        let mut parts = vec![format!("n = {count} {kind} per point")];
        if points().any(|point| point.low.is_some()) {
            parts.push(bars.to_owned());
        }
        parts.extend(left_out);
        if self.failed > 0 {
            parts.push(format!("{} failed run(s) left out", self.failed));
        }
        if self.synthetic {
            parts.push("built-in synthetic data".to_owned());
        }
        parts.push(self.commit());
        parts.join("; ")
    }

    fn commit(&self) -> String {
        let named: Vec<&str> = self.commits.iter().take(NAMED_COMMITS).map(String::as_str).collect();
        match self.commits.len() {
            0 => "commit unknown".to_owned(),
            1 => format!("commit {}", named[0]),
            all if all > NAMED_COMMITS => format!("commits {} and {} more", named.join(", "), all - NAMED_COMMITS),
            _ => format!("commits {}", named.join(", ")),
        }
    }
}

fn short(commit: &str) -> String {
    commit.chars().take(COMMIT_DIGITS).collect()
}
