//! The built-in renderer.

use std::path::{Path, PathBuf};

use crate::spec::SyntheticSpec;
use crate::{DataError, Result};

/// Renders the set into `cache`, unless it lies there, and returns its folder.
///
/// # Errors
/// Always, until the renderer is merged.
pub fn materialise(
    _spec: &SyntheticSpec,
    cache: &Path,
    _threads: usize,
    _progress: &(dyn Fn(&str, usize, usize) + Sync),
) -> Result<PathBuf> {
    Err(DataError::Invalid {
        problem: "the built-in renderer is not built".to_owned(),
        remedy: "use a Market-1501 folder".to_owned(),
        path: cache.to_path_buf(),
    })
}
