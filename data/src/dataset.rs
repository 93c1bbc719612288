//! A data set as the rest of the program sees it: splits of records, found and counted once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::source::Source;
use crate::spec::{DecodeSpec, Size};
use crate::{DataError, Result};

/// One picture of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Path below the source's folder, with `/` between parts, or its key in the source's database.
    pub path: String,
    /// Identity; -1 for unlabelled pictures, 0 for Market's distractors.
    pub pid: i64,
    /// Camera, 0-based.
    pub camera: u32,
    /// Which of the set's sources it lies in.
    pub source: u16,
    /// Share of the person that an occluder hides, where that is known.
    pub hidden: Option<f32>,
    /// Whether the picture can be decoded. A corrupt picture keeps its place but is never drawn.
    pub usable: bool,
    /// What the file system said of the file when the set was opened, in brief; 0 if nobody asked.
    pub stamp: u64,
}

impl Record {
    /// A picture of which no more is known yet, in the first source.
    pub fn new(path: String, pid: i64, camera: u32) -> Self {
        Self { path, pid, camera, source: 0, hidden: None, usable: true, stamp: 0 }
    }
}

/// Role of a part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Unlabelled pictures for pre-training; the training split where a set has no pool.
    Pool,
    /// Labelled training pictures.
    Train,
    /// Validation queries.
    ValidationQuery,
    /// Validation gallery.
    ValidationGallery,
    /// Test queries.
    Query,
    /// Test gallery.
    Gallery,
    /// Test queries whose person is partly hidden; same gallery.
    OccludedQuery,
}

impl Split {
    /// Name in messages; also part of every fingerprint, so that it never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Train => "train",
            Self::ValidationQuery => "validation query",
            Self::ValidationGallery => "validation gallery",
            Self::Query => "query",
            Self::Gallery => "gallery",
            Self::OccludedQuery => "occluded query",
        }
    }
}

/// An opened data set: every file is known, counted and, unless the fingerprint says it has been
/// before, decoded once.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name in tables, such as `market1501` or `synthetic-first`.
    pub name: String,
    /// Folder or file that the set was opened from; the first one's of a joined set.
    pub root: PathBuf,
    /// Where the pictures lie.
    pub sources: Arc<[Source]>,
    /// Records of every split, in path order, set after set.
    pub splits: BTreeMap<Split, Arc<Vec<Record>>>,
    /// Training pictures of the set itself: those of sets that it has been joined with follow.
    pub own_training: usize,
    /// BLAKE3 over the content of every file and its place, independent of the root; hexadecimal.
    pub fingerprint: String,
    /// Size of the first picture, for reports.
    pub size: Size,
    /// How large pictures are decoded.
    pub decode: DecodeSpec,
    /// Whether tables must say that the data are synthetic.
    pub synthetic: bool,
    /// Pictures, identities and cameras of every split, one line each.
    pub counts: Vec<String>,
    /// What else was seen while opening that a reader should know, one line each (dropped junk,
    /// queries without a match).
    pub notes: Vec<String>,
    /// Queries none of which has a match by another camera, if there are such.
    pub of_one_camera: Option<Split>,
    /// Files that this was remembered in: to be removed when a picture turns out to be another one than remembered.
    pub(crate) memories: Arc<[PathBuf]>,
}

impl Dataset {
    /// Records of a split; empty if the set does not have it.
    pub fn split(&self, split: Split) -> &[Record] {
        self.splits.get(&split).map_or(&[], |records| records.as_slice())
    }

    /// Every record and the split that it stands in, split after split.
    pub fn files(&self) -> Vec<(Split, &Record)> {
        self.splits.iter().flat_map(|(split, records)| records.iter().map(|record| (*split, record))).collect()
    }

    /// Whether anything is left to rank once pictures of the query's identity by the query's camera are left out.
    ///
    /// # Errors
    /// If not, with what can be done.
    pub fn require_cameras(&self) -> Result<()> {
        let Some(split) = self.of_one_camera else { return Ok(()) };
        Err(DataError::Invalid {
            problem: format!(
                "no {} picture has a match (the same identity seen by another camera) in its gallery",
                split.name()
            ),
            remedy: "check that query and gallery belong together and that the names give the cameras, or let the \
                     protocol's `evaluation.same_camera` be `kept`, which no paper does"
                .to_owned(),
            path: self.root.clone(),
        })
    }

    /// Where a record's picture lies.
    ///
    /// # Panics
    /// If the record is another set's.
    pub fn source(&self, record: &Record) -> &Source {
        &self.sources[usize::from(record.source)]
    }

    /// Pictures of all splits that cannot be decoded.
    pub fn corrupt(&self) -> usize {
        self.splits.values().flat_map(|records| records.iter()).filter(|record| !record.usable).count()
    }

    /// Sorted distinct identities of a split.
    pub fn identities(&self, split: Split) -> Vec<i64> {
        let mut pids: Vec<i64> = self.split(split).iter().map(|record| record.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }
}
