//! A mask leaves something to see and, where the loss is taken on it, something to predict.

use reid_objectives::person_mae::spec::{LossOn, MaskKind};

use super::{Finding, PERSON_MAE, grid, person_mae, pretrain_image};
use crate::spec::RunSpec;

/// Smallest grid that blocks fit into: rows, columns.
const SMALLEST_GRID: [usize; 2] = [4, 2];

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = person_mae(run) else { return Vec::new() };
    let vit = run.pretrained_vit();
    if vit.image.iter().any(|side| side % vit.patch != 0) {
        return Vec::new(); // There is no grid to speak of; the geometry rule says so.
    }
    let [rows, columns] = grid(&vit);
    let patches = rows * columns;
    let hidden = (spec.mask_ratio * patches as f64).round() as usize;
    let ratio = format!("{PERSON_MAE}.mask_ratio");
    let mut found = Vec::new();
    if patches > 0 && hidden >= patches {
        let most = (patches as f64 - 1.0) / patches as f64;
        let message = format!("a mask ratio of {} hides all {patches} patches", spec.mask_ratio);
        let finding = Finding::error("spec::nothing-visible", message)
            .at(ratio.clone(), "nothing is left to see")
            .at(pretrain_image(run), format!("{rows} x {columns} patches"));
        found.push(finding.help(format!("use at most {most:.3}, or smaller patches")));
    }
    if spec.loss_on == LossOn::Masked && hidden == 0 {
        let message =
            format!("the loss is taken on hidden patches, but a mask ratio of {} hides none", spec.mask_ratio);
        let finding = Finding::error("spec::nothing-hidden", message)
            .at(ratio, "hides nothing")
            .at(format!("{PERSON_MAE}.loss_on"), "needs hidden patches");
        found.push(finding.help("raise the ratio, or set `loss_on: all`"));
    }
    if spec.mask == MaskKind::Block && (rows < SMALLEST_GRID[0] || columns < SMALLEST_GRID[1]) {
        let message = format!("blocks need a grid of at least 4 x 2 patches, but it has {rows} x {columns}");
        let finding = Finding::error("spec::grid-too-small", message)
            .at(pretrain_image(run), format!("{rows} x {columns} patches"))
            .at(format!("{PERSON_MAE}.mask"), "blocks");
        found.push(finding.help("use smaller patches, a larger picture, or `mask: random`"));
    }
    found
}
