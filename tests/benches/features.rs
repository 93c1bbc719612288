//! Not a test: imports a checkpoint, embeds pictures, and exports the encoder, for `tests/peers/weights.py`.
//!
//! Usage: features JOB.json, a [`Job`].

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use candle_core::{DType, Device};
use reid_backbones::spec::{VitDims, VitSpec};
use reid_backbones::weights::spec::ImportedSpec;
use reid_backbones::weights::{self, Checkpoint};
use reid_backbones::{Encoder, Input, ParamStore, Vit};
use serde::Deserialize;

/// What is to be done.
#[derive(Deserialize)]
struct Job {
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
    let job: Job = serde_json::from_slice(&std::fs::read(path)?)?;
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
