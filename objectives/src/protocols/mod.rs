//! Downstream protocols: what is trained, and what is evaluated.

pub mod evaluation;
pub mod frozen;
pub mod losses;
pub mod model;
pub mod neck;
pub mod supervised;
pub mod usl;

/// Prefix of the encoder's parameters in every model.
pub const ENCODER: &str = "encoder.";
/// Prefix of the BNNeck's tensors.
pub const NECK: &str = "neck.";
/// Name of the identity classifier.
const CLASSIFIER: &str = "classifier";
