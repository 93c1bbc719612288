//! What can be ranked.

use reid_objectives::spec::{EvaluationFeature, EvaluationSpec, ProtocolSpec};

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

/// Whether both models of an adaptation are evaluated in one way.
pub(super) fn of_adaptation(run: &RunSpec) -> Option<Finding> {
    let ProtocolSpec::Uda(uda) = &run.protocol else { return None };
    let (source, target) = (&uda.supervised.evaluation, &uda.usl.evaluation);
    if *source == EvaluationSpec::default() || source == target {
        return None;
    }
    let message = "the source's model and the adapted one are evaluated in two ways, and cannot be compared";
    let finding = Finding::error("spec::two-evaluations", message)
        .at("protocol.uda.supervised.evaluation", "the source's")
        .at("protocol.uda.usl.evaluation", "the adapted one's");
    Some(finding.help("leave `protocol.uda.supervised.evaluation` out: it is then that of `usl`"))
}
