//! Models of runs, to be shown other pictures.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_backbones::spec::{BackboneSpec, VitSpec};
use reid_backbones::{Compute, weights};
use reid_data::dataset::Split;
use reid_data::spec::DecodeSpec;
use reid_data::views::ViewPlan;
use reid_experiments::spec::{RunSpec, TestData};
use reid_objectives::protocols::evaluation;
use reid_objectives::protocols::model::{EncoderModel, NeckModel};
use reid_objectives::protocols::supervised::network::SupervisedModel;
use reid_objectives::spec::{EvaluationSpec, ObjectiveSpec, ProtocolSpec, SideSpec, SupervisedSpec, UnknownCamera};
use reid_objectives::task::{Embed, Features};
use reid_results::{RunRow, Status};

use super::build::MODEL_FILE;
use super::export::{encoder_weights, spec_of};
use super::imports::{Import, Imports};
use super::plan::{evaluation_normalisation, pooling, trains};
use super::{DataServices, snapshots};
use crate::exit::RunError;
use crate::store::Store;

/// What a protocol's training leaves, as a model: encoder, neck, and whatever the protocol adds.
///
/// # Errors
/// If something is missing or does not fit.
pub(super) fn trained(
    spec: &RunSpec,
    vit: &VitSpec,
    product: &BTreeMap<String, Tensor>,
    path: &Path,
    device: &Device,
) -> reid_objectives::Result<Box<dyn Embed>> {
    let compute = Compute { precision: spec.precision, recompute: false };
    if let ProtocolSpec::Supervised(protocol) = &spec.protocol {
        let model = SupervisedModel::from_product(protocol, vit, product, path, device)?.with_compute(compute);
        return Ok(Box::new(match spec.test_on {
            TestData::Same => model,
            TestData::Other(_) => model.among_strangers(),
        }));
    }
    let model = NeckModel::from_product(vit, product, spec.protocol.evaluation().feature, path, device)?;
    Ok(Box::new(model.with_pooling(pooling(&spec.protocol)).with_compute(compute)))
}

/// A run's model as its evaluation asked it.
pub struct RunModel {
    model: Box<dyn Embed>,
    views: ViewPlan,
    evaluation: EvaluationSpec,
    /// What trained it last, in words.
    pub origin: String,
    /// What its features are and how they are compared, in words.
    pub description: String,
    /// How large its run decodes pictures.
    pub decode: DecodeSpec,
    /// Something that its user must know.
    pub notice: Option<&'static str>,
}

impl RunModel {
    /// The model of a finished run. Unless the pictures that it is to be shown are of the data set with this fingerprint,
    /// their cameras are unknown to it.
    ///
    /// # Errors
    /// If the run failed, or its stage is no longer there.
    pub fn of_row(store: &Store, row: &RunRow, fingerprint: &str, device: &Device) -> Result<Self, RunError> {
        let id = &row.run_id;
        if row.status == Status::Failed {
            let text = "the run failed and left no model; run its spec again";
            return Err(RunError::NothingSelected(format!("{text}: {id}")));
        }
        let (_, mut spec) = spec_of(row)?.legs();
        let BackboneSpec::Vit(vit) = spec.backbone.clone();
        let mut notice = None;
        if let ProtocolSpec::Supervised(SupervisedSpec { side: SideSpec::Cameras(cameras), .. }) = &mut spec.protocol {
            // Whoever asks for features wants them, of a pool's cameras too.
            cameras.unknown = UnknownCamera::Zero;
            notice = Some("where the model has not learnt a picture's camera, nothing is added for it");
            if row.dataset_fingerprint != fingerprint {
                spec.test_on = TestData::Other(spec.data.clone());
                notice = Some("the model has not learnt the cameras of these pictures: nothing is added for them");
            }
        }
        let key = if trains(&spec.protocol) { &row.stage_train } else { &row.stage_pretrain };
        let Some(key) = key else { return Self::of_spec(&spec, row.seed_pretrain.cast_unsigned(), device) };
        let gone = || {
            let text = "a stage of the run is missing or damaged; run its spec again";
            RunError::NothingSelected(format!("{text}: {id}"))
        };
        let stage = store.recorded(key)?.ok_or_else(gone)?;
        let file = if trains(&spec.protocol) { MODEL_FILE.to_owned() } else { snapshots::file_of(&spec.pretrain) };
        let path = stage.artefact(&file)?;
        let fail = |e: String| RunError::Weights(e);
        let tensors = weights::read(&path).map_err(|e| fail(e.to_string()))?;
        let model = if trains(&spec.protocol) {
            trained(&spec, &vit, &tensors, &path, device).map_err(|e| fail(e.to_string()))?
        } else {
            let (from, tensors) = (spec.pretrained_vit(), encoder_weights(tensors));
            let encoder = EncoderModel::resized(&vit, &from, tensors, &path, device);
            as_it_is(&spec, encoder.map_err(|e| fail(e.to_string()))?)
        };
        Ok(Self { notice, ..Self::new(&spec, &vit, model, stage.manifest().label.clone()) })
    }

