//! `mim_dino` has something to learn from, and its views fit the encoder.

use super::{Finding, MIM_DINO, mim_dino};
use crate::spec::RunSpec;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = mim_dino(run) else { return Vec::new() };
    let vit = run.pretrained_vit();
    let at = |path: &str| format!("{MIM_DINO}.{path}");
    let mut found = Vec::new();
    if spec.dino_weight == 0.0 && spec.mim_weight == 0.0 {
        let finding = Finding::error("spec::nothing-to-learn", "both weights are 0, so there is nothing to learn")
            .at(at("dino_weight"), "0")
            .at(at("mim_weight"), "0");
        found.push(finding.help("give one of them a weight of 1"));
    }
    let local = spec.views.local_size(vit.image);
    if spec.used_locals() > 0 && local.iter().any(|&side| side == 0 || side % vit.patch != 0) {
        let [h, w] = local;
        let message = format!("local views of {h} x {w} px do not divide into patches of {} px", vit.patch);
        let nearest = local.map(|side| ((side + vit.patch / 2) / vit.patch).max(1) * vit.patch);
        let finding = Finding::error("spec::patch-divides-image", message)
            .at(at("views.local_image"), format!("not a multiple of {}", vit.patch))
            .at("backbone.vit.patch", "the patch");
        found.push(finding.help(format!("use `local_image: [{}, {}]`", nearest[0], nearest[1])));
    }
    let ratios = &spec.mask.ratios;
    if let Some(ratio) = ratios.iter().find(|ratio| ratio.mean < ratio.spread || ratio.mean + ratio.spread >= 1.0) {
        let (low, high) = (ratio.mean - ratio.spread, ratio.mean + ratio.spread);
        let message = format!("a mask ratio between {low:.3} and {high:.3} leaves the range from 0 to 1 (not itself)");
        let finding = Finding::error("spec::out-of-range", message).at(at("mask.ratios"), "mean and half the width");
        found.push(finding.help("iBOT uses `{mean: 0.3, spread: 0.2}`"));
    }
    if spec.mim_weight > 0.0 && ratios.iter().all(|ratio| ratio.mean + ratio.spread <= 0.0) {
        let finding = Finding::error("spec::nothing-hidden", "the masked patches have a weight, but none is masked")
            .at(at("mask.ratios"), "hides nothing")
            .at(at("mim_weight"), "needs masked patches");
        found.push(finding.help("raise a ratio, or set `mim_weight: 0`"));
    }
    found
}
