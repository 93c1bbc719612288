//! What needs both regions to be the same crop.

use reid_objectives::person_mae::spec::{DecoderKind, LossOn, Region};

use super::{Finding, PERSON_MAE, person_mae};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = person_mae(run).filter(|spec| spec.region == Region::Cross) else { return Vec::new() };
    let mut found = Vec::new();
    let region = format!("{PERSON_MAE}.region");
    if spec.loss_on == LossOn::Masked {
        let message = "`loss_on: masked` needs `region: same`: hidden patches of one crop are no patches of another";
        let finding =
            Finding::error("spec::needs-same-region", message).at(format!("{PERSON_MAE}.loss_on"), "needs `same`");
        found.push(finding.at(region.clone(), "another crop").help("set `region: same`, or `loss_on: all`"));
    }
    for (name, decoder) in [("pixel_decoder", spec.pixel_decoder), ("feature_decoder", spec.feature_decoder)] {
        if decoder.kind == DecoderKind::Unshuffle {
            let message = format!(
                "the `unshuffle` {} puts visible patches back into their cells, which needs `region: same`",
                name.replace('_', " ")
            );
            let finding = Finding::error("spec::needs-same-region", message)
                .at(format!("{PERSON_MAE}.{name}.kind"), "needs `same`")
                .at(region.clone(), "another crop");
            found.push(finding.help("set `region: same`, or use `kind: joint` or `kind: cross`"));
        }
    }
    found
}
