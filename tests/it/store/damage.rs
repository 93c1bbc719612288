//! Stages, checkpoints and stores that are not as they should be.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use reid_runner::exit::RunError;
use reid_runner::store::atomic::write_atomic;
use reid_runner::store::checkpoints::{CheckpointStore, Latest};
use reid_runner::store::{Check, Claim, Store, StoreError};

use super::{done, key, manifest, mine, names, store, work};

#[test]
fn a_damaged_stage_is_set_aside_and_computed_again() {
    type Harm = fn(&std::path::Path);
    let harms: [(&str, &str, Harm); 5] = [
        ("truncated", "6 bytes instead of 7", |stage| {
            fs::write(stage.join("weights.safetensors"), "number").expect("written");
        }),
        ("missing artefact", "is missing", |stage| {
            fs::remove_file(stage.join("weights.safetensors")).expect("removed");
        }),
        ("no description", "has no key.json", |stage| fs::remove_file(stage.join("key.json")).expect("removed")),
        ("torn description", "cannot be read", |stage| fs::write(stage.join("key.json"), "{").expect("written")),
        ("of another key", "another key", |stage| {
            let text = fs::read_to_string(stage.join("key.json")).expect("text");
            let file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let hex = file["key"].as_str().expect("a key");
            fs::write(stage.join("key.json"), text.replace(hex, "0123")).expect("written");
        }),
    ];
    for (name, problem, harm) in harms {
        let (_folder, store) = store();
        let key = key(name);
        let stage = work(mine(store.claim(&key).expect("a claim")), "numbers").expect("a commit");
        harm(stage.path());
        assert!(store.stage(&key).expect("a look").is_none(), "{name}");
        let lease = mine(store.claim(&key).expect("a claim"));
        let notice = lease.notices().join("\n");
        assert!(notice.contains(problem) && notice.contains("quarantine"), "{name}: {notice}");
        assert_eq!(names(&store.root().join("quarantine")).len(), 1, "{name}");
        assert!(!lease.is_resumed());
        work(lease, "numbers").expect("a commit");
        done(store.claim(&key).expect("a claim"));
    }
}

#[test]
fn a_changed_byte_is_found_by_those_who_look_closely() {
    let (_folder, store) = store();
    let key = key("a");
    let stage = work(mine(store.claim(&key).expect("a claim")), "numbers").expect("a commit");
    fs::write(stage.path().join("weights.safetensors"), "numberz").expect("written");
    done(store.claim(&key).expect("a claim"));
    assert!(stage.verify().expect_err("damage").to_string().contains("weights.safetensors has changed"));
    let lease = mine(store.claim_checked(&key, Check::Contents).expect("a claim"));
    work(lease, "numbers").expect("a commit");
    done(store.claim_checked(&key, Check::Contents).expect("a claim")).verify().expect("a sound stage");
}

#[test]
fn a_damaged_stage_that_appears_during_the_work_makes_way() {
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    let place = store.root().join("stages").join(&key.hex()[..2]).join(key.hex());
    fs::create_dir_all(&place).expect("a folder");
    fs::write(place.join("weights.safetensors"), "half").expect("written");
    let stage = work(lease, "numbers").expect("a commit");
    stage.verify().expect("a sound stage");
    assert_eq!(names(&store.root().join("quarantine")).len(), 1);
}

#[test]
fn the_last_two_checkpoints_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointStore::open(folder.path()).expect("a folder");
    assert_eq!(checkpoints.latest().expect("a look"), Latest::default());
    for step in [50, 100, 150] {
        checkpoints.save(step, format!("state {step}").as_bytes()).expect("saved");
    }
    let files = names(&folder.path().join("checkpoints"));
    assert_eq!(
        files,
        [
            "ckpt-000000100.safetensors",
            "ckpt-000000100.safetensors.b3",
            "ckpt-000000150.safetensors",
            "ckpt-000000150.safetensors.b3",
        ]
    );
    let latest = checkpoints.latest().expect("a look").checkpoint.expect("a checkpoint");
    assert_eq!((latest.step, fs::read(&latest.path).expect("bytes").as_slice()), (150, b"state 150".as_slice()));
    let line = fs::read_to_string(latest.path.with_added_extension("b3")).expect("a checksum");
    assert_eq!(line, format!("{}  ckpt-000000150.safetensors\n", blake3::hash(b"state 150").to_hex()));
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointStore::open(folder.path()).expect("a folder");
    checkpoints.save(50, b"state 50").expect("saved");
    let newest = checkpoints.save(100, b"state 100").expect("saved");

    fs::write(&newest, "state").expect("truncated");
    let latest = checkpoints.latest().expect("a look");
    assert_eq!(latest.checkpoint.as_ref().expect("a checkpoint").step, 50);
    assert!(latest.damaged[0].contains("step 100 does not agree with its checksum"), "{:?}", latest.damaged);
    fs::remove_file(newest.with_added_extension("b3")).expect("removed");
    assert!(checkpoints.latest().expect("a look").damaged[0].contains("has no checksum"));

    // The run goes on from step 50: the damaged file does not push a sound one out.
    checkpoints.save(75, b"state 75").expect("saved");
    assert_eq!(checkpoints.latest().expect("a look").checkpoint.expect("a checkpoint").step, 75);
    assert_eq!(names(&folder.path().join("checkpoints")).len(), 4);
    fs::write(folder.path().join("checkpoints/ckpt-000000075.safetensors"), "").expect("truncated");
    assert_eq!(checkpoints.latest().expect("a look").checkpoint.expect("a checkpoint").step, 50);
    checkpoints.save(75, b"state 75 again").expect("a second save of a step");
    let latest = checkpoints.latest().expect("a look").checkpoint.expect("a checkpoint");
    assert_eq!(fs::read(latest.path).expect("bytes"), b"state 75 again");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_others_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = CheckpointStore::open(folder.path()).expect("a folder");
    checkpoints.save(50, b"state 50").expect("saved");
    let failed: Result<_, RunError> = checkpoints.save_with(100, |path| {
        fs::write(path, "half").expect("written");
        Err(RunError::Unexpected("no more space".to_owned()))
    });
    assert_eq!(failed.expect_err("an error").to_string(), "no more space");
    assert_eq!(names(&folder.path().join("checkpoints")).len(), 2);
    assert_eq!(checkpoints.latest().expect("a look").checkpoint.expect("a checkpoint").step, 50);
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.json");
    write_atomic(&path, b"one").expect("written");
    write_atomic(&path, b"two").expect("written");
    assert_eq!(fs::read(&path).expect("bytes"), b"two");
    assert_eq!(names(folder.path()), ["plan.json"]);
    // The permissions are those of any new file, so that a group can share a store.
    let plain = folder.path().join("plain");
    fs::write(&plain, "").expect("written");
    let mode = |path: &std::path::Path| fs::metadata(path).expect("metadata").permissions().mode();
    assert_eq!(mode(&path), mode(&plain));
    let error = write_atomic(&folder.path().join("missing/plan.json"), b"x").expect_err("no folder");
    assert!(error.to_string().contains("missing/plan.json"), "{error}");
}

