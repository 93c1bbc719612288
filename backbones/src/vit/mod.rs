//! The Vision Transformer: pre-norm blocks over a class token and patches, timm's names and numbers.

mod positions;
mod side;
mod stem;

use candle_core::{Device, Tensor};

pub use positions::{Resampling, grid_of, resize_weights, sincos_2d, sincos_at, sincos_moco};
pub use side::{SideEmbedding, Sides};
pub(crate) use stem::{EPS as STEM_EPS, KERNELS as STEM_KERNELS};

use crate::encoder::{Captured, Encoder, Input, Tokens};
use crate::error::Result;
use crate::init::{Init, InitSource};
use crate::ops::{self, Keep};
use crate::params::{ModuleId, ParamDef, ParamStore, Params, Role};
use crate::spec::{Positions, Stem, VitDims, VitSpec};
use stem::IcsStem;

/// MLP width over token width (Dosovitskiy et al., arXiv 2010.11929, table 1).
pub const MLP_RATIO: usize = 4;
/// Standard deviation of linear layers, tokens and position tables (DINO, timm).
const INIT_STD: f64 = 0.02;
/// The same of MoCo v3's class token (its `vits.py`).
const MOCO_CLASS_STD: f64 = 1e-6;

/// Structure of a ViT; the numbers are in the [`ParamStore`] it was built into.
#[derive(Clone, Debug)]
pub struct Vit {
    dims: VitDims,
    image: (usize, usize),
    patch: usize,
    stride: usize,
    stem: Option<IcsStem>,
    class: ModuleId,
    /// Token and position of each part.
    parts: Vec<(ModuleId, ModuleId)>,
    positions: PositionTable,
    patch_embed: ModuleId,
    blocks: Vec<ModuleId>,
    norm: ModuleId,
}

#[derive(Clone, Debug)]
enum PositionTable {
    Learned(ModuleId),
    Fixed(Tensor),
}

/// Definitions of one block's tensors, in the order that [`ops::block`] reads.
pub fn block_defs(width: usize, init: &impl Fn(usize, usize) -> Init) -> Vec<ParamDef> {
    let hidden = MLP_RATIO * width;
    let def = |name, shape: &[usize], role, init| ParamDef { name, shape: shape.to_vec(), role, init };
    let mut defs = Vec::with_capacity(12);
    let norm = |defs: &mut Vec<ParamDef>, weight, bias| {
        defs.push(def(weight, &[width], Role::Scale, Init::Constant(1.0)));
        defs.push(def(bias, &[width], Role::Bias, Init::Constant(0.0)));
    };
    let linear = |defs: &mut Vec<ParamDef>, weight, bias, outputs: usize, inputs: usize| {
        defs.push(def(weight, &[outputs, inputs], Role::Weight, init(inputs, outputs)));
        defs.push(def(bias, &[outputs], Role::Bias, Init::Constant(0.0)));
    };
    norm(&mut defs, "norm1.weight", "norm1.bias");
    linear(&mut defs, "attn.qkv.weight", "attn.qkv.bias", 3 * width, width);
    linear(&mut defs, "attn.proj.weight", "attn.proj.bias", width, width);
    norm(&mut defs, "norm2.weight", "norm2.bias");
    linear(&mut defs, "mlp.fc1.weight", "mlp.fc1.bias", hidden, width);
    linear(&mut defs, "mlp.fc2.weight", "mlp.fc2.bias", width, hidden);
    defs
}

/// Definitions of a linear layer with bias.
pub fn linear_defs(inputs: usize, outputs: usize, init: Init) -> Vec<ParamDef> {
    vec![
        ParamDef { name: "weight", shape: vec![outputs, inputs], role: Role::Weight, init },
        ParamDef { name: "bias", shape: vec![outputs], role: Role::Bias, init: Init::Constant(0.0) },
    ]
}

/// Definitions of a layer norm.
pub fn norm_defs(width: usize) -> Vec<ParamDef> {
    vec![
        ParamDef { name: "weight", shape: vec![width], role: Role::Scale, init: Init::Constant(1.0) },
        ParamDef { name: "bias", shape: vec![width], role: Role::Bias, init: Init::Constant(0.0) },
    ]
}

impl Vit {
    /// Defines the parameters in `store`, every name behind `prefix`.
    ///
    /// Linear layers and tables start truncated normal with std 0.02 (DINO); with fixed positions,
    /// linear layers start Xavier uniform (MAE).
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn build(spec: &VitSpec, prefix: &str, store: &mut ParamStore, source: &InitSource) -> Result<Self> {
        Self::with_dims(spec.size.dims(), spec, prefix, store, source)
    }

