//! What can go wrong in an objective or a protocol.

/// A fault of a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The data cannot serve this task.
    #[error("{problem}; {remedy}")]
    Unsuitable {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// A checkpoint or model file lacks something.
    #[error("saved state has no {name}; delete the stage and run again")]
    MissingState {
        /// What it lacks.
        name: String,
    },
    /// The work was asked to stop; nothing is at fault.
    #[error("interrupted")]
    Interrupted,
    /// The data are at fault.
    #[error(transparent)]
    Data(#[from] reid_data::DataError),
    /// The backbone is at fault.
    #[error(transparent)]
    Backbone(#[from] reid_backbones::BackboneError),
    /// candle refused an operation.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// Result of anything in this crate.
pub type Result<T> = std::result::Result<T, TaskError>;
