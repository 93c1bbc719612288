//! Batches of the supervised protocol: P identities with K pictures each.

use super::{Finding, SUPERVISED, supervised};
use crate::spec::RunSpec;

/// Fewest pictures of an identity: the triplet loss needs a positive.
const FEWEST: usize = 2;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = supervised(run) else { return Vec::new() };
    let (batch, identities) = (spec.train.batch, spec.identities_per_batch);
    let at = |path: &str| format!("{SUPERVISED}.{path}");
    let mut found = Vec::new();
    if batch % identities != 0 || batch / identities < FEWEST {
        let message = if batch % identities == 0 || batch < identities {
            format!("a batch of {batch} gives {identities} identities fewer than {FEWEST} pictures each")
        } else {
            format!("a batch of {batch} does not divide among {identities} identities")
        };
        let pictures = ((batch + identities / 2) / identities).max(FEWEST);
        let finding = Finding::error("spec::batch-identities", message)
            .at(at("train.batch"), format!("batch {batch}"))
            .at(at("identities_per_batch"), format!("{identities} identities"));
        found.push(
            finding.help(format!("use `batch: {}` for {pictures} pictures of each identity", identities * pictures)),
        );
    }
    if spec.train.accumulate > 1 {
        let message = "triplet loss and BNNeck compare the samples of a batch, so that batches cannot be accumulated";
        let finding = Finding::error("spec::accumulate-couples", message)
            .at(at("train.accumulate"), "would compare within each part only");
        found.push(finding.help("set `accumulate: 1`"));
    }
    found
}
