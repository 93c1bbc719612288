//! From tokens to one feature per picture, as TransReID-SSL and PersonViT do for retrieval.

use candle_core::Tensor;

use crate::encoder::Tokens;
use crate::error::Result;

/// Smallest value that enters a generalized mean (PersonViT's and TransReID-SSL's `GeneralizedMeanPooling`).
const SMALLEST: f64 = 1e-6;
/// Exponent of the generalized mean (the same).
const EXPONENT: f64 = 3.0;
/// Patches of a run whose maximum [`Pooling::AverageMaximum`] takes (PersonViT).
const RUN: usize = 4;

/// How the final tokens become a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The class token.
    Class,
    /// Mean of the patches.
    Average,
    /// Largest value of each channel among the patches.
    Maximum,
    /// Mean over runs of four patches in a row of the largest in each; what is left over at the end is not read.
    AverageMaximum,
    /// Class token plus generalized mean of the patches, `(mean x^3)^(1/3)` of values above 0.
    Gem,
}

impl Pooling {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Class, Self::Average, Self::Maximum, Self::AverageMaximum, Self::Gem];
}

/// One feature per picture.
///
/// # Shapes
/// - `tokens`: `[b, prefix + k, d]`; output: `[b, d]`
///
/// # Errors
/// If there are too few patches, or candle refuses.
pub fn pool(tokens: &Tokens, how: Pooling) -> Result<Tensor> {
    if how == Pooling::Class {
        return tokens.class();
    }
    let patches = tokens.patches()?; // [b, k, d]
    match how {
        Pooling::Class | Pooling::Average => Ok(patches.mean(1)?),
        Pooling::Maximum => Ok(patches.max(1)?),
        Pooling::AverageMaximum => {
            let (b, k, width) = patches.dims3()?;
            let runs = k / RUN;
            if runs == 0 {
                let problem = format!("{k} patches are not one run of {RUN}");
                return Err(candle_core::Error::Msg(problem).into());
            }
            let runs = patches.narrow(1, 0, runs * RUN)?.contiguous()?.reshape((b, runs, RUN, width))?;
            Ok(runs.max(2)?.mean(1)?)
        }
        Pooling::Gem => {
            let cubes = patches.maximum(SMALLEST)?.powf(EXPONENT)?.mean(1)?;
            Ok((tokens.class()? + cubes.powf(1.0 / EXPONENT)?)?)
        }
    }
}
