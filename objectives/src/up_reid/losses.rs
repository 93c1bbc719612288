//! Momentum contrast and global consistency, on features of unit length.

use candle_core::{D, DType, Tensor};
use reid_backbones::ops;

use crate::error::Result;
use crate::protocols::losses::accuracy;

/// Similarities of queries with what they are compared to, and which of these is right.
#[derive(Clone, Debug)]
pub struct Similarities {
    /// `[b, m]`, cosines.
    pub all: Tensor,
    /// `[b]` u32, the positive's column.
    pub labels: Tensor,
    /// Whether the positives lie in the first column; else they lie on the diagonal.
    positives_first: bool,
}

impl Similarities {
    /// To the key of the same picture, which comes first, and to a queue of others.
    ///
    /// # Shapes
    /// - `query`, `key`: `[b, d]`; `queue`: `[k, d]`; output: `[b, 1 + k]`
    ///
    /// # Errors
    /// If shapes differ.
    pub fn with_queue(query: &Tensor, key: &Tensor, queue: &Tensor) -> Result<Self> {
        let positive = (query * key.detach())?.sum_keepdim(D::Minus1)?; // [b, 1]
        let negative = ops::dot_products(query, queue)?; // [b, k]
        let labels = Tensor::zeros(query.dim(0)?, DType::U32, query.device())?;
        Ok(Self { all: Tensor::cat(&[&positive, &negative], 1)?, labels, positives_first: true })
    }

    /// To the keys of all pictures of the batch.
    ///
    /// # Shapes
    /// - `query`, `key`: `[b, d]`; output: `[b, b]`
    ///
    /// # Errors
    /// If shapes differ.
    pub fn in_batch(query: &Tensor, key: &Tensor) -> Result<Self> {
        let labels = Tensor::arange(0, query.dim(0)? as u32, query.device())?;
        Ok(Self { all: ops::dot_products(query, &key.detach())?, labels, positives_first: false })
    }

    /// `InfoNCE` (van den Oord et al., arXiv 1807.03748): mean cross-entropy of `all / temperature`.
    ///
    /// # Shapes
    /// - output: scalar
    ///
    /// # Errors
    /// If candle refuses.
    pub fn info_nce(&self, temperature: f64) -> Result<Tensor> {
        Ok(ops::cross_entropy(&(&self.all / temperature)?, &self.labels, 0.0)?)
    }

    /// Share of queries whose own key is the most similar.
    ///
    /// # Shapes
    /// - output: scalar
    ///
    /// # Errors
    /// If candle refuses.
    pub fn accuracy(&self) -> Result<Tensor> {
        Ok(accuracy(&self.all, &self.labels)?)
    }

    /// Those to other pictures.
    ///
    /// # Shapes
    /// - output: `[b, m - 1]`
    ///
    /// # Errors
    /// If candle refuses.
    pub fn to_others(&self) -> Result<Tensor> {
        let (b, m) = self.all.dims2()?;
        if self.positives_first {
            return Ok(self.all.narrow(1, 1, m - 1)?);
        }
        let others = (0..(b * m) as u32).filter(|at| at / m as u32 != at % m as u32);
        let index = Tensor::from_iter(others, self.all.device())?;
        Ok(self.all.flatten_all()?.index_select(&index, 0)?.reshape((b, m - 1))?)
    }
}

/// Global consistency: the mean divergence `KL(p || q)` of the original picture's distribution over others,
/// `p = softmax(original / t)`, from the augmented one's, `q = softmax(augmented / t)`. The original gets no
/// gradient.
///
/// # Shapes
/// - `original`, `augmented`: `[b, m]`, similarities to the same others; output: scalar
///
/// # Errors
/// If shapes differ.
pub fn consistency(original: &Tensor, augmented: &Tensor, temperature: f64) -> Result<Tensor> {
    let log_p = log_softmax(&(original.detach() / temperature)?)?; // [b, m]
    let log_q = log_softmax(&(augmented / temperature)?)?; // [b, m]
    let divergence = (log_p.exp()? * (log_p - log_q)?)?.sum(D::Minus1)?; // [b]
    Ok(divergence.mean_all()?)
}

/// # Shapes
/// - `logits`: `[.., m]`; output: the same
fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // The shift cancels in the result, so its gradient is zero and need not be followed.
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)?)
}
