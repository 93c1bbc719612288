//! All terminal output that is not a result. Owns stderr; stdout is for results alone.
//!
//! On a terminal each running stage has one line that is redrawn. Elsewhere (a batch system's log, a
//! pipe) there are plain lines without carriage returns: one per change of state, and at most one
//! progress line per [`Options::every`].

mod pace;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use console::Style;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use pace::Pace;
pub use pace::short_duration;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Redrawn lines on a terminal, plain lines elsewhere.
    #[default]
    Auto,
    /// Plain lines everywhere.
    Plain,
    /// Changes of state only.
    Never,
    /// Warnings only (`--quiet`).
    #[value(skip)]
    Quiet,
}

/// Whether to use color. It never carries meaning alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`; elsewhere if `CLICOLOR_FORCE` or
    /// `FORCE_COLOR` asks for it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What is shown and how.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How progress is shown.
    pub mode: Mode,
    /// Whether to use color.
    pub color: Color,
    /// Least time between two plain progress lines, over all stages.
    pub every: Duration,
}

impl Default for Options {
    /// One plain progress line a minute, which batch systems' logs can bear.
    fn default() -> Self {
        Self { mode: Mode::Auto, color: Color::Auto, every: Duration::from_mins(1) }
    }
}

/// The terminal. Clones are the same terminal.
#[derive(Clone)]
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mode,
    colored: bool,
    every: Duration,
    screen: Screen,
    /// When the latest plain progress line went out.
    latest: Mutex<Instant>,
    /// Counters of [`Progress::bar_data`] that run.
    counters: Mutex<BTreeMap<String, StageProgress>>,
}

/// Where lines go.
enum Screen {
    /// A terminal with redrawn lines at its bottom.
    Bars(MultiProgress),
    /// Lines, one after the other.
    Lines(Mutex<Box<dyn Write + Send>>),
}

impl Progress {
    /// Shows progress on stderr.
    pub fn to_stderr(options: Options) -> Self {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        let colored = match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if is_set("NO_COLOR") => false,
            Color::Auto => terminal || is_set("CLICOLOR_FORCE") || is_set("FORCE_COLOR"),
        };
        let screen = if terminal && options.mode == Mode::Auto {
            Screen::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
        } else {
            Screen::Lines(Mutex::new(Box::new(io::stderr())))
        };
        Self::new(options, colored, screen)
    }

    /// Writes plain lines to a writer, for tests.
    pub fn to_writer(writer: Box<dyn Write + Send>, options: Options) -> Self {
        Self::new(options, options.color == Color::Always, Screen::Lines(Mutex::new(writer)))
    }

    fn new(options: Options, colored: bool, screen: Screen) -> Self {
        let Options { mode, every, .. } = options;
        let latest = Mutex::new(Instant::now());
        let counters = Mutex::new(BTreeMap::new());
        Self { shared: Arc::new(Shared { mode, colored, every, screen, latest, counters }) }
    }

    /// Starts to show a stage of `total_steps` optimizer steps.
    pub fn stage(&self, label: &str, total_steps: u64) -> StageProgress {
        self.start(label, total_steps, "steps")
    }

    /// Shows how far a count has come, such as pictures decoded; the label names the counter. Many
    /// threads may call it.
    pub fn bar_data(&self, label: &str, done: u64, total: u64) {
        let mut counters = lock(&self.shared.counters);
        if !counters.contains_key(label) {
            if done >= total {
                return;
            }
            counters.insert(label.to_owned(), self.start(label, total, "items"));
        }
        if done < total {
            if let Some(counter) = counters.get(label) {
                counter.advance(done, None);
            }
        } else if let Some(counter) = counters.remove(label) {
            let took = short_duration(counter.begun.elapsed());
            counter.finish(&format!("{total} done in {took}"));
        }
    }

    /// Shows one line.
    pub fn line(&self, text: impl Display) {
        if self.shared.mode != Mode::Quiet {
            self.shared.print(&text.to_string());
        }
    }

    /// Shows a warning, also under `--quiet`.
    pub fn warn(&self, text: impl Display) {
        let style = Style::new().for_stderr().yellow().bold().force_styling(self.shared.colored);
        self.shared.print(&format!("{} {text}", style.apply_to("warning:")));
    }

    /// Clears the redrawn lines while `work` writes to the terminal, such as a table to stdout.
    pub fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.shared.screen {
            Screen::Bars(bars) => bars.suspend(work),
            Screen::Lines(_) => work(),
        }
    }

    fn start(&self, label: &str, total: u64, unit: &'static str) -> StageProgress {
        let bar = match &self.shared.screen {
            Screen::Bars(bars) => {
                let bar = bars.add(ProgressBar::new(total).with_style(self.shared.bar_style()));
                bar.set_prefix(label.to_owned());
                bar.tick();
                Some(bar)
            }
            Screen::Lines(_) => {
                match total {
                    0 | 1 => self.line(format_args!("{label}: started")),
                    _ => self.line(format_args!("{label}: started, {total} {unit}")),
                }
                None
            }
        };
        StageProgress {
            progress: self.clone(),
            label: label.to_owned(),
            total,
            unit,
            begun: Instant::now(),
            bar,
            pace: Mutex::new(Pace::default()),
        }
    }
}

