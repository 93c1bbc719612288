//! What can be ranked.

use reid_objectives::spec::{EvaluationFeature, ProtocolSpec};

use super::Finding;
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    match &run.protocol {
        ProtocolSpec::Direct(spec) if spec.evaluation.feature == EvaluationFeature::AfterNeck => {
            let message = "`direct` evaluation has no BNNeck, so that there is no feature after it";
            let finding = Finding::error("spec::no-neck", message).at("protocol.direct.evaluation.feature", "no neck");
            vec![finding.help("set `feature: before_neck`, or use `protocol: supervised`")]
        }
        _ => Vec::new(),
    }
}
