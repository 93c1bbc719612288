//! Finished stages: a folder of artefacts and a `key.json` that vouches for them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SCHEMA_VERSION;
use super::atomic::{sync_dir, write_atomic};
use super::error::{Result, StoreError, io_error, to_json};
use crate::provenance::{ProgramInfo, SourceState};

/// Name of the file that makes a folder a stage.
pub(super) const KEY_FILE: &str = "key.json";

/// Who computed a stage, where and when. Recorded, never hashed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageManifest {
    /// The stage in words, such as `pretrain person_mae s0`.
    pub label: String,
    /// The program that computed it.
    pub program: ProgramInfo,
    /// The repository that holds the spec, where there is one.
    pub source: Option<SourceState>,
    /// Device class, such as `cpu`.
    pub device: String,
    /// Instruction set that was found, such as `avx2+fma`.
    pub instruction_set: String,
    /// Name of the machine.
    pub host: String,
    /// When it was begun, UTC.
    pub started: String,
    /// Seconds of work, over all attempts.
    pub seconds: f64,
    /// Whatever else is worth keeping, such as pictures seen.
    #[serde(default)]
    pub notes: BTreeMap<String, Value>,
}

/// Size and hash of one file of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 in hexadecimal.
    pub blake3: String,
}

/// Content of `key.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StageFile {
    pub(super) schema_version: u32,
    pub(super) key: String,
    pub(super) attempt: String,
    pub(super) committed: String,
    pub(super) manifest: StageManifest,
    pub(super) artefacts: BTreeMap<String, Artefact>,
    /// What the key is the hash of.
    pub(super) science: Value,
}

/// A finished stage. What it has never changes; artefacts that it lacked may be added.
#[derive(Clone, Debug, PartialEq)]
pub struct StageDir {
    path: PathBuf,
    file: StageFile,
}

impl StageDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Key of the stage, in hexadecimal.
    pub fn key(&self) -> &str {
        &self.file.key
    }

    /// Who computed it, where and when.
    pub fn manifest(&self) -> &StageManifest {
        &self.file.manifest
    }

    /// When it was finished, UTC.
    pub fn committed(&self) -> &str {
        &self.file.committed
    }

    /// What determines its numbers.
    pub fn science(&self) -> &Value {
        &self.file.science
    }

    /// Its files, by name.
    pub fn artefacts(&self) -> &BTreeMap<String, Artefact> {
        &self.file.artefacts
    }

    /// Path of one of its files.
    ///
    /// # Errors
    /// When the stage has no artefact of that name.
    pub fn artefact(&self, name: &str) -> Result<PathBuf> {
        if self.file.artefacts.contains_key(name) {
            return Ok(self.path.join(name));
        }
        let names: Vec<_> = self.file.artefacts.keys().map(String::as_str).collect();
        Err(StoreError::Invalid {
            problem: format!("stage {} has no artefact `{name}`, only {}", self.file.manifest.label, names.join(", ")),
            remedy: "remove the folder to have it computed again",
            path: self.path.clone(),
        })
    }

    /// Whether it has all of these files.
    pub fn has(&self, files: &[String]) -> bool {
        files.iter().all(|name| self.file.artefacts.contains_key(name))
    }

    /// Takes over the artefacts that another computation of the stage has and this one lacks, with what its notes
    /// say of them: lists and maps are united, all else stays. The stage is sound at every instant: a file that
    /// `key.json` does not name is none of it, and `key.json` is replaced at once.
    pub(super) fn add(&self, from: &Path, other: &StageFile) -> Result<()> {
        let mut file = self.file.clone();
        for (name, artefact) in &other.artefacts {
            if !file.artefacts.contains_key(name) {
                let (from, to) = (from.join(name), self.path.join(name));
                fs::rename(&from, &to).map_err(io_error("adding an artefact to a stage", &from))?;
                file.artefacts.insert(name.clone(), artefact.clone());
            }
        }
        if file.artefacts.len() == self.file.artefacts.len() {
            return Ok(());
        }
        for (name, value) in &other.manifest.notes {
            unite(file.manifest.notes.entry(name.clone()).or_insert(Value::Null), value);
        }
        sync_dir(&self.path)?;
        let path = self.path.join(KEY_FILE);
        write_atomic(&path, &to_json(&file, &path)?)
    }

    /// Reads all files and compares them with their recorded hashes.
    ///
    /// # Errors
    /// When a file is missing, unreadable or differs.
    pub fn verify(&self) -> Result<()> {
        match self.fault(Check::Contents)? {
            None => Ok(()),
            Some(problem) => Err(StoreError::Invalid {
                problem: format!("stage {} is damaged ({problem})", self.file.manifest.label),
                remedy: "remove the folder to have it computed again",
                path: self.path.clone(),
            }),
        }
    }

    /// What is wrong with the files; `None` if nothing is.
    fn fault(&self, check: Check) -> Result<Option<String>> {
        for (name, recorded) in &self.file.artefacts {
            let path = self.path.join(name);
            let bytes = match fs::metadata(&path) {
                Ok(found) => found.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(format!("{name} is missing"))),
                Err(error) => return Err(io_error("reading a stage", &path)(error)),
            };
            if bytes != recorded.bytes {
                return Ok(Some(format!("{name} has {bytes} bytes instead of {}", recorded.bytes)));
            }
            if check == Check::Contents && hash_file(&path)? != recorded.blake3 {
                return Ok(Some(format!("{name} has changed")));
            }
        }
        Ok(None)
    }
}

