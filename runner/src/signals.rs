//! Signals: the first one asks the work to stop after its step, a second Ctrl-C stops at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

use crate::exit::ExitCode;

/// A request to stop that the work looks at between steps. Clones share one request.
///
/// SIGHUP is left alone: a handler would undo `nohup`.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// Number of the latest signal; 0 while there was none.
    cause: Arc<AtomicUsize>,
}

impl Interrupt {
    /// A request that only [`Interrupt::request`] can make.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens to SIGINT, SIGTERM and SIGUSR1 (the batch system's early warning) from now on.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::new();
        let ctrl_c_seen = Arc::new(AtomicBool::new(false));
        // Handlers run in the order of their registration: at the first Ctrl-C the flag is still
        // down when the shutdown looks at it.
        let exit_code = i32::from(ExitCode::Killed.code());
        flag::register_conditional_shutdown(SIGINT, exit_code, Arc::clone(&ctrl_c_seen))?;
        flag::register(SIGINT, ctrl_c_seen)?;
        for (signal, number) in SIGNALS {
            flag::register_usize(signal, Arc::clone(&interrupt.cause), number)?;
        }
        Ok(interrupt)
    }

    /// Whether the work shall stop.
    pub fn requested(&self) -> bool {
        self.cause.load(Ordering::Relaxed) != 0
    }

    /// Asks the work to stop, as SIGTERM does.
    pub fn request(&self) {
        self.cause.store(TERM, Ordering::Relaxed);
    }

    /// Name of the signal that asked, for messages.
    pub fn cause(&self) -> Option<&'static str> {
        match self.cause.load(Ordering::Relaxed) {
            0 => None,
            INT => Some("SIGINT"),
            USR1 => Some("SIGUSR1"),
            _ => Some("SIGTERM"),
        }
    }
}

/// Our own numbers of the signals, all different from 0.
const INT: usize = 1;
const TERM: usize = 2;
const USR1: usize = 3;

/// What is listened to.
const SIGNALS: [(i32, usize); 3] = [(SIGINT, INT), (SIGTERM, TERM), (SIGUSR1, USR1)];
