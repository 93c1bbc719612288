//! Pictures are cut into whole patches.

use reid_backbones::spec::VitSpec;

use super::{Finding, vit};
use crate::spec::RunSpec;

/// Side of the largest picture, in pixels.
const LARGEST: usize = 4096;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    of(vit(run), "backbone.vit")
}

/// What is wrong with a ViT whose fields stand under `path`.
pub(super) fn of(vit: &VitSpec, path: &str) -> Vec<Finding> {
    let [height, width] = vit.image;
    let patch = vit.patch;
    let mut found = Vec::new();
    if vit.image.iter().any(|side| side % patch != 0 || *side == 0) {
        let nearest = vit.image.map(|side| ((side + patch / 2) / patch).max(1) * patch);
        let message = format!("pictures of {height} x {width} px do not divide into patches of {patch} px");
        let finding = Finding::error("spec::patch-divides-image", message)
            .at(format!("{path}.image"), format!("not a multiple of {patch}"))
            .at(format!("{path}.patch"), "the patch");
        found.push(finding.help(format!("use `image: [{}, {}]`, or another patch", nearest[0], nearest[1])));
    } else if vit.image.iter().any(|&side| side > LARGEST) {
        let message = format!("pictures of {height} x {width} px are larger than {LARGEST} px");
        let finding = Finding::error("spec::image-size", message).at(format!("{path}.image"), "too large");
        found.push(finding.help("height comes first; person crops are usually 256 x 128"));
    }
    found
}
