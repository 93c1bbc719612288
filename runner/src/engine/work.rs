//! One stage under way: a training or an evaluation, and what it leaves.

use std::collections::BTreeMap;

use reid_backbones::weights;
use reid_data::sampler::Labels;
use reid_objectives::protocols::evaluation::{self, Scores};
use serde_json::Value;

use super::build::{Build, DECODER_FILE, ENCODER_FILE, MODEL_FILE};
use super::live::Onlookers;
use super::plan::{StageDef, StageKind, evaluation_normalisation};
use super::record::{EvaluationRecord, StepsFile};
use super::train::{TrainError, Training};
use super::{DataServices, Engine, snapshots};
use crate::exit::RunError;
use crate::store::{Lease, StageDir};

/// What a stage leaves for its commit.
pub(super) struct Product {
    pub(super) artefacts: Vec<String>,
    pub(super) seconds: Option<f64>,
    pub(super) notes: BTreeMap<String, Value>,
}

/// One stage under way.
pub(super) struct Work<'a> {
    pub(super) engine: &'a Engine,
    pub(super) stage: &'a StageDef,
    pub(super) build: Build<'a>,
}

impl Work<'_> {
    pub(super) fn train(&self, lease: &mut Lease, input: Option<&StageDir>) -> Result<Product, TrainError> {
        let (mut task, split) = self.build.task(input)?;
        let spec =
            self.stage.train.as_ref().ok_or_else(|| RunError::Unexpected("a training without settings".to_owned()))?;
        let folder = lease.dir().to_owned();
        let training = Training {
            spec,
            steps: self.stage.steps,
            seed: self.stage.seed,
            data: &self.stage.data,
            split,
            machine: &self.engine.machine,
            interrupt: &self.engine.interrupt,
            snapshots: &self.stage.snapshots,
        };
        let labels = self.build.labels();
        if let Some(labels) = labels.as_ref().filter(|labels| labels.is_part()) {
            let Labels { identities, images, all_identities, all_images, .. } = labels;
            self.engine.progress.line(format_args!(
                "{}: labels of {identities} of {all_identities} identities, {images} of {all_images} pictures",
                self.stage.label
            ));
        }
        let position = training.run(&mut *task, lease, &Onlookers::new(self.engine, self.stage))?.position;
        let file = match self.stage.kind {
            StageKind::Pretrain => ENCODER_FILE,
            _ => MODEL_FILE,
        };
        let product = task.product()?;
        weights::write(&folder.join(file), &product).map_err(reid_objectives::TaskError::from)?;
        let mut notes = BTreeMap::from([
            ("images".to_owned(), Value::from(position.images)),
            ("tokens".to_owned(), Value::from(position.tokens)),
            ("steps".to_owned(), Value::from(position.updates)),
            ("marks".to_owned(), Value::from(position.marks.clone())),
            (snapshots::NOTE.to_owned(), snapshots::note(&position.kept)),
        ]);
        if let Some(labels) = labels {
            notes.insert("labelled_identities".to_owned(), Value::from(labels.identities));
            notes.insert("labelled_images".to_owned(), Value::from(labels.images));
        }
        let seconds = Some(position.seconds);
        StepsFile { steps: position.records }.write(&folder)?;
        let mut artefacts = [file, StepsFile::NAME].map(str::to_owned).to_vec();
        artefacts.extend(snapshots::kept(&folder)?);
        let decoder = task.decoder()?;
        if !decoder.is_empty() {
            weights::write(&folder.join(DECODER_FILE), &decoder).map_err(reid_objectives::TaskError::from)?;
            artefacts.push(DECODER_FILE.to_owned());
        }
        Ok(Product { artefacts, seconds, notes })
    }

    pub(super) fn evaluate(&self, lease: &Lease, input: Option<&StageDir>) -> Result<Product, TrainError> {
        let protocol = &self.build.spec().protocol;
        let settings = protocol.evaluation();
        let model = self.build.model(input)?;
        let shown = self.engine.progress.stage(&self.stage.label, 1);
        let services = DataServices {
            data: self.stage.data.clone(),
            workers: self.engine.machine.workers,
            device: self.engine.machine.device.clone(),
            interrupt: self.engine.interrupt.clone(),
        };
        let views = evaluation::views(settings, &self.stage.vit, evaluation_normalisation(self.build.spec()));
        let scores: Vec<Scores> = evaluation::evaluate(&*model, &views, settings, &services)?;
        let evaluated = EvaluationRecord::new(&scores);
        evaluated.write(lease.dir())?;
        shown.finish(&evaluated.headline());
        Ok(Product { artefacts: vec![EvaluationRecord::NAME.to_owned()], seconds: None, notes: BTreeMap::new() })
    }
}
