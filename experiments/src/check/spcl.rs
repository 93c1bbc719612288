//! Sources and batches of self-paced contrastive learning.

use reid_objectives::spec::ProtocolSpec;

use super::Finding;
use super::usl::wide_neighbourhood;
use crate::spec::RunSpec;

/// Path of the protocol's fields.
const SPCL: &str = "protocol.spcl";

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let ProtocolSpec::Spcl(spec) = &run.protocol else { return Vec::new() };
    let mut found = Vec::new();
    if run.train_with.is_empty() {
        let message = "`spcl` learns from labelled sources beside the target, and there are none";
        let finding = Finding::error("spec::no-source", message)
            .at(SPCL, "adapts from `train_with` to `data`")
            .at("train_with", "no source");
        found.push(finding.help("name them: `train_with: [{msmt17: {root: ..}}]`, or use `usl`, which needs none"));
    }
    let (batch, identities) = (spec.train.batch, spec.identities_per_batch);
    let images = batch / 2 / identities;
    if batch != 2 * identities * images || images < 2 {
        let message = format!(
            "half a batch of {batch} is not {identities} identities with the same number of pictures, two at least"
        );
        let finding = Finding::error("spec::uneven-batch", message)
            .at(format!("{SPCL}.train.batch"), format!("{batch} pictures of two domains"))
            .at(format!("{SPCL}.identities_per_batch"), format!("{identities} identities of each"));
        found.push(finding.help(format!("take a batch of {}", 2 * identities * images.max(2))));
    }
    if spec.train.accumulate > 1 {
        let message = "the necks normalise over a batch, so that batches cannot be accumulated";
        let finding = Finding::error("spec::accumulate-couples", message)
            .at(format!("{SPCL}.train.accumulate"), "would normalise over each part only");
        found.push(finding.help("set `accumulate: 1`"));
    }
    let (eps, gap) = (spec.dbscan.eps, spec.reliability.gap);
    if eps - gap <= 0.0 || eps + gap >= 1.0 {
        let message = format!("radii of {eps} less and more {gap} are not all between 0 and 1");
        let finding = Finding::error("spec::radii", message)
            .at(format!("{SPCL}.dbscan.eps"), format!("radius {eps}"))
            .at(format!("{SPCL}.reliability.gap"), format!("gap {gap}"));
        found.push(finding.help("take a smaller gap"));
    }
    found.extend(wide_neighbourhood(run, &format!("{SPCL}.jaccard.k1"), spec.jaccard.k1));
    found
}
