//! Small data sets on disk.

use std::path::{Path, PathBuf};

use jpeg_encoder::{ColorType, Encoder};
use reid_data::Result;
use reid_data::dataset::{Dataset, Split};
use reid_data::datasets::{LARGE, OpenSettings, open};
use reid_data::image::Image;
use reid_data::rng::{Key, Rng, Stream};
use reid_data::spec::{Counts, DataSpec, Market1501Spec, Reading, ValidationSpec};
use tempfile::TempDir;

/// A picture of noise in coarse blocks; another seed gives another picture.
pub(crate) fn picture(seed: u64, height: usize, width: usize) -> Image {
    let mut image = Image::black(height, width);
    for (at, value) in image.data.iter_mut().enumerate() {
        let (row, column, channel) = (at / 3 / width / 4, at / 3 % width / 4, at % 3);
        let key = Key { seed, stream: Stream::Render, epoch: row as u32, draw: column as u32, view: channel as u16 };
        *value = Rng::new(key).below(256) as u8;
    }
    image
}

/// A picture in which every pixel is its own.
pub(crate) fn noise(seed: u64, height: usize, width: usize) -> Image {
    let mut rng = Rng::new(Key { seed, stream: Stream::Render, epoch: 0, draw: 0, view: 0 });
    Image::new(height, width, (0..height * width * 3).map(|_| rng.below(256) as u8).collect())
}

/// The JPEG file of a picture.
pub(crate) fn jpeg(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u16, image.height as u16);
    Encoder::new(&mut bytes, 90).encode(&image.data, width, height, ColorType::Rgb).expect("a JPEG");
    bytes
}

/// A temporary folder for any data set, and a cache in it.
pub(crate) struct Lab(TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary folder"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, with the folders that it needs.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a written file");
    }

    /// Writes a small JPEG, another one for another name.
    pub(crate) fn picture(&self, name: &str) {
        let seed = u64::from_le_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().expect("32 bytes"));
        self.write(name, &jpeg(&picture(seed, 32, 16)));
    }

    /// Opens a set whose paths start from the folder.
    pub(crate) fn open(&self, spec: &DataSpec) -> Result<Dataset> {
        self.open_large(spec, LARGE)
    }

    /// The same where a set of so many pictures is a large one.
    pub(crate) fn open_large(&self, spec: &DataSpec, large: usize) -> Result<Dataset> {
        let settings = OpenSettings {
            base: self.path().to_path_buf(),
            cache: self.path().join("cache"),
            threads: 2,
            reading: Reading::default(),
            validation: ValidationSpec::default(),
            large,
            progress: &|_, _, _| {},
        };
        open(spec, &settings)
    }

    /// The message of the error that opening gives.
    pub(crate) fn error(&self, spec: &DataSpec) -> String {
        self.open(spec).map(|set| set.name).expect_err("opening fails").to_string()
    }
}

/// Path, identity and camera of every picture of a split.
pub(crate) fn people(dataset: &Dataset, split: Split) -> Vec<(&str, i64, u32)> {
    dataset.split(split).iter().map(|record| (record.path.as_str(), record.pid, record.camera)).collect()
}

pub(crate) fn assert_note(dataset: &Dataset, note: &str) {
    let notes: Vec<_> = dataset.counts.iter().chain(&dataset.notes).collect();
    assert!(notes.iter().any(|n| n.contains(note)), "no {note:?} in {notes:#?}");
}

/// A folder in Market-1501 layout, and a cache beside it.
pub(crate) struct Market {
    folder: TempDir,
    pub(crate) reading: Reading,
    pub(crate) holdout: f64,
    pub(crate) counts: Counts,
}

impl Market {
    /// Empty sub-folders.
    pub(crate) fn empty() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        for name in ["bounding_box_train", "bounding_box_test", "query"] {
            std::fs::create_dir_all(folder.path().join("set").join(name)).expect("a folder");
        }
        Self { folder, reading: Reading::default(), holdout: 0.0, counts: Counts::Auto }
    }

    /// Training identities 2, 4, 6, .. with four pictures from two cameras each, and test identities
    /// 1 and 3 with a query and three gallery pictures each.
    pub(crate) fn with_identities(train: usize) -> Self {
        let market = Self::empty();
        for place in 0..train {
            for shot in 0..4 {
                let name = format!("bounding_box_train/{:04}_c{}s1_{shot:06}_00.jpg", 2 + 2 * place, shot % 2 + 1);
                market.write_picture(&name, (place * 4 + shot) as u64);
            }
        }
        for pid in [1, 3] {
            market.write_picture(&format!("query/{pid:04}_c1s1_000000_00.jpg"), 1000 + pid);
            for shot in 1..4 {
                let name = format!("bounding_box_test/{pid:04}_c{}s1_{shot:06}_00.jpg", shot + 1);
                market.write_picture(&name, 2000 + 10 * pid + shot);
            }
        }
        market
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("set")
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.root().join(name), bytes).expect("a written file");
    }

    /// Writes a small JPEG.
    pub(crate) fn write_picture(&self, name: &str, seed: u64) {
        self.write(name, &jpeg(&picture(seed, 32, 16)));
    }

    pub(crate) fn open(&self) -> Result<Dataset> {
        self.open_at("set", &self.cache(), &|_, _, _| {})
    }

    /// Opens a folder below the temporary one.
    pub(crate) fn open_at(
        &self,
        root: &str,
        cache: &Path,
        progress: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<Dataset> {
        let spec =
            DataSpec::Market1501(Market1501Spec { root: root.to_owned(), counts: self.counts, distractors: false });
        let settings = OpenSettings {
            base: self.folder.path().to_path_buf(),
            cache: cache.to_path_buf(),
            threads: 2,
            reading: self.reading,
            validation: ValidationSpec { identities: self.holdout },
            large: LARGE,
            progress,
        };
        open(&spec, &settings)
    }

    /// The message of the error that opening gives.
    pub(crate) fn error(&self) -> String {
        self.open().map(|set| set.name).expect_err("opening fails").to_string()
    }
}
