//! The decoded pictures of one split in one file: read where a set does not fit in memory, instead of decoding every
//! file in every epoch. What is read from it is bit for bit what decoding gives, so that no result depends on it.
//!
//! Layout, all numbers little-endian: 16 bytes of mark; the number of pictures, 8 bytes; for each picture its place in
//! the file, 8 bytes, height and width, 4 bytes each (0 and 0 for a picture that cannot be decoded); BLAKE3 of all that,
//! 32 bytes; then the pictures.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use crate::dataset::{Dataset, Record, Split};
use crate::image::Image;
use crate::pictures::{self, Pictures};
use crate::spec::{DecodeSpec, Size};
use crate::{DataError, Result};

/// First bytes of a pack.
const MARK: [u8; 16] = *b"reid_data pack 1";
/// Bytes of a picture's entry.
const ENTRY: usize = 16;
/// Pictures that are decoded at a time.
const PORTION: usize = 1 << 10;

/// Packs that this process has begun to write: two sets that share pictures may be packed at the same time.
static DRAFTS: AtomicUsize = AtomicUsize::new(0);

/// An open pack. Shared by threads.
#[derive(Debug)]
pub struct Pack {
    file: File,
    path: PathBuf,
    places: Vec<Place>,
}

/// Where a picture lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u64,
    height: u32,
    width: u32,
}

impl Pack {
    /// The split's pack below `cache`, written by `threads` threads unless it is there. `progress` is called with what
    /// is going on, how much is done, and of how much.
    ///
    /// # Errors
    /// [`DataError::Io`] if the pack cannot be written, such as on a full disk; what was written of it is removed.
    /// [`DataError::Changed`] if a picture cannot be read.
    pub fn open(
        dataset: &Dataset,
        split: Split,
        cache: &Path,
        threads: usize,
        progress: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<Self> {
        let records = dataset.split(split);
        let path = cache.join("packs").join(format!("{}.pack", key(dataset, records)));
        if let Ok(pack) = Self::read(&path, records.len()) {
            return Ok(pack);
        }
        let pool = pictures::pool(threads, &dataset.root)?;
        let (process, draft) = (std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
        let draft = path.with_extension(format!("{process}-{draft}.tmp"));
        let written = pool.install(|| write(dataset, split, &draft, progress));
        if let Err(error) = written {
            // The draft may not exist, and nothing depends on its removal.
            drop(std::fs::remove_file(&draft));
            return Err(error);
        }
        let unusable = |source| DataError::Io { action: "packing pictures", source, path: path.clone() };
        std::fs::rename(&draft, &path).map_err(unusable)?;
        Self::read(&path, records.len()).map_err(unusable)
    }

    /// A picture of the split; none if it could not be decoded.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If the split has no such picture.
    pub fn get(&self, index: usize) -> io::Result<Option<Image>> {
        let Place { at, height, width } = self.places[index];
        if height == 0 {
            return Ok(None);
        }
        let mut image = Image::black(height as usize, width as usize);
        self.file.read_exact_at(&mut image.data, at)?;
        Ok(Some(image))
    }

    /// The pack's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(path: &Path, count: usize) -> io::Result<Self> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the pack is damaged; remove it");
        let mut file = File::open(path)?;
        let mut head = vec![0; MARK.len() + 8 + count * ENTRY];
        file.read_exact(&mut head)?;
        let mut hash = [0; 32];
        file.read_exact(&mut hash)?;
        let counted = head[MARK.len()..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if blake3::hash(&head) != hash || head[..MARK.len()] != MARK || counted != Some(count as u64) {
            return Err(broken());
        }
        let entries = head[MARK.len() + 8..].as_chunks::<ENTRY>().0.iter();
        let place = |[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: &[u8; ENTRY]| Place {
            at: u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            height: u32::from_le_bytes([*i, *j, *k, *l]),
            width: u32::from_le_bytes([*m, *n, *o, *p]),
        };
        let places: Vec<Place> = entries.map(place).collect();
        let end = places.last().map_or(0, |last| last.at + u64::from(last.height) * u64::from(last.width) * 3);
        if file.metadata()?.len() < end {
            return Err(broken());
        }
        Ok(Self { file, path: path.to_path_buf(), places })
    }
}

/// Of the set's content and the split's pictures.
fn key(dataset: &Dataset, records: &[Record]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&MARK).update(dataset.fingerprint.as_bytes());
    // Pictures that are decoded as they are have the name that they have always had.
    if let DecodeSpec::AtLeast(Size(height, width)) = dataset.decode {
        hasher.update(&(height as u64).to_le_bytes()).update(&(width as u64).to_le_bytes());
    }
    for record in records {
        hasher.update(&record.source.to_le_bytes()).update(&(record.path.len() as u64).to_le_bytes());
        hasher.update(record.path.as_bytes()).update(&[u8::from(record.usable)]);
    }
    hasher.finalize().to_hex().to_string()
}

fn write(dataset: &Dataset, split: Split, path: &Path, progress: &(dyn Fn(&str, usize, usize) + Sync)) -> Result<()> {
    let unusable = |source| DataError::Io { action: "packing pictures", source, path: path.to_path_buf() };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(unusable)?;
    }
    let records = dataset.split(split);
    let source = Pictures::new(dataset, split, 0);
    let mut file = BufWriter::new(File::create(path).map_err(unusable)?);
    let head = MARK.len() + 8 + records.len() * ENTRY;
    let mut at = (head + 32) as u64;
    // The places are known last, and written over this.
    file.write_all(&vec![0; head + 32]).map_err(unusable)?;
    let mut entries = Vec::with_capacity(head);
    entries.extend(MARK);
    entries.extend((records.len() as u64).to_le_bytes());
    let indices: Vec<usize> = (0..records.len()).collect();
    let what = format!("packing {} pictures", split.name());
    for portion in indices.chunks(PORTION) {
        let decode = |&index: &usize| records[index].usable.then(|| source.get(index)).transpose();
        let images: Vec<_> = portion.par_iter().map(decode).collect::<Result<_>>()?;
        for image in images {
            let (height, width) = image.as_ref().map_or((0, 0), |image| (image.height as u32, image.width as u32));
            entries.extend(at.to_le_bytes());
            entries.extend(height.to_le_bytes());
            entries.extend(width.to_le_bytes());
            if let Some(image) = image {
                file.write_all(&image.data).map_err(unusable)?;
                at += image.data.len() as u64;
            }
        }
        progress(&what, portion.last().map_or(0, |last| last + 1), records.len());
    }
    let file = file.into_inner().map_err(|error| unusable(error.into_error()))?;
    let hash = *blake3::hash(&entries).as_bytes();
    entries.extend(hash);
    file.write_all_at(&entries, 0).and_then(|()| file.sync_all()).map_err(unusable)
}
