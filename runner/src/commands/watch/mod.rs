//! `watch`: how far an experiment is, whichever process runs it. Only looks: nothing is written to the store.

mod frame;
mod look;
mod spark;

use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use console::Term;

use super::run::listen;
use super::table::terminal_options;
use super::{Setup, print};
use crate::cli::WatchArgs;
use crate::exit::RunError;
use frame::{Form, frame};
use look::View;

/// How often a request to stop is looked at.
const NAP: Duration = Duration::from_millis(50);

pub(super) fn watch(args: &WatchArgs) -> Result<(), RunError> {
    let common = &args.spec.common;
    let setup = Setup::new(common)?;
    let experiment = setup.load(&args.spec.spec, &args.spec.overrides, common.machine.color)?;
    let mut view = View::new(&setup, experiment)?;
    // The terminal may be resized meanwhile, so its width is asked for at every look.
    let form = || {
        let options = terminal_options(common);
        Form { width: options.width.unwrap_or(80), ascii: options.ascii }
    };
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if args.once || is_dumb || !std::io::stdout().is_terminal() {
        let lines = frame(&view.look()?, &form());
        return print(format!("{}\n", lines.join("\n")).as_bytes());
    }
    let interrupt = listen()?;
    let mut screen = Screen::open()?;
    loop {
        let looked = Instant::now();
        let scene = view.look()?;
        screen.draw(frame(&scene, &form()))?;
        if scene.is_over() {
            return Ok(());
        }
        while looked.elapsed() < Duration::from_secs(args.interval) {
            // To look no longer is no failure.
            if interrupt.requested() {
                return Ok(());
            }
            thread::sleep(NAP);
        }
    }
}

/// The terminal, whose last lines are drawn again and again. Its cursor comes back however the watching ends.
struct Screen {
    term: Term,
    /// Lines that were drawn last.
    drawn: usize,
}

impl Screen {
    fn open() -> Result<Self, RunError> {
        let term = Term::buffered_stdout();
        let screen = Self { term, drawn: 0 };
        screen.term.hide_cursor().and_then(|()| screen.term.flush()).map_err(unwritable)?;
        Ok(screen)
    }

    /// Puts lines in the place of the last ones. What the terminal is not high enough for is left out: it could not be
    /// drawn over.
    fn draw(&mut self, mut lines: Vec<String>) -> Result<(), RunError> {
        let (height, _) = self.term.size();
        lines.truncate(usize::from(height).saturating_sub(1).max(1));
        self.redraw(&lines).map_err(unwritable)?;
        self.drawn = lines.len();
        Ok(())
    }

    fn redraw(&self, lines: &[String]) -> std::io::Result<()> {
        self.term.move_cursor_up(self.drawn)?;
        for line in lines {
            self.term.clear_line()?;
            self.term.write_line(line)?;
        }
        self.term.clear_to_end_of_screen()?;
        self.term.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.term.show_cursor().and_then(|()| self.term.flush());
    }
}

fn unwritable(error: impl std::fmt::Display) -> RunError {
    RunError::Unexpected(format!("the terminal cannot be written to: {error}; try --once"))
}
