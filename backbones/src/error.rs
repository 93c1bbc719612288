//! What can go wrong in a backbone.

use crate::weights::Report;

/// A fault in parameters, shapes or weights. Each names the tensor.
#[derive(Debug, thiserror::Error)]
pub enum BackboneError {
    /// A name that the model does not have.
    #[error("no parameter named {name}")]
    UnknownParameter {
        /// The name.
        name: String,
    },
    /// A tensor of the wrong shape.
    #[error("parameter {name} has shape {expected:?}, got {found:?}")]
    Shape {
        /// The name.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The given shape.
        found: Vec<usize>,
    },
    /// A weight file that does not fit the model.
    #[error("weights do not fit the model: {missing} missing, {unexpected} unexpected; first: {first}: {path}")]
    Weights {
        /// Parameters that the file lacks.
        missing: usize,
        /// Tensors that the model lacks.
        unexpected: usize,
        /// The first of them.
        first: String,
        /// The file.
        path: String,
    },
    /// A file of another project that does not fit the encoder.
    #[error("weights do not fit the encoder: {report}\n  file: {path}")]
    Import {
        /// Every name and what became of it.
        report: Box<Report>,
        /// The file.
        path: String,
    },
    /// A weight file that cannot be read or written.
    #[error("{action}: {reason}: {path}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// Why it failed.
        reason: String,
        /// The file.
        path: String,
    },
    /// candle refused an operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Result of anything in this crate.
pub type Result<T> = std::result::Result<T, BackboneError>;
