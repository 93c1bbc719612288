//! Decoders: from the encoder's visible tokens of RegionA to a prediction for every cell of RegionB.

use candle_core::Tensor;
use reid_backbones::init::{Init, InitSource};
use reid_backbones::ops::{self, Arrangement, Keep};
use reid_backbones::params::{ModuleId, ParamDef, ParamStore, Params, Role};
use reid_backbones::vit::{MLP_RATIO, block_defs, linear_defs, norm_defs};

use super::spec::{DecoderKind, DecoderSpec};
use crate::error::Result;

/// What a decoder is built for.
#[derive(Clone, Copy, Debug)]
pub struct DecoderShape {
    /// Width of the encoder's tokens.
    pub encoder_width: usize,
    /// Channels of one head of the encoder.
    pub encoder_head: usize,
    /// Values predicted per cell.
    pub outputs: usize,
}

/// Positions that a decoder adds, in its own width.
#[derive(Clone, Debug)]
pub struct DecoderPositions {
    /// `[1, p, w]`: RegionA's n cells behind the class token, then, where [`Self::relative`], RegionB's n
    /// cells of every sample.
    pub table: Tensor,
    /// n.
    pub cells: usize,
    /// Whether RegionB's cells have positions of their own, or those of RegionA's grid.
    pub relative: bool,
}

impl DecoderPositions {
    /// Row of the table for a cell of RegionB.
    fn query(&self, sample: usize, cell: usize) -> u32 {
        let first = if self.relative { 1 + self.cells + sample * self.cells } else { 1 };
        (first + cell) as u32
    }
}

/// Structure of a decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    kind: DecoderKind,
    width: usize,
    heads: usize,
    embed: ModuleId,
    mask_token: ModuleId,
    blocks: Vec<DecoderBlock>,
    norm: ModuleId,
    predict: ModuleId,
}

#[derive(Clone, Debug)]
enum DecoderBlock {
    Own(ModuleId),
    Cross(Box<CrossBlock>),
}

/// Self-attention, cross-attention, MLP, each pre-norm with a residual (BootMAE's decoder block).
#[derive(Clone, Debug)]
struct CrossBlock {
    norm_self: ModuleId,
    self_query: ModuleId,
    self_key_value: ModuleId,
    self_proj: ModuleId,
    norm_query: ModuleId,
    norm_memory: ModuleId,
    query: ModuleId,
    key_value: ModuleId,
    proj: ModuleId,
    norm_mlp: ModuleId,
    fc1: ModuleId,
    fc2: ModuleId,
}

impl Decoder {
    /// Defines the parameters behind `prefix`. Linear layers start Xavier uniform, the mask token
    /// normal with std 0.02 (MAE).
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: &DecoderSpec,
        shape: DecoderShape,
        prefix: &str,
        layer: usize,
        store: &mut ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let width = if spec.width == 0 { shape.encoder_width } else { spec.width };
        let heads = if spec.heads == 0 { width / shape.encoder_head } else { spec.heads };
        let name = |part: &str| format!("{prefix}{part}");
        let xavier = |fan_in, fan_out| Init::Xavier { fan_in, fan_out };
        let token = ParamDef { name: "", shape: vec![1, 1, width], role: Role::Token, init: Init::Normal(0.02) };
        let embed = store.add(
            &name("embed"),
            layer,
            &linear_defs(shape.encoder_width, width, xavier(shape.encoder_width, width)),
            source,
        )?;
        let mask_token = store.add(&name("mask_token"), layer, &[token], source)?;
        let mut blocks = Vec::with_capacity(spec.depth);
        for i in 0..spec.depth {
            let block = name(&format!("blocks.{i}"));
            blocks.push(match spec.kind {
                DecoderKind::Cross => {
                    DecoderBlock::Cross(Box::new(CrossBlock::build(width, &block, layer, store, source)?))
                }
                DecoderKind::Joint | DecoderKind::Unshuffle => {
                    DecoderBlock::Own(store.add(&block, layer, &block_defs(width, &xavier), source)?)
                }
            });
        }
        let norm = store.add(&name("norm"), layer, &norm_defs(width), source)?;
        let predict = store.add(
            &name("pred"),
            layer,
            &linear_defs(width, shape.outputs, xavier(width, shape.outputs)),
            source,
        )?;
        Ok(Self { kind: spec.kind, width, heads, embed, mask_token, blocks, norm, predict })
    }

    /// Token width.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Predicts every cell of RegionB.
    ///
    /// # Shapes
    /// - `tokens`: `[b, 1 + v, d]`, the encoder's, class token first; output: `[b, n, outputs]`
    ///
    /// # Errors
    /// If candle refuses.
    pub fn forward(
        &self,
        params: &Params,
        tokens: &Tensor,
        keep: &Keep,
        positions: &DecoderPositions,
    ) -> Result<Tensor> {
        let memory = ops::linear(tokens, params, self.embed)?; // [b, 1 + v, w]
        let mask_token = params.tensor(self.mask_token)?; // [1, 1, w]
        let (b, n) = (memory.dim(0)?, positions.cells);
        let arrangement = match self.kind {
            DecoderKind::Unshuffle => unshuffled(b, keep, n),
            DecoderKind::Joint => joint(b, keep, positions),
            DecoderKind::Cross => queries(b, positions),
        };
        let mut x = match self.kind {
            // Nothing is read from the memory here, so it gets no gradient either.
            DecoderKind::Cross => ops::arrange(&memory.detach(), &mask_token, &positions.table, &arrangement)?,
            _ => ops::arrange(&memory, &mask_token, &positions.table, &arrangement)?,
        };
        for block in &self.blocks {
            x = match block {
                DecoderBlock::Own(id) => ops::block(&x, params, *id, self.heads, None)?,
                DecoderBlock::Cross(block) => block.forward(params, &x, &memory, self.heads)?,
            };
        }
        let x = ops::take_tokens(&x, x.dim(1)? - n, n)?; // [b, n, w]
        Ok(ops::linear(&ops::layer_norm(&x, params, self.norm)?, params, self.predict)?)
    }
}

