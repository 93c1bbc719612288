//! Lengths within a training: warm-up, ramp, half-life.

use reid_objectives::person_mae::spec::Target;
use reid_objectives::spec::{Duration, ScheduleSpec, TrainSpec};

use super::{FROZEN, Finding, PERSON_MAE, SUPERVISED, linear_probe, person_mae, supervised};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(spec) = person_mae(run) {
        let epochs = run.pretrain.train.epochs;
        found.extend(warmup("pretrain.train", &run.pretrain.train));
        if spec.target != Target::Pixel {
            found.extend(half_life(spec.teacher_half_life, epochs));
            found.extend(ramp(spec.feature_ramp, epochs));
        }
    }
    if let Some(spec) = supervised(run) {
        found.extend(warmup(&format!("{SUPERVISED}.train"), &spec.train));
    }
    if let Some(spec) = linear_probe(run) {
        found.extend(warmup(&format!("{FROZEN}.probe.linear.train"), &spec.train));
    }
    found
}

/// Epochs of a length, where that is known without the size of the data.
fn in_epochs(duration: Duration) -> Option<f64> {
    if let Duration::Epochs(n) = duration { Some(n) } else { None }
}

fn warmup(train: &str, spec: &TrainSpec) -> Option<Finding> {
    let (schedule, warmup) = match spec.schedule {
        ScheduleSpec::WarmupCosine(schedule) => ("warmup_cosine", schedule.warmup),
        ScheduleSpec::TransreidCosine(schedule) => ("transreid_cosine", schedule.warmup),
    };
    let length = in_epochs(warmup)?;
    if length <= spec.epochs as f64 {
        return None;
    }
    let epochs = spec.epochs;
    let finding =
        Finding::error("spec::warmup-too-long", format!("a warm-up of {length} epochs does not fit into {epochs}"))
            .at(format!("{train}.schedule.{schedule}.warmup"), format!("{length} epochs of warm-up"))
            .at(format!("{train}.epochs"), format!("{epochs} epochs in all"));
    Some(finding.help("train longer, or write the warm-up as a share of the run: `warmup: {fraction: 0.1}`"))
}

fn half_life(duration: Duration, epochs: usize) -> Option<Finding> {
    let path = format!("{PERSON_MAE}.teacher_half_life");
    let at = |message: String, text: &str| Finding::warning("spec::half-life", message).at(path.clone(), text);
    match duration {
        Duration::Epochs(n) if n > epochs as f64 => {
            let message =
                format!("the teacher's half-life of {n} epochs is longer than the run of {epochs}: it hardly learns");
            let finding = at(message, "longer than the run").at("pretrain.train.epochs", format!("{epochs} epochs"));
            Some(finding.help("write it as a share of the run: `teacher_half_life: {fraction: 0.02}`"))
        }
        Duration::Steps(n) if n < 1.0 => {
            let message = format!("the teacher's half-life of {n} steps is below one step: it is nearly the student");
            Some(at(message, "below one step").help("use at least one step"))
        }
        Duration::Epochs(n) | Duration::Fraction(n) if n <= 0.0 => {
            let message = "the teacher's half-life is 0: it is the student".to_owned();
            Some(at(message, "no memory").help("write it as a share of the run: `teacher_half_life: {fraction: 0.02}`"))
        }
        _ => None,
    }
}

fn ramp(duration: Duration, epochs: usize) -> Option<Finding> {
    let length = in_epochs(duration).filter(|length| *length > epochs as f64)?;
    let message =
        format!("the feature loss ramps up over {length} epochs, but the run has {epochs}: it never has its weight");
    let finding = Finding::warning("spec::ramp-too-long", message)
        .at(format!("{PERSON_MAE}.feature_ramp"), "longer than the run")
        .at("pretrain.train.epochs", format!("{epochs} epochs"));
    Some(finding.help("write it as a share of the run: `feature_ramp: {fraction: 0.25}`"))
}
