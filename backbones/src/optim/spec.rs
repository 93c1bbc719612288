//! What a spec may say about the optimiser.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimSpec {
    /// AdamW (Loshchilov and Hutter, arXiv 1711.05101).
    Adamw(AdamwSpec),
    /// Adam (Kingma and Ba, arXiv 1412.6980); weight decay is added to the gradient, as in PyTorch's `Adam`.
    Adam(AdamSpec),
    /// SGD with momentum; weight decay is added to the gradient.
    Sgd(SgdSpec),
}

/// Adam's constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamSpec {
    /// Decay rates of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Weight decay, added to the gradient.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Which parameters decay.
    pub decay: DecayRule,
    /// Rate of biases relative to the others.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub bias_lr: f64,
    /// As for AdamW.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f64,
}

impl Default for AdamSpec {
    /// Those of the strong baseline (Luo et al., arXiv 1903.07071) and of cluster contrast with a `ResNet`.
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 5e-4,
            decay: DecayRule::All,
            bias_lr: 1.0,
            layer_decay: 1.0,
        }
    }
}

/// AdamW's constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamwSpec {
    /// Decay rates of the two moments. MAE's pre-training uses 0.9, 0.95.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eps: f64,
    /// Decoupled weight decay; 0 decays nothing.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Course of the weight decay over the run.
    pub decay_course: DecayCourse,
    /// Which parameters decay.
    pub decay: DecayRule,
    /// Each layer's rate is this power of its distance from the head (BEiT, arXiv 2106.08254); 1
    /// gives all layers the same rate.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f64,
}

impl Default for AdamwSpec {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.05,
            decay_course: DecayCourse::Constant(Constant {}),
            decay: DecayRule::Matrices,
            layer_decay: 1.0,
        }
    }
}

/// Course of the weight decay over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayCourse {
    /// The same throughout.
    Constant(Constant),
    /// Half a cosine from the weight decay to another one, per step (DINO, arXiv 2104.14294, implementation
    /// details: 0.04 to 0.4).
    Cosine(CosineDecay),
}

/// Nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constant {}

/// A weight decay that changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CosineDecay {
    /// Weight decay at the end of the run.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub end: f64,
}

impl Default for CosineDecay {
    fn default() -> Self {
        Self { end: 0.4 }
    }
}

/// SGD's constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SgdSpec {
    /// Momentum; the first step's buffer is the gradient itself.
    #[schemars(range(min = 0.0, max = 0.9999))]
    pub momentum: f64,
    /// Weight decay, added to the gradient.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Which parameters decay. TransReID decays everything.
    pub decay: DecayRule,
    /// Rate of biases relative to the others (TransReID: 2).
    #[schemars(range(min = 0.0, max = 100.0))]
    pub bias_lr: f64,
    /// As for AdamW.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub layer_decay: f64,
}

impl Default for SgdSpec {
    fn default() -> Self {
        Self { momentum: 0.9, weight_decay: 1e-4, decay: DecayRule::All, bias_lr: 2.0, layer_decay: 1.0 }
    }
}

/// Which parameters weight decay applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecayRule {
    /// Every parameter (TransReID and its descendants).
    All,
    /// Weight matrices only: no biases, norms, tokens or positions (MAE).
    Matrices,
    /// All but biases and one-dimensional tensors: positions and tokens do decay (iBOT, DINO).
    NotVectors,
}
