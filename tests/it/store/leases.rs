//! Claiming, committing, taking over.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

use reid_runner::store::{Claim, LeaseInfo, StageKey, StageManifest, Store, StoreError, Timing, Waiting};
use serde_json::json;

use super::{done, key, manifest, mine, names, store, work};

/// A process number that no Linux machine gives away (the limit is 2^22).
const NO_SUCH_PROCESS: u32 = 99_999_999;

/// Writes a lease as another process would have left it, with a heartbeat of the given age.
fn forge(store: &Store, key: &StageKey, generation: u32, info: &LeaseInfo, age: Duration) {
    let path = store.lease_path(key, generation);
    fs::write(&path, serde_json::to_vec(info).expect("JSON")).expect("a lease");
    let beat = SystemTime::now() - age;
    File::options().write(true).open(&path).and_then(|file| file.set_modified(beat)).expect("a heartbeat");
}

fn is_busy(store: &Store, key: &StageKey) -> bool {
    matches!(store.claim(key).expect("a claim"), Claim::Busy(_))
}

#[test]
fn a_stage_is_claimed_committed_and_done() {
    let (_folder, store) = store();
    let key = key("a");
    assert!(store.stage(&key).expect("a look").is_none());
    let lease = mine(store.claim(&key).expect("a claim"));
    assert!(!lease.is_resumed());
    assert!(lease.notices().is_empty());
    assert!(is_busy(&store, &key), "a second claim of the same process is busy");
    fs::write(lease.dir().join("litter"), "x").expect("litter");
    fs::create_dir(lease.dir().join("checkpoints")).expect("a folder");
    let stage = work(lease, "numbers").expect("a commit");

    assert_eq!(done(store.claim(&key).expect("a claim")), stage);
    assert_eq!(store.stage(&key).expect("a look"), Some(stage.clone()));
    assert_eq!(stage.manifest(), &manifest());
    assert_eq!(stage.science(), key.science());
    assert_eq!(stage.key(), key.hex());
    assert_eq!(fs::read_to_string(stage.artefact("weights.safetensors").expect("a path")).expect("text"), "numbers");
    assert_eq!(stage.artefacts()["weights.safetensors"].bytes, 7);
    assert_eq!(
        stage.artefacts()["weights.safetensors"].blake3,
        blake3::hash(b"numbers").to_hex().to_string(),
        "the hash is plain BLAKE3"
    );
    stage.verify().expect("a sound stage");
    assert!(stage.artefact("other").expect_err("no such artefact").to_string().contains("weights.safetensors"));
    // Nothing but the artefact and its description is left, anywhere.
    assert_eq!(names(stage.path()), ["key.json", "weights.safetensors"]);
    assert_eq!(stage.path(), store.root().join("stages").join(&key.hex()[..2]).join(key.hex()));
    assert!(names(&store.root().join("partial")).is_empty());
    assert!(names(&store.root().join("leases")).is_empty());
}

