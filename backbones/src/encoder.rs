//! What an encoder is to the rest of the program: pictures in, tokens out.

use candle_core::Tensor;

use crate::error::Result;
use crate::ops::{self, Arrangement, DropPath, Keep};
use crate::params::Params;
use crate::spec::VitDims;

/// A network that turns pictures into tokens. Holds structure only; the numbers come as [`Params`].
pub trait Encoder: Send + Sync {
    /// Width, depth and heads.
    fn dims(&self) -> VitDims;

    /// Rows and columns of patches at the input size it was built for.
    fn grid(&self) -> (usize, usize);

    /// Encodes pictures of any size that its patches divide; positions of another grid than [`Self::grid`] are
    /// resampled.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`; output: see [`Tokens`]
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    fn forward(&self, params: &Params, images: &Tensor, input: &Input) -> Result<Tokens>;
}

/// What may be asked of a forward pass besides the pictures.
#[derive(Clone, Debug, Default)]
pub struct Input<'a> {
    /// Patches that enter the encoder; all of them if absent. What is left out costs nothing.
    pub keep: Option<&'a Keep>,
    /// Sequences that each picture's patches are split into, in order and of equal length, each with the class
    /// token and its patches' own positions: `b` pictures become `b * split` samples. One if absent.
    pub split: Option<usize>,
    /// Patches whose embedding is replaced before positions are added.
    pub mask: Option<MaskedPatches<'a>>,
    /// `[b, d]`, or `[b * split, d]`, added to every token, such as a camera's embedding.
    pub side: Option<&'a Tensor>,
    /// Batch norms, where the encoder has some, use the batch's own statistics and hand them out; by default they
    /// use the running ones.
    pub batch_statistics: bool,
    /// Stochastic depth, one entry per block; none if absent.
    pub drop_path: Option<&'a [DropPath]>,
    /// What to hand out besides the final tokens.
    pub capture: Capture<'a>,
}

/// Patches replaced by a mask token.
#[derive(Clone, Debug)]
pub struct MaskedPatches<'a> {
    /// `[b, k]`, whether a patch is replaced.
    pub hidden: &'a [bool],
    /// `[1, 1, d]`.
    pub token: &'a Tensor,
}

impl MaskedPatches<'_> {
    /// # Shapes
    /// - `patches`: `[b, k, d]`; output: the same
    pub(crate) fn apply(&self, patches: &Tensor) -> Result<Tensor> {
        let (_, k, _) = patches.dims3()?;
        let mut arrangement = Arrangement::new(k);
        for (i, &hidden) in self.hidden.iter().enumerate() {
            arrangement.push(if hidden { Arrangement::FILL } else { (i % k) as u32 }, 0);
        }
        // The mask token comes in before positions are added: here everything stands at the origin.
        ops::arrange(patches, self.token, &self.token.zeros_like()?.detach(), &arrangement)
    }
}

/// Blocks whose output or attention is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capture<'a> {
    /// Indices of blocks whose output tokens are kept.
    pub blocks: &'a [usize],
    /// Indices of blocks whose attention is computed; records no graph.
    pub attention: &'a [usize],
}

/// Tokens of a batch.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[b, prefix + k, d]` after the final norm.
    pub all: Tensor,
    /// Tokens before the first patch.
    pub prefix: usize,
    /// Rows and columns of the picture's patches; k is smaller where only some were kept.
    pub grid: (usize, usize),
    /// What [`Capture`] asked for, in ascending order of blocks.
    pub captured: Captured,
}

/// Captured intermediate results.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// `[b, prefix + k, d]` each, before the final norm.
    pub blocks: Vec<Tensor>,
    /// `[b, h, prefix + k, prefix + k]` each.
    pub attention: Vec<Tensor>,
    /// Mean and unbiased variance of each batch norm that used the batch's, `[c]` each, detached; for
    /// [`crate::Vit::learn_statistics`].
    pub statistics: Vec<Tensor>,
}

impl Tokens {
    /// `[b, d]`, the class token.
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn class(&self) -> Result<Tensor> {
        Ok(ops::take_tokens(&self.all, 0, 1)?.squeeze(1)?)
    }

    /// `[b, k, d]`, the patches.
    ///
    /// # Errors
    /// If shapes do not fit, or candle refuses.
    pub fn patches(&self) -> Result<Tensor> {
        ops::take_tokens(&self.all, self.prefix, self.all.dim(1)? - self.prefix)
    }
}
