//! Enough identities to train on and to choose on.

use reid_data::spec::DataSpec;

use super::{Finding, SUPERVISED, supervised};
use crate::spec::RunSpec;

/// Whether a run has validation identities to choose on.
pub(super) fn has_validation(run: &RunSpec) -> bool {
    let own = match &run.data {
        DataSpec::Synthetic(spec) => spec.validation_identities > 0,
        _ => false,
    };
    own || run.validation.identities > 0.0
}

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    if let DataSpec::Images(_) = run.data {
        let message = "`images` have no names, so that no one can be found again among them";
        let finding = Finding::error("spec::unlabelled-data", message).at("data.images", "for pre-training only");
        return vec![finding.help("write it below `pretrain`: `pretrain: {data: {other: {images: {root: ..}}}}`")];
    }
    let (Some(spec), DataSpec::Synthetic(data)) = (supervised(run), &run.data) else { return Vec::new() };
    let (wanted, all) = (spec.identities_per_batch, data.train_identities);
    // Held-out identities are few, and known only when the data are opened.
    let there = ((spec.labels.identities * all as f64).round() as usize).max(2);
    if wanted <= there {
        return Vec::new();
    }
    let message = format!("a batch of {wanted} identities cannot be drawn from {there}");
    let mut finding = Finding::error("spec::too-few-identities", message)
        .at(format!("{SUPERVISED}.identities_per_batch"), format!("{wanted} in a batch"))
        .at("data.synthetic.train_identities", format!("{all} in all"));
    if there < all {
        let labels = format!("{SUPERVISED}.labels.identities");
        finding = finding.at(labels, format!("labels of {there}"));
    }
    vec![finding.help(format!("use at most {there} identities per batch, or render or label more"))]
}
