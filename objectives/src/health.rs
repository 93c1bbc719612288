//! Health of a pre-training: statistics of features that show a collapse while the loss looks well.
//!
//! Every objective reports them for the features that are used downstream, by one line in its `step`:
//! `stats.extend(health::of(&class_tokens)?)`.

use candle_core::{D, Tensor};

use crate::error::Result;
use crate::math::spectrum::effective_rank;
use crate::metric::MetricKey;

/// Features whose effective rank is taken: the first of a batch, which is a random choice of pictures. The
/// work grows with the cube of the smaller side; at 256 it is below a thousandth of a step of a ViT-S.
pub const MOST_ROWS: usize = 256;

/// Standard deviation and effective rank of a batch's features, without a gradient.
///
/// # Shapes
/// - `features`: `[b, d]`, such as the class tokens after the final norm
///
/// # Errors
/// If the tensor has no two dimensions.
pub fn of(features: &Tensor) -> Result<[(MetricKey, Tensor); 2]> {
    let features = features.detach();
    let (b, d) = features.dims2()?;
    let some = features.narrow(0, 0, b.min(MOST_ROWS))?.contiguous()?;
    let rank = effective_rank(&some.flatten_all()?.to_vec1::<f32>()?, d) as f32;
    let rank = Tensor::new(rank, features.device())?;
    Ok([(MetricKey::FeatureStd, feature_std(&features)?), (MetricKey::EffectiveRank, rank)])
}

/// Mean over channels of the standard deviation over the batch; near 0 means collapse.
///
/// # Shapes
/// - `features`: `[b, d]`; output: scalar
fn feature_std(features: &Tensor) -> Result<Tensor> {
    let centred = features.broadcast_sub(&features.mean_keepdim(0)?)?;
    Ok(centred.sqr()?.mean(0)?.sqrt()?.mean(D::Minus1)?)
}