#[test]
fn a_store_can_be_opened_again_and_read_without_being_made() {
    let (folder, store) = store();
    work(mine(store.claim(&key("a")).expect("a claim")), "1").expect("a commit");
    let before = fs::read(store.root().join("store.json")).expect("store.json");
    let again = Store::open(store.root()).expect("the same store");
    assert_eq!(fs::read(store.root().join("store.json")).expect("store.json"), before);
    done(again.claim(&key("a")).expect("a claim"));
    again.ensure_writable().expect("a writable store");
    for part in ["stages", "partial", "leases", "quarantine"] {
        let tag = fs::read_to_string(store.root().join(part).join("CACHEDIR.TAG")).expect("a tag");
        assert!(tag.starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
        assert!(store.root().join(part).join(".gitignore").exists());
    }
    assert!(store.results().is_dir() && store.logs().is_dir());

    let nowhere = folder.path().join("nowhere");
    assert!(Store::open_existing(&nowhere).expect("a look").is_none());
    assert!(!nowhere.exists());
    let found = Store::open_existing(store.root()).expect("a look").expect("a store");
    assert!(found.stage(&key("a")).expect("a look").is_some());
}

#[test]
fn a_dropped_lease_is_free_and_its_work_goes_on() {
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    assert!(store.is_begun(&key));
    fs::write(lease.dir().join("half"), "half").expect("a file");
    drop(lease);
    let mut lease = mine(store.claim(&key).expect("a claim"));
    assert!(lease.is_resumed());
    assert!(lease.notices()[0].contains("given back"), "{:?}", lease.notices());
    assert_eq!(fs::read_to_string(lease.dir().join("half")).expect("text"), "half");
    lease.reset().expect("a reset");
    assert!(!lease.is_resumed());
    assert!(names(lease.dir()).is_empty());
    work(lease, "1").expect("a commit");
}

#[test]
fn a_lease_is_taken_over_only_from_the_dead() {
    const FRESH: Duration = Duration::ZERO;
    const OLD: Duration = Duration::from_secs(61);
    const MISSED_SOME: Duration = Duration::from_secs(20);
    let me = LeaseInfo::new_attempt();
    assert!(me.boot_id.is_some() && me.process_started.is_some(), "these tests need /proc");
    let dead = LeaseInfo { pid: NO_SUCH_PROCESS, ..me.clone() };
    let reused = LeaseInfo { process_started: me.process_started.map(|ticks| ticks + 1), ..me.clone() };
    let elsewhere = LeaseInfo { host: "another-machine".to_owned(), pid: NO_SUCH_PROCESS, ..me.clone() };
    let rebooted = LeaseInfo { boot_id: Some("another-boot".to_owned()), ..me.clone() };
    let contained = LeaseInfo { pid_namespace: Some("pid:[1]".to_owned()), pid: NO_SUCH_PROCESS, ..me.clone() };
    let cases = [
        ("live process, fresh", &me, FRESH, None),
        ("live process, old", &me, OLD, Some("heartbeat stopped")),
        ("dead process, fresh", &dead, FRESH, Some("process is gone")),
        ("number used again, fresh", &reused, FRESH, Some("process is gone")),
        ("another machine, fresh", &elsewhere, FRESH, None),
        ("another machine, some beats missed", &elsewhere, MISSED_SOME, None),
        ("another machine, old", &elsewhere, OLD, Some("heartbeat stopped")),
        ("a machine of the same name, fresh", &rebooted, FRESH, None),
        ("this machine before its restart", &rebooted, MISSED_SOME, Some("started anew")),
        ("a container of the same host name, fresh", &contained, FRESH, None),
    ];
    for (name, info, age, taken_because) in cases {
        let (_folder, store) = store();
        let key = key(name);
        forge(&store, &key, 1, info, age);
        match (store.claim(&key).expect("a claim"), taken_because) {
            (Claim::Busy(holder), None) => assert_eq!(&holder, info, "{name}"),
            (Claim::Mine(lease), Some(why)) => {
                assert!(lease.notices()[0].contains(why), "{name}: {:?}", lease.notices());
                assert!(!store.lease_path(&key, 1).exists(), "{name}: the old lease is gone");
                work(lease, "1").expect("a commit");
            }
            (claim, expected) => panic!("{name}: expected {expected:?}, got {claim:?}"),
        }
    }
}

#[test]
fn an_unreadable_lease_counts_by_its_age() {
    let (_folder, store) = store();
    let key = key("a");
    let path = store.lease_path(&key, 7);
    fs::write(&path, "").expect("a lease");
    assert!(is_busy(&store, &key));
    let old = SystemTime::now() - Duration::from_secs(61);
    File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("a heartbeat");
    mine(store.claim(&key).expect("a claim"));
}

#[test]
fn one_of_sixteen_threads_gets_a_free_or_a_stale_lease() {
    for round in 0..24 {
        let (_folder, store) = store();
        let key = key(&format!("race {round}"));
        if round % 2 == 0 {
            let dead = LeaseInfo { pid: NO_SUCH_PROCESS, ..LeaseInfo::new_attempt() };
            forge(&store, &key, 3, &dead, Duration::ZERO);
        }
        let barrier = Barrier::new(16);
        let claims: Vec<Claim> = thread::scope(|scope| {
            let claim = || {
                barrier.wait();
                store.claim(&key).expect("a claim")
            };
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(claim)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
        });
        let mine = claims.iter().filter(|claim| matches!(claim, Claim::Mine(_))).count();
        let busy = claims.iter().filter(|claim| matches!(claim, Claim::Busy(_))).count();
        assert_eq!((mine, busy), (1, 15), "round {round}");
    }
}

#[test]
fn threads_that_all_work_compute_each_stage_once() {
    let (_folder, store) = store();
    let keys: Vec<_> = (0..6).map(|i| key(&format!("stage {i}"))).collect();
    let computed: usize = thread::scope(|scope| {
        let worker = || {
            let mut computed = 0;
            for key in &keys {
                let waiting =
                    Waiting { poll: Duration::from_millis(1), patience: None, stop: &|| false, on_holder: &mut |_| {} };
                match store.wait_or_skip(key, waiting).expect("a claim").expect("no stop") {
                    Claim::Done(_) => {}
                    Claim::Mine(lease) => {
                        work(lease, "numbers").expect("a commit");
                        computed += 1;
                    }
                    Claim::Busy(_) => unreachable!("waiting ends when the stage is free"),
                }
            }
            computed
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    assert_eq!(computed, keys.len());
    assert!(names(&store.root().join("leases")).is_empty());
    assert!(names(&store.root().join("quarantine")).is_empty());
}

#[test]
fn a_lost_lease_commits_nothing() {
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    lease.ensure_held().expect("held");
    // Another machine believes this process dead and takes over.
    let other = LeaseInfo { host: "another-machine".to_owned(), ..LeaseInfo::new_attempt() };
    forge(&store, &key, 2, &other, Duration::ZERO);
    assert!(matches!(lease.ensure_held(), Err(StoreError::LeaseLost { .. })));
    let error = work(lease, "late").expect_err("a lost lease");
    assert!(matches!(error, StoreError::LeaseLost { .. }));
    assert!(error.to_string().contains("another-machine"), "{error}");
    assert!(store.stage(&key).expect("a look").is_none());
    assert!(is_busy(&store, &key), "giving a lost lease back frees nothing");
}

#[test]
fn an_overwritten_or_removed_lease_commits_nothing() {
    let other = LeaseInfo { host: "another-machine".to_owned(), ..LeaseInfo::new_attempt() };
    let (_folder, store) = store();
    let lease = mine(store.claim(&key("a")).expect("a claim"));
    forge(&store, &key("a"), 1, &other, Duration::ZERO);
    assert!(matches!(work(lease, "late"), Err(StoreError::LeaseLost { .. })));
    let lease = mine(store.claim(&key("b")).expect("a claim"));
    fs::remove_file(store.lease_path(&key("b"), 1)).expect("removed");
    assert!(matches!(work(lease, "late"), Err(StoreError::LeaseLost { .. })));
}

#[test]
fn a_late_riser_writes_neither_into_the_work_nor_into_the_stage() {
    let (_folder, store) = store();
    let key = key("a");
    let late = mine(store.claim(&key).expect("a claim"));
    let path = store.lease_path(&key, 1);
    let old = SystemTime::now() - Duration::from_secs(61);
    File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("a heartbeat");
    let heir = mine(store.claim(&key).expect("a claim"));
    assert!(heir.is_resumed());

    let write = fs::write(late.dir().join("weights.safetensors"), "late");
    let error = StoreError::Io {
        action: "writing",
        source: write.expect_err("the folder has moved"),
        path: late.dir().to_owned(),
    };
    assert!(matches!(late.explain(error), StoreError::LeaseLost { .. }));
    drop(late);
    heir.ensure_held().expect("the heir keeps the stage");
    work(heir, "heir").expect("a commit");
    assert!(matches!(store.claim(&key).expect("a claim"), Claim::Done(_)));
}

#[test]
fn the_heartbeat_keeps_a_lease_alive_and_notices_its_loss() {
    let (_folder, store) = store();
    let timing = Timing { heartbeat: Duration::from_millis(5), stale_after: Duration::from_mins(1) };
    let store = store.with_timing(timing);
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    let old = SystemTime::now() - Duration::from_hours(1);
    let path = store.lease_path(&key, 1);
    File::options().write(true).open(&path).and_then(|file| file.set_modified(old)).expect("a heartbeat");
    let beat = || fs::metadata(&path).and_then(|data| data.modified()).expect("a time");
    let begun = SystemTime::now();
    while beat() <= old && begun.elapsed().expect("time goes on") < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(2));
    }
    assert!(beat() > old, "the heartbeat renews the time stamp");
    assert!(is_busy(&store, &key));
    drop(lease);
    assert_eq!(beat(), SystemTime::UNIX_EPOCH);
}

#[test]
fn committing_a_stage_that_is_there_keeps_the_first() {
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    // The same stage arrives by another way, such as a copy of another store.
    let (_other_folder, other) = super::store();
    let first = work(mine(other.claim(&key).expect("a claim")), "first").expect("a commit");
    let place = store.root().join("stages").join(&key.hex()[..2]);
    fs::create_dir(&place).expect("a folder");
    fs::rename(first.path(), place.join(key.hex())).expect("moved");

    let stage = work(lease, "second").expect("an idempotent commit");
    assert_eq!(stage.manifest(), first.manifest());
    assert_eq!(fs::read_to_string(stage.artefact("weights.safetensors").expect("a path")).expect("text"), "first");
    assert!(names(&store.root().join("partial")).is_empty());
    assert!(names(&store.root().join("leases")).is_empty());
}

#[test]
fn a_missing_artefact_fails_the_commit_and_keeps_the_work() {
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    fs::write(lease.dir().join("checkpoint"), "x").expect("a file");
    let error = lease.commit(&manifest(), &["weights.safetensors"]).expect_err("nothing to commit");
    assert!(error.to_string().contains("weights.safetensors"), "{error}");
    let lease = mine(store.claim(&key).expect("a claim"));
    assert!(lease.dir().join("checkpoint").exists());
}

#[test]
fn waiting_ends_when_told_or_out_of_patience() {
    let (_folder, store) = store();
    let key = key("a");
    let _lease = mine(store.claim(&key).expect("a claim"));
    let mut told = 0;
    let poll = Duration::from_millis(1);
    let mut on_holder = |holder: &LeaseInfo| {
        assert_eq!(holder.pid, std::process::id());
        told += 1;
    };
    let patience = Some(Duration::from_millis(5));
    let patient = Waiting { poll, patience, stop: &|| false, on_holder: &mut on_holder };
    assert!(store.wait_or_skip(&key, patient).expect("a wait").is_none());
    let stopped = Waiting { poll: Duration::from_mins(1), patience: None, stop: &|| true, on_holder: &mut on_holder };
    assert!(store.wait_or_skip(&key, stopped).expect("a wait").is_none());
    assert_eq!(told, 2, "each wait tells of its holder once");
}

#[test]
fn what_a_finished_stage_lacks_is_added_to_it() {
    let (_folder, store) = store();
    let key = key("a");
    let first = work(mine(store.claim(&key).expect("a claim")), "numbers").expect("a commit");
    let extra = ["extra".to_owned()];
    assert!(!first.has(&extra) && first.has(&[]));
    assert_eq!(done(store.claim_with(&key, &[]).expect("a claim")), first);

    // While it is computed again, what is there is there.
    let lease = mine(store.claim_with(&key, &extra).expect("a claim"));
    assert!(lease.notices().is_empty(), "nothing is wrong with it");
    assert_eq!(done(store.claim(&key).expect("a claim")), first);
    assert!(matches!(store.claim_with(&key, &extra).expect("a claim"), Claim::Busy(_)));
    fs::write(lease.dir().join("weights.safetensors"), "other numbers").expect("an artefact");
    fs::write(lease.dir().join("extra"), "more").expect("an artefact");
    let more = manifest();
    let notes = BTreeMap::from([("images".to_owned(), json!(1)), ("kept".to_owned(), json!({"4": 2}))]);
    let more = StageManifest { label: "again".to_owned(), notes, ..more };
    let second = lease.commit(&more, &["weights.safetensors", "extra"]).expect("a commit");

    second.verify().expect("a sound stage");
    let read = |name: &str| fs::read_to_string(second.artefact(name).expect("a path")).expect("text");
    assert_eq!((read("weights.safetensors"), read("extra")), ("numbers".to_owned(), "more".to_owned()));
    assert_eq!(second.manifest().label, first.manifest().label);
    assert_eq!((&second.manifest().notes["images"], &second.manifest().notes["kept"]), (&json!(64), &json!({"4": 2})));
    assert_eq!(done(store.claim_with(&key, &extra).expect("a claim")), second);
    assert!(names(&store.root().join("partial")).is_empty() && names(&store.root().join("leases")).is_empty());
    assert!(names(&store.root().join("quarantine")).is_empty());
}
