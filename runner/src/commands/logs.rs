//! `logs`: what the event logs tell of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::chosen::{chosen, is_spec, store_of};
use super::events::{begun, each_event, log_files, readable};
use super::lineage::{Shelf, stages_of};
use super::plan::{Phase, phases};
use super::words::DIGITS;
use super::{Setup, count, print};
use crate::cli::{LogsArgs, ViewFormat};
use crate::exit::RunError;
use crate::log::{Event, path_of};
use crate::store::Store;

pub(super) fn logs(args: &LogsArgs) -> Result<(), RunError> {
    let setup = Setup::new(&args.common)?;
    let store = store_of(&setup)?;
    let wanted = if is_spec(Path::new(&args.run)) {
        Wanted::of_spec(&setup, &store, args)?
    } else {
        Wanted::of_run(&setup, &store, args)?
    };
    let own = path_of(&store.logs(), &wanted.experiment);
    let mut files = log_files(&store)?;
    // Of events of the same instant, the experiment's own come first.
    files.sort_by_key(|path| *path != own);
    let mut events = Vec::new();
    for path in &files {
        let mut reader = Reader { wanted: &wanted, is_own: *path == own, current: BTreeMap::new() };
        let torn = each_event(path, |event| {
            if reader.takes(&event) && event.level >= args.level {
                events.push(event);
            }
        })?;
        if torn > 0 {
            let text = format!("{} cut short and left out", count(torn, "line"));
            setup.progress.warn(format_args!("{text}: {}", path.display()));
        }
    }
    if events.is_empty() {
        let text =
            format!("the logs have no such events of it; lower --level, or see all in {}", store.logs().display());
        return Err(RunError::NothingSelected(format!("{text}: {}", args.run)));
    }
    // All of one form, so that texts sort as times do.
    events.sort_by(|a, b| a.at.cmp(&b.at));
    print(shown(&events, args.format)?.as_bytes())
}

fn shown(events: &[Event], format: ViewFormat) -> Result<String, RunError> {
    if format == ViewFormat::Json {
        let text = serde_json::to_string_pretty(&json!({ "events": events }));
        return text.map(|text| format!("{text}\n")).map_err(|e| RunError::Unexpected(e.to_string()));
    }
    let line = |event: &Event| {
        let at = event.at.get(..19).unwrap_or(&event.at).replace('T', " ");
        let level = format!("{:?}", event.level).to_lowercase();
        let step = event.step.map_or_else(String::new, |step| format!(" (step {step})"));
        format!("{at}  {level:<5}  {}{step}\n", readable(event))
    };
    Ok(events.iter().map(line).collect())
}

/// What tells the events that are asked for.
struct Wanted {
    /// Its own log is believed by labels where it names no key.
    experiment: String,
    /// Runs, by which failures are told.
    ids: BTreeSet<String>,
    /// Stages; none where they are not known.
    keys: BTreeSet<String>,
    /// Labels of the stages. Another setting's stage may have the same one.
    labels: BTreeSet<String>,
}

impl Wanted {
    /// All runs of a spec, and its trials.
    fn of_spec(setup: &Setup, store: &Store, args: &LogsArgs) -> Result<Self, RunError> {
        let experiment = setup.load(Path::new(&args.run), &args.overrides, setup.color)?;
        let phases = phases(&experiment, &mut setup.datasets(&experiment), Some(store))?;
        let mut wanted = Self::of(&experiment.name);
        for Phase { plan, .. } in &phases {
            wanted.ids.extend(plan.runs.iter().map(|run| run.id.clone()));
            for stage in &plan.stages {
                wanted.keys.insert(stage.key.hex().to_owned());
                wanted.labels.insert(stage.label.clone());
            }
        }
        Ok(wanted)
    }

    /// The run of an id.
    fn of_run(setup: &Setup, store: &Store, args: &LogsArgs) -> Result<Self, RunError> {
        let row = chosen(setup, store, &args.run, &args.overrides)?;
        let shelf: Shelf = store.shelf()?;
        let mut wanted = Self::of(&row.experiment);
        wanted.ids.insert(row.run_id.clone());
        wanted.keys.extend(stages_of(&row, &shelf));
        let stages = wanted.keys.iter().filter_map(|key| shelf.get(key)?.stage.as_ref());
        wanted.labels.extend(stages.map(|stage| stage.manifest().label.clone()));
        if let Some(failed) = row.failed_stage {
            let text = "it failed, and its row names only the stage at which; name its spec to see the others";
            setup.progress.line(format_args!("{}: {text}", row.run_id));
            wanted.labels.insert(failed);
        }
        Ok(wanted)
    }

    fn of(experiment: &str) -> Self {
        let (ids, keys, labels) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { experiment: experiment.to_owned(), ids, keys, labels }
    }
}

/// One log, read from its beginning.
struct Reader<'a> {
    wanted: &'a Wanted,
    /// Whether it is the log of the experiment itself.
    is_own: bool,
    /// Key of the stage that was last begun under each label.
    current: BTreeMap<String, String>,
}

impl Reader<'_> {
    /// Whether an event is asked for. Labels do not tell two settings of a field that no sweep varies apart; the keys
    /// that the log names do.
    fn takes(&mut self, event: &Event) -> bool {
        if let Some((label, key)) = begun(event) {
            self.current.insert(label.to_owned(), key.to_owned());
            return self.is_wanted(label, Some(key));
        }
        // What an event is about stands before a colon, but a label may have one too.
        let heads = event.message.match_indices(": ").map(|(at, _)| event.message.split_at(at));
        for (head, rest) in heads {
            if self.wanted.ids.contains(head) {
                return true;
            }
            if self.is_known(head) {
                return self.is_told_of(head, &rest[2..]);
            }
        }
        event.stage.as_ref().is_some_and(|label| self.is_told_of(label, &event.message))
    }

    fn is_known(&self, label: &str) -> bool {
        self.wanted.labels.contains(label) || self.current.contains_key(label)
    }

    /// Whether a message on a label is about a stage that is asked for.
    fn is_told_of(&self, label: &str, message: &str) -> bool {
        // What is said when a stage is claimed comes before it is begun, and names it by the first digits.
        let named = message.strip_prefix("stage ").and_then(|rest| rest.split_whitespace().next());
        let is_short = |text: &&str| text.len() == DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        match named.filter(is_short) {
            Some(first) if !self.wanted.keys.is_empty() => self.wanted.keys.iter().any(|key| key.starts_with(first)),
            _ => self.is_wanted(label, self.current.get(label).map(String::as_str)),
        }
    }

    /// Whether a stage of that label, and of that key if it is known, is asked for.
    fn is_wanted(&self, label: &str, key: Option<&str>) -> bool {
        match key {
            Some(key) if !self.wanted.keys.is_empty() => self.wanted.keys.contains(key),
            _ => self.is_own && self.wanted.labels.contains(label),
        }
    }
}
