//! Slices of CPU tensors, for the fused operators.

use std::ops::Deref;

use candle_core::{CpuStorage, DType, Layout, Result, Storage, StorageRef, Tensor, bail};

/// Whether the fused operators take a tensor: f32 on a CPU. All else goes through candle's operations.
pub(super) fn is_fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// The values of a contiguous f32 CPU storage.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("a fused operator got a strided tensor") };
    match storage {
        CpuStorage::F32(values) => Ok(&values[start..end]),
        _ => bail!("a fused operator got a type other than f32"),
    }
}

/// A read lock on a tensor that gives its values.
pub(crate) struct Values<'a> {
    guard: StorageRef<'a>,
    range: (usize, usize),
}

/// Locks a contiguous f32 CPU tensor for reading.
pub(crate) fn values(tensor: &Tensor) -> Result<Values<'_>> {
    let (guard, layout) = tensor.storage_and_layout();
    let Some(range) = layout.contiguous_offsets() else { bail!("a fused operator got a strided tensor") };
    match &*guard {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Values { guard, range }),
        _ => bail!("a fused operator got a tensor that is not f32 on the CPU"),
    }
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.0..self.range.1],
            _ => unreachable!("checked by `values`"),
        }
    }
}
