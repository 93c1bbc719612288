//! Reads every picture of a data set once: is it sound, and what is the set's fingerprint?
//!
//! What was found is remembered in the cache folder under the set's spec and place, and believed for as long as no
//! file's path, size, time of change or inode differs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::dataset::{Record, Split};
use crate::datasets::{OpenSettings, Splits};
use crate::decode::decode;
use crate::pictures::pool;
use crate::source::Source;
use crate::spec::Size;

/// Raised when the decoder or this file's format changes: everything is then read again.
const FORMAT: u32 = 2;

/// First bytes that are hashed into a fingerprint.
const FINGERPRINT_DOMAIN: &[u8] = b"reid_data fingerprint 1\n";

/// Pictures between two calls of the progress function.
const PROGRESS_STRIDE: usize = 64;

/// Pictures whose check is in memory at a time.
const PORTION: usize = 1 << 14;

/// What reading every picture has shown.
pub(crate) struct Inspection {
    /// BLAKE3, hexadecimal, of every file's split, path below the root, length and content.
    pub(crate) fingerprint: String,
    /// Size of the first sound picture.
    pub(crate) size: Option<Size>,
    /// Path and reason of every picture that cannot be decoded.
    pub(crate) corrupt: BTreeMap<String, String>,
    /// [`Source::stamp`] of every file, 0 where there is none, in the splits' order.
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

/// Inspects all splits on `settings.threads` threads; what is found is remembered in the file `memory`.
pub(crate) fn inspect(source: &Source, splits: &Splits, memory: &Path, settings: &OpenSettings) -> Result<Inspection> {
    let files: Vec<(Split, &Record)> =
        splits.iter().flat_map(|(split, records)| records.iter().map(|record| (*split, record))).collect();
    let pool = pool(settings.threads, source.root())?;
    pool.install(|| {
        let stamps: Vec<u64> = files.par_iter().map(|(_, record)| source.stamp(record)).collect();
        let stamp = stamp(&files, &stamps);
        if let Some(known) = recall(memory, &stamp) {
            let Remembered { fingerprint, size, corrupt, .. } = known;
            return Ok(Inspection { fingerprint, size, corrupt, stamps, note: None });
        }
        let (mut inspection, all_read) = check_all(source, &files, stamps, settings.progress);
        // A file that could not be read may be readable next time without looking any different.
        if all_read {
            let Inspection { fingerprint, size, corrupt, .. } = &inspection;
            let (fingerprint, corrupt) = (fingerprint.clone(), corrupt.clone());
            let known = Remembered { format: FORMAT, stamp, fingerprint, size: *size, corrupt };
            if let Err(error) = write_whole(memory, &serde_json::to_vec(&known).unwrap_or_default()) {
                let note = format!("the check of the pictures cannot be remembered ({error}: {})", memory.display());
                inspection.note = Some(note);
            }
        }
        Ok(inspection)
    })
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

/// Reads and decodes every file, and whether all could be read.
fn check_all(
    source: &Source,
    files: &[(Split, &Record)],
    stamps: Vec<u64>,
    progress: &(dyn Fn(&str, usize, usize) + Sync),
) -> (Inspection, bool) {
    let done = AtomicUsize::new(0);
    let check = |(_, record): &(Split, &Record)| {
        let checked = check_one(source, record);
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_multiple_of(PROGRESS_STRIDE) || count == files.len() {
            progress("checking pictures", count, files.len());
        }
        checked
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update(FINGERPRINT_DOMAIN);
    let (mut corrupt, mut size, mut all_read) = (BTreeMap::new(), None, true);
    for files in files.chunks(PORTION) {
        let checked: Vec<Checked> = files.par_iter().map(check).collect();
        for ((split, record), file) in files.iter().zip(checked) {
            hash(&mut hasher, *split, record, &file);
            all_read &= file.length.is_some();
            match file.outcome {
                Ok(first) => size = size.or(Some(first)),
                Err(reason) => drop(corrupt.insert(record.path.clone(), reason)),
            }
        }
    }
    let fingerprint = hasher.finalize().to_hex().to_string();
    (Inspection { fingerprint, size, corrupt, stamps, note: None }, all_read)
}

fn check_one(source: &Source, record: &Record) -> Checked {
    match source.read(record) {
        Ok(bytes) => {
            // The records have no stamps yet.
            let bytes = bytes.unwrap_or_default();
            Checked {
                length: Some(bytes.len() as u64),
                content: *blake3::hash(&bytes).as_bytes(),
                outcome: decode(&bytes).map(|image| Size(image.height, image.width)),
            }
        }
        Err(error) => Checked { length: None, content: [0; 32], outcome: Err(format!("cannot be read: {error}")) },
    }
}

fn hash(hasher: &mut blake3::Hasher, split: Split, record: &Record, file: &Checked) {
    // Every text is preceded by its length, so that no two lists give the same bytes.
    for text in [split.name(), &record.path] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&record.hidden.map_or(u32::MAX, f32::to_bits).to_le_bytes());
    hasher.update(&file.length.unwrap_or(u64::MAX).to_le_bytes());
    hasher.update(&file.content);
}

/// What is remembered, if it is of the same files; a damaged memory is no memory.
fn recall(memory: &Path, stamp: &str) -> Option<Remembered> {
    let text = std::fs::read(memory).ok()?;
    let known: Remembered = serde_json::from_slice(&text).ok()?;
    (known.format == FORMAT && known.stamp == stamp).then_some(known)
}

/// Writes beside the target and renames, so that no reader ever sees half a file.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::File::create(&draft)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // The draft may not exist, and nothing depends on its removal.
        drop(std::fs::remove_file(&draft));
    }
    written
}
