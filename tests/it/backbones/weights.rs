//! Weight files: round trips, and what does not fit.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use reid_backbones::{BackboneError, Result, weights};
use reid_tests::tensors::{bits, normal};

use super::fixture::tiny;

#[test]
fn weights_survive_a_file() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let (_, store) = tiny()?;
    let tensors = store.tensors()?;
    weights::write(&path, &tensors)?;
    let (_, other) = tiny()?;
    for (name, tensor) in &tensors {
        other.set(name, &tensor.zeros_like()?)?;
    }
    weights::load(&other, "", &weights::read(&path)?, &path)?;
    for (name, tensor) in other.tensors()? {
        assert_eq!(bits(&tensor), bits(&tensors[&name]), "{name}");
    }
    assert_eq!(weights::with_prefix(&store, "blocks.1.")?.len(), 12);
    Ok(())
}

/// Loads and expects a refusal.
fn refused(tensors: &BTreeMap<String, Tensor>) -> Result<BackboneError> {
    let (_, store) = tiny()?;
    Ok(weights::load(&store, "", tensors, Path::new("foreign.safetensors")).expect_err("weights that do not fit"))
}

#[test]
fn weights_that_do_not_fit_are_refused() -> Result<()> {
    let whole = tiny()?.1.tensors()?;
    let mut missing = whole.clone();
    missing.remove("norm.bias");
    missing.remove("cls_token");
    assert_eq!(
        refused(&missing)?.to_string(),
        "weights do not fit the model: 2 missing, 0 unexpected; first: cls_token: foreign.safetensors"
    );
    let mut unexpected = whole.clone();
    unexpected.insert("head.weight".to_owned(), normal(1, (2, 24)));
    assert_eq!(
        refused(&unexpected)?.to_string(),
        "weights do not fit the model: 0 missing, 1 unexpected; first: head.weight: foreign.safetensors"
    );
    let mut reshaped = whole;
    reshaped.insert("pos_embed".to_owned(), normal(1, (1, 17, 24)));
    let error = refused(&reshaped)?;
    assert!(matches!(&error, BackboneError::Shape { name, .. } if name == "pos_embed"), "{error}");
    Ok(())
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    let missing = weights::read(&path).unwrap_err().to_string();
    std::fs::write(&path, b"no weights").unwrap();
    let damaged = weights::read(&path).unwrap_err().to_string();
    let unwritable = weights::write(&folder.path().join("no/such/folder"), &BTreeMap::new()).unwrap_err().to_string();
    for (error, start) in
        [(missing, "cannot read weights: "), (damaged, "cannot read weights: "), (unwritable, "cannot write weights: ")]
    {
        assert!(error.starts_with(start) && error.contains(&folder.path().display().to_string()), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
