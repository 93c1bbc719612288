//! Encoder weights on disk: our own are safetensors with timm's names; those of other projects are imported.

mod archive;
mod checkpoint;
mod export;
mod foreign;
mod import;
mod names;
mod onnx;
mod pickle;
mod report;
pub mod spec;
mod torch;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::error::{BackboneError, Result};
use crate::params::ParamStore;

pub use checkpoint::Checkpoint;
pub use export::{encoder_tensors, safetensors};
pub use foreign::foreign;
pub use import::{ALGORITHM_VERSION, import, resample_positions};
pub use onnx::onnx;
pub use report::Report;

/// The tensors whose name begins with `prefix`, without it.
///
/// # Errors
/// If the parameters do not fit, or candle refuses.
pub fn with_prefix(store: &ParamStore, prefix: &str) -> Result<BTreeMap<String, Tensor>> {
    let strip = |(name, tensor): (String, Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor));
    Ok(store.tensors()?.into_iter().filter_map(strip).collect())
}

/// Writes named tensors.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let tensors: HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    candle_core::safetensors::save(&tensors, path).map_err(|e| file_error("cannot write weights", &e, path))
}

/// Reads named tensors.
///
/// # Errors
/// If the file is missing, truncated or not safetensors.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu);
    Ok(tensors.map_err(|e| file_error("cannot read weights", &e, path))?.into_iter().collect())
}

/// Copies weights into the parameters behind `prefix`; names must agree both ways.
///
/// # Errors
/// If a tensor is missing, unexpected or of another shape.
pub fn load(store: &ParamStore, prefix: &str, tensors: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let wanted: Vec<&str> = store.names().filter_map(|name| name.strip_prefix(prefix)).collect();
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !tensors.contains_key(*name)).collect();
    let unexpected: Vec<&String> =
        tensors.keys().filter(|name| wanted.binary_search(&name.as_str()).is_err()).collect();
    if !missing.is_empty() || !unexpected.is_empty() {
        let first =
            missing.first().copied().or_else(|| unexpected.first().map(|name| name.as_str())).unwrap_or_default();
        return Err(BackboneError::Weights {
            missing: missing.len(),
            unexpected: unexpected.len(),
            first: first.to_owned(),
            path: path.display().to_string(),
        });
    }
    for name in wanted {
        store.set(&format!("{prefix}{name}"), &tensors[name])?;
    }
    Ok(())
}

fn file_error(action: &'static str, error: &candle_core::Error, path: &Path) -> BackboneError {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default().to_owned();
    BackboneError::File { action, reason, path: path.display().to_string() }
}
