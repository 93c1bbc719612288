//! Sequences of tokens out of others: copies that autograd would make slow.

use candle_core::{CpuStorage, CustomOp1, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::host::{is_fused, slice, values};
use super::patches::Keep;
use crate::error;

/// Samples per partial sum of a gradient that all samples share.
const CHUNK: usize = 8;

/// Where every token of a new sequence comes from, and which position it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// `[b, t]`, the token's index in its sample's memory, or [`Arrangement::FILL`].
    pub sources: Vec<u32>,
    /// `[b, t]`, the token's row in the table of positions.
    pub places: Vec<u32>,
    /// t.
    pub tokens: usize,
}

impl Arrangement {
    /// The source of tokens that are the learnt one: a class token, or a mask token.
    pub const FILL: u32 = u32::MAX;

    /// Nothing yet, of sequences of `tokens`.
    pub fn new(tokens: usize) -> Self {
        Self { sources: Vec::new(), places: Vec::new(), tokens }
    }

    /// Adds the next token.
    pub fn push(&mut self, source: u32, place: u32) {
        self.sources.push(source);
        self.places.push(place);
    }

    fn check(&self, samples: usize, memory: usize, positions: usize) -> Result<()> {
        let expected = samples * self.tokens;
        if self.sources.len() != expected || self.places.len() != expected {
            bail!("{} sources and {} places of {expected} tokens", self.sources.len(), self.places.len());
        }
        if self.sources.iter().any(|&source| source != Self::FILL && source as usize >= memory)
            || self.places.iter().any(|&place| place as usize >= positions)
        {
            bail!("a token from outside {memory} tokens or {positions} positions");
        }
        Ok(())
    }
}

/// A sequence whose token t is `memory[source_t]`, or the fill token, plus `positions[place_t]`.
///
/// # Shapes
/// - `memory`: `[b, m, d]`; `fill`: `[1, 1, d]`; `positions`: `[1, p, d]`; output: `[b, t, d]`
///
/// # Errors
/// If shapes do not fit, or an index is out of range.
pub fn arrange(memory: &Tensor, fill: &Tensor, positions: &Tensor, arrangement: &Arrangement) -> error::Result<Tensor> {
    let (b, m, d) = memory.dims3()?;
    let (_, p, _) = positions.dims3()?;
    arrangement.check(b, m, p)?;
    if is_fused(memory) {
        let op = Arrange { arrangement: arrangement.clone() };
        return Ok(memory.contiguous()?.apply_op3(&fill.contiguous()?, &positions.contiguous()?, op)?);
    }
    let (device, tokens) = (memory.device(), arrangement.tokens);
    let row = |(i, &source): (usize, &u32)| match source {
        Arrangement::FILL => (b * m) as u32,
        source => (i / tokens * m) as u32 + source,
    };
    let sources: Vec<u32> = arrangement.sources.iter().enumerate().map(row).collect();
    let sources = Tensor::from_vec(sources, b * tokens, device)?;
    let places = Tensor::from_slice(&arrangement.places, b * tokens, device)?;
    let table = Tensor::cat(&[&memory.reshape((b * m, d))?, &fill.reshape((1, d))?], 0)?; // [b * m + 1, d]
    let placed = positions.squeeze(0)?.index_select(&places, 0)?; // [b * t, d]
    Ok((table.index_select(&sources, 0)? + placed)?.reshape((b, tokens, d))?)
}

/// Class token and kept patches, each with its position: `[cls + pos_0, patch_i + pos_(1 + cell_i)]`.
///
/// # Shapes
/// - `patches`: `[b, k, d]`; `class`: `[1, 1, d]`; `positions`: `[1, 1 + n, d]`; output: `[b, 1 + k, d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn assemble(patches: &Tensor, class: &Tensor, positions: &Tensor, keep: &Keep) -> error::Result<Tensor> {
    let mut arrangement = Arrangement::new(1 + keep.per_sample);
    for cells in keep.cells.chunks_exact(keep.per_sample.max(1)) {
        arrangement.push(Arrangement::FILL, 0);
        for (i, cell) in cells.iter().enumerate() {
            arrangement.push(i as u32, 1 + cell);
        }
    }
    arrange(patches, class, positions, &arrangement)
}

struct Arrange {
    arrangement: Arrangement,
}

