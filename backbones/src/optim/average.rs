//! Exponential moving average of one store into another, and norms of gradients.

use candle_core::{CpuStorage, InplaceOp2, Layout, bail};
use rayon::prelude::*;

use crate::error::Result;
use crate::params::{Gradients, ParamStore};

/// Elements per task and per partial sum.
const CHUNK: usize = 1 << 14;

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
            for (average, value) in dst.iter_mut().zip(src) {
                *average = self.keep * *average + self.take * value;
            }
        });
        Ok(())
    }
}

impl Gradients {
    /// Euclidean norm over all parameters; summed in f64 by fixed chunks, in order.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn norm(&self) -> Result<f64> {
        let mut total = 0.0;
        for buffer in &self.buffers {
            let values: Vec<f32> = buffer.flatten_all()?.to_vec1()?;
            let square_sum = |chunk: &[f32]| chunk.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>();
            let partials: Vec<f64> = values.par_chunks(CHUNK).map(square_sum).collect();
            total += partials.iter().sum::<f64>();
        }
        Ok(total.sqrt())
    }

    /// Scales down to a largest global norm, as `torch.nn.utils.clip_grad_norm_` does (eps 1e-6).
    /// Returns the norm before.
    ///
    /// # Errors
    /// Only if candle refuses.
    pub fn clip(&mut self, largest: f64) -> Result<f64> {
        let norm = self.norm()?;
        let factor = largest / (norm + 1e-6);
        if factor < 1.0 {
            self.scale(factor)?;
        }
        Ok(norm)
    }
}
