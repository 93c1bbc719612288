//! AdamW, Adam and SGD over a parameter store.

use std::collections::BTreeMap;
use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor, bail};
use rayon::prelude::*;

use super::groups::{Segment, groups};
use super::spec::{OptimSpec, SgdSpec};
use crate::error::{BackboneError, Result};
use crate::kernels::vectorized;
use crate::params::{Gradients, ModuleId, ParamStore};

/// Elements per task.
const CHUNK: usize = 1 << 14;

/// What a schedule says about one update.
pub struct Course<'a> {
    /// Learning rate of a group with this multiplier.
    pub rate: &'a dyn Fn(f64) -> f64,
    /// Weight decay now, given the one that the rule starts with; not asked for what never decays.
    pub decay: &'a dyn Fn(f64) -> f64,
    /// Modules that keep their values in this update. Their moments and their count of updates stay as they are,
    /// as if there had been no such update (PyTorch's treatment of a missing gradient).
    pub held: &'a [ModuleId],
}

impl<'a> Course<'a> {
    /// Everything is updated, and weight decay stays as it is.
    pub fn of_rate(rate: &'a dyn Fn(f64) -> f64) -> Self {
        Self { rate, decay: &|decay| decay, held: &[] }
    }
}

/// An update rule and its state for one store.
#[derive(Debug)]
pub struct Optimizer {
    spec: OptimSpec,
    segments: Vec<Vec<Segment>>,
    /// First moment, or momentum buffer, `[len]` per module.
    first: Vec<Vec<f32>>,
    /// Second moment; empty for SGD.
    second: Vec<Vec<f32>>,
    steps: u64,
    /// Updates, of `steps`, in which a module was held.
    held: Vec<u64>,
}

impl Optimizer {
    /// A fresh optimiser: zero moments.
    pub fn new(spec: &OptimSpec, store: &ParamStore) -> Self {
        let zeros = || store.modules().iter().map(|module| vec![0.0; module.len()]).collect();
        let second = match spec {
            OptimSpec::Adamw(_) | OptimSpec::Adam(_) => zeros(),
            OptimSpec::Sgd(_) => vec![Vec::new(); store.modules().len()],
        };
        let held = vec![0; store.modules().len()];
        Self { spec: spec.clone(), segments: groups(spec, store), first: zeros(), second, steps: 0, held }
    }

    /// One update.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn step(&mut self, store: &ParamStore, grads: &Gradients, course: &Course) -> Result<()> {
        self.steps += 1;
        for id in course.held {
            self.held[id.index()] += 1;
        }
        let modules = store.modules().iter().zip(&grads.buffers).enumerate();
        let state = self.first.iter_mut().zip(&mut self.second).zip(&self.segments);
        for ((i, (module, grad)), ((first, second), segments)) in modules.zip(state) {
            if module.frozen || course.held.iter().any(|id| id.index() == i) {
                continue;
            }
            let decay = |decay: f64| if decay == 0.0 { 0.0 } else { (course.decay)(decay) };
            let op = Update {
                rule: &self.spec,
                step: self.steps - self.held[i],
                segments,
                rates: segments.iter().map(|s| (course.rate)(s.group.multiplier) * s.group.scale).collect(),
                decays: segments.iter().map(|s| decay(s.group.weight_decay)).collect(),
                state: Mutex::new((first, second)),
            };
            if store.device().is_cpu() {
                module.var().as_tensor().inplace_op2(&grad.contiguous()?, &op)?;
            } else {
                // Updated on the host: the moments live there. Costs two transfers per module.
                let cpu = candle_core::Device::Cpu;
                let host = module.var().as_detached_tensor().to_device(&cpu)?.copy()?;
                host.inplace_op2(&grad.contiguous()?.to_device(&cpu)?, &op)?;
                module.var().set(&host.to_device(store.device())?)?;
            }
        }
        Ok(())
    }

    /// The state by module, for checkpoints: `m.<module>`, `v.<module>`, `held.<module>` for modules that were
    /// held, and the number of steps.
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn save(&self, store: &ParamStore) -> Result<(Vec<(String, Tensor)>, u64)> {
        let mut out = Vec::new();
        for (prefix, all) in [("m.", &self.first), ("v.", &self.second)] {
            for (module, values) in store.modules().iter().zip(all).filter(|(_, values)| !values.is_empty()) {
                let tensor = Tensor::from_slice(values, values.len(), &candle_core::Device::Cpu)?;
                out.push((format!("{prefix}{}", module.name), tensor));
            }
        }
        for (module, &held) in store.modules().iter().zip(&self.held).filter(|&(_, &held)| held > 0) {
            let tensor = Tensor::new(&[held as u32], &candle_core::Device::Cpu)?;
            out.push((format!("held.{}", module.name), tensor));
        }
        Ok((out, self.steps))
    }

    /// Restores what [`Self::save`] gave.
    ///
    /// # Errors
    /// If a module's state is missing or has another length.
    pub fn load(&mut self, store: &ParamStore, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        for (prefix, all) in [("m.", &mut self.first), ("v.", &mut self.second)] {
            for (module, values) in store.modules().iter().zip(all).filter(|(_, values)| !values.is_empty()) {
                let name = format!("{prefix}{}", module.name);
                let saved = state.get(&name).ok_or_else(|| BackboneError::UnknownParameter { name: name.clone() })?;
                if saved.elem_count() != values.len() {
                    let (expected, found) = (vec![values.len()], saved.dims().to_vec());
                    return Err(BackboneError::Shape { name, expected, found });
                }
                *values = saved.flatten_all()?.to_vec1()?;
            }
        }
        for (module, held) in store.modules().iter().zip(&mut self.held) {
            let saved = state.get(&format!("held.{}", module.name));
            *held = saved.map(|saved| saved.flatten_all()?.get(0)?.to_scalar::<u32>()).transpose()?.unwrap_or(0).into();
        }
        self.steps = steps;
        Ok(())
    }
}

