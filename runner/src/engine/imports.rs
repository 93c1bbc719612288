//! Encoders that come from files: read before anything is computed, known by their content.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::Path;

use candle_core::Device;
use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_backbones::weights::{self, Report};
use reid_experiments::Experiment;
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::{ImportedSpec, ObjectiveSpec};

use crate::exit::RunError;

/// Path of the field in specs.
const FIELD: &str = "pretrain.objective.imported";

/// What an experiment imports, each file in each way once.
#[derive(Debug, Default)]
pub struct Imports {
    checked: BTreeMap<String, Checked>,
}

#[derive(Debug)]
struct Checked {
    path: String,
    blake3: String,
    report: Report,
}

impl Imports {
    /// Reads everything that an experiment imports, as it will be read.
    ///
    /// # Errors
    /// If a file cannot be read or does not fit; the report is part of the error.
    pub fn of(experiment: &Experiment) -> Result<Self, RunError> {
        let mut imports = Self::default();
        for run in &experiment.runs {
            let BackboneSpec::Vit(vit) = &run.spec.backbone;
            if let ObjectiveSpec::Imported(imported) = &run.spec.pretrain.objective {
                imports.check(imported, vit)?;
            }
        }
        Ok(imports)
    }

    pub(super) fn check(&mut self, imported: &ImportedSpec, vit: &VitSpec) -> Result<(), RunError> {
        if let Entry::Vacant(free) = self.checked.entry(name(imported, vit)?) {
            let blake3 = hash(&imported.path)?;
            let (_, report) = read(imported, vit, 0, &Device::Cpu)?;
            free.insert(Checked { path: imported.path.clone(), blake3, report });
        }
        Ok(())
    }

    /// BLAKE3 of a file that was checked.
    pub(super) fn hash(&self, imported: &ImportedSpec, vit: &VitSpec) -> Result<&str, RunError> {
        let checked = self.checked.get(&name(imported, vit)?);
        checked
            .map(|checked| checked.blake3.as_str())
            .ok_or_else(|| RunError::Unexpected(format!("an import that was not checked before: {}", imported.path)))
    }

    /// The encoder of a file that was checked; what the file lacks has the random start of the seed.
    pub(super) fn load(
        &self,
        imported: &ImportedSpec,
        vit: &VitSpec,
        seed: u64,
        device: &Device,
    ) -> Result<EncoderModel, RunError> {
        let (model, _) = read(imported, vit, seed, device)?;
        if hash(&imported.path)? != self.hash(imported, vit)? {
            let text = "the file has changed since this run was planned; run again";
            return Err(RunError::Weights(format!("{FIELD}.path: {text}: {}", imported.path)));
        }
        Ok(model)
    }

    /// What was found, a paragraph for each file.
    pub fn describe(&self) -> Vec<String> {
        self.checked.values().map(|Checked { path, report, .. }| format!("imported {report}\n  file: {path}")).collect()
    }
}

/// What tells two imports apart.
fn name(imported: &ImportedSpec, vit: &VitSpec) -> Result<String, RunError> {
    serde_json::to_string(&(imported, vit)).map_err(|e| RunError::Unexpected(e.to_string()))
}

fn read(
    imported: &ImportedSpec,
    vit: &VitSpec,
    seed: u64,
    device: &Device,
) -> Result<(EncoderModel, Report), RunError> {
    let fail = |e: String| RunError::Weights(format!("{FIELD}: {e}"));
    let model = EncoderModel::random(vit, seed, device).map_err(|e| fail(e.to_string()))?;
    let (structure, store) = model.parts();
    let report = weights::import(imported, structure, store, ENCODER).map_err(|e| fail(e.to_string()))?;
    Ok((model, report))
}

fn hash(path: &str) -> Result<String, RunError> {
    let fail = |e: std::io::Error| RunError::Weights(format!("{FIELD}.path: cannot read weights: {e}: {path}"));
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(Path::new(path)).map_err(fail)?).map_err(fail)?;
    Ok(hasher.finalize().to_hex().to_string())
}
