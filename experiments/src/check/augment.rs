//! Pairs of a smallest and a largest value.

use reid_backbones::optim::spec::OptimSpec;

use super::{Finding, MIM_DINO, PERSON_MAE, SUPERVISED, UP_REID, mim_dino, person_mae, supervised, up_reid};
use crate::spec::RunSpec;
use crate::validate::plain_number;

/// Widest shape of a crop, as width / height.
const WIDEST: f64 = 10.0;
/// Widest blur, in pixels.
const LARGEST_BLUR: f64 = 64.0;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(spec) = person_mae(run) {
        found.extend(pair(&format!("{PERSON_MAE}.scale_a"), spec.scale_a, 1.0));
        found.extend(pair(&format!("{PERSON_MAE}.scale_b"), spec.scale_b, 1.0));
        found.extend(pair(&format!("{PERSON_MAE}.ratio"), spec.ratio, WIDEST));
    }
    if let Some(spec) = mim_dino(run) {
        let views = &spec.views;
        found.extend(pair(&format!("{MIM_DINO}.views.global_scale"), views.global_scale, 1.0));
        found.extend(pair(&format!("{MIM_DINO}.views.local_scale"), views.local_scale, 1.0));
        found.extend(pair(&format!("{MIM_DINO}.views.ratio"), views.ratio, WIDEST));
        for (name, view) in [("first", views.first), ("second", views.second), ("local", views.local)] {
            found.extend(pair(&format!("{MIM_DINO}.views.{name}.blur.radius"), view.blur.radius, LARGEST_BLUR));
        }
    }
    if let Some(spec) = up_reid(run) {
        for (name, view) in [("query", &spec.query), ("key", &spec.key)] {
            let at = |field: &str| format!("{UP_REID}.{name}.{field}");
            found.extend(pair(&at("scale"), view.scale, 1.0));
            found.extend(pair(&at("ratio"), view.ratio, WIDEST));
            found.extend(pair(&at("photometric.blur.radius"), view.photometric.blur.radius, LARGEST_BLUR));
            found.extend(pair(&at("erasing.area"), view.erasing.area, 1.0));
        }
    }
    if run.pretrain.objective.algorithm().is_some() {
        found.extend(betas("pretrain.train.optim", &run.pretrain.train.optim));
    }
    if let Some(spec) = supervised(run) {
        found.extend(pair(&format!("{SUPERVISED}.augment.erasing.area"), spec.augment.erasing.area, 1.0));
        found.extend(betas(&format!("{SUPERVISED}.train.optim"), &spec.train.optim));
    }
    found
}

/// A range in (0, `most`].
fn pair(path: &str, [low, high]: [f64; 2], most: f64) -> Option<Finding> {
    let name = path.rsplit('.').next().unwrap_or(path);
    let shown = format!("[{}, {}]", plain_number(low), plain_number(high));
    if low > high {
        let message = format!("`{name}: {shown}` has its larger value first");
        let finding = Finding::error("spec::range-order", message).at(path, "smallest, then largest");
        Some(finding.help(format!("write `{name}: [{}, {}]`", plain_number(high), plain_number(low))))
    } else if low <= 0.0 || high > most {
        let message = format!("`{name}: {shown}` leaves the range from 0 (not itself) to {}", plain_number(most));
        let finding = Finding::error("spec::out-of-range", message).at(path, "out of range");
        Some(finding.help(format!("use values above 0 and at most {}", plain_number(most))))
    } else {
        None
    }
}

/// Decay rates in [0, 1).
fn betas(path: &str, optim: &OptimSpec) -> Option<Finding> {
    let (name, betas) = match optim {
        OptimSpec::Adamw(spec) => ("adamw", spec.betas),
        OptimSpec::Adam(spec) => ("adam", spec.betas),
        OptimSpec::Sgd(_) => return None,
    };
    if betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
        return None;
    }
    let message = format!("`{name}`'s decay rates [{}, {}] must be at least 0 and below 1", betas[0], betas[1]);
    let finding = Finding::error("spec::out-of-range", message).at(format!("{path}.{name}.betas"), "out of range");
    Some(finding.help("MAE uses [0.9, 0.95], Adam's authors [0.9, 0.999]"))
}
