//! Two and more processes on one store, kill -9, and signals. The other processes are this test
//! binary again, told by the environment to play a role.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use reid_runner::exit::ExitCode;
use reid_runner::signals::Interrupt;
use reid_runner::store::checkpoints::CheckpointStore;
use reid_runner::store::{Claim, Store, Waiting};

use super::{done, key, mine, names, store, work};

const ROLE: &str = "REID_TEST_ROLE";
const ROOT: &str = "REID_TEST_ROOT";
const NAME: &str = "REID_TEST_NAME";

/// Nothing here takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// Stages of the race.
const STAGES: usize = 12;

/// What the other processes do. Without a role it is a test that has nothing to do.
#[test]
fn role() {
    let Ok(role) = env::var(ROLE) else { return };
    let root = PathBuf::from(env::var_os(ROOT).expect("a root"));
    let name = env::var(NAME).expect("a name");
    match role.as_str() {
        "hold" => hold(&root, &name),
        "race" => race(&root, &name),
        "obey" => obey(&root, &name),
        "ignore" => ignore(&root, &name),
        other => panic!("no role is called {other}"),
    }
}

/// Works on a stage, checkpoints, and never ends.
fn hold(root: &Path, name: &str) {
    let store = Store::open(root).expect("the store");
    let lease = mine(store.claim(&key("a")).expect("a claim"));
    let checkpoints = CheckpointStore::open(lease.dir()).expect("a folder");
    checkpoints.save(10, b"state 10").expect("saved");
    say_ready(root, name);
    pass_time();
}

/// Computes whatever of the stages nobody else does, and notes what it has computed.
fn race(root: &Path, name: &str) {
    let store = Store::open(root).expect("the store");
    for i in 0..STAGES {
        let stage = format!("stage {i}");
        let waiting =
            Waiting { poll: Duration::from_millis(2), patience: None, stop: &|| false, on_holder: &mut |_| {} };
        if let Some(Claim::Mine(lease)) = store.wait_or_skip(&key(&stage), waiting).expect("a claim") {
            say_ready(root, &format!("{name}-{i}"));
            work(lease, &stage).expect("a commit");
        }
    }
}

/// Stops when it is told to.
fn obey(root: &Path, name: &str) {
    let interrupt = Interrupt::install().expect("handlers");
    say_ready(root, name);
    let begun = Instant::now();
    while !interrupt.requested() && begun.elapsed() < LIMIT {
        thread::sleep(Duration::from_millis(2));
    }
    fs::write(root.join(format!("{name}.cause")), interrupt.cause().unwrap_or("none")).expect("written");
    std::process::exit(i32::from(ExitCode::Interrupted.code()));
}

/// Does not look at requests.
fn ignore(root: &Path, name: &str) {
    let interrupt = Interrupt::install().expect("handlers");
    say_ready(root, name);
    while !interrupt.requested() {
        thread::sleep(Duration::from_millis(2));
    }
    say_ready(root, &format!("{name}-told"));
    pass_time();
}

fn pass_time() {
    let begun = Instant::now();
    while begun.elapsed() < LIMIT {
        thread::park_timeout(Duration::from_millis(100));
    }
}

fn say_ready(root: &Path, name: &str) {
    fs::write(root.join(format!("{name}.ready")), "").expect("written");
}

fn start(role: &str, root: &Path, name: &str) -> Child {
    Command::new(env::current_exe().expect("this binary"))
        .args(["--exact", "store::processes::role", "--nocapture"])
        .envs([(ROLE, role), (NAME, name)])
        .env(ROOT, root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("another process")
}

fn await_ready(root: &Path, name: &str) {
    let (path, begun) = (root.join(format!("{name}.ready")), Instant::now());
    while !path.exists() {
        assert!(begun.elapsed() < LIMIT, "{name} is not ready");
        thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let command = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &command]).status().expect("a shell").success());
}

fn end(mut child: Child) -> ExitStatus {
    child.wait().expect("an end")
}

