//! Variants of the ViT: overlapping patches, the convolutional stem, part tokens.

use reid_backbones::spec::{Stem, Stride};

use super::{Finding, vit};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let vit = vit(run);
    let mut found = Vec::new();
    if let Stride::Pixels(pixels) = vit.stride
        && pixels > vit.patch
    {
        let message = format!("patches of {} px every {pixels} px leave pixels out", vit.patch);
        let finding = Finding::error("spec::stride", message)
            .at("backbone.vit.stride", "farther than a patch is wide")
            .at("backbone.vit.patch", "the patch");
        found.push(finding.help("use a stride up to the patch, such as `stride: {pixels: 12}` with patches of 16"));
    }
    if vit.stem == Stem::Ics {
        if vit.stride() != vit.patch {
            let message = "the ICS stem cuts its own map into patches that cannot overlap";
            let finding = Finding::error("spec::stem-stride", message)
                .at("backbone.vit.stride", "overlapping")
                .at("backbone.vit.stem", "the stem");
            found.push(finding.help("set `stride: patch`, or `stem: patch`"));
        }
        if !vit.patch.is_multiple_of(2) {
            let message =
                format!("the ICS stem halves pictures, so that patches of {} px are no whole cells", vit.patch);
            let finding = Finding::error("spec::stem-patch", message).at("backbone.vit.patch", "odd");
            found.push(finding.help("use patches of an even number of pixels"));
        }
    }
    let variants = [
        ("stride", "overlapping patches", vit.stride() != vit.patch),
        ("stem", "the ICS stem", vit.stem != Stem::Patch),
        ("part_tokens", "part tokens", vit.part_tokens > 0),
    ];
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
