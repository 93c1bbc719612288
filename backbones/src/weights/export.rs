//! Encoders for other programs: safetensors with timm's names.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::error::{BackboneError, Result};
use crate::params::ParamStore;
use crate::vit::Vit;

/// Every tensor of an encoder under timm's name; fixed positions are written out, as timm knows only tables.
///
/// # Errors
/// If candle refuses.
pub fn encoder_tensors(vit: &Vit, store: &ParamStore, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let mut tensors = super::with_prefix(store, prefix)?;
    if let Some(fixed) = vit.fixed_positions() {
        tensors.insert("pos_embed".to_owned(), fixed.clone());
    }
    let move_out = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(&Device::Cpu)?.contiguous()?));
    tensors.into_iter().map(move_out).collect()
}

/// The bytes of a safetensors file with these remarks in its header.
///
/// # Errors
/// If candle refuses.
pub fn safetensors(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let remarks: HashMap<String, String> = metadata.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let fail = |reason: String| BackboneError::File {
        action: "cannot write weights",
        reason,
        path: Path::new("safetensors").display().to_string(),
    };
    safetensors::serialize(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)), Some(remarks))
        .map_err(|e| fail(e.to_string()))
}