#[test]
fn a_live_process_keeps_its_stage_and_a_killed_one_is_resumed_at_once() {
    let (_folder, store) = store();
    let mut child = start("hold", store.root(), "child");
    await_ready(store.root(), "child");
    match store.claim(&key("a")).expect("a claim") {
        Claim::Busy(holder) => assert_eq!(holder.pid, child.id()),
        other => panic!("expected a busy stage, got {other:?}"),
    }
    child.kill().expect("kill -9");
    // It is a zombie until it is waited for, and already counts as gone.
    let begun = Instant::now();
    let lease = loop {
        match store.claim(&key("a")).expect("a claim") {
            Claim::Mine(lease) => break lease,
            _ => assert!(begun.elapsed() < LIMIT, "the stage is never free"),
        }
    };
    end(child);
    assert!(lease.is_resumed());
    assert!(lease.notices()[0].contains("its process is gone"), "{:?}", lease.notices());
    let latest = CheckpointStore::open(lease.dir()).and_then(|checkpoints| checkpoints.latest()).expect("a look");
    assert_eq!(latest.checkpoint.expect("a checkpoint").step, 10);
    work(lease, "numbers").expect("a commit");
}

#[test]
fn processes_that_share_a_store_compute_each_stage_once() {
    let (_folder, store) = store();
    let children: Vec<_> = (0..4).map(|i| start("race", store.root(), &format!("worker{i}"))).collect();
    for child in children {
        assert!(end(child).success());
    }
    for i in 0..STAGES {
        let computed: Vec<_> =
            names(store.root()).into_iter().filter(|name| name.ends_with(&format!("-{i}.ready"))).collect();
        assert_eq!(computed.len(), 1, "stage {i} was computed by {computed:?}");
        done(store.claim(&key(&format!("stage {i}"))).expect("a claim")).verify().expect("a sound stage");
    }
    assert!(names(&store.root().join("partial")).is_empty());
    assert!(names(&store.root().join("quarantine")).is_empty());
}

#[test]
fn killed_processes_lose_nothing_that_was_committed() {
    let (_folder, store) = store();
    for round in 0..5 {
        let mut children: Vec<_> = (0..3).map(|i| start("race", store.root(), &format!("r{round}w{i}"))).collect();
        // Each round they get as far as one more stage that is being computed.
        let begun = Instant::now();
        let is_new = |name: &String| name.starts_with(&format!("r{round}w"));
        while names(store.root()).iter().filter(|name| is_new(name)).count() < 2 {
            assert!(begun.elapsed() < LIMIT, "nobody computes anything");
            thread::yield_now();
        }
        for child in &mut children {
            child.kill().expect("kill -9");
        }
        for child in children {
            end(child);
        }
        let finished = (0..STAGES).filter_map(|i| store.stage(&key(&format!("stage {i}"))).expect("a look"));
        for stage in finished {
            stage.verify().expect("whatever is there is whole");
        }
    }
    assert!(end(start("race", store.root(), "last")).success());
    for i in 0..STAGES {
        done(store.claim(&key(&format!("stage {i}"))).expect("a claim")).verify().expect("a sound stage");
    }
    assert!(names(&store.root().join("quarantine")).is_empty());
    store.tidy().expect("tidied");
    let leases: Vec<_> =
        names(&store.root().join("leases")).into_iter().filter(|name| !name.starts_with('.')).collect();
    assert!(leases.is_empty(), "{leases:?}");
}

#[test]
fn the_first_signal_asks_to_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["INT", "TERM", "USR1"] {
        let child = start("obey", folder.path(), name);
        await_ready(folder.path(), name);
        signal(&child, name);
        assert_eq!(end(child).code(), Some(75), "{name}");
        let cause = fs::read_to_string(folder.path().join(format!("{name}.cause"))).expect("a cause");
        assert_eq!(cause, format!("SIG{name}"));
    }
}

#[test]
fn a_second_ctrl_c_stops_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = start("ignore", folder.path(), "child");
    await_ready(folder.path(), "child");
    signal(&child, "INT");
    await_ready(folder.path(), "child-told");
    signal(&child, "INT");
    assert_eq!(end(child).code(), Some(130));
}

#[test]
fn a_request_can_be_made_by_the_program() {
    let interrupt = Interrupt::new();
    let same = interrupt.clone();
    assert!(!same.requested() && same.cause().is_none());
    interrupt.request();
    assert!(same.requested());
    assert_eq!(same.cause(), Some("SIGTERM"));
}
