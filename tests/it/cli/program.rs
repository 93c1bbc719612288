//! Runs the program as a process of its own: this test binary again, told by the environment to be
//! `reid-run`. So the tests need no other binary, which might be missing or old.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use reid_results::{RunRow, read};
use serde_json::Value;
use tempfile::TempDir;

/// Variable that holds the program's arguments as JSON.
const ARGUMENTS: &str = "REID_TEST_PROGRAM_ARGUMENTS";

/// Ends what the test harness writes to stdout before the program does.
const BEGIN: &str = "=== the program begins ===\n";

/// Nothing here takes this long.
const LIMIT: Duration = Duration::from_mins(2);

/// The program, in a process that was told to be it. Elsewhere a test that has nothing to do.
#[test]
fn program() {
    let Ok(arguments) = env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).expect("a list of texts");
    std::io::stdout().write_all(BEGIN.as_bytes()).expect("written");
    let arguments = std::iter::once("reid-run".to_owned()).chain(arguments).map(OsString::from);
    std::process::exit(i32::from(reid_runner::run(arguments).code()));
}

/// A folder to run the program in. Rendered pictures are shared by all of them.
pub(super) struct Lab {
    folder: TempDir,
}

impl Lab {
    /// In memory where that is possible: every checkpoint and every stage is flushed to disk.
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.expect("a temporary folder") }
    }

    /// With a spec in it.
    pub(super) fn with(name: &str, spec: &str) -> Self {
        let lab = Self::new();
        lab.write(name, spec);
        lab
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("written");
    }

    /// The program with arguments, which starts in this folder and knows nothing of the user's.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli");
        let mut command = Command::new(env::current_exe().expect("this binary"));
        command
            .args(["--exact", "cli::program::program", "--nocapture", "--test-threads=1"])
            .current_dir(self.root())
            .env_clear()
            .env("HOME", self.root())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", shared)
            .env("REID_RUN_THREADS", "1")
            // A repository around the temporary folder would be found otherwise.
            .env("GIT_CEILING_DIRECTORIES", self.root().parent().expect("a parent"))
            .env(ARGUMENTS, serde_json::to_string(arguments).expect("JSON"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(super) fn run(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    /// Runs the program to its end, which must be a good one.
    pub(super) fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        said.assert_code(0);
        said
    }

    /// Starts the program.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments), self.root())
    }

    /// Rows in the results of a store.
    pub(super) fn rows(&self, store: &str) -> Vec<RunRow> {
        read(&self.path(store).join("results")).and_then(|frames| frames.rows()).expect("results")
    }

    /// The finished stages of a store, in words, by key.
    pub(super) fn stages(&self, store: &str) -> BTreeMap<String, String> {
        let label = |folder: PathBuf| {
            let text = fs::read(folder.join("key.json")).expect("a description");
            let description: Value = serde_json::from_slice(&text).expect("JSON");
            let field = |value: &Value| value.as_str().expect("a text").to_owned();
            (field(&description["key"]), field(&description["manifest"]["label"]))
        };
        stage_folders(&self.path(store)).into_iter().map(label).collect()
    }

    /// Every artefact of a store's finished stages, by stage and name. Times of step metrics are left out.
    pub(super) fn artefacts(&self, store: &str) -> BTreeMap<String, Vec<u8>> {
        let mut artefacts = BTreeMap::new();
        for folder in stage_folders(&self.path(store)) {
            for file in children(&folder) {
                let name = file.strip_prefix(self.path(store)).expect("in the store").display().to_string();
                let bytes = fs::read(&file).expect("an artefact");
                match file.file_name().and_then(|name| name.to_str()) {
                    Some("key.json") => {}
                    Some("steps.json") => drop(artefacts.insert(name, without_times(&bytes))),
                    _ => drop(artefacts.insert(name, bytes)),
                }
            }
        }
        artefacts
    }
}

