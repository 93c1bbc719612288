//! The queue of earlier keys (MoCo, arXiv 1911.05722, algorithm 1).

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::{Init, InitSource};

use crate::error::{Result, TaskError};
use crate::math::distance::l2_normalize;
use crate::task::State;

/// Name of the keys in saved states.
const KEYS: &str = "queue.keys";
/// Name of the steps in which they were written.
const WRITTEN: &str = "queue.written";
/// Name of the next place.
const NEXT: &str = "queue.next";

/// A ring of keys of unit length: new ones take the places of the oldest.
#[derive(Debug)]
pub struct Queue {
    /// `[k, d]`; written in place, so nobody else may hold it across [`Self::push`].
    keys: Tensor,
    /// `[k]`, the step in which each was written.
    written: Vec<u32>,
    /// Where the next key goes: the oldest is there.
    next: usize,
}

impl Queue {
    /// Random keys of unit length, keyed by the source's seed.
    ///
    /// # Errors
    /// If the device cannot hold them.
    pub fn random(size: usize, dim: usize, source: &InitSource, device: &Device) -> Result<Self> {
        let values = Init::Normal(1.0).values(KEYS, size * dim, source);
        Self::from_keys(&Tensor::from_vec(values, (size, dim), device)?)
    }

    /// Keys, the oldest first, brought to unit length.
    ///
    /// # Shapes
    /// - `keys`: `[k, d]`
    ///
    /// # Errors
    /// If candle refuses.
    pub fn from_keys(keys: &Tensor) -> Result<Self> {
        let keys = l2_normalize(&keys.detach())?.contiguous()?.copy()?;
        Ok(Self { written: vec![0; keys.dim(0)?], keys, next: 0 })
    }

    /// `[k, d]`, without a gradient. Not to be held beyond the step.
    pub fn keys(&self) -> &Tensor {
        &self.keys
    }

    /// Where the next key goes.
    pub fn next(&self) -> usize {
        self.next
    }

    /// Steps since the oldest key was written; a queue's random keys count as of step 0.
    pub fn age(&self, step: usize) -> usize {
        step.saturating_sub(self.written[self.next] as usize)
    }

    /// Writes a batch of keys over the oldest, round the end if need be.
    ///
    /// # Shapes
    /// - `keys`: `[b, d]`, of unit length, `b` at most `k`
    ///
    /// # Errors
    /// If they are more than the queue holds, or of another width.
    pub fn push(&mut self, keys: &Tensor, step: usize) -> Result<()> {
        let (count, size) = (keys.dim(0)?, self.written.len());
        if count > size {
            let problem = format!("a queue of {size} got {count} keys at once");
            return Err(TaskError::Unsuitable { problem, remedy: "use a queue of at least a batch".to_owned() });
        }
        let keys = keys.detach().to_device(self.keys.device())?;
        let before_end = count.min(size - self.next);
        for (from, at, length) in [(0, self.next, before_end), (before_end, 0, count - before_end)] {
            if length > 0 {
                self.keys.slice_set(&keys.narrow(0, from, length)?.contiguous()?, 0, at)?;
                self.written[at..at + length].fill(step as u32);
            }
        }
        self.next = (self.next + count) % size;
        Ok(())
    }

    /// Adds itself to a state.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn save(&self, state: &mut State) -> Result<()> {
        // A copy, because the queue goes on writing.
        state.tensors.insert(KEYS.to_owned(), self.keys.copy()?);
        let written = Tensor::from_slice(&self.written, self.written.len(), &Device::Cpu)?;
        state.tensors.insert(WRITTEN.to_owned(), written);
        state.scalars.insert(NEXT.to_owned(), self.next as f64);
        Ok(())
    }

    /// Restores what [`Self::save`] gave.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let missing = |name: &str| TaskError::MissingState { name: name.to_owned() };
        let tensor = |tensors: &BTreeMap<String, Tensor>, name: &str| tensors.get(name).cloned().ok_or(missing(name));
        let keys = tensor(&state.tensors, KEYS)?;
        let written: Vec<u32> = tensor(&state.tensors, WRITTEN)?.to_vec1()?;
        let next = *state.scalars.get(NEXT).ok_or(missing(NEXT))? as usize;
        if keys.dims() != self.keys.dims() || written.len() != self.written.len() || next >= written.len() {
            return Err(missing(KEYS));
        }
        self.keys = keys.to_device(self.keys.device())?.contiguous()?.copy()?;
        (self.written, self.next) = (written, next);
        Ok(())
    }
}
