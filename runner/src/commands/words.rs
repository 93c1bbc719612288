//! Sizes, times and texts as the verbs on the store print them.

use std::time::Duration;

use super::count;
use crate::progress::short_duration;
use crate::store::{LeaseInfo, StageDir};

/// Digits of keys and commits that are shown.
pub(super) const DIGITS: usize = 12;

/// `300 B`, `4.2 kB`, `12 MB`, `1.7 GB`.
pub(super) fn size(bytes: u64) -> String {
    for (unit, of) in [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        let value = bytes as f64 / of;
        // Less than that is shown as at most 999 of the next smaller unit.
        if value >= 0.9995 {
            let digits = usize::from(value < 9.95);
            return format!("{value:.digits$} {unit}");
        }
    }
    format!("{bytes} B")
}

/// `12 days`, `3 hours`, `less than an hour`.
pub(super) fn age(age: Duration) -> String {
    let hours = age.as_secs() / 3600;
    match (hours / 24, hours) {
        (0, 0) => "less than an hour".to_owned(),
        (0, hours) => count(hours as usize, "hour"),
        (days, _) => count(days as usize, "day"),
    }
}

/// The minute of a time as it is recorded: `2026-01-31 12:00 UTC`.
pub(super) fn minute(at: &str) -> String {
    at.get(..16).map_or_else(|| at.to_owned(), |minute| format!("{} UTC", minute.replace('T', " ")))
}

/// The first digits of a key or a commit.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..DIGITS).unwrap_or(hex)
}

/// `process 12 on node7 since 2026-01-31 12:00 UTC`.
pub(super) fn holder_of(lease: &LeaseInfo) -> String {
    format!("process {} on {} since {}", lease.pid, lease.host, minute(&lease.taken_at))
}

/// A text in one line of at most so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    let kept: String = line.chars().take(most.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

/// `finished 2026-01-31 12:00 UTC in 14 s by commit 814b0509a1f7`.
pub(super) fn finished(stage: &StageDir) -> String {
    let manifest = stage.manifest();
    // What stands on a disk may say anything.
    let took = Duration::try_from_secs_f64(manifest.seconds).unwrap_or_default();
    let changed = if manifest.program.dirty == Some(true) { " with changes" } else { "" };
    let by = match &manifest.program.commit {
        Some(commit) => format!("commit {}{changed}", short(commit)),
        None => "an unknown commit".to_owned(),
    };
    format!("finished {} in {} by {by}", minute(stage.committed()), short_duration(took))
}
