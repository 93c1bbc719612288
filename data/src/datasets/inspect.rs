//! Reads every picture of a data set once: is it sound, and what is the set's fingerprint?
//!
//! What was found is remembered in the cache folder under the set's absolute path, and believed for
//! as long as no file's path, size, time of change or inode differs.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::dataset::{Record, Split};
use crate::datasets::{OpenSettings, Splits};
use crate::decode::decode;
use crate::spec::Size;
use crate::{DataError, Result};

/// Raised when the decoder or this file's format changes: everything is then read again.
const FORMAT: u32 = 2;

/// First bytes that are hashed into a fingerprint.
const FINGERPRINT_DOMAIN: &[u8] = b"reid_data fingerprint 1\n";

/// Pictures between two calls of the progress function.
const PROGRESS_STRIDE: usize = 64;

/// What reading every picture has shown.
pub(crate) struct Inspection {
    /// BLAKE3, hexadecimal, of every file's split, path below the root, length and content.
    pub(crate) fingerprint: String,
    /// Size of the first sound picture.
    pub(crate) size: Option<Size>,
    /// Path and reason of every picture that cannot be decoded.
    pub(crate) corrupt: BTreeMap<String, String>,
    /// [`file_stamp`] of every file, 0 where there is none, in the splits' order.
    pub(crate) stamps: Vec<u64>,
    /// What a reader should know.
    pub(crate) note: Option<String>,
}

/// The remembered part of an inspection.
#[derive(Serialize, Deserialize)]
struct Remembered {
    format: u32,
    stamp: String,
    fingerprint: String,
    size: Option<Size>,
    corrupt: BTreeMap<String, String>,
}

/// Inspects all splits on `settings.threads` threads.
pub(crate) fn inspect(root: &Path, splits: &Splits, settings: &OpenSettings) -> Result<Inspection> {
    let files: Vec<(Split, &Record)> =
        splits.iter().flat_map(|(split, records)| records.iter().map(|record| (*split, record))).collect();
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(settings.threads).build().map_err(|error| DataError::Io {
            action: "starting threads to check pictures",
            source: std::io::Error::other(error),
            path: root.to_path_buf(),
        })?;
    pool.install(|| {
        let stamps = file_stamps(root, &files);
        let stamp = stamp(&files, &stamps);
        let memory = memory_path(root, &settings.cache);
        if let Some(known) = recall(&memory, &stamp) {
            let Remembered { fingerprint, size, corrupt, .. } = known;
            return Ok(Inspection { fingerprint, size, corrupt, stamps, note: None });
        }
        let checked = check_all(root, &files, settings.progress);
        let mut inspection = summarize(&files, &checked, stamps);
        // A file that could not be read may be readable next time without looking any different.
        if checked.iter().all(|file| file.length.is_some()) {
            let Inspection { fingerprint, size, corrupt, .. } = &inspection;
            let (fingerprint, corrupt) = (fingerprint.clone(), corrupt.clone());
            let known = Remembered { format: FORMAT, stamp, fingerprint, size: *size, corrupt };
            if let Err(error) = remember(&memory, &known) {
                let note = format!("the check of the pictures cannot be remembered ({error}: {})", memory.display());
                inspection.note = Some(note);
            }
        }
        Ok(inspection)
    })
}

/// What the file system says about a file, in brief: another size, time of change or inode is another stamp.
/// Never 0.
pub(crate) fn file_stamp(facts: &Metadata) -> u64 {
    let facts = format!("{:?}", (facts.size(), facts.mtime(), facts.mtime_nsec(), facts.ino(), facts.is_file()));
    let hash = blake3::hash(facts.as_bytes());
    hash.as_bytes()[..8].iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte)).max(1)
}

/// Stamps of all files, 0 where there is none, in their order.
fn file_stamps(root: &Path, files: &[(Split, &Record)]) -> Vec<u64> {
    let stamp = |(_, record): &(Split, &Record)| {
        std::fs::metadata(root.join(&record.path)).map_or(0, |facts| file_stamp(&facts))
    };
    files.par_iter().map(stamp).collect()
}

