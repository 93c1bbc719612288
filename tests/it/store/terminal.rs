//! Exit codes, progress off a terminal, and event logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reid_data::error::DataError;
use reid_runner::exit::{ExitCode, RunError};
use reid_runner::log::{Event, EventLog, Level};
use reid_runner::progress::{Color, Mode, Options, Progress, short_duration};
use reid_runner::store::StoreError;

#[test]
fn the_exit_codes_are_the_documented_ones() {
    let codes: Vec<u8> = ExitCode::ALL.into_iter().map(ExitCode::code).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 75, 100, 130]);
    assert!(ExitCode::ALL.iter().all(|code| !code.describe().is_empty()));
    let data = DataError::Corrupt { count: 1, first: "a.jpg: truncated".to_owned() };
    let store = StoreError::Invalid { problem: "p".to_owned(), remedy: "r", path: "/x".into() };
    let cases = [
        (RunError::Unexpected("x".to_owned()), 1),
        (RunError::Usage("x".to_owned()), 2),
        (RunError::Spec("x".to_owned()), 3),
        (RunError::NothingSelected("x".to_owned()), 4),
        (RunError::from(data), 5),
        (RunError::from(store), 6),
        (RunError::Interrupted { cause: "SIGTERM" }, 75),
        (RunError::SomeFailed { failed: 1, given_up: 0, total: 9 }, 100),
    ];
    for (error, code) in cases {
        assert_eq!(error.exit_code().code(), code, "{error}");
    }
}

/// A writer whose text can be read while others write.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that can be shown, under the given options.
fn show(mode: Mode, every: Duration) -> String {
    let page = Page::default();
    let options = Options { mode, color: Color::Never, every };
    let progress = Progress::to_writer(Box::new(page.clone()), options);
    progress.line("3 runs");
    progress.bar_data("decoding", 0, 100);
    progress.bar_data("decoding", 50, 100);
    progress.bar_data("decoding", 100, 100);
    progress.bar_data("decoding", 100, 100);
    let stage = progress.stage("pretrain person_mae s0", 400);
    stage.step(120, 0.432_14, 812.4);
    stage.note("checkpoint of step 120");
    stage.finish("done in 12 s");
    progress.warn("2 corrupt pictures skipped");
    progress.suspend(|| ());
    page.text()
}

/// The text without what depends on the machine's speed.
fn without_times(text: &str) -> String {
    let line = |line: &str| {
        let parts: Vec<_> = line.split(", ").filter(|part| !part.starts_with("ETA ")).collect();
        let line = parts.join(", ");
        match line.split_once(" done in ") {
            Some((before, _)) => format!("{before} done in some time\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn off_a_terminal_there_are_plain_lines() {
    let text = show(Mode::Plain, Duration::ZERO);
    assert_eq!(
        without_times(&text),
        "3 runs\n\
         decoding: started, 100 items\n\
         decoding: 0/100 items\n\
         decoding: 50/100 items\n\
         decoding: 100 done in some time\n\
         pretrain person_mae s0: started, 400 steps\n\
         pretrain person_mae s0: 120/400 steps, loss 0.4321, 812 images/s\n\
         pretrain person_mae s0: checkpoint of step 120\n\
         pretrain person_mae s0: done in some time\n\
         warning: 2 corrupt pictures skipped\n"
    );
    assert!(!text.contains('\r') && !text.contains('\u{1b}'));
    assert_eq!(without_times(&show(Mode::Auto, Duration::ZERO)), without_times(&text));
}

#[test]
fn progress_lines_are_rare_and_can_be_left_out() {
    let states = "3 runs\n\
         decoding: started, 100 items\n\
         decoding: 100 done in some time\n\
         pretrain person_mae s0: started, 400 steps\n\
         pretrain person_mae s0: checkpoint of step 120\n\
         pretrain person_mae s0: done in some time\n\
         warning: 2 corrupt pictures skipped\n";
    assert_eq!(without_times(&show(Mode::Plain, Duration::from_mins(1))), states);
    assert_eq!(without_times(&show(Mode::Never, Duration::ZERO)), states);
    assert_eq!(show(Mode::Quiet, Duration::ZERO), "warning: 2 corrupt pictures skipped\n");
}

#[test]
fn progress_can_be_shared_by_threads() {
    let page = Page::default();
    let options = Options { mode: Mode::Plain, color: Color::Never, every: Duration::ZERO };
    let progress = Progress::to_writer(Box::new(page.clone()), options);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let progress = progress.clone();
            scope.spawn(move || {
                let stage = progress.stage(&format!("stage {worker}"), 10);
                for step in 1..=10 {
                    stage.step(step, f64::NAN, 9.87);
                }
                stage.finish("done");
            });
        }
    });
    let text = page.text();
    assert_eq!(text.lines().count(), 4 * 12);
    assert_eq!(text.lines().filter(|line| line.ends_with(": done")).count(), 4);
    assert!(text.lines().any(|line| line.starts_with("stage 2: 10/10 steps, ETA 0.0 s, loss NaN, 9.9 images/s")));
}

#[test]
fn color_marks_warnings_only_when_asked() {
    let page = Page::default();
    let options = Options { mode: Mode::Plain, color: Color::Always, every: Duration::ZERO };
    Progress::to_writer(Box::new(page.clone()), options).warn("x");
    let text = page.text();
    assert!(text.contains('\u{1b}') && text.contains("warning:") && text.ends_with(" x\n"), "{text:?}");
}

#[test]
fn durations_are_for_people() {
    let cases = [(0.0, "0.0 s"), (7.44, "7.4 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s")];
    for (seconds, text) in cases.into_iter().chain([(200.0, "3 min 20 s"), (7499.0, "2 h 04 min")]) {
        assert_eq!(short_duration(Duration::from_secs_f64(seconds)), text);
    }
}

#[test]
fn a_log_has_one_event_per_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EventLog::open(&folder.path().join("logs"), "run a/b").expect("a log");
    assert!(log.path().ends_with("logs/run-a-b.jsonl"));
    log.info("opened");
    let stage = log.for_stage("pretrain");
    stage.event(Level::Warn, Some(120), "loss \"rises\"\nfast");
    drop((log, stage));
    let again = EventLog::open(&folder.path().join("logs"), "run a/b").expect("a log");
    again.error("end");
    assert_eq!(again.trouble(), None);

    let text = std::fs::read_to_string(again.path()).expect("text");
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 3, "a second process adds to the log");
    assert_eq!((events[0].level, events[0].stage.as_deref(), events[0].step), (Level::Info, None, None));
    assert_eq!(
        (events[1].level, events[1].stage.as_deref(), events[1].step),
        (Level::Warn, Some("pretrain"), Some(120))
    );
    assert_eq!(events[1].message, "loss \"rises\"\nfast");
    assert_eq!(events[2].level, Level::Error);
    for event in &events {
        // 2026-01-31T12:00:00.000001Z
        assert_eq!(event.at.len(), 27, "{}", event.at);
        assert!(event.at.ends_with('Z'));
    }
}

#[test]
fn a_log_in_an_impossible_place_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    assert!(EventLog::open(&file.join("logs"), "x").expect_err("no folder").to_string().contains("file"));
}
