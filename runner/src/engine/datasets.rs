//! Data sets of an experiment, each opened once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reid_data::dataset::{Dataset, Split};
use reid_data::datasets::{LARGE, OpenSettings, join, open};
use reid_data::pack::Pack;
use reid_data::pictures::Pictures;
use reid_data::spec::{DataSpec, DecodeSpec, Reading, Size, ValidationSpec};
use reid_experiments::settings::Settings;
use serde_json::{Value, json};

use crate::exit::RunError;
use crate::progress::Progress;

/// Bytes of decoded pictures that are kept in memory, for each split that is in use.
const PICTURE_CACHE_BYTES: usize = 1 << 30;

/// An opened data set and its pictures.
pub struct OpenData {
    /// Records, counts, fingerprint.
    pub dataset: Dataset,
    /// Whether pictures were rendered or read to open it: nothing was remembered of it.
    is_new: bool,
    validation: ValidationSpec,
    pictures: Mutex<BTreeMap<Split, Arc<Pictures>>>,
    packing: Option<Packing>,
}

/// How decoded pictures are kept on disk.
#[derive(Clone)]
struct Packing {
    cache: PathBuf,
    threads: usize,
    progress: Progress,
}

impl OpenData {
    /// Pictures of a split, decoded at most once while they fit the cache in memory or, if there is one, on disk.
    ///
    /// # Errors
    /// If they cannot be packed.
    pub fn pictures(&self, split: Split) -> reid_data::Result<Arc<Pictures>> {
        let mut pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pictures) = pictures.get(&split) {
            return Ok(Arc::clone(pictures));
        }
        let mut fresh = Pictures::new(&self.dataset, split, PICTURE_CACHE_BYTES);
        if let Some(Packing { cache, threads, progress }) = &self.packing {
            let report = |what: &str, done: usize, total: usize| progress.bar_data(what, done as u64, total as u64);
            fresh = fresh.with_pack(Pack::open(&self.dataset, split, cache, *threads, &report)?);
        }
        let fresh = Arc::new(fresh);
        pictures.insert(split, Arc::clone(&fresh));
        Ok(fresh)
    }

    /// The same set, its pictures decoded in another way and none of them yet.
    #[must_use]
    pub fn decoded(&self, decode: DecodeSpec) -> Self {
        let (mut dataset, packing) = (self.dataset.clone(), self.packing.clone());
        dataset.decode = decode;
        Self { dataset, is_new: self.is_new, validation: self.validation, pictures: Mutex::default(), packing }
    }

    /// Bytes of decoded pictures that are kept in memory.
    pub fn kept_bytes(&self) -> u64 {
        let pictures = self.pictures.lock().unwrap_or_else(PoisonError::into_inner);
        pictures.values().map(|split| split.kept_bytes() as u64).sum()
    }

    /// Bytes that [`Self::kept_bytes`] grows to once every picture of these splits has been read; pictures are
    /// taken to be as large as the data set's common size.
    pub fn bytes_to_keep(&self, splits: impl Iterator<Item = Split>) -> u64 {
        let part = self.dataset.decode.part(self.dataset.size);
        let Size(h, w) = Size(self.dataset.size.0.div_ceil(part), self.dataset.size.1.div_ceil(part));
        let bytes = |split| (self.dataset.split(split).len() * h * w * 3).min(PICTURE_CACHE_BYTES) as u64;
        splits.map(bytes).sum()
    }

    /// What was opened: every split and everything odd the first time, the sizes later on.
    pub fn describe(&self) -> Vec<String> {
        let set = &self.dataset;
        if self.is_new {
            return set.counts.iter().chain(&set.notes).map(|note| format!("{}: {note}", set.name)).collect();
        }
        let parts: [(&str, &[Split]); 4] = [
            ("pool", &[Split::Pool]),
            ("train", &[Split::Train]),
            ("validation", &[Split::ValidationQuery, Split::ValidationGallery]),
            ("test", &[Split::Query, Split::Gallery, Split::OccludedQuery]),
        ];
        let size = |splits: &[Split]| splits.iter().map(|&split| set.split(split).len()).sum::<usize>();
        let sizes = parts.iter().map(|(name, splits)| (name, size(splits))).filter(|(_, size)| *size > 0);
        let sizes: Vec<String> = sizes.map(|(name, size)| format!("{size} {name}")).collect();
        let corrupt = match set.corrupt() {
            0 => String::new(),
            corrupt => format!(", {corrupt} corrupt and left out"),
        };
        vec![format!("{}: {} pictures{corrupt}", set.name, sizes.join(" + "))]
    }

    /// What of the data determines a stage's numbers: content, how it is decoded and held-out identities, never the path.
    pub fn science(&self) -> Value {
        let mut science = json!({ "fingerprint": self.dataset.fingerprint, "validation": self.validation.identities });
        // Stages from before there was a choice keep their keys.
        if self.dataset.decode != DecodeSpec::Full {
            science["decode"] = json!(self.dataset.decode);
        }
        science
    }
}

