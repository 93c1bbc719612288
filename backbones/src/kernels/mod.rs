//! Loops over slices: what the fused operators run on a CPU. The only home of `unsafe`.

mod alloc;
pub(crate) mod attention;
pub(crate) mod distillation;
pub(crate) mod gemm;
mod isa;
pub(crate) mod losses;
pub(crate) mod rows;
mod simd;
mod threads;
pub(crate) mod weight_norm;

pub use alloc::{KeepLarge, release_memory};
pub use isa::{InstructionSet, instruction_set, use_instruction_set};
pub(crate) use simd::vectorized;
pub use threads::{quiet_candle, use_own_threads, use_threads};