    /// Whether a run's model is trained by it, so that it must be finished.
    pub fn is_trained(spec: &RunSpec) -> bool {
        trains(&spec.protocol) || spec.pretrain.objective.algorithm().is_some()
    }

    /// The model of a run that trains nothing: an imported encoder, or one of random weights.
    ///
    /// # Errors
    /// If it trains something, or the file that it imports does not fit.
    pub fn of_spec(spec: &RunSpec, seed: u64, device: &Device) -> Result<Self, RunError> {
        let BackboneSpec::Vit(vit) = &spec.backbone;
        let fail = |e: String| RunError::Weights(e);
        let (encoder, origin) = match &spec.pretrain.objective {
            _ if trains(&spec.protocol) => {
                return Err(RunError::NothingSelected("the run trains a model and is not finished".to_owned()));
            }
            ObjectiveSpec::Imported(imported) => {
                let mut imports = Imports::default();
                imports.check(Import::Encoder(imported, vit))?;
                (imports.load(imported, vit, seed, device)?, format!("imported from {}", imported.path))
            }
            ObjectiveSpec::None(_) => {
                let encoder = EncoderModel::random(vit, seed, device).map_err(|e| fail(e.to_string()))?;
                (encoder, "random weights".to_owned())
            }
            _ => return Err(RunError::NothingSelected("the run pre-trains an encoder and is not finished".to_owned())),
        };
        Ok(Self::new(spec, vit, as_it_is(spec, encoder), origin))
    }

    fn new(spec: &RunSpec, vit: &VitSpec, model: Box<dyn Embed>, origin: String) -> Self {
        let evaluation = spec.protocol.evaluation().clone();
        let views = evaluation::views(&evaluation, vit, evaluation_normalisation(spec));
        let description = evaluation::description(&spec.protocol);
        Self { model, views, evaluation, origin, description, decode: spec.decode, notice: None }
    }

    /// Features of a split as the run's evaluation ranks them.
    ///
    /// # Errors
    /// If a picture cannot be read or the model fails.
    pub fn features(&self, services: &DataServices, split: Split) -> Result<Features, RunError> {
        let features = evaluation::features(split, &*self.model, &self.views, &self.evaluation, services);
        features.map_err(|error| match error {
            reid_objectives::TaskError::Data(error) => error.into(),
            reid_objectives::TaskError::Interrupted => {
                RunError::Interrupted { cause: services.interrupt.cause().unwrap_or("a signal") }
            }
            other => RunError::Unexpected(other.to_string()),
        })
    }

    /// The nearest `k` pictures to each query, by row: as the run's evaluation ranks, but that none is left out.
    pub fn nearest(&self, query: &Features, gallery: &Features, k: usize) -> Vec<Vec<(u32, f32)>> {
        evaluation::retrieve(query, gallery, &self.evaluation, k)
    }
}

/// An encoder without a neck as a protocol's model.
fn as_it_is(spec: &RunSpec, encoder: EncoderModel) -> Box<dyn Embed> {
    let compute = Compute { precision: spec.precision, recompute: false };
    Box::new(encoder.with_pooling(pooling(&spec.protocol)).with_compute(compute))
}