impl Shared {
    /// Writes a line. A terminal that has gone away is no reason to stop the work.
    fn print(&self, text: &str) {
        match &self.screen {
            Screen::Bars(bars) => bars.suspend(|| {
                let _ = writeln!(io::stderr(), "{text}");
            }),
            Screen::Lines(writer) => {
                let mut writer = lock(writer);
                let _ = writer.write_all(format!("{text}\n").as_bytes()).and_then(|()| writer.flush());
            }
        }
    }

    /// Whether a plain progress line may go out now; if so, the next one waits its time.
    fn may_report(&self) -> bool {
        if matches!(self.mode, Mode::Never | Mode::Quiet) {
            return false;
        }
        let mut latest = lock(&self.latest);
        let due = latest.elapsed() >= self.every;
        if due {
            *latest = Instant::now();
        }
        due
    }

    fn bar_style(&self) -> ProgressStyle {
        let template = if self.colored {
            "{prefix:.bold} [{bar:12.cyan}] {pos}/{len} {wide_msg}"
        } else {
            "{prefix} [{bar:12}] {pos}/{len} {wide_msg}"
        };
        // ASCII, since the terminal may not know any other characters.
        ProgressStyle::with_template(template).expect("the template is well formed").progress_chars("=> ")
    }
}

/// A stage, or a counter, that is being shown. Dropping it unfinished clears its line.
pub struct StageProgress {
    progress: Progress,
    label: String,
    total: u64,
    unit: &'static str,
    begun: Instant,
    bar: Option<ProgressBar>,
    pace: Mutex<Pace>,
}

/// What a step has measured.
#[derive(Clone, Copy, Debug)]
struct Measured {
    loss: f64,
    images_per_second: f64,
}

impl StageProgress {
    /// Shows that `step` steps are done, with the latest loss and pictures per second.
    pub fn step(&self, step: u64, loss: f64, images_per_second: f64) {
        self.advance(step, Some(Measured { loss, images_per_second }));
    }

    /// Shows a line about the stage.
    pub fn note(&self, text: impl Display) {
        self.progress.line(format_args!("{}: {text}", self.label));
    }

    /// Shows a warning about the stage.
    pub fn warn(&self, text: impl Display) {
        self.progress.warn(format_args!("{}: {text}", self.label));
    }

    /// Ends the stage with a last line.
    pub fn finish(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.note(text);
    }

    fn advance(&self, done: u64, measured: Option<Measured>) {
        let mut pace = lock(&self.pace);
        pace.advance(done);
        match &self.bar {
            Some(bar) if pace.may_draw() || done >= self.total => {
                bar.set_message(self.details(&pace, done, measured).join(", "));
                bar.set_position(done);
            }
            None if self.progress.shared.may_report() => {
                let mut parts = vec![format!("{}: {done}/{} {}", self.label, self.total, self.unit)];
                parts.extend(self.details(&pace, done, measured));
                self.progress.shared.print(&parts.join(", "));
            }
            _ => {}
        }
    }

    fn details(&self, pace: &Pace, done: u64, measured: Option<Measured>) -> Vec<String> {
        // A narrow terminal cuts the end off, so what matters most comes first.
        let mut parts = Vec::new();
        if let Some(left) = pace.time_left(done, self.total) {
            parts.push(format!("ETA {}", short_duration(left)));
        }
        if let Some(Measured { loss, images_per_second }) = measured {
            parts.push(format!("loss {loss:.4}"));
            let decimals = usize::from(images_per_second < 10.0);
            parts.push(format!("{images_per_second:.decimals$} images/s"));
        }
        parts
    }
}

impl Drop for StageProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar
            && !bar.is_finished()
        {
            bar.finish_and_clear();
        }
    }
}

/// Output goes on after a panic in another thread.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}
