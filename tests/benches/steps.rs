//! Times one training or inference step of a named piece of work, beside the same in PyTorch.
//!
//! `steps WORKLOAD THREADS` builds the model, warms up, and then runs, for every number that it reads
//! on stdin, that many steps, and answers with their mean time in milliseconds. At the end of the input
//! it prints its peak resident memory in MiB. A line each, so that a script can run two programs in
//! turn; `tests/peers/speed.py` does. `steps golden FILE` writes the inputs, losses and gradients of one
//! PersonMAE step, for holding PyTorch's to the same numbers.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use reid_backbones::optim::spec::{AdamwSpec, OptimSpec};
use reid_backbones::optim::{Course, Optimizer};
use reid_backbones::spec::{VitDims, VitSize, VitSpec};
use reid_backbones::vit::linear_defs;
use reid_backbones::{Compute, Encoder, Input, Keep, ModuleId, ParamStore, Vit, init, ops};
use reid_data::spec::Size;
use reid_data::views::{ViewBatch, ViewGroup, Window};
use reid_objectives::math::schedule::RunLength;
use reid_objectives::person_mae::spec::PersonMaeSpec;
use reid_objectives::person_mae::{PersonMae, Regions};
use reid_objectives::protocols::losses::id_loss;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::supervised::{Seen, Supervised};
use reid_objectives::random::init_source;
use reid_objectives::spec::SupervisedSpec;
use reid_objectives::task::{Clock, Task};

#[global_allocator]
static ALLOCATOR: reid_backbones::KeepLarge = reid_backbones::KeepLarge;

type Failure = Box<dyn std::error::Error>;

/// Identities that the classifier tells apart: Market-1501's.
const CLASSES: usize = 751;
const SEED: u64 = 0;

/// One step of a piece of work.
trait Work {
    fn step(&mut self) -> Result<(), Failure>;
}

fn main() -> Result<(), Failure> {
    reid_backbones::quiet_candle();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, threads] = arguments.as_slice() else {
        return Err("usage: steps WORKLOAD THREADS, or steps golden FILE".into());
    };
    if name == "golden" {
        return golden(Path::new(threads));
    }
    reid_backbones::use_threads(threads.parse()?);
    let mut work = workload(name)?;
    for _ in 0..2 {
        work.step()?;
    }
    let (stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    for line in stdin.lines() {
        let count: u32 = line?.trim().parse()?;
        let began = Instant::now();
        for _ in 0..count {
            work.step()?;
        }
        writeln!(stdout, "{:.3}", began.elapsed().as_secs_f64() * 1e3 / f64::from(count))?;
        stdout.flush()?;
    }
    writeln!(stdout, "{}", peak_mebibytes()?)?;
    Ok(())
}

/// `VmHWM` of this process.
fn peak_mebibytes() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

fn workload(name: &str) -> Result<Box<dyn Work>, Failure> {
    let vit = |size, image, patch| VitSpec { size, image, patch, drop_path: 0.0, ..VitSpec::default() };
    let small = vit(VitSize::Small, [256, 128], 16);
    let tiny = vit(VitSize::Tiny, [128, 64], 16);
    let micro = vit(VitSize::Micro, [64, 32], 8);
    let six = VitDims { depth: 6, ..VitSize::Tiny.dims() };
    let mae = |mask_ratio| PersonMaeSpec { mask_ratio, ..PersonMaeSpec::default() };
    Ok(match name {
        "vit_small_train" => Box::new(Classify::new(small.size.dims(), &small, 32)?),
        "vit_small_recompute" => Box::new(Classify::new(small.size.dims(), &small, 32)?.recompute()),
        "vit_small_products" => Box::new(Products::new(small.size.dims(), 32 * 129)?),
        "vit_tiny_train" => Box::new(Classify::new(six, &tiny, 64)?),
        "vit_small_features" => Box::new(Features::new(&small, 32)?),
        "vit_base_features" => Box::new(Features::new(&VitSpec { size: VitSize::Base, ..small }, 32)?),
        "person_mae_50" => Box::new(Training::person_mae(&mae(0.5), &small, 32)?),
        "person_mae_75" => Box::new(Training::person_mae(&mae(0.75), &small, 32)?),
        "micro_person_mae" => Box::new(Training::person_mae(&mae(0.5), &micro, 64)?),
        "micro_supervised" => Box::new(Training::supervised(&micro)?),
        other => return Err(format!("no workload {other}").into()),
    })
}

/// Numbers without meaning in about the range of normalised pixels.
fn noise(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i + salt).wrapping_mul(2_654_435_761) >> 7 & 0xffff) as f32 / 32_768.0 - 1.0).collect()
}

fn pictures(spec: &VitSpec, batch: usize) -> Result<Tensor, Failure> {
    let [h, w] = spec.image;
    Ok(Tensor::from_vec(noise(batch * 3 * h * w, 0), (batch, 3, h, w), &Device::Cpu)?)
}

