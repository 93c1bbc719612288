//! Small encoders.

use candle_core::Device;
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::{ParamStore, Result, Vit};
use reid_tests::tensors::randomize;

/// Sizes of [`tiny`].
pub(crate) const DIMS: VitDims = VitDims { width: 24, depth: 3, heads: 2 };

/// Patches of 8 pixels over a picture of any size, learned positions.
pub(crate) fn spec(image: [usize; 2]) -> VitSpec {
    VitSpec {
        size: VitSize::Micro,
        image,
        patch: 8,
        positions: Positions::Learned,
        drop_path: 0.0,
        ..VitSpec::default()
    }
}

/// An encoder for pictures of 32 x 16, so of 4 x 2 patches, whose every parameter matters.
pub(crate) fn tiny() -> Result<(Vit, ParamStore)> {
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(DIMS, &spec([32, 16]), "", &mut store, &|_| Box::new(|| 0.5))?;
    randomize(&store, 1);
    Ok((vit, store))
}
