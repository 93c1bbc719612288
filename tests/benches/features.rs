//! Not a test: imports a checkpoint, embeds pictures, and exports the encoder, or shows pictures to a frozen teacher,
//! for `tests/peers/weights.py`.
//!
//! Usage: features JOB.json, a [`Job`].

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use candle_core::{DType, Device};
use reid_backbones::frozen::FrozenEncoder;
use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_backbones::spec::{VitDims, VitSpec};
use reid_backbones::weights::spec::ImportedSpec;
use reid_backbones::weights::{self, Checkpoint};
use reid_backbones::{Encoder, Input, ParamStore, Vit};
use reid_data::spec::{Normalisation, Size};
use reid_objectives::person_mae::FrozenTeacher;
use serde::Deserialize;

/// What is to be done.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Job {
    Import(Import),
    Teacher(Teacher),
}

/// Regions of `grid` patches are shown to a frozen teacher.
#[derive(Deserialize)]
struct Teacher {
    frozen: FrozenEncoderSpec,
    grid: (usize, usize),
    /// Safetensors with `images`, `[b, 3, h, w]`, of mean 0 and variance 1 where photographs are.
    images: PathBuf,
    /// Where features go.
    features: PathBuf,
}

/// An encoder is imported and exported.
#[derive(Deserialize)]
struct Import {
    backbone: VitSpec,
    width: usize,
    depth: usize,
    heads: usize,
    imported: ImportedSpec,
    /// Safetensors with `images`, `[b, 3, h, w]`.
    images: PathBuf,
    /// Where features and tokens go.
    features: PathBuf,
    /// Beginning of the names of the exports.
    export: PathBuf,
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: features JOB.json")?;
    match serde_json::from_slice(&std::fs::read(path)?)? {
        Job::Import(job) => import(&job),
        Job::Teacher(job) => teacher(&job),
    }
}

fn teacher(job: &Teacher) -> Result<(), Box<dyn Error>> {
    let (encoder, report) = FrozenEncoder::open(&job.frozen, &Device::Cpu)?;
    eprintln!("{report}");
    let images = Checkpoint::open(&job.images)?.read("images")?;
    let (_, _, h, w) = images.dims4()?;
    let regions = (Size(h, w), job.grid);
    let teacher = FrozenTeacher::new(encoder, &job.frozen, regions, Normalisation::Imagenet, &Device::Cpu)?;
    let out = BTreeMap::from([("features".to_owned(), teacher.features(&images)?)]);
    Ok(weights::write(&job.features, &out)?)
}

fn import(job: &Import) -> Result<(), Box<dyn Error>> {
    let dims = VitDims { width: job.width, depth: job.depth, heads: job.heads };
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &job.backbone, "encoder.", &mut store, &|_| Box::new(|| 0.5))?;
    let report = weights::import(&job.imported, &vit, &store, "encoder.")?;
    eprintln!("{report}");
    let images = Checkpoint::open(&job.images)?.read("images")?.to_dtype(DType::F32)?;
    let tokens = vit.forward(&store.frozen(), &images, &Input::default())?;
    let out = BTreeMap::from([("feature".to_owned(), tokens.class()?), ("tokens".to_owned(), tokens.all.clone())]);
    weights::write(&job.features, &out)?;
    let tensors = weights::encoder_tensors(&vit, &store, "encoder.")?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    std::fs::write(job.export.with_extension("safetensors"), weights::safetensors(&tensors, &metadata)?)?;
    std::fs::write(job.export.with_extension("onnx"), weights::onnx(&vit, &tensors, &metadata)?)?;
    Ok(())
}
