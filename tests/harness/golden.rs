//! Reference numbers of public implementations.
//!
//! Files are read from the folder that `REID_GOLDEN` names (relative paths start at the workspace
//! root; default `tests/golden`). A missing or empty folder, file or tensor fails the test.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;

/// One golden file: inputs `in.*`, outputs `out.*`, hyper-parameters as text.
pub struct Golden {
    name: String,
    tensors: HashMap<String, Tensor>,
    metadata: HashMap<String, String>,
}

/// Workspace root.
///
/// # Panics
/// Never: this crate lies in a folder of the workspace.
pub fn workspace_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

/// Folder of the golden files.
pub fn folder() -> PathBuf {
    let named = std::env::var_os("REID_GOLDEN").filter(|value| !value.is_empty());
    workspace_root().join(named.map_or_else(|| PathBuf::from("tests/golden"), PathBuf::from))
}

impl Golden {
    /// Reads `<folder>/<name>.safetensors`.
    ///
    /// # Panics
    /// If the file is missing or not safetensors.
    pub fn load(name: &str) -> Self {
        let path = folder().join(format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("golden file {}: {e}", path.display()));
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let metadata = header.metadata().clone().unwrap_or_default();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Self { name: name.to_owned(), tensors, metadata }
    }

    /// A tensor as stored.
    ///
    /// # Panics
    /// If the file has no such tensor.
    pub fn tensor(&self, key: &str) -> Tensor {
        self.tensors.get(key).unwrap_or_else(|| panic!("golden {}: no tensor {key}", self.name)).clone()
    }

    /// Sorted names that begin with `prefix`.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.tensors.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.sort();
        keys
    }

    /// A tensor's values as f64, flattened.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn f64s(&self, key: &str) -> Vec<f64> {
        let flat = self.tensor(key).flatten_all().and_then(|t| t.to_dtype(DType::F64));
        flat.and_then(|t| t.to_vec1()).unwrap_or_else(|e| panic!("golden {} {key}: {e}", self.name))
    }

    /// A tensor's values as f32, flattened.
    pub fn f32s(&self, key: &str) -> Vec<f32> {
        self.f64s(key).into_iter().map(|v| v as f32).collect()
    }

    /// A tensor's values as i64, flattened.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn i64s(&self, key: &str) -> Vec<i64> {
        let flat = self.tensor(key).flatten_all().and_then(|t| t.to_dtype(DType::I64));
        flat.and_then(|t| t.to_vec1()).unwrap_or_else(|e| panic!("golden {} {key}: {e}", self.name))
    }

    /// A one-element tensor.
    ///
    /// # Panics
    /// If there is no such tensor, or it holds more.
    pub fn scalar(&self, key: &str) -> f64 {
        let values = self.f64s(key);
        assert_eq!(values.len(), 1, "golden {} {key} is no scalar", self.name);
        values[0]
    }

    /// Shape of a tensor.
    pub fn shape(&self, key: &str) -> Vec<usize> {
        self.tensor(key).dims().to_vec()
    }

    /// A hyper-parameter, parsed.
    ///
    /// # Panics
    /// If it is absent or does not parse.
    pub fn param<T: std::str::FromStr>(&self, key: &str) -> T {
        let text = self.metadata.get(key).unwrap_or_else(|| panic!("golden {}: no metadata {key}", self.name));
        text.parse().unwrap_or_else(|_| panic!("golden {}: metadata {key} = {text:?}", self.name))
    }

    /// A hyper-parameter as text.
    ///
    /// # Panics
    /// If it is absent.
    pub fn text(&self, key: &str) -> &str {
        self.metadata.get(key).unwrap_or_else(|| panic!("golden {}: no metadata {key}", self.name))
    }
}

/// Largest absolute difference divided by the largest absolute reference value.
///
/// # Panics
/// If the lengths differ.
pub fn relative_to_max(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "lengths differ");
    let scale = expected.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let worst = actual
        .iter()
        .zip(expected)
        .fold(0.0_f64, |m, (a, e)| if a.is_nan() { f64::INFINITY } else { m.max((a - e).abs()) });
    if scale == 0.0 { worst } else { worst / scale }
}

/// Largest absolute difference.
///
/// # Panics
/// If the lengths differ.
pub fn max_abs(actual: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "lengths differ");
    actual.iter().zip(expected).fold(0.0_f64, |m, (a, e)| if a.is_nan() { f64::INFINITY } else { m.max((a - e).abs()) })
}
