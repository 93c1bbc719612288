//! Small tasks, and batches that no data set is needed for.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::optim::spec::{AdamwSpec, OptimSpec};
use reid_backbones::optim::{Course, Optimizer};
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::{Gradients, ParamStore, Vit};
use reid_data::dataset::{Record, Split};
use reid_data::rng::Rng;
use reid_data::spec::Size;
use reid_data::views::{ViewBatch, ViewGroup, ViewPlan, Window};
use reid_objectives::Result;
use reid_objectives::person_mae::PersonMae;
use reid_objectives::person_mae::spec::PersonMaeSpec;
use reid_objectives::protocols::ENCODER;
use reid_objectives::random::init_source;
use reid_objectives::spec::UpReidSpec;
use reid_objectives::task::{Clock, Embed, Features, Services, StepOutput, Task};
use reid_objectives::up_reid::UpReid;
use reid_tests::tensors::{rng, values};

/// Height and width of every picture here: 4 x 2 patches of side 8.
pub(crate) const SIZE: Size = Size(32, 16);
/// Cells of that grid.
pub(crate) const CELLS: usize = 8;
/// An encoder that is fast.
pub(crate) const TINY: VitDims = VitDims { width: 24, depth: 2, heads: 2 };

pub(crate) fn backbone() -> VitSpec {
    let (size, positions) = (VitSize::Micro, Positions::Learned);
    VitSpec { size, image: [SIZE.0, SIZE.1], patch: 8, positions, drop_path: 0.0, ..VitSpec::default() }
}

/// A tiny `PersonMAE`.
pub(crate) fn person_mae(spec: PersonMaeSpec, dims: VitDims, seed: u64) -> Result<PersonMae> {
    let source = init_source(seed);
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &backbone(), ENCODER, &mut store, &source)?;
    PersonMae::assemble(spec, backbone(), 4, vit, store, &source)
}

/// A tiny UP-ReID.
pub(crate) fn up_reid(spec: UpReidSpec, dims: VitDims, seed: u64) -> Result<UpReid> {
    let source = init_source(seed);
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &backbone(), ENCODER, &mut store, &source)?;
    UpReid::assemble(spec, backbone(), 4, vit, store, &source)
}

/// Pictures of plane waves, `views` of each, with a label for every four of them.
pub(crate) fn batch(samples: usize, views: usize, seed: u64) -> ViewBatch {
    let Size(h, w) = SIZE;
    let mut pixels = Vec::with_capacity(views * samples * 3 * h * w);
    let mut windows = Vec::new();
    for view in 0..views {
        for sample in 0..samples {
            let mut rng = rng(seed, (sample * 7 + view) as u32);
            for _channel in 0..3 {
                pixels.extend(wave(&mut rng, h, w));
            }
            let mut at = |low, high| rng.range(low, high) as f32;
            windows.push(Window {
                top: at(0.0, 9.0),
                left: at(0.0, 9.0),
                height: at(20.0, 40.0),
                width: at(9.0, 20.0),
            });
        }
    }
    let numbers = || 0..samples as u32;
    ViewBatch {
        groups: vec![ViewGroup { size: SIZE, views: (0..views).collect(), pixels, windows }],
        draws: numbers().map(|sample| 100 + sample).collect(),
        images: numbers().collect(),
        labels: numbers().map(|sample| sample / 4).collect(),
        cameras: numbers().map(|sample| sample % 2).collect(),
    }
}

pub(crate) fn wave(rng: &mut Rng, h: usize, w: usize) -> Vec<f32> {
    let (along, down, phase) = (rng.range(-0.5, 0.5), rng.range(-0.5, 0.5), rng.range(0.0, 6.0));
    let value = |at: usize| ((at % w) as f64 * along + (at / w) as f64 * down + phase).sin() as f32;
    (0..h * w).map(value).collect()
}

/// The same samples in another order.
pub(crate) fn reordered(batch: &ViewBatch, order: &[usize]) -> ViewBatch {
    let group = &batch.groups[0];
    let (samples, views) = (batch.len(), group.views.len());
    let len = group.pixels.len() / samples / views;
    let places = || (0..views).flat_map(|view| order.iter().map(move |sample| view * samples + sample));
    let pick = |values: &[u32]| order.iter().map(|&sample| values[sample]).collect();
    ViewBatch {
        groups: vec![ViewGroup {
            pixels: places().flat_map(|at| group.pixels[at * len..(at + 1) * len].to_vec()).collect(),
            windows: places().map(|at| group.windows[at]).collect(),
            ..group.clone()
        }],
        draws: pick(&batch.draws),
        images: pick(&batch.images),
        labels: pick(&batch.labels),
        cameras: pick(&batch.cameras),
    }
}

pub(crate) fn clock(step: usize, steps: usize) -> Clock {
    Clock { epoch: 0, epochs: 1.0, step, steps, seed: 3 }
}

pub(crate) fn scalar(tensor: &Tensor) -> f64 {
    values(tensor)[0]
}

/// One step's gradients.
pub(crate) fn gradients(task: &dyn Task, output: &StepOutput) -> Result<Gradients> {
    Ok(task.trainable().gradients(&mut output.loss.backward()?)?)
}

/// Trains on one batch over and over; the loss of every step.
pub(crate) fn train(task: &mut dyn Task, batch: &ViewBatch, steps: usize, rate: f64) -> Result<Vec<f64>> {
    let spec = OptimSpec::Adamw(AdamwSpec { weight_decay: 0.0, ..AdamwSpec::default() });
    let mut optimizer = Optimizer::new(&spec, task.trainable());
    let mut losses = Vec::with_capacity(steps);
    for step in 0..steps {
        let output = task.step(batch, clock(step, steps))?;
        losses.push(scalar(&output.loss));
        let gradients = gradients(task, &output)?;
        optimizer.step(task.trainable(), &gradients, &Course::of_rate(&|multiplier| rate * multiplier))?;
        task.after_step(&[output], clock(step, steps))?;
    }
    Ok(losses)
}

/// Splits with features that no model had to compute.
#[derive(Default)]
pub(crate) struct Archive {
    pub(crate) splits: BTreeMap<Split, (Vec<Record>, Features)>,
}

impl Services for Archive {
    fn records(&self, split: Split) -> &[Record] {
        self.splits.get(&split).map_or(&[], |(records, _)| records)
    }

    fn extract(&self, split: Split, _: &ViewPlan, _: usize, _: &dyn Embed) -> Result<Features> {
        Ok(self.splits[&split].1.clone())
    }
}

/// A picture of an identity from a camera.
pub(crate) fn record(pid: i64, camera: u32, usable: bool) -> Record {
    Record { usable, ..Record::new(format!("{pid}_{camera}.jpg"), pid, camera) }
}
