//! Vision Transformers, their parameters, operators and optimisers: pictures in, tokens out.
//!
//! Knows no loss, no data set and no random generator: initial values come through
//! [`init::InitSource`]. Every model calls only [`ops`], which chooses kernels by device.

pub mod encoder;
pub mod error;
pub mod frozen;
pub mod init;
mod kernels;
pub mod ops;
pub mod optim;
pub mod params;
pub mod pooling;
pub mod spec;
pub mod vit;
pub mod weights;

/// Raised whenever the numbers of encoders, operators, initial values or optimizers change.
pub const ALGORITHM_VERSION: u32 = 4;

pub use encoder::{Capture, Captured, Encoder, Input, MaskedPatches, Tokens};
pub use error::{BackboneError, Result};
pub use kernels::{
    InstructionSet, KeepLarge, instruction_set, quiet_candle, release_memory, use_instruction_set, use_own_threads,
    use_threads,
};
pub use ops::{DropPath, Keep};
pub use params::{Compute, Gradients, ModuleId, ParamStore, Params};
pub use vit::Vit;
