//! What a trained PersonMAE predicts, as pictures.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_backbones::spec::VitSpec;
use reid_backbones::{Encoder, Keep};
use reid_data::views::ViewBatch;

use super::spec::PersonMaeSpec;
use super::{PIXEL_DECODER, PersonMae};
use crate::error::{Result, TaskError};
use crate::math::mask::Mask;
use crate::math::patch::{denormalize_patches, patchify, unpatchify};
use crate::protocols::ENCODER;
use crate::task::Clock;

/// Regions of a batch, and what was predicted of them. Pixels are normalised as the views are.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// `[b, 3, h, w]`, RegionA, whole.
    pub a: Tensor,
    /// `[b, n]`, whether a patch of RegionA was hidden from the encoder; patches row by row.
    pub hidden: Vec<Vec<bool>>,
    /// `[b, 3, h, w]`, RegionB.
    pub b: Tensor,
    /// `[b, 3, h, w]`, the prediction of RegionB from RegionA's visible patches. Where patches are predicted up to their
    /// mean and deviation, these are RegionB's own, as MAE's authors show it.
    pub predicted: Tensor,
}

impl PersonMae {
    /// The objective with a trained encoder and pixel decoder.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape; `path` is named.
    pub fn with_weights(
        spec: &PersonMaeSpec,
        backbone: &VitSpec,
        encoder: &BTreeMap<String, Tensor>,
        decoder: &BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let task = Self::build(spec, backbone, 1, 0, device)?;
        reid_backbones::weights::load(&task.student, ENCODER, encoder, path)?;
        let names: Vec<String> = task.student.names().map(str::to_owned).collect();
        for name in names.iter().filter(|name| name.starts_with(PIXEL_DECODER)) {
            let value = decoder.get(name).ok_or_else(|| TaskError::Unsuitable {
                problem: format!("the decoder's `{name}` is missing: {}", path.display()),
                remedy: "pre-train again".to_owned(),
            })?;
            task.student.set(name, value)?;
        }
        Ok(task)
    }

    /// What is predicted of a batch; none where no pixels are.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn reconstruct(&self, batch: &ViewBatch, clock: Clock) -> Result<Option<Reconstruction>> {
        let masks = self.masks(&batch.draws, clock);
        let cells: Vec<u32> = masks.iter().flat_map(Mask::visible).collect();
        let keep = Keep { per_sample: cells.len() / masks.len().max(1), cells };
        let hidden: Vec<Vec<bool>> = masks.into_iter().map(|mask| mask.hidden).collect();
        let flags: Vec<f32> = hidden.iter().flatten().map(|&hidden| f32::from(u8::from(hidden))).collect();
        let (rows, cols) = self.vit.grid();
        let flags = Tensor::from_vec(flags, (hidden.len(), rows * cols), &self.device)?; // [b, n]
        let regions = self.regions(batch)?;
        let Some(predicted) = self.losses(&regions, &keep, &flags, None)?.predicted_pixels else { return Ok(None) };
        let patches = patchify(&regions.b, self.vit.patch())?; // [b, n, p * p * 3]
        let predicted = denormalize_patches(&predicted.detach(), &patches, self.spec.pixel_norm)?;
        let predicted = unpatchify(&predicted, self.vit.patch(), rows, cols)?; // [b, 3, h, w]
        Ok(Some(Reconstruction { a: regions.a, hidden, b: regions.b, predicted }))
    }
}