/// First and second state of one module.
type Moments<'a> = (&'a mut Vec<f32>, &'a mut Vec<f32>);

struct Update<'a> {
    rule: &'a OptimSpec,
    step: u64,
    segments: &'a [Segment],
    /// Learning rate of each segment.
    rates: Vec<f64>,
    /// Weight decay of each segment.
    decays: Vec<f64>,
    state: Mutex<Moments<'a>>,
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "optimizer-step"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        grad: &CpuStorage,
        grad_l: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(params), CpuStorage::F32(grad)) = (dst, grad) else { bail!("parameters are f32") };
        let (Some((p0, p1)), Some((g0, g1))) = (dst_l.contiguous_offsets(), grad_l.contiguous_offsets()) else {
            bail!("parameters and gradients are contiguous")
        };
        let (params, grad) = (&mut params[p0..p1], &grad[g0..g1]);
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut *state;
        for ((segment, &rate), &decay) in self.segments.iter().zip(&self.rates).zip(&self.decays) {
            let range = segment.start..segment.end;
            let (p, g, m) = (&mut params[range.clone()], &grad[range.clone()], &mut first[range.clone()]);
            match self.rule {
                OptimSpec::Adamw(spec) => {
                    let constants = (spec.betas, spec.eps);
                    adam::<false>(constants, self.step, rate, decay, p, g, m, &mut second[range]);
                }
                OptimSpec::Adam(spec) => {
                    let constants = (spec.betas, spec.eps);
                    adam::<true>(constants, self.step, rate, decay, p, g, m, &mut second[range]);
                }
                OptimSpec::Sgd(spec) => sgd(spec, self.step, rate, decay, p, g, m),
            }
        }
        Ok(())
    }
}

/// `p -= lr wd p`, or `g += wd p` where the decay is coupled, then the bias-corrected Adam step; moments and update in
/// f32, constants in f64.
#[expect(clippy::too_many_arguments, reason = "an update rule's operands")]
fn adam<const COUPLED: bool>(
    ([b1, b2], eps): ([f64; 2], f64),
    step: u64,
    rate: f64,
    decay: f64,
    p: &mut [f32],
    g: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let correction1 = 1.0 - b1.powf(step as f64);
    let correction2 = 1.0 - b2.powf(step as f64);
    let shrink = if COUPLED { 1.0 } else { (1.0 - rate * decay) as f32 };
    let decay = decay as f32;
    let size = (rate / correction1) as f32;
    let root = (1.0 / correction2.sqrt()) as f32;
    let eps = eps as f32;
    let (b1, b2, c1, c2) = (b1 as f32, b2 as f32, (1.0 - b1) as f32, (1.0 - b2) as f32);
    let chunks =
        p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(m.par_chunks_mut(CHUNK)).zip(v.par_chunks_mut(CHUNK));
    chunks.for_each(|(((p, g), m), v)| {
        vectorized(
            #[inline(always)]
            || {
                for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
                    let g = if COUPLED { g + decay * *p } else { g };
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *p = *p * shrink - size * *m / (v.sqrt() * root + eps);
                }
            },
        );
    });
}

/// `g += wd p`, `buffer = momentum buffer + g` (the gradient itself at the first step), `p -= lr buffer`.
fn sgd(spec: &SgdSpec, step: u64, rate: f64, decay: f64, p: &mut [f32], g: &[f32], buffer: &mut [f32]) {
    let momentum = if step == 1 { 0.0 } else { spec.momentum as f32 };
    let (rate, decay) = (rate as f32, decay as f32);
    let chunks = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(buffer.par_chunks_mut(CHUNK));
    chunks.for_each(|((p, g), buffer)| {
        vectorized(
            #[inline(always)]
            || {
                for ((p, &g), buffer) in p.iter_mut().zip(g).zip(buffer.iter_mut()) {
                    *buffer = momentum * *buffer + (g + decay * *p);
                    *p -= rate * *buffer;
                }
            },
        );
    });
}
