//! The linear probe of a frozen encoder.

use super::{FROZEN, Finding, linear_probe};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = linear_probe(run) else { return Vec::new() };
    let at = |path: &str| format!("{FROZEN}.probe.linear.train.{path}");
    let mut found = Vec::new();
    if spec.train.accumulate > 1 {
        let message = "the probe's BNNeck compares the samples of a batch, so that batches cannot be accumulated";
        let finding = Finding::error("spec::accumulate-couples", message)
            .at(at("accumulate"), "would compare within each part only");
        found.push(finding.help("set `accumulate: 1`"));
    }
    if spec.train.batch < 2 {
        let finding = Finding::error("spec::probe-batch", "the probe's BNNeck has no statistics of a single sample")
            .at(at("batch"), format!("batch {}", spec.train.batch));
        found.push(finding.help("use a batch of at least 2"));
    }
    found
}
