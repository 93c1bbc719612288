//! Decoders: from the encoder's visible tokens of RegionA to a prediction for every cell of RegionB.

use candle_core::Tensor;
use reid_backbones::init::{Init, InitSource};
use reid_backbones::ops::{self, Keep};
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

/// Positions that a decoder adds, all in its own width.
#[derive(Clone, Debug)]
pub struct DecoderPositions {
    /// `[1, 1 + n, w]`: RegionA's cells behind the class token.
    pub grid: Tensor,
    /// `[b or 1, n, w]`: where RegionB's cells lie.
    pub queries: Tensor,
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
        let n = positions.queries.dim(1)?;
        let mut x = match self.kind {
            DecoderKind::Unshuffle => unshuffle(&memory, &mask_token, keep, n)?.broadcast_add(&positions.grid)?,
            DecoderKind::Joint => {
                let placed = (&memory + place(&positions.grid, keep, memory.dim(0)?)?)?;
                Tensor::cat(&[&placed, &queries(&mask_token, positions, memory.dim(0)?)?], 1)?
            }
            DecoderKind::Cross => queries(&mask_token, positions, memory.dim(0)?)?,
        };
        for block in &self.blocks {
            x = match block {
                DecoderBlock::Own(id) => ops::block(&x, params, *id, self.heads, None)?,
                DecoderBlock::Cross(block) => block.forward(params, &x, &memory, self.heads)?,
            };
        }
        let x = x.narrow(1, x.dim(1)? - n, n)?; // [b, n, w]
        Ok(ops::linear(&ops::layer_norm(&x, params, self.norm)?, params, self.predict)?)
    }
}

/// The mask token at every queried position.
///
/// # Shapes
/// - `mask_token`: `[1, 1, w]`; output: `[b, n, w]`
fn queries(mask_token: &Tensor, positions: &DecoderPositions, b: usize) -> Result<Tensor> {
    let (_, n, w) = positions.queries.dims3()?;
    Ok(mask_token.broadcast_add(&positions.queries)?.expand((b, n, w))?.contiguous()?)
}

/// Positions of the class token and the kept cells.
///
/// # Shapes
/// - `grid`: `[1, 1 + n, w]`; output: `[b, 1 + v, w]`
fn place(grid: &Tensor, keep: &Keep, b: usize) -> Result<Tensor> {
    let w = grid.dim(2)?;
    let rows = keep.cells.chunks_exact(keep.per_sample.max(1)).take(b);
    let index: Vec<u32> = rows.flat_map(|cells| std::iter::once(0).chain(cells.iter().map(|cell| cell + 1))).collect();
    let index = Tensor::from_vec(index, b * (1 + keep.per_sample), grid.device())?;
    Ok(grid.squeeze(0)?.index_select(&index, 0)?.reshape((b, 1 + keep.per_sample, w))?)
}

/// Visible tokens in their cells, the mask token elsewhere, the class token first.
///
/// # Shapes
/// - `memory`: `[b, 1 + v, w]`; `mask_token`: `[1, 1, w]`; output: `[b, 1 + n, w]`
fn unshuffle(memory: &Tensor, mask_token: &Tensor, keep: &Keep, n: usize) -> Result<Tensor> {
    let (b, tokens, w) = memory.dims3()?;
    let mask_row = (b * tokens) as u32;
    let mut index = vec![mask_row; b * (1 + n)];
    for (sample, rows) in index.chunks_exact_mut(1 + n).enumerate() {
        rows[0] = (sample * tokens) as u32;
        for (i, &cell) in keep.cells[sample * keep.per_sample..(sample + 1) * keep.per_sample].iter().enumerate() {
            rows[1 + cell as usize] = (sample * tokens + 1 + i) as u32;
        }
    }
    let table = Tensor::cat(&[&memory.reshape((b * tokens, w))?, &mask_token.reshape((1, w))?], 0)?;
    let index = Tensor::from_vec(index, b * (1 + n), memory.device())?;
    Ok(table.index_select(&index, 0)?.reshape((b, 1 + n, w))?)
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
        let x = (x + ops::linear(&ops::cross_attention(&q, &kv, heads)?, params, self.self_proj)?)?;

        let q = ops::linear(&ops::layer_norm(&x, params, self.norm_query)?, params, self.query)?;
        let kv = ops::linear(&ops::layer_norm(memory, params, self.norm_memory)?, params, self.key_value)?;
        let x = (&x + ops::linear(&ops::cross_attention(&q, &kv, heads)?, params, self.proj)?)?;

        let hidden = ops::gelu(&ops::linear(&ops::layer_norm(&x, params, self.norm_mlp)?, params, self.fc1)?)?;
        Ok((&x + ops::linear(&hidden, params, self.fc2)?)?)
    }
}
