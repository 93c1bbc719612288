//! Pictures are cut into whole patches.

use reid_backbones::spec::VitSpec;

use super::{Finding, vit};
use crate::spec::{PretrainImage, RunSpec};

/// Side of the largest picture, in pixels.
const LARGEST: usize = 4096;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let mut found = of(vit(run), "backbone.vit");
    if let PretrainImage::Pixels(_) = run.pretrain.image {
        let places = ("pretrain.image.pixels".to_owned(), "backbone.vit.patch".to_owned());
        found.extend(divides(&run.pretrained_vit(), places));
    }
    found
}

/// What is wrong with a ViT whose fields stand under `path`.
pub(super) fn of(vit: &VitSpec, path: &str) -> Vec<Finding> {
    divides(vit, (format!("{path}.image"), format!("{path}.patch")))
}

/// Whether pictures divide into patches, and where the two stand.
fn divides(vit: &VitSpec, (image_at, patch_at): (String, String)) -> Vec<Finding> {
    let [height, width] = vit.image;
    let patch = vit.patch;
    let mut found = Vec::new();
    if vit.image.iter().any(|side| side % patch != 0 || *side == 0) {
        let nearest = vit.image.map(|side| ((side + patch / 2) / patch).max(1) * patch);
        let message = format!("pictures of {height} x {width} px do not divide into patches of {patch} px");
        let finding = Finding::error("spec::patch-divides-image", message)
            .at(image_at, format!("not a multiple of {patch}"))
            .at(patch_at, "the patch");
        found.push(finding.help(format!("use `[{}, {}]`, or another patch", nearest[0], nearest[1])));
    } else if vit.image.iter().any(|&side| side > LARGEST) {
        let message = format!("pictures of {height} x {width} px are larger than {LARGEST} px");
        let finding = Finding::error("spec::image-size", message).at(image_at, "too large");
        found.push(finding.help("height comes first; person crops are usually 256 x 128"));
    }
    found
}
