//! The one seam between models and arithmetic. Models call only these functions; each chooses by
//! device: fused operators with hand-written backward passes on a CPU, candle's own operations with
//! right gradients elsewhere.

mod attention;
mod block;
mod composed;
mod distillation;
mod host;
mod layer_norm;
mod linear;
mod losses;
mod patches;
mod products;
mod tokens;
mod weight_norm;

pub use attention::cross_attention;
pub use block::{DropPath, block, block_attention, composed as block_composed};
pub use distillation::{Pairs, sharpened_softmax, soft_cross_entropy};
pub(crate) use host::values;
pub use layer_norm::{LAYER_NORM_EPS, layer_norm, standardise};
pub use linear::{linear, linear_gelu};
pub use losses::{cross_entropy, l2_normalize, squared_error};
pub use patches::{Keep, patch_embed};
pub use products::{dot_products, dot_products_into};
pub use tokens::{Arrangement, arrange, assemble, take_tokens};
pub use weight_norm::weight_norm_linear;