/// Hash of everything the file system says about the files, without reading them.
fn stamp(files: &[(Split, &Record)], stamps: &[u64]) -> String {
    let mut hasher = blake3::Hasher::new();
    for ((split, record), stamp) in files.iter().zip(stamps) {
        let hidden = record.hidden.map(f32::to_bits);
        hasher.update(format!("{}\n{}\n{hidden:?}\n{stamp}\n", split.name(), record.path).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// One picture that was read.
struct Checked {
    /// Bytes; `None` if it cannot be read.
    length: Option<u64>,
    content: [u8; 32],
    /// Height and width, or why it cannot be decoded.
    outcome: std::result::Result<Size, String>,
}

/// Reads and decodes every file; the result is in the files' order.
fn check_all(root: &Path, files: &[(Split, &Record)], progress: &(dyn Fn(&str, usize, usize) + Sync)) -> Vec<Checked> {
    let done = AtomicUsize::new(0);
    let check = |(_, record): &(Split, &Record)| {
        let checked = check_one(&root.join(&record.path));
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(PROGRESS_STRIDE) || count == files.len() {
            progress("checking pictures", count, files.len());
        }
        checked
    };
    files.par_iter().map(check).collect()
}

fn check_one(path: &Path) -> Checked {
    match std::fs::read(path) {
        Ok(bytes) => Checked {
            length: Some(bytes.len() as u64),
            content: *blake3::hash(&bytes).as_bytes(),
            outcome: decode(&bytes).map(|image| Size(image.height, image.width)),
        },
        Err(error) => Checked { length: None, content: [0; 32], outcome: Err(format!("cannot be read: {error}")) },
    }
}

fn summarize(files: &[(Split, &Record)], checked: &[Checked], stamps: Vec<u64>) -> Inspection {
    let mut hasher = blake3::Hasher::new();
    hasher.update(FINGERPRINT_DOMAIN);
    let mut corrupt = BTreeMap::new();
    for ((split, record), file) in files.iter().zip(checked) {
        // Every text is preceded by its length, so that no two lists give the same bytes.
        for text in [split.name(), &record.path] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&record.hidden.map_or(u32::MAX, f32::to_bits).to_le_bytes());
        hasher.update(&file.length.unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(&file.content);
        if let Err(reason) = &file.outcome {
            corrupt.insert(record.path.clone(), reason.clone());
        }
    }
    let size = checked.iter().find_map(|file| file.outcome.as_ref().ok().copied());
    Inspection { fingerprint: hasher.finalize().to_hex().to_string(), size, corrupt, stamps, note: None }
}

/// Where the check of a root is remembered.
fn memory_path(root: &Path, cache: &Path) -> PathBuf {
    let absolute = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    let name = blake3::hash(absolute.as_os_str().as_encoded_bytes()).to_hex();
    cache.join("fingerprints").join(format!("{name}.json"))
}

/// What is remembered, if it is of the same files; a damaged memory is no memory.
fn recall(memory: &Path, stamp: &str) -> Option<Remembered> {
    let text = std::fs::read(memory).ok()?;
    let known: Remembered = serde_json::from_slice(&text).ok()?;
    (known.format == FORMAT && known.stamp == stamp).then_some(known)
}

/// Writes beside the target and renames, so that no reader ever sees half a file.
fn remember(memory: &Path, known: &Remembered) -> std::io::Result<()> {
    if let Some(folder) = memory.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = memory.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::File::create(&draft)
        .and_then(|mut file| file.write_all(&serde_json::to_vec(known)?))
        .and_then(|()| std::fs::rename(&draft, memory));
    if written.is_err() {
        // The draft may not exist, and nothing depends on its removal.
        drop(std::fs::remove_file(&draft));
    }
    written
}
