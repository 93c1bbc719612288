//! Epochs at which encoders are taken from a pre-training.

use super::Finding;
use crate::spec::{RunSpec, TakeSpec};

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let (TakeSpec::Epoch(wanted), epochs) = (run.pretrain.take, run.pretrain.train.epochs) else { return Vec::new() };
    if wanted <= epochs {
        return Vec::new();
    }
    let message = format!("the encoder of epoch {wanted} is asked for, but the pre-training has {epochs}");
    let finding = Finding::error("spec::no-such-epoch", message)
        .at("pretrain.take.epoch", format!("epoch {wanted}"))
        .at("pretrain.train.epochs", format!("{epochs} epochs in all"));
    vec![finding.help(format!("take an epoch up to {epochs}, or `last`, or pre-train longer"))]
}
