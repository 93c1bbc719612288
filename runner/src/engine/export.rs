//! Encoders of finished runs, as other programs read them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_backbones::{Encoder, Vit, weights};
use reid_experiments::spec::RunSpec;
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::{ObjectiveSpec, ProtocolSpec};
use reid_results::{RunRow, Status};

use super::build::MODEL_FILE;
use super::imports::{Import, Imports};
use super::plan::{StageKind, evaluation_normalisation};
use super::snapshots;
use crate::exit::RunError;
use crate::store::Store;

/// An encoder and what is to be known of it.
pub struct Exported {
    model: EncoderModel,
    metadata: BTreeMap<String, String>,
    /// What trained it last, in words.
    pub origin: String,
}

/// The encoder of a run, as a row of the store's results names it; after the given stage, or the last.
///
/// # Errors
/// If the run failed or trained none, or its stage is no longer there.
pub fn exported(store: &Store, row: &RunRow, after: Option<StageKind>) -> Result<Exported, RunError> {
    let id = &row.run_id;
    if row.status == Status::Failed {
        return Err(RunError::NothingSelected(format!("the run failed and left no encoder; run its spec again: {id}")));
    }
    let spec = spec_of(row)?;
    let BackboneSpec::Vit(mut vit) = spec.backbone.clone();
    let wanted = |kind| after.is_none_or(|after| after == kind);
    // A probe's training leaves the encoder as it is.
    let trains_encoder = !matches!(spec.protocol, ProtocolSpec::Frozen(_));
    let pretrained = snapshots::file_of(&spec.pretrain);
    let found = match (&row.stage_train, &row.stage_pretrain) {
        (Some(key), _) if wanted(StageKind::Train) && trains_encoder => {
            Some((StageKind::Train, key, MODEL_FILE.to_owned()))
        }
        (_, Some(key)) if wanted(StageKind::Pretrain) => Some((StageKind::Pretrain, key, pretrained)),
        _ => None,
    };
    let (model, origin) = if let Some((kind, key, file)) = found {
        let gone = || {
            let text = format!("the {} stage of the run is missing or damaged; run its spec again: {id}", kind.name());
            RunError::NothingSelected(text)
        };
        let stage = store.recorded(key)?.ok_or_else(gone)?;
        if kind == StageKind::Pretrain {
            vit = spec.pretrained_vit();
        }
        (of_stage(&vit, &stage.artefact(&file)?)?, stage.manifest().label.clone())
    } else if let ObjectiveSpec::Imported(imported) = &spec.pretrain.objective
        && wanted(StageKind::Pretrain)
    {
        let mut imports = Imports::default();
        imports.check(Import::Encoder(imported, &vit))?;
        let seed = row.seed_pretrain.cast_unsigned();
        (imports.load(imported, &vit, seed, &Device::Cpu)?, format!("imported from {}", imported.path))
    } else {
        let what = after.map_or_else(|| "no stage".to_owned(), |kind| format!("no {} stage", kind.name()));
        return Err(RunError::NothingSelected(format!("the run has {what} that trained its encoder: {id}")));
    };
    let metadata = metadata(row, &spec, &vit, model.parts().0, &origin);
    Ok(Exported { model, metadata, origin })
}

/// The resolved spec of a row's run.
pub(super) fn spec_of(row: &RunRow) -> Result<RunSpec, RunError> {
    let other = |e| RunError::Unexpected(format!("the row of run {} has a spec of another version: {e}", row.run_id));
    serde_json::from_str(&row.config_json).map_err(other)
}

/// The encoder's part of a protocol's model, which has more; a pre-training's encoder as it is.
pub(super) fn encoder_weights(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let of_encoder = tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(ENCODER)?, tensor)));
    let of_encoder: BTreeMap<String, _> = of_encoder.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect();
    if of_encoder.is_empty() { tensors } else { of_encoder }
}

fn of_stage(vit: &VitSpec, path: &std::path::Path) -> Result<EncoderModel, RunError> {
    let fail = |e: String| RunError::Weights(e);
    let tensors = weights::read(path).map_err(|e| fail(e.to_string()))?;
    EncoderModel::with_weights(vit, &encoder_weights(tensors), path, &Device::Cpu).map_err(|e| fail(e.to_string()))
}

/// What a user of the file must know: where it comes from, and what it expects.
fn metadata(row: &RunRow, spec: &RunSpec, vit: &VitSpec, encoder: &Vit, origin: &str) -> BTreeMap<String, String> {
    let dims = encoder.dims();
    // A pre-training has statistics of its own; those of the evaluation are what features were ranked with.
    let (mean, std) = evaluation_normalisation(spec).mean_std();
    let [height, width] = vit.image;
    let pairs = [
        // Readers of safetensors of PyTorch look for it.
        ("format", "pt".to_owned()),
        ("producer", format!("reid-run {}", env!("CARGO_PKG_VERSION"))),
        ("run_id", row.run_id.clone()),
        ("origin", origin.to_owned()),
        ("embed_dim", dims.width.to_string()),
        ("depth", dims.depth.to_string()),
        ("num_heads", dims.heads.to_string()),
        ("patch_size", vit.patch.to_string()),
        ("stride", vit.stride().to_string()),
        ("img_size", format!("{height}x{width}")),
        ("mean", format!("{mean:?}")),
        ("std", format!("{std:?}")),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

impl Exported {
    /// A safetensors file with timm's names.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn safetensors(&self) -> Result<Vec<u8>, RunError> {
        let (vit, store) = self.model.parts();
        let tensors = weights::encoder_tensors(vit, store, ENCODER);
        let bytes = tensors.and_then(|tensors| weights::safetensors(&tensors, &self.metadata));
        bytes.map_err(|e| RunError::Unexpected(e.to_string()))
    }

    /// An ONNX file.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn onnx(&self) -> Result<Vec<u8>, RunError> {
        let (vit, store) = self.model.parts();
        let tensors = weights::encoder_tensors(vit, store, ENCODER);
        let bytes = tensors.and_then(|tensors| weights::onnx(vit, &tensors, &self.metadata));
        bytes.map_err(|e| RunError::Unexpected(e.to_string()))
    }
}
