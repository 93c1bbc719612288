//! Encoders that come from files: read before anything is computed, known by their content.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::path::Path;

use candle_core::Device;
use reid_backbones::frozen::FrozenEncoder;
use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_backbones::weights::{self, Report};
use reid_experiments::Experiment;
use reid_experiments::spec::RunSpec;
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::spec::{ImportedSpec, ObjectiveSpec};
use serde::Serialize;

use crate::exit::RunError;

/// Something that a spec takes from a file.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) enum Import<'a> {
    /// The encoder itself.
    Encoder(&'a ImportedSpec, &'a VitSpec),
    /// The teacher of an objective.
    Teacher(&'a FrozenEncoderSpec),
}

impl<'a> Import<'a> {
    /// What a run imports, if anything.
    pub(super) fn of(spec: &'a RunSpec) -> Option<Self> {
        let BackboneSpec::Vit(vit) = &spec.backbone;
        if let ObjectiveSpec::Imported(imported) = &spec.pretrain.objective {
            return Some(Self::Encoder(imported, vit));
        }
        spec.pretrain.objective.frozen_teacher().map(Self::Teacher)
    }

    fn path(self) -> &'a str {
        match self {
            Self::Encoder(imported, _) => &imported.path,
            Self::Teacher(frozen) => frozen.path(),
        }
    }

    /// Path of the field in specs.
    fn field(self) -> &'static str {
        match self {
            Self::Encoder(..) => "pretrain.objective.imported",
            Self::Teacher(FrozenEncoderSpec::Vit(_)) => "pretrain.objective.person_mae.teacher.frozen.vit.weights",
            Self::Teacher(FrozenEncoderSpec::Dinov2(_)) => "pretrain.objective.person_mae.teacher.frozen.dinov2",
            Self::Teacher(FrozenEncoderSpec::Beit(_)) => "pretrain.objective.person_mae.teacher.frozen.beit",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Encoder(..) => "imported",
            Self::Teacher(_) => "frozen teacher:",
        }
    }

    /// What tells two imports apart.
    fn name(self) -> Result<String, RunError> {
        serde_json::to_string(&self).map_err(|e| RunError::Unexpected(e.to_string()))
    }

    fn read(self) -> Result<Report, RunError> {
        match self {
            Self::Encoder(imported, vit) => Ok(read(imported, vit, 0, &Device::Cpu)?.1),
            Self::Teacher(frozen) => match FrozenEncoder::open(frozen, &Device::Cpu) {
                Ok((_, report)) => Ok(report),
                Err(error) => Err(RunError::Weights(format!("{}: {error}", self.field()))),
            },
        }
    }

    fn hash(self) -> Result<String, RunError> {
        let path = self.path();
        let fail =
            |e: std::io::Error| RunError::Weights(format!("{}.path: cannot read weights: {e}: {path}", self.field()));
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(Path::new(path)).map_err(fail)?).map_err(fail)?;
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// What an experiment imports, each file in each way once.
#[derive(Debug, Default)]
pub struct Imports {
    checked: BTreeMap<String, Checked>,
}

#[derive(Debug)]
struct Checked {
    what: &'static str,
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
        experiment.runs.iter().filter_map(|run| Import::of(&run.spec)).try_for_each(|import| imports.check(import))?;
        Ok(imports)
    }

    pub(super) fn check(&mut self, import: Import) -> Result<(), RunError> {
        if let Entry::Vacant(free) = self.checked.entry(import.name()?) {
            let (what, path) = (import.what(), import.path().to_owned());
            free.insert(Checked { what, path, blake3: import.hash()?, report: import.read()? });
        }
        Ok(())
    }

    /// BLAKE3 of a file that was checked.
    pub(super) fn hash(&self, import: Import) -> Result<&str, RunError> {
        let checked = self.checked.get(&import.name()?);
        checked
            .map(|checked| checked.blake3.as_str())
            .ok_or_else(|| RunError::Unexpected(format!("an import that was not checked before: {}", import.path())))
    }

    /// Makes sure that a file that has just been read is the one that was checked.
    pub(super) fn confirm(&self, import: Import) -> Result<(), RunError> {
        if import.hash()? == self.hash(import)? {
            return Ok(());
        }
        let text = "the file has changed since this run was planned; run again";
        Err(RunError::Weights(format!("{}.path: {text}: {}", import.field(), import.path())))
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
        self.confirm(Import::Encoder(imported, vit))?;
        Ok(model)
    }

    /// What was found, a paragraph for each file.
    pub fn describe(&self) -> Vec<String> {
        let words = |Checked { what, path, report, .. }: &Checked| format!("{what} {report}\n  file: {path}");
        self.checked.values().map(words).collect()
    }
}

fn read(
    imported: &ImportedSpec,
    vit: &VitSpec,
    seed: u64,
    device: &Device,
) -> Result<(EncoderModel, Report), RunError> {
    let fail = |e: String| RunError::Weights(format!("{}: {e}", Import::Encoder(imported, vit).field()));
    let model = EncoderModel::random(vit, seed, device).map_err(|e| fail(e.to_string()))?;
    let (structure, store) = model.parts();
    let report = weights::import(imported, structure, store, ENCODER).map_err(|e| fail(e.to_string()))?;
    Ok((model, report))
}
