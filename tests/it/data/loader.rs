//! Batches from threads.

use std::sync::Arc;

use reid_data::DataError;
use reid_data::augment::{DrawKey, load_views};
use reid_data::dataset::{Dataset, Split};
use reid_data::decode::decode;
use reid_data::loader::{Loader, LoaderSettings, Tail};
use reid_data::pictures::Pictures;
use reid_data::plan::EpochPlan;
use reid_data::sampler::{sequential, shuffle};
use reid_data::spec::{BlurSpec, ErasingSpec, Filter, JitterSpec, Normalisation, PhotometricSpec, Size};
use reid_data::views::{Crop, ViewBatch, ViewPlan, ViewSpec};

use super::fixture::Market;

const SETTINGS: LoaderSettings = LoaderSettings { seed: 4, epoch: 2, start: 0, tail: Tail::Drop, workers: 0, queue: 2 };

/// Every operation now and then.
fn photometric() -> PhotometricSpec {
    let jitter = JitterSpec { probability: 0.8, ..JitterSpec::default() };
    let blur = BlurSpec { probability: 0.5, ..BlurSpec::default() };
    PhotometricSpec { jitter, grayscale: 0.2, blur, solarise: 0.2, ..PhotometricSpec::default() }
}

/// Two large views, one of them erased, and a small one between them.
fn views() -> ViewPlan {
    let large = ViewSpec {
        size: Size(32, 16),
        crop: Crop::RandomResized { scale: [0.3, 1.0], ratio: [0.4, 0.8] },
        filter: Filter::Bicubic,
        flip: 0.5,
        photometric: photometric(),
        normalisation: Normalisation::Imagenet,
        erasing: None,
    };
    let small = ViewSpec { size: Size(16, 16), crop: Crop::PadCrop { pad: 3 }, ..large.clone() };
    let erased = ViewSpec { erasing: Some(ErasingSpec::default()), ..large.clone() };
    ViewPlan { views: vec![large, small, erased], shared_flip: 0.5 }
}

struct Setup {
    market: Market,
    dataset: Dataset,
    plan: EpochPlan,
}

impl Setup {
    /// 24 training pictures in batches of five: four whole batches, or five.
    fn new() -> Self {
        let market = Market::with_identities(6);
        let dataset = market.open().expect("a sound set");
        let plan = shuffle(dataset.split(Split::Train), 5, 4, 2);
        Self { market, dataset, plan }
    }

    fn loader(&self, cache_bytes: usize, settings: LoaderSettings) -> Loader {
        let pictures = Pictures::new(&self.dataset, Split::Train, cache_bytes);
        Loader::new(Arc::new(pictures), Arc::new(self.plan.clone()), Arc::new(views()), settings).expect("threads")
    }

    fn batches(&self, cache_bytes: usize, settings: LoaderSettings) -> Vec<ViewBatch> {
        self.loader(cache_bytes, settings).collect::<reid_data::Result<_>>().expect("sound pictures")
    }
}

#[test]
fn batches_do_not_depend_on_workers_start_or_memory() {
    let setup = Setup::new();
    let expected = setup.batches(0, SETTINGS);
    assert_eq!(expected.len(), 4);
    for workers in [0, 1, 2, 8] {
        for start in [0, 2, 4, 9] {
            for cache_bytes in [0, 5000, usize::MAX] {
                let actual = setup.batches(cache_bytes, LoaderSettings { workers, start, queue: 1, ..SETTINGS });
                assert!(actual == expected[start.min(4)..], "{workers} workers from step {start}, {cache_bytes} bytes");
            }
        }
    }
}

