//! Times the making of batches from files, beside torchvision's.
//!
//! `batches KIND FOLDER THREADS` loads the pictures of a folder's `bounding_box_train`, in an order shuffled anew
//! every epoch, none of them kept decoded. It then makes, for every number that it reads on stdin, that many batches,
//! and answers with their mean time in milliseconds; at the end of the input it prints its peak resident memory in
//! MiB. A line each; `tests/peers/loading.py` runs two programs in turn. A KIND that ends in `_reduced` decodes JPEG files
//! no larger than its largest views need. `batches hash KIND FOLDER THREADS` prints a
//! hash of the first epoch's batches.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use reid_data::dataset::{Dataset, Split};
use reid_data::datasets::{LARGE, OpenSettings, open};
use reid_data::loader::{Loader, LoaderSettings, Tail};
use reid_data::pictures::Pictures;
use reid_data::sampler::shuffle;
use reid_data::spec::{
    BlurSpec, DataSpec, DecodeSpec, ErasingSpec, Filter, ImagesSpec, JitterSpec, Normalisation, PhotometricSpec,
    Reading, Size, ValidationSpec,
};
use reid_data::views::{Crop, ViewPlan, ViewSpec};

#[global_allocator]
static ALLOCATOR: reid_backbones::KeepLarge = reid_backbones::KeepLarge;

type Failure = Box<dyn std::error::Error>;

/// Pictures in a batch.
const BATCH: usize = 64;
/// Batches that may wait, for each thread; as many as torchvision's.
const QUEUE: usize = 2;
const SEED: u64 = 0;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (kind, folder, threads, wants_hash) = match words.as_slice() {
        ["hash", kind, folder, threads] => (kind, folder, threads, true),
        [kind, folder, threads] => (kind, folder, threads, false),
        _ => return Err("usage: batches [hash] KIND FOLDER THREADS".into()),
    };
    let (kind, decode) = match kind.strip_suffix("_reduced") {
        Some(kind) => (kind, DecodeSpec::AtLeast(Size(256, 128))),
        None => (*kind, DecodeSpec::Full),
    };
    let mut feed = Feed::new(views(kind)?, Path::new(folder), threads.parse()?, decode)?;
    if wants_hash {
        let mut hasher = blake3::Hasher::new();
        for batch in feed.epoch()? {
            for group in batch?.groups {
                group.pixels.iter().for_each(|value| {
                    hasher.update(&value.to_le_bytes());
                });
            }
        }
        writeln!(std::io::stdout(), "{}", hasher.finalize().to_hex())?;
        return Ok(());
    }
    feed.take(4)?;
    let (stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    for line in stdin.lines() {
        let count: usize = line?.trim().parse()?;
        // Those that were made while nobody waited.
        feed.take(feed.threads * QUEUE)?;
        let began = Instant::now();
        feed.take(count)?;
        writeln!(stdout, "{:.3}", began.elapsed().as_secs_f64() * 1e3 / count as f64)?;
        stdout.flush()?;
    }
    writeln!(stdout, "{}", peak_mebibytes()?)?;
    Ok(())
}

/// What becomes of a picture.
fn views(kind: &str) -> Result<ViewPlan, Failure> {
    let view = |size, crop| ViewSpec {
        size,
        crop,
        filter: Filter::Bicubic,
        flip: 0.5,
        photometric: PhotometricSpec::default(),
        normalisation: Normalisation::Imagenet,
        erasing: None,
    };
    let views = match kind {
        // TransReID's training transform.
        "supervised" => {
            let erasing = Some(ErasingSpec::default());
            vec![ViewSpec { erasing, ..view(Size(256, 128), Crop::PadCrop { pad: 10 }) }]
        }
        // DINO's two global and eight local crops, at ReID's ratio.
        "multi_crop" => {
            let ratio = [0.75, 4.0 / 3.0];
            let global = |blur: f64, solarise: f64| {
                let jitter = JitterSpec { probability: 0.8, ..JitterSpec::default() };
                let blur = BlurSpec { probability: blur, ..BlurSpec::default() };
                PhotometricSpec { jitter, grayscale: 0.2, blur, solarise, ..PhotometricSpec::default() }
            };
            let of =
                |size, scale, photometric| ViewSpec { photometric, ..view(size, Crop::RandomResized { scale, ratio }) };
            let mut views = vec![
                of(Size(256, 128), [0.4, 1.0], global(1.0, 0.0)),
                of(Size(256, 128), [0.4, 1.0], global(0.1, 0.2)),
            ];
            views.extend((0..8).map(|_| of(Size(96, 64), [0.05, 0.4], global(0.5, 0.0))));
            views
        }
        other => return Err(format!("unknown kind {other}: supervised or multi_crop").into()),
    };
    Ok(ViewPlan { views, shared_flip: 0.0 })
}

/// Batches without end.
struct Feed {
    dataset: Dataset,
    pictures: Arc<Pictures>,
    views: Arc<ViewPlan>,
    threads: usize,
    epoch: u32,
    loader: Option<Loader>,
}

impl Feed {
    fn new(views: ViewPlan, folder: &Path, threads: usize, decode: DecodeSpec) -> Result<Self, Failure> {
        let cache = tempfile::tempdir()?;
        let settings = OpenSettings {
            base: PathBuf::new(),
            cache: cache.path().to_path_buf(),
            threads,
            reading: Reading { decode, ..Reading::default() },
            validation: ValidationSpec::default(),
            large: LARGE,
            progress: &|_, _, _| {},
        };
        let root = folder.join("bounding_box_train").to_string_lossy().into_owned();
        let dataset = open(&DataSpec::Images(ImagesSpec { root }), &settings)?;
        let pictures = Arc::new(Pictures::new(&dataset, Split::Pool, 0));
        Ok(Self { dataset, pictures, views: Arc::new(views), threads, epoch: 0, loader: None })
    }

    fn epoch(&mut self) -> Result<Loader, Failure> {
        let plan = shuffle(self.dataset.split(Split::Pool), BATCH, SEED, self.epoch);
        let settings = LoaderSettings {
            seed: SEED,
            epoch: self.epoch,
            start: 0,
            tail: Tail::Drop,
            workers: self.threads,
            queue: QUEUE,
        };
        self.epoch += 1;
        Ok(Loader::new(Arc::clone(&self.pictures), Arc::new(plan), Arc::clone(&self.views), settings)?)
    }

    fn take(&mut self, count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            let mut batch = self.loader.as_mut().and_then(Iterator::next);
            if batch.is_none() {
                let mut loader = self.epoch()?;
                batch = loader.next();
                self.loader = Some(loader);
            }
            batch.ok_or("fewer pictures than a batch")??;
        }
        Ok(())
    }
}

/// `VmHWM` of this process.
fn peak_mebibytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