/// The mask token at every queried position: n tokens.
fn queries(b: usize, positions: &DecoderPositions) -> Arrangement {
    let mut arrangement = Arrangement::new(positions.cells);
    for sample in 0..b {
        for cell in 0..positions.cells {
            arrangement.push(Arrangement::FILL, positions.query(sample, cell));
        }
    }
    arrangement
}

/// The class token and the v visible cells, then the mask token at every queried position: 1 + v + n tokens.
fn joint(b: usize, keep: &Keep, positions: &DecoderPositions) -> Arrangement {
    let visible = keep.per_sample;
    let mut arrangement = Arrangement::new(1 + visible + positions.cells);
    for sample in 0..b {
        arrangement.push(0, 0);
        for (i, cell) in keep.cells[sample * visible..(sample + 1) * visible].iter().enumerate() {
            arrangement.push(1 + i as u32, 1 + cell);
        }
        for cell in 0..positions.cells {
            arrangement.push(Arrangement::FILL, positions.query(sample, cell));
        }
    }
    arrangement
}

/// The class token, then the visible tokens in their cells and the mask token elsewhere: 1 + n tokens.
fn unshuffled(b: usize, keep: &Keep, n: usize) -> Arrangement {
    let mut arrangement = Arrangement::new(1 + n);
    for sample in 0..b {
        let mut sources = vec![Arrangement::FILL; n];
        let cells = &keep.cells[sample * keep.per_sample..(sample + 1) * keep.per_sample];
        for (i, &cell) in cells.iter().enumerate() {
            sources[cell as usize] = 1 + i as u32;
        }
        arrangement.push(0, 0);
        for (cell, source) in sources.into_iter().enumerate() {
            arrangement.push(source, 1 + cell as u32);
        }
    }
    arrangement
}

impl CrossBlock {
    fn build(width: usize, name: &str, layer: usize, store: &mut ParamStore, source: &InitSource) -> Result<Self> {
        let hidden = MLP_RATIO * width;
        let mut linear = |part: &str, inputs: usize, outputs: usize| {
            let defs = linear_defs(inputs, outputs, Init::Xavier { fan_in: inputs, fan_out: outputs });
            store.add(&format!("{name}.{part}"), layer, &defs, source)
        };
        let self_query = linear("self.q", width, width)?;
        let self_key_value = linear("self.kv", width, 2 * width)?;
        let self_proj = linear("self.proj", width, width)?;
        let query = linear("cross.q", width, width)?;
        let key_value = linear("cross.kv", width, 2 * width)?;
        let proj = linear("cross.proj", width, width)?;
        let fc1 = linear("mlp.fc1", width, hidden)?;
        let fc2 = linear("mlp.fc2", hidden, width)?;
        let mut norm = |part: &str| store.add(&format!("{name}.{part}"), layer, &norm_defs(width), source);
        Ok(Self {
            norm_self: norm("norm1")?,
            self_query,
            self_key_value,
            self_proj,
            norm_query: norm("norm2")?,
            norm_memory: norm("norm_memory")?,
            query,
            key_value,
            proj,
            norm_mlp: norm("norm3")?,
            fc1,
            fc2,
        })
    }

    /// # Shapes
    /// - `x`: `[b, n, w]`; `memory`: `[b, m, w]`; output: `[b, n, w]`
    fn forward(&self, params: &Params, x: &Tensor, memory: &Tensor, heads: usize) -> Result<Tensor> {
        let normed = ops::layer_norm(x, params, self.norm_self)?;
        let (q, kv) =
            (ops::linear(&normed, params, self.self_query)?, ops::linear(&normed, params, self.self_key_value)?);
        let x = (x + ops::linear(&ops::cross_attention(&q, &kv, heads, params.precision())?, params, self.self_proj)?)?;

        let q = ops::linear(&ops::layer_norm(&x, params, self.norm_query)?, params, self.query)?;
        let kv = ops::linear(&ops::layer_norm(memory, params, self.norm_memory)?, params, self.key_value)?;
        let x = (&x + ops::linear(&ops::cross_attention(&q, &kv, heads, params.precision())?, params, self.proj)?)?;

        let hidden = ops::linear_gelu(&ops::layer_norm(&x, params, self.norm_mlp)?, params, self.fc1)?;
        Ok((&x + ops::linear(&hidden, params, self.fc2)?)?)
    }
}
