//! One feature out of many tokens.

use candle_core::{D, Tensor};
use reid_backbones::Tokens;
use reid_backbones::pooling::{self, Pooling as How};

use super::spec::Pooling;
use crate::error::Result;
use crate::math::distance::l2_normalize;

/// The feature of each picture.
///
/// # Shapes
/// - `tokens`: `[b, prefix + k, d]`; output: `[b, d]`, with [`Pooling::ClsAvg`] `[b, 2 d]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn pool(tokens: &Tokens, pooling: Pooling) -> Result<Tensor> {
    let pool = |how| pooling::pool(tokens, how);
    Ok(match pooling {
        Pooling::Cls => pool(How::Class)?,
        Pooling::Avg => pool(How::Average)?,
        Pooling::Max => pool(How::Maximum)?,
        Pooling::AvgMax => pool(How::AverageMaximum)?,
        Pooling::Gem => pool(How::Gem)?,
        Pooling::ClsAvg => {
            // Of equal lengths, neither part outweighs the other in a distance.
            let parts = [l2_normalize(&pool(How::Class)?)?, l2_normalize(&pool(How::Average)?)?];
            Tensor::cat(&parts, D::Minus1)?
        }
    })
}

impl Pooling {
    /// Width of the feature for tokens of `width`.
    pub fn width(self, width: usize) -> usize {
        if self == Self::ClsAvg { 2 * width } else { width }
    }
}
