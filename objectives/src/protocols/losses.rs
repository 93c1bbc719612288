//! Losses of the supervised protocol, after the TransReID family of repositories.

use candle_core::{D, DType, Tensor};
use reid_backbones::{Result, ops};

use crate::math::distance::squared_euclidean;
use crate::spec::{Smoothing, TripletMargin, TripletMining};

/// Smallest squared distance below the root: TransReID's clamp. A pair that is closer gets no
/// gradient instead of an infinite one.
const MIN_SQUARED_DISTANCE: f64 = 1e-12;

/// Farther than any feature that still is a number of use; keeps other pairs out of a minimum.
const FAR: f32 = f32::MAX;

/// Cross-entropy of identities with label smoothing, mean over the batch.
///
/// The target of a sample is `(1 - e) onehot + e / k` with `e = smoothing` (TransReID's rule, and
/// timm's; fast-reid's gives the true class all of `1 - e` and is another loss). So
/// `loss = (1 - e) mean(-log p_label) + e mean(-log p)`.
///
/// # Shapes
/// - `logits`: `[b, k]`, `labels`: `[b]` u32; output: scalar
///
/// # Errors
/// If shapes differ, or a label is not below `k`.
pub fn id_loss(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    ops::cross_entropy(logits, labels, smoothing)
}

/// The `smoothing` of [`id_loss`] that gives `k` classes a rule's targets.
///
/// `1 - e` for the true class and `e / (k - 1)` for others is [`id_loss`] with `e k / (k - 1)`.
pub fn smoothing(rule: Smoothing, smoothing: f64, k: usize) -> f64 {
    match rule {
        Smoothing::All => smoothing,
        Smoothing::Others => smoothing * k as f64 / (k - 1).max(1) as f64,
    }
}

/// Share of samples whose largest logit is their label's, without a gradient.
///
/// # Shapes
/// - `logits`: `[b, k]`, `labels`: `[b]` u32; output: scalar f32
///
/// # Errors
/// If shapes differ.
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    Ok(logits.detach().argmax(D::Minus1)?.eq(labels)?.to_dtype(DType::F32)?.mean_all()?)
}

/// Batch-hard triplet loss with the distances that it was made of.
#[derive(Clone, Debug)]
pub struct Triplet {
    /// Scalar.
    pub loss: Tensor,
    /// `[b]`, distance from each sample to the farthest of its identity.
    pub hardest_positive: Tensor,
    /// `[b]`, distance from each sample to the nearest of another identity.
    pub hardest_negative: Tensor,
}

/// Batch-hard triplet loss (Hermans et al., arXiv 1703.07737) on Euclidean distances.
///
/// `soft`: `mean log(1 + exp(d_ap - d_an))`; `hard`: `mean max(0, margin + d_ap - d_an)`. The anchor
/// counts among its own positives, at distance `sqrt(1e-12)`. Among equally hard samples the first
/// is taken. Pairs are chosen without a gradient, then measured again by differences: copies of one
/// picture are exactly at the clamp, and no `[b, b]` matrix is differentiated.
///
/// The batch must hold at least two identities; the sampler sees to it. Otherwise an anchor is its
/// own negative.
///
/// # Shapes
/// - `features`: `[b, d]`, `labels`: `[b]` u32; output: scalar, `[b]`, `[b]`
///
/// # Errors
/// If shapes differ.
pub fn triplet_loss(features: &Tensor, labels: &Tensor, margin: TripletMargin) -> Result<Triplet> {
    let constant = features.detach();
    let distances = squared_euclidean(&constant, &constant)?.maximum(MIN_SQUARED_DISTANCE)?; // [b, b]
    let same = labels.unsqueeze(1)?.broadcast_eq(&labels.unsqueeze(0)?)?; // [b, b]
    let farthest_same = same.where_cond(&distances, &distances.zeros_like()?)?.argmax(D::Minus1)?; // [b]
    let far = Tensor::full(FAR, distances.shape(), distances.device())?;
    let nearest_other = same.where_cond(&far, &distances)?.argmin(D::Minus1)?; // [b]

    let hardest_positive = distance_to(features, &farthest_same)?; // [b]
    let hardest_negative = distance_to(features, &nearest_other)?; // [b]
    let gap = (&hardest_positive - &hardest_negative)?; // [b]
    Ok(Triplet { loss: apply_margin(gap, margin)?.mean_all()?, hardest_positive, hardest_negative })
}