fn without_times(steps: &[u8]) -> Vec<u8> {
    let mut steps: Value = serde_json::from_slice(steps).expect("JSON");
    for step in steps["steps"].as_array_mut().expect("a list") {
        step.as_object_mut().expect("a map").remove("at").expect("a time");
    }
    serde_json::to_vec(&steps).expect("JSON")
}

fn stage_folders(store: &Path) -> Vec<PathBuf> {
    let shelves = children(&store.join("stages")).into_iter().filter(|path| path.is_dir());
    shelves.flat_map(|shelf| children(&shelf)).collect()
}

/// What a folder holds, sorted; nothing if there is no such folder.
pub(super) fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Sound checkpoints of unfinished stages.
pub(super) fn checkpoints(store: &Path) -> BTreeSet<PathBuf> {
    let attempts = children(&store.join("partial")).into_iter().flat_map(|key| children(&key));
    let files = attempts.flat_map(|attempt| children(&attempt.join("checkpoints")));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "b3")).collect()
}

/// A process of the program. It does not outlive the test.
pub(super) struct Running {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    _folder: TempDir,
}

impl Running {
    pub(super) fn new(mut command: Command, root: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix(".said").tempdir_in(root).expect("a folder");
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        command.stdout(File::create(&out).expect("a file")).stderr(File::create(&err).expect("a file"));
        Self { child: command.spawn().expect("a process"), out, err, _folder: folder }
    }

    /// What it has said on stderr so far.
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).expect("a file")).into_owned()
    }

    /// Waits until something holds; `false` if the process ended before.
    pub(super) fn wait_until(&mut self, holds: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !holds() {
            if self.child.try_wait().expect("a state").is_some() {
                return false;
            }
            assert!(begun.elapsed() < LIMIT, "it does not come; stderr:\n{}", self.stderr());
            thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits until it says something on stderr.
    pub(super) fn wait_for(&mut self, text: &str) {
        let err = self.err.clone();
        let said = self.wait_until(|| String::from_utf8_lossy(&fs::read(&err).expect("a file")).contains(text));
        assert!(said, "it ended without {text:?}; stderr:\n{}", self.stderr());
    }

    /// Sends a signal by its name.
    pub(super) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().expect("a shell").success());
    }

    /// Kills it as `kill -9` does.
    pub(super) fn kill(mut self) -> Said {
        self.child.kill().expect("kill -9");
        self.end()
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> Said {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a state") {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not end; stderr:\n{}", self.stderr());
            thread::sleep(Duration::from_millis(1));
        };
        let out = fs::read(&self.out).expect("a file");
        let begin = out.windows(BEGIN.len()).position(|window| window == BEGIN.as_bytes());
        let out = begin.map_or(Vec::new(), |begin| out[begin + BEGIN.len()..].to_vec());
        Said { code: status.code(), out, err: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process of the program has left.
#[derive(Debug)]
pub(super) struct Said {
    /// Exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) out: Vec<u8>,
    pub(super) err: String,
}

impl Said {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("UTF-8 on stdout")
    }

    #[track_caller]
    pub(super) fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "stdout:\n{}stderr:\n{}", String::from_utf8_lossy(&self.out), self.err);
    }

    /// It ended with this code, and its last words name all of these.
    #[track_caller]
    pub(super) fn assert_error(&self, code: i32, parts: &[&str]) {
        self.assert_code(code);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }

    /// Stages that it has computed itself.
    #[track_caller]
    pub(super) fn computed(&self) -> usize {
        self.counted("computed,", 2)
    }

    /// Stages that were there.
    #[track_caller]
    pub(super) fn reused(&self) -> usize {
        self.counted("reused,", 1)
    }

    /// The number so many words before one of the summary's.
    #[track_caller]
    fn counted(&self, word: &str, before: usize) -> usize {
        let last = self.err.lines().rev().find(|line| line.contains(" computed, ")).expect("a summary");
        let words: Vec<&str> = last.split_whitespace().collect();
        let at = words.iter().position(|other| *other == word).expect("a count");
        words[at - before].parse().expect("a number")
    }
}
