//! The decoded pictures of one split.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::dataset::{Dataset, Record, Split};
use crate::datasets::inspect::file_stamp;
use crate::decode::decode;
use crate::image::Image;
use crate::{DataError, Result};

/// Reads pictures of one split, from memory where they have been decoded before and there was room
/// for them. Shared by the epochs of a run; the memory never changes what is read.
pub struct Pictures {
    root: PathBuf,
    records: Vec<Record>,
    decoded: Vec<OnceLock<Arc<Image>>>,
    /// Bytes that may be kept.
    capacity: usize,
    /// Bytes that may still be kept.
    room: AtomicUsize,
}

impl Pictures {
    /// The pictures of a split, of which at most `cache_bytes` bytes are kept decoded.
    pub fn new(dataset: &Dataset, split: Split, cache_bytes: usize) -> Self {
        let records = dataset.split(split).to_vec();
        let decoded = records.iter().map(|_| OnceLock::new()).collect();
        Self {
            root: dataset.root.clone(),
            records,
            decoded,
            capacity: cache_bytes,
            room: AtomicUsize::new(cache_bytes),
        }
    }

    /// Folder that the records' paths start from.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes of the decoded pictures that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.capacity - self.room.load(Ordering::Relaxed)
    }

    /// Pictures in the split, unusable ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the split is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What is known of a picture.
    ///
    /// # Panics
    /// If the split has no such picture: the plan belongs to another split, which is our bug.
    pub fn record(&self, index: usize) -> &Record {
        &self.records[index]
    }

    /// A decoded picture.
    ///
    /// # Errors
    /// [`DataError::Changed`] if it cannot be read, or is another file than when the set was opened and
    /// every picture was checked.
    ///
    /// # Panics
    /// If the split has no such picture.
    pub fn get(&self, index: usize) -> Result<Arc<Image>> {
        let slot = &self.decoded[index];
        if let Some(image) = slot.get() {
            return Ok(Arc::clone(image));
        }
        let record = &self.records[index];
        let path = self.root.join(&record.path);
        let decoded = match read(&path, record.stamp) {
            Ok(Some(bytes)) => decode(&bytes),
            Ok(None) => Err("size, time of change or inode is another".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let image = Arc::new(decoded.map_err(|reason| DataError::Changed { reason, path })?);
        self.keep(slot, &image);
        Ok(image)
    }

    fn keep(&self, slot: &OnceLock<Arc<Image>>, image: &Arc<Image>) {
        let bytes = image.data.len();
        let taken = self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(bytes));
        if taken.is_ok() && slot.set(Arc::clone(image)).is_err() {
            // Another worker was faster; its copy is the one that stays.
            self.room.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// A file's bytes; none if it is not the one that had the stamp. A stamp of 0 is any file's.
fn read(path: &Path, stamp: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let facts = file.metadata()?;
    if stamp != 0 && file_stamp(&facts) != stamp {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(facts.len() as usize);
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
