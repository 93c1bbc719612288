//! What a run's pre-training has left, to be looked at.

use candle_core::Device;
use reid_backbones::spec::VitSpec;
use reid_backbones::weights;
use reid_data::spec::Normalisation;
use reid_objectives::person_mae::PersonMae;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::ObjectiveSpec;
use reid_results::RunRow;

use super::build::DECODER_FILE;
use super::export::{encoder_weights, spec_of};
use super::snapshots;
use crate::exit::RunError;
use crate::store::Store;

/// A pre-trained encoder, and its objective where that can show what it predicts.
pub struct Pretrained {
    /// The encoder that the run started from.
    pub encoder: EncoderModel,
    /// PersonMAE with its trained pixel decoder. A stage of an older version has kept none.
    pub person_mae: Option<PersonMae>,
    /// Architecture.
    pub vit: VitSpec,
    /// How pictures were normalised in pre-training.
    pub normalisation: Normalisation,
}

impl Pretrained {
    /// Of a finished run; none where it has no pre-training.
    ///
    /// # Errors
    /// [`RunError::NothingSelected`] if its stage, or the encoder of its epoch, is no longer there; others if files cannot be
    /// read or do not fit.
    pub fn of_row(store: &Store, row: &RunRow, device: &Device) -> Result<Option<Self>, RunError> {
        let Some(key) = &row.stage_pretrain else { return Ok(None) };
        let gone = |what: &str| {
            RunError::NothingSelected(format!("{what} is missing or damaged; run its spec again: {}", row.run_id))
        };
        let stage = store.recorded(key)?.ok_or_else(|| gone("its pre-training"))?;
        let spec = spec_of(row)?;
        let vit = spec.pretrained_vit();
        let fail = |e: String| RunError::Weights(e);
        let file = snapshots::file_of(&spec.pretrain);
        if !stage.artefacts().contains_key(&file) {
            return Err(gone("the encoder of its epoch"));
        }
        let path = stage.artefact(&file)?;
        let tensors = encoder_weights(weights::read(&path).map_err(|e| fail(e.to_string()))?);
        let encoder = EncoderModel::with_weights(&vit, &tensors, &path, device).map_err(|e| fail(e.to_string()))?;
        let person_mae = match &spec.pretrain.objective {
            // The decoder is the last epoch's, and knows no earlier encoder.
            ObjectiveSpec::PersonMae(objective)
                if stage.artefacts().contains_key(DECODER_FILE) && path.ends_with(super::build::ENCODER_FILE) =>
            {
                let path = stage.artefact(DECODER_FILE)?;
                let decoder = weights::read(&path).map_err(|e| fail(e.to_string()))?;
                let task = PersonMae::with_weights(objective, &vit, &tensors, &decoder, &path, device);
                Some(task.map_err(|e| fail(e.to_string()))?)
            }
            _ => None,
        };
        // A pre-training that shows its encoder no pictures leaves no stage.
        let normalisation = spec.pretrain.objective.normalisation().unwrap_or(Normalisation::Half);
        Ok(Some(Self { encoder, person_mae, vit, normalisation }))
    }
}
