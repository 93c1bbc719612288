//! What can be ranked.

use reid_objectives::spec::{EvaluationFeature, ProtocolSpec};

use super::{FROZEN, Finding};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    match &run.protocol {
        ProtocolSpec::Frozen(spec)
            if spec.evaluation.feature == EvaluationFeature::AfterNeck && spec.linear_probe().is_none() =>
        {
            let message = "a frozen encoder without a probe has no BNNeck, so that there is no feature after it";
            let finding =
                Finding::error("spec::no-neck", message).at(format!("{FROZEN}.evaluation.feature"), "no neck");
            let help = "set `feature: before_neck`, or train a head with `probe: linear` or `protocol: supervised`";
            vec![finding.help(help)]
        }
        _ => Vec::new(),
    }
}
