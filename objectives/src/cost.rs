//! What an objective costs for each picture that it draws, foretold from the spec: tokens and floating-point
//! operations. No task is built for it.
//!
//! Counted are multiplications and additions of matrix products, one multiply-add as two operations: a linear
//! layer takes `2 tokens inputs outputs`, attention `2 * 2 queries keys width` (scores, and the weighted sum). A
//! backward pass takes twice its forward pass (the gradients of input and weight); a teacher has no backward pass.
//! Norms, activations, softmaxes, losses and the update are left out: together they are a few per cent. So is
//! what `recompute` computes twice, since it changes no result, and what stochastic depth leaves out.

use reid_backbones::spec::VitSpec;
use reid_backbones::vit::MLP_RATIO;

use crate::spec::{NoObjective, ObjectiveSpec};

/// Cost of one drawn picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Tokens that go through the trained encoder, over all views: what `StepOutput::tokens` counts while it runs.
    pub encoder_tokens: usize,
    /// Floating-point operations, forward and backward.
    pub flops: f64,
}

/// Cost of an objective for each drawn picture; none where it cannot be told, because the encoder was trained
/// elsewhere.
///
/// A new objective adds its arm here, with a `cost` in its own folder made of the functions below.
pub fn cost(objective: &ObjectiveSpec, vit: &VitSpec) -> Option<Cost> {
    match objective {
        ObjectiveSpec::None(NoObjective {}) => Some(Cost::default()),
        // What it cost is its trainers' affair.
        ObjectiveSpec::Imported(_) => None,
        ObjectiveSpec::PersonMae(spec) => Some(crate::person_mae::cost(spec, vit)),
        ObjectiveSpec::MimDino(spec) => Some(crate::mim_dino::cost(spec, vit)),
        ObjectiveSpec::UpReid(spec) => Some(crate::up_reid::cost(spec, vit)),
    }
}

/// Operations of a module that is trained: its forward pass, and a backward pass of twice that.
pub fn trained(forward: f64) -> f64 {
    3.0 * forward
}

/// Operations of a linear layer's forward pass.
pub fn linear(tokens: usize, inputs: usize, outputs: usize) -> f64 {
    2.0 * tokens as f64 * inputs as f64 * outputs as f64
}

/// Operations of attention without its linear layers, over all heads, whose widths add up to `width`.
pub fn attention(queries: usize, keys: usize, width: usize) -> f64 {
    4.0 * queries as f64 * keys as f64 * width as f64
}

/// Operations of a block's two-layer perceptron.
pub fn mlp(tokens: usize, width: usize) -> f64 {
    2.0 * linear(tokens, width, MLP_RATIO * width)
}

/// Operations of a transformer block's forward pass: queries, keys and values, attention, projection, perceptron.
pub fn block(tokens: usize, width: usize) -> f64 {
    linear(tokens, width, 3 * width)
        + attention(tokens, tokens, width)
        + linear(tokens, width, width)
        + mlp(tokens, width)
}

/// Operations of an encoder's forward pass over a class token and so many patches.
pub fn encoder(vit: &VitSpec, patches: usize) -> f64 {
    let dims = vit.size.dims();
    let pixels = 3 * vit.patch * vit.patch;
    linear(patches, pixels, dims.width) + dims.depth as f64 * block(1 + patches, dims.width)
}

/// Patches of a whole picture.
pub fn patches(vit: &VitSpec) -> usize {
    vit.grid().iter().product()
}
