//! What of a store no result needs. In doubt a thing is needed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use reid_results::{RunRow, read};
use serde_json::Value;

use super::count;
use super::events::labels;
use super::lineage::{Shelf, kind, named, with_inputs};
use super::words::{age, short, size};
use crate::engine::StageKind;
use crate::exit::RunError;
use crate::store::{Extent, Shelved, Store, extent};

/// Why something is not needed; in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A finished stage that no row names, and that nothing that is kept started from.
    Unnamed,
    /// Unfinished work that nobody is at.
    Left,
    /// A stage that was damaged, or was to be computed anew.
    SetAside,
    /// A lease of nobody, on a stage on which there is no work.
    Expired,
}

impl Why {
    const ALL: [Self; 4] = [Self::Unnamed, Self::Left, Self::SetAside, Self::Expired];

    fn heading(self) -> &'static str {
        match self {
            Self::Unnamed => "finished stages that no result names",
            Self::Left => "unfinished work that nobody is at",
            Self::SetAside => "damaged or outdated stages, set aside",
            Self::Expired => "expired leases",
        }
    }
}

/// Something that can be removed.
pub(super) struct Thing {
    pub(super) why: Why,
    /// Key of the stage that it belongs to; of what was set aside, its name.
    pub(super) key: String,
    pub(super) path: PathBuf,
    pub(super) extent: Extent,
    /// What it is, as far as that is known.
    what: String,
}

/// Everything that can be removed.
pub(super) struct Unneeded {
    pub(super) things: Vec<Thing>,
    /// Stages that would be removed too if there were no unfinished work that may start from them.
    kept_for_work: usize,
}

impl Unneeded {
    /// What is not needed and, where it is no litter, has not been written to for `least`.
    pub(super) fn of(store: &Store, least: Duration) -> Result<Self, RunError> {
        let now = SystemTime::now();
        let is_old = |extent: &Extent| now.duration_since(extent.written).unwrap_or_default() >= least;
        // Rows are read last: what was written after the stages were listed is then known to be named.
        let (shelf, unfinished, leases) = (store.shelf()?, store.unfinished()?, store.standing_leases()?);
        let labels = labels(store)?;
        let rows = read(&store.results())?.rows()?;

        let held: BTreeSet<&String> =
            leases.iter().filter(|(_, lease)| lease.abandoned.is_none()).map(|(key, _)| key).collect();
        let is_left = |key: &String, extent: &Extent| is_old(extent) && !held.contains(key);
        let is_work = !held.is_empty() || unfinished.iter().any(|(key, work)| !is_left(key, &work.extent));
        let needs = Needs { shelf: &shelf, rows: &rows, held: &held, is_work };

        let mut things = Vec::new();
        let (unnamed, kept_for_work) = needs.unnamed(&is_old);
        for (key, extent) in unnamed {
            let found = &shelf[key];
            let label = found.stage.as_ref().map_or("", |stage| stage.manifest().label.as_str());
            let what = label.to_owned();
            things.push(Thing { why: Why::Unnamed, key: key.clone(), path: found.path.clone(), extent, what });
        }
        for (key, work) in unfinished.iter().filter(|(key, work)| is_left(key, &work.extent)) {
            let what = labels.get(key).cloned().unwrap_or_default();
            let (path, extent) = (work.path.clone(), work.extent);
            things.push(Thing { why: Why::Left, key: key.clone(), path, extent, what });
        }
        for path in store.quarantined()? {
            let key = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let what = key.split_once('-').and_then(|(key, _)| labels.get(key)).cloned().unwrap_or_default();
            things.push(Thing { why: Why::SetAside, key, extent: extent(&path), path, what });
        }
        // With work goes its lease, which also tells how often a process has died at it.
        for (key, lease) in leases.iter().filter(|(key, _)| !unfinished.contains_key(*key)) {
            if let Some(why) = lease.abandoned {
                let (path, what) = (lease.path.clone(), why.to_owned());
                things.push(Thing { why: Why::Expired, key: key.clone(), extent: extent(&path), path, what });
            }
        }
        Ok(Self { things, kept_for_work })
    }

    /// Everything with its size, its age and what it is; then the sum.
    pub(super) fn describe(&self) -> String {
        let now = SystemTime::now();
        let mut text = String::new();
        for why in Why::ALL {
            let mut of_why = self.things.iter().filter(|thing| thing.why == why).peekable();
            if of_why.peek().is_some() {
                let _ = writeln!(text, "{}:", why.heading());
            }
            for Thing { key, extent, what, .. } in of_why {
                // The time stamp of a lease says whether it was given back, not how old it is.
                let since = now.duration_since(extent.written).unwrap_or_default();
                let since = if why == Why::Expired { String::new() } else { age(since) };
                let line = format!("{:>8}  {}  {since:>17}  {what}", size(extent.bytes), short(key));
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
        if self.kept_for_work > 0 {
            let more = count(self.kept_for_work, "more stage");
            let _ = writeln!(text, "{more} kept, since there is unfinished work that may start from them");
        }
        let bytes: u64 = self.things.iter().map(|thing| thing.extent.bytes).sum();
        let _ = match self.things.len() {
            0 => writeln!(text, "nothing to remove"),
            number => writeln!(text, "{} in {}", size(bytes), count(number, "thing")),
        };
        text
    }
}

/// What decides which finished stages are needed.
struct Needs<'a> {
    shelf: &'a Shelf,
    rows: &'a [RunRow],
    /// Stages that somebody works on.
    held: &'a BTreeSet<&'a String>,
    /// Whether there is unfinished work that is kept.
    is_work: bool,
}

impl<'a> Needs<'a> {
    /// Old stages that are not needed, and the number of those that are only needed in case that unfinished work
    /// starts from them: its key does not tell.
    fn unnamed(&self, is_old: &dyn Fn(&Extent) -> bool) -> (Vec<(&'a String, Extent)>, usize) {
        let are_hidden = self.rows.iter().any(|row| self.hides_its_source(row));
        let mut roots: Vec<String> = self.rows.iter().flat_map(named).cloned().collect();
        let (mut old, mut starts) = (Vec::new(), Vec::new());
        for (key, found) in self.shelf {
            let extent = extent(&found.path);
            let of_kind = found.science().map(kind);
            let is_source = of_kind != Some(StageKind::Pretrain.name());
            if of_kind.is_none() || !is_old(&extent) || self.held.contains(key) || are_hidden && is_source {
                roots.push(key.clone());
                continue;
            }
            old.push((key, extent));
            if self.is_work && of_kind != Some(StageKind::Evaluate.name()) {
                starts.push(key.clone());
            }
        }
        let needed = with_inputs(roots, self.shelf);
        let for_work = with_inputs(starts, self.shelf);
        old.retain(|(key, _)| !needed.contains(*key));
        let kept_for_work = old.iter().filter(|(key, _)| for_work.contains(*key)).count();
        old.retain(|(key, _)| !for_work.contains(*key));
        (old, kept_for_work)
    }

    /// Whether a row stands on the training on a source that can no longer be found, since the training that started
    /// from it cannot be read.
    fn hides_its_source(&self, row: &RunRow) -> bool {
        let Some(train) = &row.stage_train else { return false };
        let spec: Option<Value> = serde_json::from_str(&row.config_json).ok();
        let is_other = spec.and_then(|spec| Some(spec.pointer("/protocol")?.get("uda").is_none())).unwrap_or(false);
        !is_other && self.shelf.get(train).and_then(Shelved::science).is_none()
    }
}