    /// [`Self::build`] with sizes that have no name.
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn with_dims(
        dims: VitDims,
        spec: &VitSpec,
        prefix: &str,
        store: &mut ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        let (width, patch) = (dims.width, spec.patch);
        let image = (spec.image[0], spec.image[1]);
        let ([rows, cols], stride) = (spec.grid(), spec.stride());
        let head = dims.depth + 1;
        let name = |part: &str| format!("{prefix}{part}");
        let init = |fan_in, fan_out| match spec.positions {
            Positions::Learned => Init::TruncNormal(INIT_STD),
            // MoCo v3 counts query, key and value as layers of their own.
            Positions::SinCosMoco if fan_out == 3 * fan_in => Init::Xavier { fan_in, fan_out: fan_in },
            Positions::SinCos | Positions::SinCosMoco => Init::Xavier { fan_in, fan_out },
        };
        let token = |shape: Vec<usize>, std| {
            vec![ParamDef { name: "", shape, role: Role::Token, init: Init::TruncNormal(std) }]
        };
        let class_std = if spec.positions == Positions::SinCosMoco { MOCO_CLASS_STD } else { INIT_STD };
        let class = store.add(&name("cls_token"), 0, &token(vec![1, 1, width], class_std), source)?;
        let positions = match spec.positions {
            Positions::Learned => PositionTable::Learned(store.add(
                &name("pos_embed"),
                0,
                &token(vec![1, 1 + rows * cols, width], INIT_STD),
                source,
            )?),
            Positions::SinCos => {
                PositionTable::Fixed(with_class(&sincos_2d(width, rows, cols), width, store.device())?)
            }
            Positions::SinCosMoco => {
                PositionTable::Fixed(with_class(&sincos_moco(width, rows, cols), width, store.device())?)
            }
        };
        let mut parts = Vec::with_capacity(spec.part_tokens);
        for part in 1..=spec.part_tokens {
            let shape = || token(vec![1, 1, width], INIT_STD);
            let own = store.add(&name(&format!("part_token{part}")), 0, &shape(), source)?;
            parts.push((own, store.add(&name(&format!("part{part}_pos")), 0, &shape(), source)?));
        }
        let (stem, channels, side) = match spec.stem {
            Stem::Patch => (None, 3, patch),
            Stem::Ics => (Some(IcsStem::build(prefix, store, source)?), stem::CHANNELS, patch / stem::STRIDE),
        };
        let weight = ParamDef {
            name: "weight",
            shape: vec![width, channels, side, side],
            role: Role::Weight,
            init: init(channels * side * side, width),
        };
        let bias = ParamDef { name: "bias", shape: vec![width], role: Role::Bias, init: Init::Constant(0.0) };
        let patch_embed = store.add(&name("patch_embed.proj"), 0, &[weight, bias], source)?;
        let blocks = (0..dims.depth)
            .map(|i| store.add(&name(&format!("blocks.{i}")), i + 1, &block_defs(width, &init), source))
            .collect::<Result<_>>()?;
        let norm = store.add(&name("norm"), head, &norm_defs(width), source)?;
        Ok(Self { dims, image, patch, stride, stem, class, parts, positions, patch_embed, blocks, norm })
    }

    /// Patch size in pixels.
    pub fn patch(&self) -> usize {
        self.patch
    }

    /// Pixels between two patches.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Input height and width in pixels.
    pub fn image(&self) -> (usize, usize) {
        self.image
    }

    /// Rows and columns of patches of a picture, none where it is smaller than a patch.
    fn patches_of(&self, (height, width): (usize, usize)) -> (usize, usize) {
        let along = |side: usize| side.checked_sub(self.patch).map_or(0, |rest| rest / self.stride + 1);
        (along(height), along(width))
    }

    /// The positions of a grid. Of another grid than the encoder was built for they are resampled as DINO and iBOT
    /// do for their local crops ([`Resampling::BicubicOffset`]), the class token's stays.
    ///
    /// # Shapes
    /// - output: `[1, 1 + rows * cols, d]`
    fn positions(&self, params: &Params, grid: (usize, usize)) -> Result<Tensor> {
        let table = match &self.positions {
            PositionTable::Learned(id) => params.tensor(*id)?,
            PositionTable::Fixed(table) => table.clone(),
        };
        let built = self.grid();
        if grid == built {
            return Ok(table);
        }
        let (cells, wanted) = (built.0 * built.1, grid.0 * grid.1);
        let weights = resize_weights(Resampling::BicubicOffset, built, grid);
        let weights = Tensor::from_vec(weights, (wanted, cells), table.device())?;
        let patches = weights.matmul(&table.squeeze(0)?.narrow(0, 1, cells)?.contiguous()?)?; // [wanted, d]
        Ok(Tensor::cat(&[&table.narrow(1, 0, 1)?, &patches.unsqueeze(0)?], 1)?)
    }

