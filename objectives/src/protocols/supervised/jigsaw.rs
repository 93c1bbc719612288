//! TransReID's jigsaw patch module (He et al., arXiv 2102.04378, section 3.3): patches are shuffled into parts, each of
//! which passes once more through a last block with the class token of the whole picture.

use candle_core::Tensor;
use reid_backbones::init::{Init, InitSource};
use reid_backbones::ops::{self, Arrangement, DropPath};
use reid_backbones::params::ModuleId;
use reid_backbones::spec::VitDims;
use reid_backbones::vit::{block_defs, norm_defs};
use reid_backbones::{ParamStore, Params, Result};

use super::spec::JigsawSpec;
use crate::protocols::ENCODER;

/// Prefix of its parameters.
const LOCAL: &str = "local.";

/// The block and the norm that all parts share: at first a copy of the encoder's last ones. The other copy of TransReID,
/// that of the global branch, is the encoder's own last block.
#[derive(Clone, Debug)]
pub struct Jigsaw {
    spec: JigsawSpec,
    heads: usize,
    block: ModuleId,
    norm: ModuleId,
}

impl Jigsaw {
    /// Defines the block and the norm.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(spec: JigsawSpec, dims: VitDims, store: &mut ParamStore, source: &InitSource) -> Result<Self> {
        let VitDims { width, depth, heads } = dims;
        // Overwritten at once.
        let nothing = |_, _| Init::Constant(0.0);
        let block = store.add(&format!("{LOCAL}block"), depth, &block_defs(width, &nothing), source)?;
        let norm = store.add(&format!("{LOCAL}norm"), depth + 1, &norm_defs(width), source)?;
        let copied = [(block, format!("{ENCODER}blocks.{}", depth - 1)), (norm, format!("{ENCODER}norm"))];
        for (copy, original) in copied {
            let (from, to) = (format!("{original}."), format!("{}.", store.module(copy).name));
            let names = store.module(copy).entries.iter().map(|entry| entry.name.clone());
            for name in names.collect::<Vec<_>>() {
                if let Some(value) = store.get(&name.replacen(&to, &from, 1)) {
                    store.set(&name, &value?)?;
                }
            }
        }
        Ok(Self { spec, heads, block, norm })
    }

    /// The class token of each part.
    ///
    /// # Shapes
    /// - `tokens`: `[b, 1 + n, d]`, before the encoder's last block; `drop_path`: of `b * parts` sequences, the parts of a
    ///   picture together; output: `[b, parts, d]`
    ///
    /// # Errors
    /// If there are fewer patches than parts, or candle refuses.
    pub fn forward(&self, params: &Params, tokens: &Tensor, drop_path: Option<&DropPath>) -> Result<Tensor> {
        let (b, count, d) = tokens.dims3()?;
        let JigsawSpec { shift, groups, parts, .. } = self.spec;
        let each = (count - 1) / parts;
        if each == 0 {
            let problem = format!("{} patches cannot be shared among {parts} parts", count - 1);
            return Err(candle_core::Error::Msg(problem).into());
        }
        let order = jigsaw_order(count, shift, groups);
        let mut arrangement = Arrangement::new(parts * (1 + each));
        for _ in 0..b {
            for part in order.chunks_exact(each).take(parts) {
                arrangement.push(0, 0);
                for &token in part {
                    arrangement.push(token, 0);
                }
            }
        }
        // Positions are in the tokens already.
        let nothing = Tensor::zeros((1, 1, d), tokens.dtype(), tokens.device())?;
        let sequences = ops::arrange(tokens, &nothing, &nothing, &arrangement)?.reshape((b * parts, 1 + each, d))?;
        let sequences = ops::block(&sequences, params, self.block, self.heads, drop_path)?;
        let class = ops::take_tokens(&sequences, 0, 1)?; // [b * parts, 1, d]
        Ok(ops::layer_norm(&class, params, self.norm)?.reshape((b, parts, d))?)
    }
}

/// Where each shuffled patch stands among `count` tokens, the first of which is the class token: patches are rotated by
/// `shift - 1`, then dealt out to as many hands as a group has members, as cards are.
///
/// Where they do not divide by `groups`, the last but one of the rotated patches fills the gap; TransReID fills one.
pub fn jigsaw_order(count: usize, shift: usize, groups: usize) -> Vec<u32> {
    let first = shift.clamp(1, count);
    let mut order: Vec<u32> = (first..count).chain(1..first).map(|token| token as u32).collect();
    let filler = order[order.len().saturating_sub(2)];
    order.resize(order.len().next_multiple_of(groups), filler);
    let members = order.len() / groups;
    (0..order.len()).map(|i| order[i % groups * members + i / groups]).collect()
}
