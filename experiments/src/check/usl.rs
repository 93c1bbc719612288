//! Clusters that a batch and the data can give.

use reid_data::spec::DataSpec;
use reid_objectives::spec::NeckBatch;

use super::{Finding, USL, usl};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = usl(run) else { return Vec::new() };
    let mut findings = Vec::new();
    let (batch, clusters) = (spec.train.batch, spec.clusters_per_batch);
    if !batch.is_multiple_of(clusters) || batch < clusters * 2 {
        let message =
            format!("a batch of {batch} is not {clusters} clusters with the same number of pictures, two at least");
        let finding = Finding::error("spec::uneven-batch", message)
            .at(format!("{USL}.train.batch"), format!("{batch} pictures"))
            .at(format!("{USL}.clusters_per_batch"), format!("{clusters} clusters"));
        findings.push(finding.help("let one be a multiple of the other"));
    }
    if let NeckBatch::Pictures(group) = spec.neck_batch
        && !batch.is_multiple_of(group)
    {
        let message = format!("a batch of {batch} does not divide into groups of {group}");
        let finding = Finding::error("spec::uneven-batch", message)
            .at(format!("{USL}.train.batch"), format!("{batch} pictures"))
            .at(format!("{USL}.neck_batch"), format!("groups of {group}"));
        findings.push(finding.help("let one be a multiple of the other"));
    }
    if spec.train.accumulate > 1 {
        let message = "the neck normalises over a batch, so that batches cannot be accumulated";
        let finding = Finding::error("spec::accumulate-couples", message)
            .at(format!("{USL}.train.accumulate"), "would normalise over each part only");
        findings.push(finding.help("set `accumulate: 1`"));
    }
    findings.extend(wide_neighbourhood(run, &format!("{USL}.jaccard.k1"), spec.jaccard.k1));
    findings
}

/// Reciprocal neighbours beyond a person's own pictures are other people.
pub(super) fn wide_neighbourhood(run: &RunSpec, path: &str, k1: usize) -> Option<Finding> {
    let DataSpec::Synthetic(data) = &run.data else { return None };
    let own = data.images_per_identity;
    if k1 <= 2 * own {
        return None;
    }
    let message = format!("{k1} neighbours are more than twice the {own} pictures that a person has");
    let finding = Finding::warning("spec::wide-neighbourhood", message)
        .at(path, format!("{k1} neighbours"))
        .at("data.synthetic.images_per_identity", format!("{own} pictures"));
    Some(finding.help("clusters may mix people; lower `k1`"))
}