fn adamw() -> OptimSpec {
    OptimSpec::Adamw(AdamwSpec { betas: [0.9, 0.999], ..AdamwSpec::default() })
}

/// A ViT with a linear classifier on the class token, cross-entropy and `AdamW`.
struct Classify {
    vit: Vit,
    store: ParamStore,
    head: ModuleId,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
}

impl Classify {
    fn new(dims: VitDims, spec: &VitSpec, batch: usize) -> Result<Self, Failure> {
        let mut store = ParamStore::new(&Device::Cpu);
        let source = init_source(SEED);
        let vit = Vit::with_dims(dims, spec, "", &mut store, &source)?;
        let head = linear_defs(dims.width, CLASSES, init::Init::TruncNormal(0.02));
        let head = store.add("head", dims.depth + 1, &head, &source)?;
        let labels = (0..batch as u32).map(|i| i * 37 % CLASSES as u32).collect();
        let labels = Tensor::from_vec(labels, batch, &Device::Cpu)?;
        let optimizer = Optimizer::new(&adamw(), &store);
        Ok(Self { vit, head, optimizer, images: pictures(spec, batch)?, labels, store })
    }
}

impl Classify {
    fn recompute(mut self) -> Self {
        self.store.set_compute(Compute { recompute: true, ..Compute::default() });
        self
    }
}

impl Work for Classify {
    fn step(&mut self) -> Result<(), Failure> {
        let params = self.store.training();
        let class = self.vit.forward(&params, &self.images, &Input::default())?.class()?;
        let loss = id_loss(&ops::linear(&class, &params, self.head)?, &self.labels, 0.0)?;
        let grads = self.store.gradients(&mut loss.backward()?)?;
        self.optimizer.step(&self.store, &grads, &Course::of_rate(&|multiplier| 1e-4 * multiplier))?;
        if !loss.to_scalar::<f32>()?.is_finite() {
            return Err("the loss is no number".into());
        }
        Ok(())
    }
}

/// The matrix products of one training step's linear layers alone, by the same gemm crate: what a step
/// would take if it did nothing else.
struct Products {
    operands: Vec<(Tensor, Tensor)>,
    blocks: usize,
}

impl Products {
    fn new(dims: VitDims, tokens: usize) -> Result<Self, Failure> {
        let d = dims.width;
        let mut operands = Vec::new();
        for (outputs, inputs) in [(3 * d, d), (d, d), (4 * d, d), (d, 4 * d)] {
            let matrix = |rows, cols| Tensor::from_vec(noise(rows * cols, rows), (rows, cols), &Device::Cpu);
            let (x, w, dy) = (matrix(tokens, inputs)?, matrix(outputs, inputs)?, matrix(tokens, outputs)?);
            operands.extend([(x.clone(), w.t()?), (dy.clone(), w), (dy.t()?, x)]);
        }
        Ok(Self { operands, blocks: dims.depth })
    }
}

impl Work for Products {
    fn step(&mut self) -> Result<(), Failure> {
        for _ in 0..self.blocks {
            for (a, b) in &self.operands {
                a.matmul(b)?;
            }
        }
        Ok(())
    }
}

/// Class tokens without a graph.
struct Features {
    vit: Vit,
    store: ParamStore,
    images: Tensor,
}

impl Features {
    fn new(spec: &VitSpec, batch: usize) -> Result<Self, Failure> {
        let mut store = ParamStore::new(&Device::Cpu);
        let vit = Vit::build(spec, "", &mut store, &init_source(SEED))?;
        Ok(Self { vit, store, images: pictures(spec, batch)? })
    }
}

impl Work for Features {
    fn step(&mut self) -> Result<(), Failure> {
        let class = self.vit.forward(&self.store.frozen(), &self.images, &Input::default())?.class()?;
        if class.dtype() != DType::F32 {
            return Err("features are f32".into());
        }
        Ok(())
    }
}