#[test]
fn a_batch_holds_the_views_of_its_draws() {
    let setup = Setup::new();
    let records = setup.dataset.split(Split::Train);
    for (step, batch) in setup.batches(0, SETTINGS).iter().enumerate() {
        assert_eq!(batch.groups.iter().map(|group| group.views.clone()).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
        for sample in 0..batch.len() {
            let position = step * 5 + sample;
            let draw = setup.plan.draws[position];
            let record = &records[draw.image as usize];
            assert_eq!((batch.draws[sample], batch.images[sample]), (position as u32, draw.image));
            assert_eq!((batch.labels[sample], batch.cameras[sample]), (draw.label, record.camera));
            let bytes = std::fs::read(setup.dataset.root.join(&record.path)).expect("the picture");
            let image = decode(&bytes).expect("a sound picture");
            let key = DrawKey { seed: SETTINGS.seed, epoch: SETTINGS.epoch, draw: position as u32 };
            for (view, expected) in load_views(&image, &views(), key).iter().enumerate() {
                let (group, at) = batch.find(view);
                let length = 3 * group.size.0 * group.size.1;
                let place = at * batch.len() + sample;
                assert_eq!(group.pixels[place * length..][..length], expected.pixels);
                assert_eq!(group.windows[place], expected.window);
            }
        }
    }
}

#[test]
fn evaluation_sees_every_picture() {
    let mut setup = Setup::new();
    setup.plan = sequential(setup.dataset.split(Split::Train), 5);
    for workers in [0, 2] {
        let loader = setup.loader(0, LoaderSettings { workers, tail: Tail::Keep, ..SETTINGS });
        assert_eq!(loader.remaining(), 5);
        let batches: Vec<ViewBatch> = loader.collect::<reid_data::Result<_>>().expect("sound pictures");
        assert_eq!(batches.iter().map(ViewBatch::len).collect::<Vec<_>>(), [5, 5, 5, 5, 4]);
        let images: Vec<u32> = batches.into_iter().flat_map(|batch| batch.images).collect();
        assert_eq!(images, (0..24).collect::<Vec<_>>());
    }
}

#[test]
fn a_loader_that_is_dropped_stops() {
    let setup = Setup::new();
    for workers in [0, 1, 3] {
        let mut loader = setup.loader(0, LoaderSettings { workers, queue: 1, ..SETTINGS });
        loader.next().expect("a batch").expect("sound pictures");
        // Returns only when every thread has ended.
        drop(loader);
    }
}

#[test]
fn a_picture_that_vanishes_or_changes_is_named() {
    for workers in [0, 2] {
        for how in ["vanished", "broken", "another"] {
            let setup = Setup::new();
            // The third batch cannot be made; the two before it can.
            let record = &setup.dataset.split(Split::Train)[setup.plan.draws[11].image as usize];
            let path = setup.market.root().join(&record.path);
            match how {
                "vanished" => std::fs::remove_file(&path).expect("removed"),
                "broken" => setup.market.write(&record.path, b"something else"),
                _ => {
                    let other = &setup.dataset.split(Split::Train)[setup.plan.draws[0].image as usize];
                    let bytes = std::fs::read(setup.market.root().join(&other.path)).expect("a picture");
                    setup.market.write(&record.path, &bytes);
                }
            }
            let mut loader = setup.loader(0, LoaderSettings { workers, ..SETTINGS });
            for _ in 0..2 {
                loader.next().expect("a batch").expect("a sound batch");
            }
            let error = loader.next().expect("an outcome").expect_err("a picture is not what it was");
            assert!(matches!(&error, DataError::Changed { path: named, .. } if *named == path), "{error}");
            assert!(loader.next().is_none(), "the loader ends after an error");
        }
    }
}

/// A task over features needs the order of the pictures, and none of their bytes.
#[test]
fn without_views_no_picture_is_read() {
    let setup = Setup::new();
    let pictures = Arc::new(Pictures::new(&setup.dataset, Split::Train, 0));
    std::fs::remove_dir_all(&setup.dataset.root).expect("the pictures go");
    let views = Arc::new(ViewPlan { views: Vec::new(), shared_flip: 0.0 });
    for workers in [0, 2] {
        let settings = LoaderSettings { workers, ..SETTINGS };
        let plan = Arc::new(setup.plan.clone());
        let loader = Loader::new(Arc::clone(&pictures), plan, Arc::clone(&views), settings).expect("threads");
        let batches: Vec<ViewBatch> = loader.collect::<reid_data::Result<_>>().expect("nothing to read");
        assert_eq!(batches.len(), setup.plan.steps());
        let images: Vec<u32> = batches.iter().flat_map(|batch| batch.images.clone()).collect();
        assert!(images.iter().zip(&setup.plan.draws).all(|(&image, draw)| image == draw.image));
        assert!(batches.iter().all(|batch| batch.groups.is_empty() && batch.len() == 5));
    }
}
