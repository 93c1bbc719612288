//! What a supervised model may be told besides its pictures, and what it may be cut into.

use reid_objectives::spec::{CamerasSpec, LocalSpec, ProtocolSpec, SideSpec, UnknownCamera};

use super::{Finding, SUPERVISED, supervised, vit};
use crate::spec::{RunSpec, TestData};

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = supervised(run) else { return Vec::new() };
    let (mut found, vit) = (Vec::new(), vit(run));
    if let (SideSpec::Cameras(CamerasSpec { unknown: UnknownCamera::Refuse, .. }), TestData::Other(_)) =
        (spec.side, &run.test_on)
    {
        let message = "the model has embeddings of its training cameras, and is tested on those of another data set";
        let finding = Finding::error("spec::unknown-cameras", message)
            .at(format!("{SUPERVISED}.side.cameras.unknown"), "refuses them")
            .at("test_on.other", "has other cameras");
        found.push(finding.help("set `unknown: zero`, which leaves the embedding out there, or `side: none`"));
    }
    if let LocalSpec::Jigsaw(jigsaw) = spec.local {
        let (path, [rows, cols]) = (format!("{SUPERVISED}.local.jigsaw"), vit.grid());
        let patches = rows * cols;
        if jigsaw.parts > patches {
            let message = format!("{patches} patches cannot be shared among {} parts", jigsaw.parts);
            let finding = Finding::error("spec::jigsaw-parts", message)
                .at(format!("{path}.parts"), format!("{} parts", jigsaw.parts))
                .at("backbone.vit.image", format!("{rows} x {cols} patches"));
            found.push(finding.help("take fewer parts, or a smaller patch"));
        }
        if jigsaw.shift > patches || jigsaw.groups > patches {
            let (field, value) =
                if jigsaw.shift > patches { ("shift", jigsaw.shift) } else { ("groups", jigsaw.groups) };
            let message = format!("{field} {value} of {patches} patches");
            let finding = Finding::error("spec::jigsaw-parts", message)
                .at(format!("{path}.{field}"), "more than there are patches")
                .at("backbone.vit.image", format!("{rows} x {cols} patches"));
            found.push(finding.help(format!("take at most {patches}")));
        }
        if vit.part_tokens > 0 {
            let message = "jigsaw parts are made of patches, and this encoder has part tokens among them";
            let finding = Finding::error("spec::jigsaw-part-tokens", message)
                .at(format!("{path}.parts"), "cuts the patches into parts")
                .at("backbone.vit.part_tokens", "are parts by themselves");
            found.push(finding.help("set `part_tokens: 0`, or `local: none`"));
        }
    }
    found
}

/// Whether an adaptation would lose what its source's model was told.
pub(super) fn of_adaptation(run: &RunSpec) -> Option<Finding> {
    let ProtocolSpec::Uda(uda) = &run.protocol else { return None };
    let SideSpec::Cameras(_) = uda.supervised.side else { return None };
    let message = "adaptation goes on with the source's encoder alone, without the embedding of its cameras";
    let finding = Finding::error("spec::unknown-cameras", message)
        .at("protocol.uda.supervised.side", "the encoder would learn to need it");
    Some(finding.help("set `side: none`"))
}
