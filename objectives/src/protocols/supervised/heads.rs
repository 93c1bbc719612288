//! Identity heads: from features and class weights to logits.

use std::f64::consts::PI;

use candle_core::{DType, Tensor};
use reid_backbones::{ModuleId, Params, Result, ops};

use super::spec::{IdHead, MarginHead};
use crate::math::distance::NORM_EPS;

/// Smallest `sin^2` below a root: at an angle of 0 its slope is infinite.
const MIN_SQUARED_SINE: f64 = 1e-12;

/// Logits of a batch.
pub struct Logits {
    /// `[b, k]`, what the identity loss takes.
    pub trained: Tensor,
    /// `[b, k]`, without a margin: what identities are told by.
    pub plain: Tensor,
}

/// # Shapes
/// - `features`: `[b, d]`, `labels`: `[b]` u32, the classifier's weight: `[k, d]`; output: `[b, k]`
///
/// # Errors
/// If shapes differ.
pub fn logits(
    head: IdHead,
    features: &Tensor,
    labels: &Tensor,
    params: &Params,
    classifier: ModuleId,
) -> Result<Logits> {
    let (IdHead::ArcFace(spec) | IdHead::CosFace(spec) | IdHead::Circle(spec)) = head else {
        let logits = ops::linear(features, params, classifier)?;
        return Ok(Logits { trained: logits.clone(), plain: logits });
    };
    let weight = ops::l2_normalize(&params.tensor(classifier)?, NORM_EPS)?; // [k, d]
    let cosines = ops::dot_products(&ops::l2_normalize(features, NORM_EPS)?, &weight)?; // [b, k]
    let trained = with_margin(head, spec, &cosines, labels)?;
    Ok(Logits { trained, plain: cosines })
}

/// Logits of a head with a margin.
///
/// # Shapes
/// - `cosines`: `[b, k]`, `labels`: `[b]` u32; output: `[b, k]`
///
/// # Errors
/// If shapes differ.
pub fn with_margin(
    head: IdHead,
    MarginHead { scale, margin }: MarginHead,
    cosines: &Tensor,
    labels: &Tensor,
) -> Result<Tensor> {
    let (_, classes) = cosines.dims2()?;
    let names = Tensor::arange(0, classes as u32, cosines.device())?.unsqueeze(0)?; // [1, k]
    let is_true = labels.to_dtype(DType::U32)?.unsqueeze(1)?.broadcast_eq(&names)?; // [b, k]
    let (of_true, of_others) = match head {
        IdHead::Linear(_) => return Ok(cosines.clone()),
        IdHead::CosFace(_) => ((cosines - margin)?, cosines.clone()),
        IdHead::ArcFace(_) => {
            let sines = (1.0 - cosines.sqr()?)?.maximum(MIN_SQUARED_SINE)?.sqrt()?;
            let turned = ((cosines * margin.cos())? - (sines * margin.sin())?)?;
            // Beyond pi the cosine would rise again: from there on a line goes down.
            let beyond = (cosines - (PI - margin).sin() * margin)?;
            let is_within = cosines.gt((PI - margin).cos())?;
            (is_within.where_cond(&turned, &beyond)?, cosines.clone())
        }
        IdHead::Circle(_) => {
            let constant = cosines.detach();
            let nearness = ((1.0 + margin) - &constant)?.relu()?;
            let farness = (&constant + margin)?.relu()?;
            ((nearness * (cosines - (1.0 - margin))?)?, (farness * (cosines - margin)?)?)
        }
    };
    Ok((is_true.where_cond(&of_true, &of_others)? * scale)?)
}
