//! Variants of the ViT: overlapping patches, the convolutional stem, part tokens.

use reid_backbones::spec::{Stem, Stride, VitSpec};

use super::{Finding, vit};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let vit = vit(run);
    let mut found = of(vit, "backbone.vit");
    let variants =
        [("stem", "the ICS stem", vit.stem != Stem::Patch), ("part_tokens", "part tokens", vit.part_tokens > 0)];
    if let Some((objective, _)) = run.pretrain.objective.algorithm() {
        for (field, what, _) in variants.into_iter().filter(|(_, _, is_set)| *is_set) {
            let message = format!("`{objective}` does not train encoders with {what}");
            let finding = Finding::error("spec::variant-untrained", message)
                .at(format!("backbone.vit.{field}"), "for imported encoders")
                .at("pretrain.objective", "trains the encoder itself");
            found.push(finding.help(format!("leave `{field}` out, or use `objective: {{imported: {{path: ..}}}}`")));
        }
    }
    found
}

/// What does not fit together in a ViT whose fields stand under `path`.
pub(super) fn of(vit: &VitSpec, path: &str) -> Vec<Finding> {
    let at = |field: &str| format!("{path}.{field}");
    let mut found = Vec::new();
    if let Stride::Pixels(pixels) = vit.stride
        && pixels > vit.patch
    {
        let message = format!("patches of {} px every {pixels} px leave pixels out", vit.patch);
        let finding = Finding::error("spec::stride", message)
            .at(at("stride"), "farther than a patch is wide")
            .at(at("patch"), "the patch");
        found.push(finding.help("use a stride up to the patch, such as `stride: {pixels: 12}` with patches of 16"));
    }
    if vit.stem == Stem::Ics {
        if vit.stride() != vit.patch {
            let message = "the ICS stem cuts its own map into patches that cannot overlap";
            let finding =
                Finding::error("spec::stem-stride", message).at(at("stride"), "overlapping").at(at("stem"), "the stem");
            found.push(finding.help("set `stride: patch`, or `stem: patch`"));
        }
        if !vit.patch.is_multiple_of(2) {
            let message =
                format!("the ICS stem halves pictures, so that patches of {} px are no whole cells", vit.patch);
            let finding = Finding::error("spec::stem-patch", message).at(at("patch"), "odd");
            found.push(finding.help("use patches of an even number of pixels"));
        }
    }
    found
}
