//! Lengths that make no sense for any run, or cannot fit into theirs: warm-up, half-life.

use reid_objectives::budget::Length;
use reid_objectives::spec::{BudgetSpec, Duration, Momentum, ProtocolSpec, ScheduleSpec, TrainSpec};

use super::{
    FROZEN, Finding, PERSON_MAE, SUPERVISED, UP_REID, USL, linear_probe, person_mae, supervised, up_reid, usl,
};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let mut found = Vec::new();
    // The size of the data tells what part of an epoch a budget ends in; the run's length is then judged by shares.
    if let Some(Length::Epochs(epochs)) = run.pretrain_length() {
        let is_budget = run.pretrain.budget != BudgetSpec::default();
        let said = if is_budget { "pretrain.budget" } else { "pretrain.train.epochs" };
        found.extend(warmup("pretrain.train", &run.pretrain.train, (said, epochs)));
    }
    if let Some(spec) = person_mae(run).filter(|spec| spec.has_average()) {
        found.extend(half_life(&format!("{PERSON_MAE}.teacher_half_life"), spec.teacher_half_life));
    }
    if let Some(Momentum::HalfLife(duration)) = up_reid(run).map(|spec| spec.momentum) {
        found.extend(half_life(&format!("{UP_REID}.momentum.half_life"), duration));
    }
    if let Some(spec) = supervised(run) {
        let train = format!("{SUPERVISED}.train");
        found.extend(warmup(&train, &spec.train, (&format!("{train}.epochs"), spec.train.epochs)));
    }
    if let Some(spec) = usl(run) {
        let train = format!("{USL}.train");
        found.extend(warmup(&train, &spec.train, (&format!("{train}.epochs"), spec.train.epochs)));
    }
    if let ProtocolSpec::Spcl(spec) = &run.protocol {
        found.extend(warmup("protocol.spcl.train", &spec.train, ("protocol.spcl.train.epochs", spec.train.epochs)));
    }
    if let Some(spec) = linear_probe(run) {
        let train = format!("{FROZEN}.probe.linear.train");
        found.extend(warmup(&train, &spec.train, (&format!("{train}.epochs"), spec.train.epochs)));
    }
    found
}

fn warmup(train: &str, spec: &TrainSpec, (said, epochs): (&str, usize)) -> Option<Finding> {
    let (schedule, warmup) = match spec.schedule {
        ScheduleSpec::WarmupCosine(schedule) => ("warmup_cosine", schedule.warmup),
        ScheduleSpec::DinoCosine(schedule) => ("dino_cosine", schedule.warmup),
        ScheduleSpec::TransreidCosine(schedule) => ("transreid_cosine", schedule.warmup),
        ScheduleSpec::WarmupSteps(schedule) => ("warmup_steps", schedule.warmup),
        ScheduleSpec::Steps(_) => return None,
    };
    let Duration::Epochs(length) = warmup else { return None };
    if length <= epochs as f64 {
        return None;
    }
    let finding =
        Finding::error("spec::warmup-too-long", format!("a warm-up of {length} epochs does not fit into {epochs}"))
            .at(format!("{train}.schedule.{schedule}.warmup"), format!("{length} epochs of warm-up"))
            .at(said, format!("{epochs} epochs in all"));
    Some(finding.help("train longer, or write the warm-up as a share of the run: `warmup: {fraction: 0.1}`"))
}

fn half_life(path: &str, duration: Duration) -> Option<Finding> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let at = |message: String, text: &str| Finding::warning("spec::half-life", message).at(path, text);
    match duration {
        Duration::Steps(n) if n < 1.0 => {
            let message = format!("the teacher's half-life of {n} steps is below one step: it is nearly the student");
            Some(at(message, "below one step").help("use at least one step"))
        }
        Duration::Epochs(n) | Duration::Fraction(n) if n <= 0.0 => {
            let message = "the teacher's half-life is 0: it is the student".to_owned();
            Some(at(message, "no memory").help(format!("write it as a share of the run: `{name}: {{fraction: 0.02}}`")))
        }
        _ => None,
    }
}
