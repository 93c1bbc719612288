//! What of a spec decides a stage's numbers: that and nothing else goes into its key.

use reid_experiments::spec::RunSpec;
use reid_objectives::protocols;
use reid_objectives::spec::{ImportedSpec, ProtocolSpec, SideSpec, TrainSpec};
use serde::Serialize;
use serde_json::{Value, json};

use super::imports::{Import, Imports};
use super::plan::{evaluation_normalisation, vit_spec};
use crate::exit::RunError;

/// Settings of a protocol's training, name and version of its algorithm, and all that determines its numbers.
pub(super) fn protocol_science(spec: &RunSpec) -> Result<Option<(&TrainSpec, &'static str, u32, Value)>, RunError> {
    Ok(match &spec.protocol {
        ProtocolSpec::Supervised(supervised) => {
            let mut science = to_json(supervised)?;
            remove(&mut science, &["evaluation"]);
            science["train"] = train_science(&supervised.train)?;
            if let SideSpec::Cameras(_) = supervised.side {
                remove(&mut science["side"]["cameras"], &["unknown"]);
            }
            let science = json!({ "backbone": to_json(&spec.backbone)?, "supervised": science });
            Some((&supervised.train, "supervised", protocols::supervised::ALGORITHM_VERSION, science))
        }
        ProtocolSpec::Usl(usl) => {
            let mut science = to_json(usl)?;
            // The pictures that are clustered are shown as those that are evaluated.
            let shown = json!({ "filter": usl.evaluation.filter });
            remove(&mut science, &["evaluation"]);
            science["train"] = train_science(&usl.train)?;
            let science = json!({ "backbone": to_json(&spec.backbone)?, "usl": science, "clustered": shown });
            Some((&usl.train, "usl", protocols::usl::ALGORITHM_VERSION, science))
        }
        ProtocolSpec::Spcl(spcl) => {
            let mut science = to_json(spcl)?;
            let shown = json!({ "filter": spcl.evaluation.filter });
            remove(&mut science, &["evaluation"]);
            science["train"] = train_science(&spcl.train)?;
            let science = json!({ "backbone": to_json(&spec.backbone)?, "spcl": science, "clustered": shown });
            Some((&spcl.train, "spcl", protocols::spcl::ALGORITHM_VERSION, science))
        }
        ProtocolSpec::Uda(_) => {
            return Err(RunError::Unexpected("an adaptation is planned in its two parts".to_owned()));
        }
        ProtocolSpec::Frozen(frozen) => match frozen.linear_probe() {
            None => None,
            Some(probe) => {
                let mut science = to_json(probe)?;
                science["train"] = train_science(&probe.train)?;
                // What the features are, of which the encoder itself is the stage's input.
                let features = json!({ "pooling": frozen.pooling, "filter": frozen.evaluation.filter,
                                       "normalisation": evaluation_normalisation(spec) });
                let science =
                    json!({ "backbone": encoder_science(spec)?, "features": features, "linear_probe": science });
                Some((&probe.train, "linear_probe", protocols::frozen::PROBE_VERSION, science))
            }
        },
    })
}

/// The backbone as a random encoder sees it: stochastic depth has no part in it.
pub(super) fn encoder_science(spec: &RunSpec) -> Result<Value, RunError> {
    let mut backbone = to_json(vit_spec(spec))?;
    remove(&mut backbone, &["drop_path"]);
    Ok(json!({ "vit": backbone }))
}

/// What of an objective decides its numbers. A teacher's file is known by its content, not its path.
pub(super) fn objective_science(spec: &RunSpec, imports: &Imports) -> Result<Value, RunError> {
    let mut science = to_json(&spec.pretrain.objective)?;
    if let Some(import @ Import::Teacher(_)) = Import::of(spec) {
        let frozen = &mut science["person_mae"]["teacher"]["frozen"];
        for choice in frozen.as_object_mut().into_iter().flat_map(|choice| choice.values_mut()) {
            remove(choice, &["path"]);
            choice.get_mut("weights").into_iter().for_each(|weights| remove(weights, &["path", "strict"]));
            choice.get_mut("backbone").into_iter().for_each(|vit| remove(vit, &["drop_path"]));
        }
        frozen["file"] = json!(imports.hash(import)?);
        frozen["versions"] =
            json!([reid_backbones::frozen::ALGORITHM_VERSION, reid_backbones::weights::ALGORITHM_VERSION]);
    }
    Ok(science)
}

/// What of an import decides the encoder's numbers. The file is known by its content, not its path; how pictures are
/// normalized is part of what is evaluated.
pub(super) fn import_science(imported: &ImportedSpec) -> Result<Value, RunError> {
    let mut science = to_json(imported)?;
    remove(&mut science, &["path", "strict", "normalisation"]);
    science["version"] = json!(reid_backbones::weights::ALGORITHM_VERSION);
    Ok(science)
}

/// A training's settings less those that never change its numbers.
pub(super) fn train_science(train: &TrainSpec) -> Result<Value, RunError> {
    let mut science = to_json(train)?;
    remove(&mut science, &["checkpoint_every", "recompute"]);
    Ok(science)
}

pub(super) fn remove(object: &mut Value, fields: &[&str]) {
    if let Value::Object(map) = object {
        for field in fields {
            map.remove(*field);
        }
    }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<Value, RunError> {
    serde_json::to_value(value).map_err(|e| RunError::Unexpected(format!("a spec that JSON cannot hold: {e}")))
}
