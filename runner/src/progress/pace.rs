//! How fast a stage goes, and how long it still takes.

use std::time::{Duration, Instant};

/// Least time between two updates of a redrawn line.
const REDRAW: Duration = Duration::from_millis(50);

/// Speed of a stage in this process; steps of earlier attempts do not count.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The first count that was shown, and when.
    first: Option<(u64, Instant)>,
    drawn: Option<Instant>,
}

impl Pace {
    /// Notes that `done` is reached.
    pub(super) fn advance(&mut self, done: u64) {
        self.first.get_or_insert_with(|| (done, Instant::now()));
    }

    /// Whether a redrawn line may change now.
    pub(super) fn may_draw(&mut self) -> bool {
        let due = self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if due {
            self.drawn = Some(Instant::now());
        }
        due
    }

    /// Time from `done` to `total` at the mean speed so far; `None` before there is a speed.
    pub(super) fn time_left(&self, done: u64, total: u64) -> Option<Duration> {
        let (first, since) = self.first?;
        let covered = done.checked_sub(first).filter(|&covered| covered > 0)?;
        let seconds = since.elapsed().as_secs_f64() / covered as f64 * total.saturating_sub(done) as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A duration for people: `7.4 s`, `42 s`, `3 min 20 s`, `2 h 05 min`.
pub fn short_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}
