//! `gc`: removes from a store what no result needs. Rows, logs and files that the program does not know stay.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::chosen::store_of;
use super::unneeded::{Thing, Unneeded, Why};
use super::words::size;
use super::{Setup, count, print};
use crate::cli::GcArgs;
use crate::exit::RunError;
use crate::store::Store;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

pub(super) fn gc(args: &GcArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let can_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !(args.dry_run || args.yes || can_ask) {
        let text = "what is removed is gone; look first with --dry-run, then confirm with --yes";
        return Err(RunError::Usage(format!("{text}: {}", store.root().display())));
    }
    let least = Duration::from_secs(u64::from(args.older_than) * DAY);
    let found = Unneeded::of(&store, least)?;
    print(found.describe().as_bytes())?;
    if found.things.is_empty() {
        return Ok(());
    }
    if args.dry_run || !(args.yes || is_confirmed()?) {
        return print(b"nothing was removed\n");
    }
    let shown: BTreeSet<PathBuf> = found.things.into_iter().map(|thing| thing.path).collect();
    let store = Store::open(store.root())?;
    let mut freed = Freed::default();
    // An answer may take its time, and meanwhile a run may have come to need some of it.
    let again = Unneeded::of(&store, least)?;
    let outcome = again
        .things
        .iter()
        .filter(|thing| shown.contains(&thing.path))
        .try_for_each(|thing| freed.remove(&store, thing));
    // What was freed before an error was freed all the same.
    print(freed.in_words(shown.len()).as_bytes())?;
    outcome
}

/// Asks on the terminal.
fn is_confirmed() -> Result<bool, RunError> {
    let failed = |e: std::io::Error| RunError::Unexpected(format!("asking on the terminal: {e}"));
    let mut stderr = std::io::stderr().lock();
    stderr.write_all(b"remove all of this? [y/N] ").and_then(|()| stderr.flush()).map_err(failed)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(failed)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// What was removed.
#[derive(Default)]
struct Freed {
    things: usize,
    bytes: u64,
}

impl Freed {
    fn remove(&mut self, store: &Store, thing: &Thing) -> Result<(), RunError> {
        let is_removed = match thing.why {
            Why::Unnamed => store.remove_stage(&thing.key)?,
            Why::Left => store.remove_unfinished(&thing.key, thing.extent.written)?,
            Why::Expired => store.remove_leases(&thing.key)?,
            Why::SetAside => {
                store.remove_quarantined(&thing.path)?;
                true
            }
        };
        if is_removed {
            self.things += 1;
            self.bytes += thing.extent.bytes;
        }
        Ok(())
    }

    /// `freed 12 MB: 3 things removed, 1 is needed by now`.
    fn in_words(&self, of: usize) -> String {
        let Self { things, bytes } = self;
        let kept = match of.saturating_sub(*things) {
            0 => String::new(),
            kept => format!("; {kept} left, in use by now or gone before"),
        };
        format!("freed {}: {} removed{kept}\n", size(*bytes), count(*things, "thing"))
    }
}