fn add(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

impl Arrange {
    /// Sources and places of one sample.
    fn sample(&self, sample: usize) -> impl Iterator<Item = (u32, usize)> {
        let range = sample * self.arrangement.tokens..(sample + 1) * self.arrangement.tokens;
        let places = self.arrangement.places[range.clone()].iter();
        self.arrangement.sources[range].iter().zip(places).map(|(&source, &place)| (source, place as usize))
    }

    /// Sums rows of `grad` into `[rows, d]`: to the row that `row` gives for (source, place), if it does.
    /// Fixed chunks of samples in parallel, then the partial sums in order.
    fn shared(
        &self,
        grad: &[f32],
        rows: usize,
        d: usize,
        row: impl Fn(u32, usize) -> Option<usize> + Sync,
    ) -> Vec<f32> {
        let tokens = self.arrangement.tokens;
        let partial = |(chunk, grad): (usize, &[f32])| {
            let mut sums = vec![0.0; rows * d];
            for (i, grad) in grad.chunks_exact(tokens * d).enumerate() {
                for ((source, place), grad) in self.sample(chunk * CHUNK + i).zip(grad.chunks_exact(d)) {
                    if let Some(row) = row(source, place) {
                        add(&mut sums[row * d..(row + 1) * d], grad);
                    }
                }
            }
            sums
        };
        let partials: Vec<Vec<f32>> = grad.par_chunks(CHUNK * tokens * d).enumerate().map(partial).collect();
        let mut total = vec![0.0; rows * d];
        for sums in &partials {
            add(&mut total, sums);
        }
        total
    }
}

impl CustomOp3 for Arrange {
    fn name(&self) -> &'static str {
        "arrange-tokens"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (b, m, d) = l1.shape().dims3()?;
        let (memory, fill, positions) = (slice(s1, l1)?, slice(s2, l2)?, slice(s3, l3)?);
        let tokens = self.arrangement.tokens;
        let mut out = vec![0.0; b * tokens * d];
        out.par_chunks_mut(tokens * d).enumerate().for_each(|(sample, out)| {
            for (out, (source, place)) in out.chunks_exact_mut(d).zip(self.sample(sample)) {
                let from = match source {
                    Arrangement::FILL => fill,
                    source => &memory[(sample * m + source as usize) * d..],
                };
                for ((out, x), y) in out.iter_mut().zip(from).zip(&positions[place * d..]) {
                    *out = x + y;
                }
            }
        });
        Ok((CpuStorage::F32(out), (b, tokens, d).into()))
    }

    fn bwd(
        &self,
        memory: &Tensor,
        fill: &Tensor,
        positions: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (b, m, d) = memory.dims3()?;
        let grad = grad.contiguous()?;
        let grad = values(&grad)?;
        let wrap = |of: &Tensor, values: Vec<f32>| Tensor::from_vec(values, of.dims(), of.device());
        let of_memory = || {
            let mut out = vec![0.0; b * m * d];
            let samples = out.par_chunks_mut(m * d).zip(grad.par_chunks(self.arrangement.tokens * d));
            samples.enumerate().for_each(|(sample, (out, grad))| {
                for ((source, _), grad) in self.sample(sample).zip(grad.chunks_exact(d)) {
                    if source != Arrangement::FILL {
                        add(&mut out[source as usize * d..(source as usize + 1) * d], grad);
                    }
                }
            });
            out
        };
        let of_fill = || self.shared(&grad, 1, d, |source, _| (source == Arrangement::FILL).then_some(0));
        let of_positions = || self.shared(&grad, positions.elem_count() / d, d, |_, place| Some(place));
        Ok((
            memory.track_op().then(|| wrap(memory, of_memory())).transpose()?,
            fill.track_op().then(|| wrap(fill, of_fill())).transpose()?,
            positions.track_op().then(|| wrap(positions, of_positions())).transpose()?,
        ))
    }
}

/// Tokens `first..first + count` of every sample.
///
/// # Shapes
/// - `x`: `[b, n, d]`; output: `[b, count, d]`
///
/// # Errors
/// If there are not that many.
pub fn take_tokens(x: &Tensor, first: usize, count: usize) -> error::Result<Tensor> {
    let narrow = x.narrow(1, first, count)?;
    if is_fused(x) && x.dim(1)? > count {
        return Ok(x.contiguous()?.apply_op1(Take { first, count })?);
    }
    Ok(narrow.contiguous()?)
}

struct Take {
    first: usize,
    count: usize,
}

impl CustomOp1 for Take {
    fn name(&self) -> &'static str {
        "take-tokens"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, n, d) = layout.shape().dims3()?;
        let (x, width) = (slice(storage, layout)?, self.count * d);
        let mut out = vec![0.0; b * width];
        out.par_chunks_mut(width).zip(x.par_chunks(n * d)).for_each(|(out, x)| {
            out.copy_from_slice(&x[self.first * d..self.first * d + width]);
        });
        Ok((CpuStorage::F32(out), (b, self.count, d).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (b, n, d) = x.dims3()?;
        let grad = grad.contiguous()?;
        let (grad, width) = (values(&grad)?, self.count * d);
        let mut out = vec![0.0; b * n * d];
        out.par_chunks_mut(n * d).zip(grad.par_chunks(width)).for_each(|(out, grad)| {
            out[self.first * d..self.first * d + width].copy_from_slice(grad);
        });
        Ok(Some(Tensor::from_vec(out, x.dims(), x.device())?))
    }
}