/// The triplet loss of a mining rule.
///
/// # Shapes
/// - `features`: `[b, d]`, `labels`: `[b]` u32; output: scalar
///
/// # Errors
/// If shapes differ.
pub fn mined_triplet_loss(
    features: &Tensor,
    labels: &Tensor,
    margin: TripletMargin,
    mining: TripletMining,
) -> Result<Tensor> {
    match mining {
        TripletMining::BatchHard => Ok(triplet_loss(features, labels, margin)?.loss),
        TripletMining::Weighted => weighted_triplet_loss(features, labels, margin),
    }
}

/// The triplet loss of weighted means (AGW's `WeightedRegularizedTriplet` with the soft margin): with
/// `p_ij = softmax_j d_ij` over the identity's pictures and `n_ij = softmax_j -d_ij` over others, the mean of the margin
/// rule of `sum_j p_ij d_ij - sum_j n_ij d_ij`. Weights have gradients too. The anchor counts among its own positives, as
/// in fast-reid.
///
/// # Shapes
/// - `features`: `[b, d]`, `labels`: `[b]` u32; output: scalar
///
/// # Errors
/// If shapes differ.
pub fn weighted_triplet_loss(features: &Tensor, labels: &Tensor, margin: TripletMargin) -> Result<Tensor> {
    let squares = squared_euclidean(features, features)?.maximum(MIN_SQUARED_DISTANCE)?; // [b, b]
    // From itself a picture is at no distance, which rounding would make some.
    let itself = Tensor::eye(labels.dim(0)?, DType::U8, features.device())?; // [b, b]
    let nothing = (squares.zeros_like()? + MIN_SQUARED_DISTANCE)?;
    let distances = itself.where_cond(&nothing, &squares)?.sqrt()?; // [b, b]
    let same = labels.unsqueeze(1)?.broadcast_eq(&labels.unsqueeze(0)?)?; // [b, b]
    let zeros = distances.zeros_like()?;
    let mean = |signed: &Tensor, of_same: bool| -> Result<Tensor> {
        // Shifted by the largest of all, which cancels.
        let shifted = signed.broadcast_sub(&signed.detach().max_keepdim(D::Minus1)?)?.exp()?;
        let weights = if of_same { same.where_cond(&shifted, &zeros) } else { same.where_cond(&zeros, &shifted) }?;
        let sums = weights.sum_keepdim(D::Minus1)?.maximum(f64::from(f32::MIN_POSITIVE))?; // [b, 1]
        Ok((weights.broadcast_div(&sums)? * &distances)?.sum(D::Minus1)?)
    };
    let gap = (mean(&distances, true)? - mean(&distances.neg()?, false)?)?; // [b]
    Ok(apply_margin(gap, margin)?.mean_all()?)
}

/// # Shapes
/// - `gap`: `[b]`; output: `[b]`
fn apply_margin(gap: Tensor, margin: TripletMargin) -> Result<Tensor> {
    match margin {
        TripletMargin::Soft(_) => softplus(&gap),
        TripletMargin::Hard(hard) => Ok((gap + hard.margin)?.relu()?),
    }
}

/// Euclidean distance of each row to the row that `index` names.
///
/// # Shapes
/// - `features`: `[b, d]`, `index`: `[b]` u32; output: `[b]`
fn distance_to(features: &Tensor, index: &Tensor) -> Result<Tensor> {
    let difference = (features - features.index_select(index, 0)?)?; // [b, d]
    Ok(difference.sqr()?.sum(D::Minus1)?.maximum(MIN_SQUARED_DISTANCE)?.sqrt()?)
}

/// `log(1 + exp(x))` for any `x`.
///
/// At 0 candle takes 1 as the slope of both `relu` and `abs`, so this has the right slope of 1/2.
fn softplus(x: &Tensor) -> Result<Tensor> {
    let tail = (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    Ok((x.relu()? + tail)?)
}