#[test]
fn a_newer_or_torn_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store.json");
    let newer = r#"{"schema_version": 999, "program_version": "9.9.9", "created": "2099", "more": {}}"#;
    fs::write(&path, newer).expect("written");
    for error in [
        Store::open(folder.path()).expect_err("a newer store"),
        Store::open_existing(folder.path()).expect_err("a newer store"),
    ] {
        assert!(matches!(error, StoreError::Newer { found: 999, .. }));
        assert!(error.to_string().contains("9.9.9") && error.to_string().contains("--out"), "{error}");
        assert_eq!(RunError::from(error).exit_code().code(), 6);
    }
    assert_eq!(names(folder.path()), ["store.json"], "nothing was added");
    assert_eq!(fs::read_to_string(&path).expect("text"), newer);

    fs::write(&path, "{").expect("written");
    let error = Store::open(folder.path()).expect_err("a torn store");
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
}

#[test]
fn a_stage_of_a_newer_program_is_no_damage() {
    let (_folder, store) = store();
    let key = key("a");
    let stage = work(mine(store.claim(&key).expect("a claim")), "numbers").expect("a commit");
    fs::write(stage.path().join("key.json"), r#"{"schema_version": 999}"#).expect("written");
    assert!(matches!(store.claim(&key), Err(StoreError::Newer { .. })));
    assert!(stage.path().join("weights.safetensors").exists());
}

#[test]
fn a_place_where_no_store_can_be_names_path_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    // Not a matter of permissions, which would not stop the superuser.
    for root in [file.clone(), file.join("runs")] {
        let error = Store::open(&root).expect_err("no store here");
        let text = error.to_string();
        assert!(text.contains(&root.display().to_string()) && text.contains("--out"), "{text}");
        assert_eq!(RunError::from(error).exit_code().code(), 6);
    }
}

#[test]
fn a_full_disk_says_so() {
    let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = StoreError::Io { action: "writing a checkpoint", source, path: "/runs/partial/x".into() };
    let text = error.to_string();
    assert!(text.starts_with("writing a checkpoint: ") && text.ends_with(": /runs/partial/x"), "{text}");
    assert!(text.contains("free some space"), "{text}");
}

#[test]
fn a_committed_stage_survives_what_its_lease_left_behind() {
    // A crash between the rename and the removal of the lease.
    let (_folder, store) = store();
    let key = key("a");
    let lease = mine(store.claim(&key).expect("a claim"));
    let copy = fs::read(store.lease_path(&key, 1)).expect("a lease");
    fs::write(lease.dir().join("weights.safetensors"), "numbers").expect("written");
    lease.commit(&manifest(), &["weights.safetensors"]).expect("a commit");
    fs::write(store.lease_path(&key, 1), copy).expect("a lease");
    assert!(matches!(store.claim(&key).expect("a claim"), Claim::Done(_)));

    store.tidy().expect("tidied");
    assert!(store.lease_path(&key, 1).exists(), "the lease of a live process stays");
    let given_back = |file: File| file.set_modified(SystemTime::UNIX_EPOCH);
    File::options().write(true).open(store.lease_path(&key, 1)).and_then(given_back).expect("given back");
    let begun = mine(store.claim(&super::key("b")).expect("a claim"));
    let path = store.lease_path(begun.key(), 1);
    drop(begun);
    store.tidy().expect("tidied");
    assert!(!store.lease_path(&key, 1).exists());
    assert!(path.exists() && store.is_begun(&super::key("b")), "unfinished work stays");
}
