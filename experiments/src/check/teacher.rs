//! A frozen teacher is one that something looks at, and a whole ViT.

use reid_backbones::frozen::spec::FrozenEncoderSpec;
use reid_objectives::person_mae::spec::{Target, TeacherSpec};

use super::{Finding, PERSON_MAE, geometry, person_mae, variants};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = person_mae(run) else { return Vec::new() };
    let TeacherSpec::Frozen(frozen) = &spec.teacher else { return Vec::new() };
    let mut found = Vec::new();
    if spec.target == Target::Pixel {
        let message = "a frozen teacher is given, but `target: pixel` predicts no features";
        let finding = Finding::error("spec::unused-teacher", message)
            .at(format!("{PERSON_MAE}.teacher"), "nothing looks at it")
            .at(format!("{PERSON_MAE}.target"), "pixels only");
        found.push(finding.help("set `target: both` or `target: feature`, or leave `teacher` out"));
    }
    if let FrozenEncoderSpec::Vit(vit) = frozen {
        let path = format!("{PERSON_MAE}.teacher.frozen.vit.backbone");
        found.extend(geometry::of(&vit.backbone, &path));
        found.extend(variants::of(&vit.backbone, &path));
    }
    found
}