    /// The fixed position table `[1, 1 + n, d]`, if positions are not learnt; for export.
    pub fn fixed_positions(&self) -> Option<&Tensor> {
        match &self.positions {
            PositionTable::Fixed(table) => Some(table),
            PositionTable::Learned(_) => None,
        }
    }
}

impl Vit {
    /// Moves running statistics towards those that [`crate::Captured::statistics`] has of a batch; does nothing
    /// for an encoder without batch norms.
    ///
    /// # Errors
    /// If the store is another encoder's.
    pub fn learn_statistics(&self, store: &ParamStore, seen: &[Tensor]) -> Result<()> {
        self.stem.as_ref().map_or(Ok(()), |stem| stem.learn(store, seen))
    }

    /// Part tokens with their positions, between the class token and the patches.
    ///
    /// # Shapes
    /// - `x`: `[b, 1 + k, d]`; output: `[b, 1 + parts + k, d]`
    fn with_parts(&self, x: &Tensor, params: &Params) -> Result<Tensor> {
        let (b, n, width) = x.dims3()?;
        let mut pieces = vec![x.narrow(1, 0, 1)?];
        for &(own, position) in &self.parts {
            let token = (params.tensor(own)? + params.tensor(position)?)?;
            pieces.push(token.broadcast_as((b, 1, width))?);
        }
        pieces.push(x.narrow(1, 1, n - 1)?);
        Ok(Tensor::cat(&pieces, 1)?)
    }
}

/// A table of the cells' positions behind a class token without one.
///
/// # Shapes
/// - `cells`: `[n, d]`, `d = width`; output: `[1, 1 + n, d]`
fn with_class(cells: &[f32], width: usize, device: &Device) -> Result<Tensor> {
    let values = [&vec![0.0; width], cells].concat();
    Ok(Tensor::from_vec(values, (1, 1 + cells.len() / width, width), device)?)
}

impl Encoder for Vit {
    fn dims(&self) -> VitDims {
        self.dims
    }

    fn grid(&self) -> (usize, usize) {
        self.patches_of(self.image)
    }

    fn forward(&self, params: &Params, images: &Tensor, input: &Input) -> Result<Tokens> {
        let (b, c, h, w) = images.dims4()?;
        let (rows, cols) = self.patches_of((h, w));
        let cut = |side: usize| self.stride < self.patch || side.is_multiple_of(self.patch);
        if c != 3 || rows * cols == 0 || !cut(h) || !cut(w) {
            let problem = format!("pictures of {c} x {h} x {w} cannot be cut into patches of side {}", self.patch);
            return Err(candle_core::Error::Msg(problem).into());
        }
        let everything;
        let keep = if let Some(keep) = input.keep {
            keep
        } else {
            everything = Keep::all(b, rows * cols);
            &everything
        };
        let mut captured = Captured::default();
        // [b, k, d]
        let patches = match &self.stem {
            None => ops::patch_embed(images, params, self.patch_embed, self.stride, keep)?,
            Some(stem) => {
                let map = stem.forward(params, images, input.batch_statistics, &mut captured.statistics)?;
                ops::patch_embed(&map, params, self.patch_embed, self.patch / stem::STRIDE, keep)?
            }
        };
        let patches = match &input.mask {
            Some(mask) => mask.apply(&patches)?,
            None => patches,
        };
        let positions = self.positions(params, (rows, cols))?;
        let split = input.split.unwrap_or(1);
        if split == 0 || keep.per_sample % split != 0 {
            let problem = format!("{} patches do not split into {split} sequences", keep.per_sample);
            return Err(candle_core::Error::Msg(problem).into());
        }
        let pieces;
        let (patches, keep) = if split == 1 {
            (patches, keep)
        } else {
            pieces = Keep { cells: keep.cells.clone(), per_sample: keep.per_sample / split };
            (patches.reshape((b * split, pieces.per_sample, self.dims.width))?, &pieces)
        };
        let mut x = ops::assemble(&patches, &params.tensor(self.class)?, &positions, keep)?; // [b, 1 + k, d]
        if !self.parts.is_empty() {
            x = self.with_parts(&x, params)?; // [b, 1 + parts + k, d]
        }
        if let Some(side) = input.side {
            x = x.broadcast_add(&side.unsqueeze(1)?)?;
        }
        for (i, &id) in self.blocks.iter().enumerate() {
            if input.capture.attention.contains(&i) {
                captured.attention.push(ops::block_attention(&x, params, id, self.dims.heads)?);
            }
            let drop_path = input.drop_path.map(|all| &all[i]);
            x = ops::block(&x, params, id, self.dims.heads, drop_path)?;
            if input.capture.blocks.contains(&i) {
                captured.blocks.push(x.clone());
            }
        }
        let all = ops::layer_norm(&x, params, self.norm)?;
        Ok(Tokens { all, prefix: 1 + self.parts.len(), grid: (rows, cols), captured })
    }
}
