//! Which camera a picture comes from, as TransReID tells its encoder (He et al., arXiv 2102.04378, section 3.4).

use candle_core::Tensor;
use reid_backbones::ParamStore;
use reid_backbones::Params;
use reid_backbones::init::InitSource;
use reid_backbones::vit::{SideEmbedding, Sides};

use super::spec::{CamerasSpec, UnknownCamera};
use crate::error::{Result, TaskError};

/// Prefix of its parameters.
const SIDE: &str = "side.";

/// An embedding of each training camera.
#[derive(Clone, Debug)]
pub struct CameraEmbedding {
    embedding: SideEmbedding,
    /// Training cameras in ascending order, one to a row of the table.
    cameras: Vec<u32>,
    unknown: UnknownCamera,
}

impl CameraEmbedding {
    /// Defines the table.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn build(
        spec: CamerasSpec,
        mut cameras: Vec<u32>,
        width: usize,
        store: &mut ParamStore,
        source: &InitSource,
    ) -> Result<Self> {
        cameras.sort_unstable();
        cameras.dedup();
        let sides = Sides::Cameras(cameras.len());
        let embedding = SideEmbedding::build(sides, width, spec.weight, SIDE, store, source)?;
        Ok(Self { embedding, cameras, unknown: spec.unknown })
    }

    /// Training cameras in ascending order.
    pub fn cameras(&self) -> &[u32] {
        &self.cameras
    }

    /// Takes every camera as unknown from now on, which is no error then.
    pub fn forget(&mut self) {
        (self.unknown, self.cameras) = (UnknownCamera::Zero, Vec::new());
    }

    /// What [`reid_backbones::Input::side`] takes, nothing where all cameras are unknown and that is no error.
    ///
    /// # Shapes
    /// - `cameras`: `[b]`; output: `[b, d]`
    ///
    /// # Errors
    /// If a camera is not one of the training's, and that is an error.
    pub fn forward(&self, params: &Params, cameras: &[u32]) -> Result<Option<Tensor>> {
        let row = |camera: &u32| self.cameras.binary_search(camera).ok();
        let rows: Vec<Option<usize>> = cameras.iter().map(row).collect();
        if let (Some(at), UnknownCamera::Refuse) = (rows.iter().position(Option::is_none), self.unknown) {
            let problem = format!(
                "camera {} is none of those that the model has learnt an embedding of in training",
                cameras[at]
            );
            let remedy = "set `side.cameras.unknown: zero` to leave the embedding of unknown cameras out".to_owned();
            return Err(TaskError::Unsuitable { problem, remedy });
        }
        if rows.iter().all(Option::is_none) {
            return Ok(None);
        }
        let pictures: Vec<(u32, u32)> = rows.iter().map(|row| (row.unwrap_or(0) as u32, 0)).collect();
        let embedded = self.embedding.forward(params, &pictures)?; // [b, d]
        if rows.iter().all(Option::is_some) {
            return Ok(Some(embedded));
        }
        let known: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.is_some()))).collect();
        let known = Tensor::from_vec(known, (rows.len(), 1), embedded.device())?;
        Ok(Some(embedded.broadcast_mul(&known)?))
    }
}
