//! `status` without a spec: what a store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use reid_results::{Status, read};
use serde::Serialize;
use serde_json::json;

use super::chosen::store_of;
use super::events::labels;
use super::lineage::kind;
use super::words::{holder_of, short, size};
use super::{Setup, count, print};
use crate::cli::ViewFormat;
use crate::engine::StageKind;
use crate::exit::RunError;
use crate::store::{LeaseInfo, Store, extent};

/// Shows what the settings' store holds, and changes nothing.
pub(super) fn show(setup: &Setup, format: ViewFormat) -> Result<(), RunError> {
    let store = store_of(setup)?;
    let holdings = Holdings::of(&store)?;
    let text = match format {
        ViewFormat::Table => holdings.text(&store),
        ViewFormat::Json => {
            let whole = json!({ "store": store.root().display().to_string(), "experiments": holdings.experiments,
                                "stages": holdings.stages, "work": holdings.work,
                                "expired_leases": holdings.expired, "quarantine": holdings.quarantine });
            serde_json::to_string_pretty(&whole).map_err(|e| RunError::Unexpected(e.to_string()))? + "\n"
        }
    };
    print(text.as_bytes())
}

/// Runs of an experiment, or its trials.
#[derive(Default, Serialize)]
struct Runs {
    done: usize,
    failed: usize,
}

/// A number of things and how much they are.
#[derive(Default, Serialize)]
struct Heap {
    number: usize,
    bytes: u64,
}

impl Heap {
    fn add(&mut self, bytes: u64) {
        self.number += 1;
        self.bytes += bytes;
    }
}

/// Work on a stage that is not finished.
#[derive(Serialize)]
struct Work {
    key: String,
    /// As a log has it.
    label: Option<String>,
    step: Option<u64>,
    bytes: u64,
    holder: Option<LeaseInfo>,
    /// Why the latest holder is none any more.
    left: Option<&'static str>,
}

struct Holdings {
    /// By name, runs that count and trials.
    experiments: BTreeMap<String, BTreeMap<&'static str, Runs>>,
    /// Finished stages by kind, and those that cannot be used.
    stages: BTreeMap<String, Heap>,
    work: Vec<Work>,
    /// Leases of nobody, on stages on which there is no work.
    expired: usize,
    quarantine: Heap,
}

/// Stages that cannot be used, among kinds.
const DAMAGED: &str = "damaged";

impl Holdings {
    fn of(store: &Store) -> Result<Self, RunError> {
        let mut experiments: BTreeMap<String, BTreeMap<&'static str, Runs>> = BTreeMap::new();
        for row in read(&store.results())?.rows()? {
            let what = if row.trial.is_some() { "trial" } else { "run" };
            let runs = experiments.entry(row.experiment).or_default().entry(what).or_default();
            match row.status {
                Status::Ok => runs.done += 1,
                Status::Failed => runs.failed += 1,
            }
        }
        let mut stages: BTreeMap<String, Heap> = BTreeMap::new();
        for found in store.shelf()?.into_values() {
            let of_kind = found.sound().map_or(DAMAGED, |stage| kind(stage.science()));
            stages.entry(of_kind.to_owned()).or_default().add(extent(&found.path).bytes);
        }
        let (unfinished, leases) = (store.unfinished()?, store.standing_leases()?);
        let labels = labels(store)?;
        let held = leases.iter().filter(|(_, lease)| lease.abandoned.is_none()).map(|(key, _)| key);
        let keys: BTreeSet<&String> = unfinished.keys().chain(held).collect();
        let work = |key: &&String| {
            let (begun, lease) = (unfinished.get(*key), leases.get(*key));
            Work {
                key: (*key).clone(),
                label: labels.get(*key).cloned(),
                step: begun.and_then(|begun| begun.step),
                bytes: begun.map_or(0, |begun| begun.extent.bytes),
                holder: lease.filter(|lease| lease.abandoned.is_none()).map(|lease| lease.info.clone()),
                left: lease.and_then(|lease| lease.abandoned),
            }
        };
        let expired = leases.keys().filter(|key| !keys.contains(key)).count();
        let mut quarantine = Heap::default();
        for path in store.quarantined()? {
            quarantine.add(extent(&path).bytes);
        }
        Ok(Self { experiments, stages, work: keys.iter().map(work).collect(), expired, quarantine })
    }

    fn text(&self, store: &Store) -> String {
        let mut text = format!("store: {}\n", store.root().display());
        if self.experiments.is_empty() {
            text.push_str("no results\n");
        }
        for (name, of_experiment) in &self.experiments {
            let parts = of_experiment.iter().map(|(what, Runs { done, failed })| {
                let also = if *failed > 0 { format!(", {failed} failed") } else { String::new() };
                format!("{}: {done} done{also}", count(done + failed, what))
            });
            let _ = writeln!(text, "  {name}: {}", parts.collect::<Vec<_>>().join("; "));
        }
        let of_kinds = [StageKind::Pretrain, StageKind::Train, StageKind::Evaluate].map(StageKind::name);
        let others = self.stages.keys().map(String::as_str).filter(|kind| !of_kinds.contains(kind));
        let kinds = of_kinds.into_iter().chain(others).filter_map(|kind| Some((kind, self.stages.get(kind)?)));
        text.push_str("stages:\n");
        for (kind, Heap { number, bytes }) in kinds {
            let _ = writeln!(text, "  {kind:<9} {number:>5} {:>8}", size(*bytes));
        }
        if !self.work.is_empty() {
            text.push_str("not finished:\n");
        }
        for work in &self.work {
            let label = work.label.as_deref().unwrap_or_else(|| short(&work.key));
            let step = work.step.map_or_else(|| "no checkpoint yet".to_owned(), |step| format!("at step {step}"));
            let _ = writeln!(text, "  {label}, {step}, {}\n    {}", size(work.bytes), work.in_words());
        }
        if self.expired > 0 {
            let _ = writeln!(text, "{} of nobody", count(self.expired, "lease"));
        }
        if self.quarantine.number > 0 {
            let Heap { number, bytes } = self.quarantine;
            let _ = writeln!(text, "quarantine: {}, {}", count(number, "stage"), size(bytes));
        }
        text
    }
}

impl Work {
    /// Who works on it.
    fn in_words(&self) -> String {
        match (&self.holder, self.left) {
            (Some(holder), _) => holder_of(holder),
            (None, Some(why)) => format!("nobody works on it: {why}"),
            (None, None) => "nobody works on it".to_owned(),
        }
    }
}
