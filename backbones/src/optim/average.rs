//! Exponential moving average of one store into another, and norms of gradients.

use std::sync::Arc;

use candle_core::{CpuStorage, Device, InplaceOp1, InplaceOp2, Layout, bail};
use rayon::prelude::*;

use crate::error::Result;
use crate::kernels::vectorized;
use crate::ops::values;
use crate::params::{Entry, Gradients, ParamStore};

/// Elements per task and per partial sum.
const CHUNK: usize = 1 << 14;
/// Added to a norm before it divides (`torch.nn.utils.clip_grad_norm_`, DINO).
const CLIP_EPS: f64 = 1e-6;

/// `average = momentum * average + (1 - momentum) * source`, over all modules that share a name.
///
/// # Errors
/// Only if candle refuses.
pub fn ema_update(average: &ParamStore, source: &ParamStore, momentum: f64) -> Result<()> {
    for module in average.modules() {
        let Some(from) = source.modules().iter().find(|other| other.name == module.name) else { continue };
        let (to, from) = (module.var(), from.var().as_detached_tensor());
        if average.device().is_cpu() {
            to.as_tensor().inplace_op2(&from, &Blend { keep: momentum as f32, take: (1.0 - momentum) as f32 })?;
        } else {
            to.set(&((to.as_detached_tensor() * momentum)? + (from * (1.0 - momentum))?)?)?;
        }
    }
    Ok(())
}

struct Blend {
    keep: f32,
    take: f32,
}

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "ema-update"
    }

    fn cpu_fwd(
        &self,
        dst: &mut CpuStorage,
        dst_l: &Layout,
        src: &CpuStorage,
        src_l: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(dst), CpuStorage::F32(src)) = (dst, src) else { bail!("parameters are f32") };
        let (Some((d0, d1)), Some((s0, s1))) = (dst_l.contiguous_offsets(), src_l.contiguous_offsets()) else {
            bail!("parameters are contiguous")
        };
        dst[d0..d1].par_chunks_mut(CHUNK).zip(src[s0..s1].par_chunks(CHUNK)).for_each(|(dst, src)| {
            vectorized(
                #[inline(always)]
                || {
                    for (average, value) in dst.iter_mut().zip(src) {
                        *average = self.keep * *average + self.take * value;
                    }
                },
            );
        });
        Ok(())
    }
}

struct Scale {
    factor: f32,
}

impl InplaceOp1 for Scale {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            bail!("gradients are contiguous and f32")
        };
        scale(&mut values[start..end], self.factor);
        Ok(())
    }
}

/// Scales each tensor of a buffer down to a largest norm.
struct ClipTensors {
    entries: Arc<[Entry]>,
    largest: f64,
}

impl InplaceOp1 for ClipTensors {
    fn name(&self) -> &'static str {
        "clip-tensors"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, _))) = (storage, layout.contiguous_offsets()) else {
            bail!("gradients are contiguous and f32")
        };
        for entry in self.entries.iter() {
            let tensor = &mut values[start + entry.offset..][..entry.len()];
            let partials: Vec<f64> = tensor.par_chunks(CHUNK).map(sum_of_squares).collect();
            let factor = self.largest / (partials.iter().sum::<f64>().sqrt() + CLIP_EPS);
            if factor < 1.0 {
                scale(tensor, factor as f32);
            }
        }
        Ok(())
    }
}

fn scale(values: &mut [f32], factor: f32) {
    values.par_chunks_mut(CHUNK).for_each(|values| {
        vectorized(
            #[inline(always)]
            || {
                for value in values.iter_mut() {
                    *value *= factor;
                }
            },
        );
    });
}

impl Gradients {
    /// Multiplies by a number.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for buffer in &mut self.buffers {
            if buffer.device().is_cpu() {
                buffer.inplace_op1(&Scale { factor: factor as f32 })?;
            } else {
                *buffer = (&*buffer * factor)?;
            }
        }
        Ok(())
    }

    /// Euclidean norm over all parameters; squares in f64, summed by fixed chunks in order.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn norm(&self) -> Result<f64> {
        let mut total = 0.0;
        for buffer in &self.buffers {
            let host;
            let buffer = if buffer.device().is_cpu() {
                buffer
            } else {
                host = buffer.to_device(&Device::Cpu)?;
                &host
            };
            let flat = buffer.contiguous()?;
            let values = values(&flat)?;
            let partials: Vec<f64> = values.par_chunks(CHUNK).map(sum_of_squares).collect();
            total += partials.iter().sum::<f64>();
        }
        Ok(total.sqrt())
    }

    /// Scales each tensor down to a largest norm of its own (DINO, `clip_gradients`). Returns the norm of all
    /// together before.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn clip_tensors(&mut self, store: &ParamStore, largest: f64) -> Result<f64> {
        let norm = self.norm()?;
        for (buffer, module) in self.buffers.iter_mut().zip(store.modules()) {
            let op = ClipTensors { entries: Arc::clone(&module.entries), largest };
            if buffer.device().is_cpu() {
                buffer.inplace_op1(&op)?;
            } else {
                let host = buffer.to_device(&Device::Cpu)?;
                host.inplace_op1(&op)?;
                *buffer = host.to_device(buffer.device())?;
            }
        }
        Ok(norm)
    }

    /// Scales down to a largest global norm, as `torch.nn.utils.clip_grad_norm_` does.
    /// Returns the norm before.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn clip(&mut self, largest: f64) -> Result<f64> {
        let norm = self.norm()?;
        let factor = largest / (norm + CLIP_EPS);
        if factor < 1.0 {
            self.scale(factor)?;
        }
        Ok(norm)
    }
}

/// Sum of squares in f64, in eight fixed lanes.
fn sum_of_squares(values: &[f32]) -> f64 {
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = [0.0_f64; 8];
            let chunks = values.chunks_exact(lanes.len());
            for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
                *lane += f64::from(value) * f64::from(value);
            }
            for chunk in chunks {
                for (lane, &value) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(value) * f64::from(value);
                }
            }
            lanes.iter().sum()
        },
    )
}
