//! The two terms, from outputs and targets.

use candle_core::Tensor;
use reid_backbones::ops::{self, Pairs};

use super::GLOBALS;
use crate::error::Result;

/// Cross-entropy of every student view to every other global view of the teacher, mean over pairs of views and
/// samples (DINO, arXiv 2104.14294, eq. 3).
///
/// # Shapes
/// - `logits`: `[v b, k]`, the student's outputs, view outermost, global views first; `targets`: `[2 b, k]`, the
///   teacher's distributions; output: scalar
///
/// # Errors
/// If shapes do not fit.
pub fn class_loss(logits: &Tensor, targets: &Tensor, temperature: f64) -> Result<Tensor> {
    let samples = targets.dim(0)? / GLOBALS;
    let views = logits.dim(0)? / samples;
    let terms = GLOBALS * views - GLOBALS;
    let weight = 1.0 / (terms * samples) as f32;
    let mut pairs = Pairs::new();
    for view in 0..views {
        for sample in 0..samples {
            let others = (0..GLOBALS).filter(|&global| global != view);
            pairs.push(others.map(|global| ((global * samples + sample) as u32, weight)));
        }
    }
    Ok(ops::soft_cross_entropy(logits, targets, &pairs, temperature)?)
}

/// Cross-entropy of masked patches to the teacher's at their places: mean over a view's masked patches, then over
/// all views, of which those without masked patches count as 0 (iBOT, arXiv 2111.07832, eq. 2, and its code).
///
/// # Shapes
/// - `logits`, `targets`: `[m, k]`, masked patches in order; `hidden`: `[v, n]` with m true, `views`: v; output: scalar
///
/// # Errors
/// If shapes do not fit.
pub fn patch_loss(
    logits: &Tensor,
    targets: &Tensor,
    hidden: &[bool],
    views: usize,
    temperature: f64,
) -> Result<Tensor> {
    let mut pairs = Pairs::new();
    let mut row = 0;
    for view in hidden.chunks_exact(hidden.len() / views) {
        let count = view.iter().filter(|&&hidden| hidden).count();
        for _ in 0..count {
            pairs.push([(row, 1.0 / (views * count) as f32)]);
            row += 1;
        }
    }
    Ok(ops::soft_cross_entropy(logits, targets, &pairs, temperature)?)
}