/// Adds to a note what another has beyond it.
fn unite(note: &mut Value, other: &Value) {
    match (note, other) {
        (Value::Object(note), Value::Object(other)) => {
            for (name, value) in other {
                note.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        (Value::Array(note), Value::Array(other)) => {
            for value in other {
                if !note.contains(value) {
                    note.push(value.clone());
                }
            }
        }
        (note @ Value::Null, other) => *note = other.clone(),
        _ => {}
    }
}

/// How closely a finished stage is looked at before it is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// All files are there and have their sizes.
    #[default]
    Sizes,
    /// Every byte is as it was written.
    Contents,
}

/// What was found where a stage belongs.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A finished stage.
    Sound(Box<StageDir>),
    /// Something that cannot be used, and why.
    Damaged(String),
}

/// The part of `key.json` that every version has.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

/// Looks at the folder where a stage belongs.
pub(super) fn look(path: &Path, key: &str, check: Check) -> Result<Found> {
    let key_path = path.join(KEY_FILE);
    let text = match fs::read(&key_path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            let exists = path.try_exists().map_err(io_error("reading a stage", path))?;
            return Ok(if exists { Found::Damaged(format!("it has no {KEY_FILE}")) } else { Found::Absent });
        }
        Err(error) => return Err(io_error("reading a stage", &key_path)(error)),
    };
    // The version is read first: a newer layout is not damage.
    let Ok(Version { schema_version }) = serde_json::from_slice(&text) else {
        return Ok(Found::Damaged(format!("its {KEY_FILE} cannot be read")));
    };
    if schema_version > SCHEMA_VERSION {
        let written_by = "unknown".to_owned();
        return Err(StoreError::Newer { found: schema_version, known: SCHEMA_VERSION, written_by, path: key_path });
    }
    let file: StageFile = match serde_json::from_slice(&text) {
        Ok(file) => file,
        Err(error) => return Ok(Found::Damaged(format!("its {KEY_FILE} cannot be read: {error}"))),
    };
    if file.key != key {
        return Ok(Found::Damaged(format!("it belongs to another key, {}", file.key)));
    }
    let stage = StageDir { path: path.to_owned(), file };
    Ok(match stage.fault(check)? {
        None => Found::Sound(Box::new(stage)),
        Some(problem) => Found::Damaged(problem),
    })
}

/// What a stage that cannot be used says of itself all the same, where its description can be read.
pub(super) fn described(path: &Path, key: &str) -> Option<StageDir> {
    let file: StageFile = serde_json::from_slice(&fs::read(path.join(KEY_FILE)).ok()?).ok()?;
    (file.key == key).then(|| StageDir { path: path.to_owned(), file })
}

/// Flushes a file to disk and measures it.
pub(super) fn seal(path: &Path) -> Result<Artefact> {
    let file = File::open(path).map_err(io_error("reading an artefact", path))?;
    file.sync_all().map_err(io_error("flushing an artefact to disk", path))?;
    let bytes = file.metadata().map_err(io_error("reading an artefact", path))?.len();
    Ok(Artefact { bytes, blake3: hash_file(path)? })
}

/// BLAKE3 of a file, in hexadecimal.
pub(super) fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).map_err(io_error("reading a file", path))?;
    hasher.update_reader(file).map_err(io_error("reading a file", path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether a name may be an artefact's: one plain component, not hidden, not `key.json`.
pub(super) fn is_artefact_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(part)), None) if part == name);
    plain && !name.starts_with('.') && name != KEY_FILE
}
