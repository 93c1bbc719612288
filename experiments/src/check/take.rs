//! Epochs at which encoders are taken from a pre-training.

use reid_objectives::budget::Length;

use super::Finding;
use crate::spec::{RunSpec, TakeSpec};

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    // How many epochs another budget comes to is known when the data are; the planner then says the same.
    let (TakeSpec::Epoch(wanted), Some(Length::Epochs(epochs))) = (run.pretrain.take, run.pretrain_length()) else {
        return Vec::new();
    };
    if wanted <= epochs {
        return Vec::new();
    }
    let message = format!("the encoder of epoch {wanted} is asked for, but the pre-training has {epochs}");
    let finding = Finding::error("spec::no-such-epoch", message)
        .at("pretrain.take.epoch", format!("epoch {wanted}"))
        .at("pretrain.train.epochs", format!("{epochs} epochs in all"));
    vec![finding.help(format!("take an epoch up to {epochs}, or `last`, or pre-train longer"))]
}
