//! Enough identities to train on and to choose on.

use reid_data::spec::{DataSpec, Use};
use reid_objectives::spec::ProtocolSpec;

use super::{Finding, SUPERVISED, supervised};
use crate::spec::{RunSpec, TestData};

/// Whether a run has validation identities to choose on.
pub(super) fn has_validation(run: &RunSpec) -> bool {
    if run.test_on != TestData::Same {
        return false;
    }
    let own = match &run.data {
        DataSpec::Synthetic(spec) => spec.validation_identities > 0,
        _ => false,
    };
    own || run.validation.identities > 0.0
}

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let findings = uses(run);
    if !findings.is_empty() {
        return findings;
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

/// Whether every data set is good for what it is to be used for.
fn uses(run: &RunSpec) -> Vec<Finding> {
    let key = run.data.key();
    let place = format!("data.{key}");
    let trains = match &run.protocol {
        ProtocolSpec::Supervised(_) | ProtocolSpec::Usl(_) | ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_) => true,
        ProtocolSpec::Frozen(frozen) => frozen.linear_probe().is_some(),
    };
    let mut findings = Vec::new();
    match run.data.good_for() {
        Use::Both => {}
        Use::Testing if !trains || !run.train_with.is_empty() => {}
        Use::Pretraining => {
            let message = format!("`{key}` has no names, so that no one can be found again among them");
            let finding = Finding::error("spec::unlabelled-data", message).at(place, "for pre-training only");
            let help = format!("write it below `pretrain`: `pretrain: {{data: {{other: {{{key}: {{root: ..}}}}}}}}`");
            findings.push(finding.help(help));
        }
        Use::Training if run.test_on != TestData::Same => {}
        Use::Training => {
            let message = format!("`{key}` has nothing to test on");
            let finding = Finding::error("spec::nothing-to-test", message).at(place, "for training only");
            findings.push(finding.help(
                "name a set with queries in `test_on: {other: ..}`, or take one as `data` and name this one in \
                     `train_with` or below `pretrain.data`",
            ));
        }
        Use::Testing => {
            let message = format!("`{key}` has nothing to train on");
            let finding = Finding::error("spec::nothing-to-train", message).at(place, "for testing only");
            findings.push(finding.help(
                "name a set to train on, such as `train_with: [{market1501: {root: ..}}]`, or take the protocol `frozen`",
            ));
        }
    }
    if let TestData::Other(other) = &run.test_on
        && !matches!(other.good_for(), Use::Both | Use::Testing)
    {
        let message = format!("`test_on`: `{}` has nothing to test on", other.key());
        let finding = Finding::error("spec::nothing-to-test", message).at("test_on.other", "");
        findings.push(finding.help("name a set with queries and a gallery"));
    }
    for (at, other) in run.train_with.iter().enumerate() {
        let key = other.key();
        let (code, problem) = match other.good_for() {
            Use::Both | Use::Training => continue,
            Use::Testing => ("spec::nothing-to-train", "has nothing to train on"),
            Use::Pretraining => ("spec::unlabelled-data", "has no names to train with"),
        };
        let finding = Finding::error(code, format!("`train_with.{at}`: `{key}` {problem}")).at("train_with", "");
        findings.push(finding.help("name sets with identities; others belong below `pretrain.data`"));
    }
    findings
}