/// Inputs, weights, losses and gradients of one PersonMAE step of a micro ViT.
fn golden(file: &Path) -> Result<(), Failure> {
    let (batch, device) = (3, Device::Cpu);
    let spec = VitSpec { size: VitSize::Micro, image: [64, 32], patch: 8, drop_path: 0.0, ..VitSpec::default() };
    let mae = PersonMae::build(&PersonMaeSpec::default(), &spec, batch, SEED, &device)?;
    let [a, b] = [0, 1].map(|salt| Tensor::from_vec(noise(batch * 3 * 64 * 32, salt), (batch, 3, 64, 32), &device));
    let regions = Regions { a: a?, b: b?, windows: Some((0..batch).map(|i| (window(i), window(i + 1))).collect()) };
    let cells: Vec<u32> = (0..batch as u32).flat_map(|i| (0..16).map(move |cell| 2 * cell + (cell + i) % 2)).collect();
    let keep = Keep { cells, per_sample: 16 };
    let losses = mae.losses(&regions, &keep, &Tensor::zeros((batch, 32), DType::F32, &device)?, None)?;
    let (Some(pixel), Some(feature)) = (losses.pixel, losses.feature) else { return Err("both targets".into()) };

    let store = mae.trainable();
    let grads = store.gradients(&mut (&pixel + &feature)?.backward()?)?;
    let mut out = HashMap::new();
    for (module, grad) in store.modules().iter().zip(&grads.buffers) {
        for entry in module.entries.iter() {
            let grad = grad.narrow(0, entry.offset, entry.len())?.reshape(entry.shape.as_slice())?;
            out.insert(format!("grad.{}", entry.name), grad.contiguous()?);
        }
    }
    out.extend(store.tensors()?.into_iter().map(|(name, tensor)| (format!("weights.{name}"), tensor)));
    let windows = [0, 1].map(|region| (0..batch).map(move |i| window(i + region)));
    let windows = windows.into_iter().flatten().flat_map(|w| [w.top, w.left, w.height, w.width]).collect();
    out.insert("in.pixels".to_owned(), Tensor::stack(&[&regions.a, &regions.b], 0)?);
    out.insert("in.windows".to_owned(), Tensor::from_vec(windows, (2, batch, 4), &device)?);
    out.insert("in.keep".to_owned(), Tensor::from_vec(keep.cells, (batch, keep.per_sample), &device)?);
    out.insert("in.heads".to_owned(), Tensor::new(spec.size.dims().heads as u32, &device)?);
    out.insert("out.pixel".to_owned(), pixel.detach());
    out.insert("out.feature".to_owned(), feature.detach());
    Ok(candle_core::safetensors::save(&out, file)?)
}

/// A window of a picture of 64 x 32, another one for every `index`.
fn window(index: usize) -> Window {
    let shift = index as f32;
    Window { top: 3.0 * shift, left: 1.5 * shift, height: 60.0 - 4.0 * shift, width: 30.0 - 3.0 * shift }
}

/// A task on one fixed batch, updated as the train loop does.
struct Training {
    task: Box<dyn Task>,
    optimizer: Optimizer,
    batch: ViewBatch,
    step: usize,
}

impl Training {
    fn person_mae(spec: &PersonMaeSpec, backbone: &VitSpec, batch: usize) -> Result<Self, Failure> {
        let task = PersonMae::build(spec, backbone, batch, SEED, &Device::Cpu)?;
        Ok(Self::new(Box::new(task), backbone, batch, 2))
    }

    fn supervised(backbone: &VitSpec) -> Result<Self, Failure> {
        let batch = 64;
        let spec = SupervisedSpec::default();
        let encoder = EncoderModel::random(backbone, SEED, &Device::Cpu)?;
        let seen = Seen { identities: 64, cameras: &[] };
        let task = Supervised::build(&spec, backbone, encoder, seen, SEED, &Device::Cpu)?;
        Ok(Self::new(Box::new(task), backbone, batch, 1))
    }

    fn new(task: Box<dyn Task>, backbone: &VitSpec, batch: usize, views: usize) -> Self {
        let [h, w] = backbone.image;
        let window = |view: usize| Window {
            top: 4.0 * view as f32,
            left: 2.0 * view as f32,
            height: h as f32 * 0.8,
            width: w as f32 * 0.8,
        };
        let group = ViewGroup {
            size: Size(h, w),
            views: (0..views).collect(),
            pixels: noise(views * batch * 3 * h * w, 1),
            windows: (0..views).flat_map(|view| std::iter::repeat_n(window(view), batch)).collect(),
        };
        let draws: Vec<u32> = (0..batch as u32).collect();
        let labels = draws.iter().map(|draw| draw / 4).collect();
        let batch =
            ViewBatch { groups: vec![group], images: draws.clone(), labels, cameras: vec![0; draws.len()], draws };
        let optimizer = Optimizer::new(&adamw(), task.trainable());
        Self { task, optimizer, batch, step: 0 }
    }
}

impl Work for Training {
    fn step(&mut self) -> Result<(), Failure> {
        let run = RunLength { steps: 1000, epochs: 10.0 };
        let clock = Clock { epoch: 0, epochs: run.epochs, step: self.step, steps: run.steps, seed: SEED };
        let output = self.task.step(&self.batch, clock)?;
        let loss = output.loss.to_scalar::<f32>()?;
        let mut grads = self.task.trainable().gradients(&mut output.loss.backward()?)?;
        grads.clip(5.0)?;
        self.optimizer.step(self.task.trainable(), &grads, &Course::of_rate(&|multiplier| 1e-4 * multiplier))?;
        self.task.after_step(&[output], clock)?;
        self.step = (self.step + 1) % run.steps;
        if !loss.is_finite() {
            return Err("the loss is no number".into());
        }
        Ok(())
    }
}
