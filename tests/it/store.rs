//! Tests of the store and of what stands around it: leases, checkpoints, provenance, exit codes,
//! signals, progress.

mod damage;
mod leases;
mod processes;
mod provenance;
mod terminal;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reid_runner::provenance::program;
use reid_runner::store::{Claim, Lease, StageDir, StageKey, StageManifest, Store, StoreError};
use serde_json::json;

/// The key of some stage.
fn key(name: &str) -> StageKey {
    StageKey::of(json!({"kind": "test", "name": name}))
}

/// A store in a folder that goes away with it.
fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(&folder.path().join("runs")).expect("a new store");
    (folder, store)
}

/// What a stage says of its origin.
fn manifest() -> StageManifest {
    StageManifest {
        label: "test s0".to_owned(),
        program: program(),
        source: None,
        device: "cpu".to_owned(),
        instruction_set: "baseline".to_owned(),
        host: "here".to_owned(),
        started: "2026-01-01T00:00:00.000000Z".to_owned(),
        seconds: 1.5,
        notes: BTreeMap::from([("images".to_owned(), json!(64))]),
    }
}

/// The lease of a stage that must be free.
fn mine(claim: Claim) -> Lease {
    match claim {
        Claim::Mine(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

/// A stage that must be finished.
fn done(claim: Claim) -> StageDir {
    match claim {
        Claim::Done(stage) => stage,
        other => panic!("expected a finished stage, got {other:?}"),
    }
}

/// Does the work of a stage: one artefact with the given text.
fn work(lease: Lease, text: &str) -> Result<StageDir, StoreError> {
    fs::write(lease.dir().join("weights.safetensors"), text).map_err(|source| StoreError::Io {
        action: "writing the test's artefact",
        source,
        path: lease.dir().to_owned(),
    })?;
    lease.commit(&manifest(), &["weights.safetensors"])
}

/// Names in a folder, sorted, without the store's own tags.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "CACHEDIR.TAG" && name != ".gitignore");
    names.sort();
    names
}