/// Where data sets are opened from, and those that have been.
pub struct Datasets {
    base: PathBuf,
    cache: PathBuf,
    threads: usize,
    pack: bool,
    progress: Progress,
    opened: BTreeMap<String, Arc<OpenData>>,
}

impl Datasets {
    /// None opened yet. Relative roots start at `base`; the settings' cache takes rendered data.
    pub fn new(base: &Path, settings: &Settings, progress: &Progress) -> Self {
        let (base, cache, progress) = (base.to_owned(), settings.cache.clone(), progress.clone());
        Self { base, cache, threads: settings.threads, pack: settings.pack, progress, opened: BTreeMap::new() }
    }

    fn packing(&self) -> Option<Packing> {
        let Self { cache, threads, progress, .. } = self;
        self.pack.then(|| Packing { cache: cache.clone(), threads: *threads, progress: progress.clone() })
    }

    /// Opens a data set, or hands out the one that was opened before.
    ///
    /// # Errors
    /// If the data are missing, break a rule or hold corrupt pictures.
    pub fn open(
        &mut self,
        spec: &DataSpec,
        validation: ValidationSpec,
        reading: Reading,
    ) -> Result<Arc<OpenData>, RunError> {
        let name =
            serde_json::to_string(&(spec, validation, reading)).map_err(|e| RunError::Unexpected(e.to_string()))?;
        if let Some(data) = self.opened.get(&name) {
            return Ok(Arc::clone(data));
        }
        let progress = &self.progress;
        let is_new = AtomicBool::new(false);
        let report = |what: &str, done: usize, total: usize| {
            is_new.store(true, Ordering::Relaxed);
            progress.bar_data(what, done as u64, total as u64);
        };
        let settings = OpenSettings {
            base: self.base.clone(),
            cache: self.cache.clone(),
            threads: self.threads,
            reading,
            validation,
            large: LARGE,
            progress: &report,
        };
        let dataset = open(spec, &settings)?;
        let is_new = is_new.into_inner();
        let data =
            Arc::new(OpenData { dataset, is_new, validation, pictures: Mutex::default(), packing: self.packing() });
        self.opened.insert(name, Arc::clone(&data));
        Ok(data)
    }

    /// Opens a data set with others to train on beside it, of which nothing is held out.
    ///
    /// # Errors
    /// Those of [`Self::open`], of any of them.
    pub fn open_joined(
        &mut self,
        first: &DataSpec,
        others: &[DataSpec],
        validation: ValidationSpec,
        reading: Reading,
    ) -> Result<Arc<OpenData>, RunError> {
        if others.is_empty() {
            return self.open(first, validation, reading);
        }
        let name = serde_json::to_string(&(first, others, validation, reading))
            .map_err(|e| RunError::Unexpected(e.to_string()))?;
        if let Some(data) = self.opened.get(&name) {
            return Ok(Arc::clone(data));
        }
        let mut sets = vec![self.open(first, validation, reading)?];
        for other in others {
            sets.push(self.open(other, ValidationSpec::default(), reading)?);
        }
        let is_new = sets.iter().any(|set| set.is_new);
        let sets: Vec<&Dataset> = sets.iter().map(|set| &set.dataset).collect();
        let data = Arc::new(OpenData {
            dataset: join(&sets),
            is_new,
            validation,
            pictures: Mutex::default(),
            packing: self.packing(),
        });
        self.opened.insert(name, Arc::clone(&data));
        Ok(data)
    }

    /// What has been opened, in words.
    pub fn describe(&self) -> Vec<String> {
        self.opened.values().flat_map(|data| data.describe()).collect()
    }
}
