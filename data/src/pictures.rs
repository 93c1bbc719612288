//! The decoded pictures of one split.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::dataset::{Dataset, Record, Split};
use crate::decode::decode_as;
use crate::image::Image;
use crate::pack::Pack;
use crate::source::Source;
use crate::spec::DecodeSpec;
use crate::{DataError, Result};

/// Reads pictures of one split, from memory where they have been decoded before and there was room
/// for them. Shared by the epochs of a run; the memory never changes what is read.
pub struct Pictures {
    root: PathBuf,
    sources: Arc<[Source]>,
    records: Arc<Vec<Record>>,
    memories: Arc<[PathBuf]>,
    pack: Option<Pack>,
    decode: DecodeSpec,
    decoded: Vec<OnceLock<Arc<Image>>>,
    /// Bytes that may be kept.
    capacity: usize,
    /// Bytes that may still be kept.
    room: AtomicUsize,
}

impl Pictures {
    /// The pictures of a split, of which at most `cache_bytes` bytes are kept decoded.
    pub fn new(dataset: &Dataset, split: Split, cache_bytes: usize) -> Self {
        let records = dataset.splits.get(&split).map(Arc::clone).unwrap_or_default();
        let decoded = records.iter().map(|_| OnceLock::new()).collect();
        Self {
            root: dataset.root.clone(),
            sources: Arc::clone(&dataset.sources),
            records,
            memories: Arc::clone(&dataset.memories),
            pack: None,
            decode: dataset.decode,
            decoded,
            capacity: cache_bytes,
            room: AtomicUsize::new(cache_bytes),
        }
    }

    /// The same pictures, read from their pack.
    #[must_use]
    pub fn with_pack(self, pack: Pack) -> Self {
        Self { pack: Some(pack), ..self }
    }

    /// Folder or file that the set was opened from.
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
        if let Some(pack) = &self.pack {
            let changed = |reason| DataError::Changed { reason, path: pack.path().to_path_buf() };
            let image = pack.get(index).map_err(|error| changed(error.to_string()))?;
            let image = Arc::new(image.ok_or_else(|| changed(format!("it does not have {}", record.path)))?);
            self.keep(slot, &image);
            return Ok(image);
        }
        let source = &self.sources[usize::from(record.source)];
        let decoded = match source.read(record) {
            Ok(Some(bytes)) => decode_as(&bytes, self.decode),
            Ok(None) => Err("size, time of change or inode is another".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let image = Arc::new(decoded.map_err(|reason| self.changed(reason, source.place(record)))?);
        self.keep(slot, &image);
        Ok(image)
    }

    /// The next run looks at every file again. A memory that cannot be removed shows the same error again.
    fn changed(&self, reason: String, path: PathBuf) -> DataError {
        for memory in self.memories.iter() {
            drop(std::fs::remove_file(memory));
        }
        DataError::Changed { reason, path }
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

/// Threads that look at pictures; 0 for one per processor. The path is of messages.
pub(crate) fn pool(threads: usize, path: &Path) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| DataError::Io {
        action: "starting threads to look at pictures",
        source: std::io::Error::other(error),
        path: path.to_path_buf(),
    })
}
