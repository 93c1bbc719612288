//! The tasks and models of stages, as their specs describe them.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use reid_backbones::{Compute, weights};
use reid_data::dataset::Split;
use reid_data::sampler::Labels;
use reid_experiments::spec::RunSpec;
use reid_objectives::mim_dino::MimDino;
use reid_objectives::person_mae::PersonMae;
use reid_objectives::protocols::evaluation;
use reid_objectives::protocols::frozen::LinearProbe;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::spcl::Spcl;
use reid_objectives::protocols::supervised::{Seen, Supervised};
use reid_objectives::protocols::usl::Usl;
use reid_objectives::spec::{ObjectiveSpec, ProtocolSpec};
use reid_objectives::task::{Embed, Task};
use reid_objectives::up_reid::UpReid;

use super::export::encoder_weights;
use super::imports::Import;
use super::plan::{StageDef, StageKind, evaluation_normalisation, labels, pooling, pretrain_split, trains};
use super::train::TrainError;
use super::{Plan, models, snapshots};
use crate::exit::RunError;
use crate::store::StageDir;

/// Encoder weights of a pre-training.
pub(super) const ENCODER_FILE: &str = "encoder.safetensors";
/// What beside the encoder's weights pictures of a pre-training's predictions need.
pub(super) const DECODER_FILE: &str = "decoder.safetensors";
/// Model of a protocol's training.
pub(super) const MODEL_FILE: &str = "model.safetensors";

/// One stage and where its tensors are to live.
#[derive(Clone, Copy)]
pub(super) struct Build<'a> {
    pub(super) plan: &'a Plan,
    pub(super) stage: &'a StageDef,
    pub(super) device: &'a Device,
}

impl<'a> Build<'a> {
    pub(super) fn spec(&self) -> &'a RunSpec {
        &self.stage.spec
    }

    fn compute(&self) -> Compute {
        let recompute = self.stage.train.as_ref().is_some_and(|train| train.recompute);
        Compute { precision: self.spec().precision, recompute }
    }

    /// The task of a training stage, and the split its plans index.
    pub(super) fn task(&self, input: Option<&StageDir>) -> Result<(Box<dyn Task>, Split), TrainError> {
        let (spec, device) = (self.spec(), self.device);
        let (mut task, split): (Box<dyn Task>, Split) = if self.stage.kind == StageKind::Pretrain {
            let (vit, batch, seed) = (&self.stage.vit, spec.pretrain.train.batch, self.stage.seed);
            let task: Box<dyn Task> = match &spec.pretrain.objective {
                ObjectiveSpec::PersonMae(objective) => {
                    let task = PersonMae::build(objective, vit, batch, seed, device)?;
                    if let Some(import) = Import::of(spec) {
                        self.plan.imports.confirm(import)?;
                    }
                    Box::new(task)
                }
                ObjectiveSpec::MimDino(objective) => Box::new(MimDino::build(objective, vit, batch, seed, device)?),
                ObjectiveSpec::UpReid(objective) => Box::new(UpReid::build(objective, vit, batch, seed, device)?),
                ObjectiveSpec::None(_) | ObjectiveSpec::Imported(_) => {
                    let text = "`none` and `imported` have no pre-training stage".to_owned();
                    return Err(RunError::Unexpected(text).into());
                }
            };
            (task, pretrain_split(&self.stage.data))
        } else {
            match &spec.protocol {
                ProtocolSpec::Supervised(protocol) => {
                    let identities = self.labels().map_or(0, |labels| labels.identities);
                    let records = self.stage.data.dataset.split(Split::Train);
                    let cameras: Vec<u32> = records.iter().map(|record| record.camera).collect();
                    let seen = Seen { identities, cameras: &cameras };
                    let encoder = self.encoder(input)?;
                    let task = Supervised::build(protocol, &self.stage.vit, encoder, seen, self.stage.seed, device)?;
                    (Box::new(task), Split::Train)
                }
                ProtocolSpec::Usl(protocol) => {
                    let encoder = self.encoder(input)?;
                    let task = Usl::build(protocol, &self.stage.vit, encoder, self.stage.seed, device)?;
                    (Box::new(task), Split::Train)
                }
                ProtocolSpec::Spcl(protocol) => {
                    let (encoder, target) = (self.encoder(input)?, self.stage.data.dataset.own_training);
                    let task = Spcl::build(protocol, &self.stage.vit, encoder, target, self.stage.seed, device)?;
                    (Box::new(task), Split::Train)
                }
                ProtocolSpec::Uda(_) => {
                    return Err(RunError::Unexpected("an adaptation is trained in its two parts".to_owned()).into());
                }
                ProtocolSpec::Frozen(protocol) => {
                    let (Some(probe), Some(labels)) = (protocol.linear_probe(), self.labels()) else {
                        let text = "a frozen encoder without a probe has no training stage";
                        return Err(RunError::Unexpected(text.to_owned()).into());
                    };
                    let encoder = self.encoder(input)?.with_pooling(protocol.pooling);
                    let views =
                        evaluation::views(&protocol.evaluation, &self.stage.vit, evaluation_normalisation(spec));
                    let (seed, input) = (self.stage.seed, (encoder, views));
                    let task = LinearProbe::build(probe, &protocol.evaluation, input, labels.identities, seed, device)?;
                    (Box::new(task), Split::Train)
                }
            }
        };
        task.set_compute(self.compute());
        Ok((task, split))
    }

    /// The labels that a protocol's training may know.
    pub(super) fn labels(&self) -> Option<Labels> {
        let spec = labels(&self.spec().protocol).filter(|_| self.stage.kind == StageKind::Train)?;
        Some(Labels::of(self.stage.data.dataset.split(Split::Train), spec))
    }

    /// The encoder of the stage before, or the imported one, or the random one of the pre-training seed.
    fn encoder(&self, input: Option<&StageDir>) -> Result<EncoderModel, TrainError> {
        let seed = self.stage.pretrain_seed;
        Ok(match (input, &self.spec().pretrain.objective) {
            (Some(dir), _) => {
                let before = self.stage.input.map(|at| &self.plan.stages[at]);
                let is_trained = before.is_some_and(|before| before.kind == StageKind::Train);
                let file = if is_trained { MODEL_FILE.to_owned() } else { snapshots::file_of(&self.spec().pretrain) };
                let path = dir.artefact(&file).map_err(RunError::from)?;
                let (vit, weights) = (&self.stage.vit, encoder_weights(read_weights(&path)?));
                EncoderModel::resized(vit, before.map_or(vit, |before| &before.vit), weights, &path, self.device)?
            }
            (None, ObjectiveSpec::Imported(imported)) => {
                self.plan.imports.load(imported, &self.stage.vit, seed, self.device)?
            }
            (None, _) => EncoderModel::random(&self.stage.vit, seed, self.device)?,
        })
    }

    /// The model that an evaluation stage asks; of random weights where there is no input.
    pub(super) fn model(&self, input: Option<&StageDir>) -> Result<Box<dyn Embed>, TrainError> {
        let spec = self.spec();
        Ok(match input {
            // Without a training, the input is the pre-training, or there is none.
            Some(dir) if trains(&spec.protocol) => {
                let path = dir.artefact(MODEL_FILE).map_err(RunError::from)?;
                models::trained(spec, &self.stage.vit, &read_weights(&path)?, &path, self.device)?
            }
            input => Box::new(self.encoder(input)?.with_pooling(pooling(&spec.protocol)).with_compute(self.compute())),
        })
    }
}

fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>, TrainError> {
    Ok(weights::read(path).map_err(reid_objectives::TaskError::from)?)
}
