//! A student's cross-entropy to distributions of a teacher, as DINO and iBOT take it.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};

use super::host::{is_fused, slice, values};
use crate::error;
use crate::kernels::distillation::{self, Targets};

/// Which rows of a teacher every row of a student is compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    starts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Pairs {
    /// No rows yet.
    pub fn new() -> Self {
        Self { starts: vec![0], entries: Vec::new() }
    }

    /// Adds the student's next row, which is compared with rows of the teacher, each at a weight.
    pub fn push(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        self.entries.extend(entries);
        self.starts.push(self.entries.len());
    }

    /// Rows of the student.
    pub fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    fn check(&self, students: usize, teachers: usize) -> error::Result<()> {
        let outside = self.entries.iter().find(|&&(row, _)| row as usize >= teachers);
        if self.rows() != students || outside.is_some() {
            let problem = format!("pairs of {} rows for {students} rows and {teachers} targets", self.rows());
            return Err(candle_core::Error::Msg(problem).into());
        }
        Ok(())
    }

    /// `[students, teachers]`, the weights.
    fn matrix(&self, teachers: usize, like: &Tensor) -> Result<Tensor> {
        let mut weights = vec![0.0_f32; self.rows() * teachers];
        for (row, range) in self.starts.windows(2).enumerate() {
            for &(target, weight) in &self.entries[range[0]..range[1]] {
                weights[row * teachers + target as usize] += weight;
            }
        }
        Tensor::from_vec(weights, (self.rows(), teachers), like.device())
    }
}

/// `softmax((x - center) / temperature)` by row; gives no gradient.
///
/// # Shapes
/// - `x`: `[n, k]`; `center`: `[1, k]`; output: `[n, k]`
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn sharpened_softmax(x: &Tensor, center: Option<&Tensor>, temperature: f64) -> error::Result<Tensor> {
    let x = x.detach();
    let (_, k) = x.dims2()?;
    if is_fused(&x) {
        let center = center.map(|center| center.flatten_all()?.to_vec1::<f32>()).transpose()?;
        if center.as_ref().is_some_and(|center| center.len() != k) {
            return Err(candle_core::Error::Msg(format!("a center of another width than {k}")).into());
        }
        let op = Sharpened { center, scale: (1.0 / temperature) as f32 };
        return Ok(x.contiguous()?.apply_op1_no_bwd(&op)?);
    }
    let centred = match center {
        Some(center) => x.broadcast_sub(center)?,
        None => x,
    };
    Ok(candle_nn::ops::softmax(&(centred / temperature)?, D::Minus1)?)
}

struct Sharpened {
    center: Option<Vec<f32>>,
    scale: f32,
}

impl CustomOp1 for Sharpened {
    fn name(&self) -> &'static str {
        "sharpened-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, k) = layout.shape().dims2()?;
        let out = distillation::sharpened(slice(storage, layout)?, self.center.as_deref(), k, self.scale);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

/// Sum over all pairs of `weight * -sum_k target_k log softmax(logits / temperature)_k`.
///
/// # Shapes
/// - `logits`: `[m, k]`; `targets`: `[n, k]`, rows that sum to 1, without gradient; `pairs`: m rows; output: scalar
///
/// # Errors
/// If shapes do not fit, or candle refuses.
pub fn soft_cross_entropy(logits: &Tensor, targets: &Tensor, pairs: &Pairs, temperature: f64) -> error::Result<Tensor> {
    let ((m, k), (n, width)) = (logits.dims2()?, targets.dims2()?);
    pairs.check(m, n)?;
    if k != width {
        return Err(candle_core::Error::Msg(format!("targets of {width} classes for logits of {k}")).into());
    }
    let targets = targets.detach();
    if is_fused(logits) {
        let op = SoftCrossEntropy { pairs: pairs.clone(), scale: (1.0 / temperature) as f32 };
        return Ok(logits.contiguous()?.apply_op2(&targets.contiguous()?, op)?);
    }
    let log_probs = candle_nn::ops::log_softmax(&(logits / temperature)?, D::Minus1)?; // [m, k]
    let mixed = pairs.matrix(n, logits)?.to_dtype(logits.dtype())?.matmul(&targets)?; // [m, k]
    Ok((mixed * log_probs)?.sum_all()?.neg()?)
}

struct SoftCrossEntropy {
    pairs: Pairs,
    scale: f32,
}

impl SoftCrossEntropy {
    fn targets<'a>(&'a self, values: &'a [f32]) -> Targets<'a> {
        Targets { values, starts: &self.pairs.starts, entries: &self.pairs.entries }
    }
}

impl CustomOp2 for SoftCrossEntropy {
    fn name(&self) -> &'static str {
        "soft-cross-entropy"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, k) = l1.shape().dims2()?;
        let sum = distillation::soft_cross_entropy(slice(s1, l1)?, k, &self.targets(slice(s2, l2)?), self.scale);
        Ok((CpuStorage::F32(vec![sum as f32]), Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if targets.track_op() {
            bail!("the targets of a soft cross-entropy have no gradient");
        }
        let (_, k) = logits.dims2()?;
        let (xs, ts) = (values(logits)?, values(targets)?);
        let factor = grad.to_scalar::<f32>()?;
        let dx = distillation::soft_cross_entropy_backward(&xs, k, &self.targets(&ts), self.scale, factor);
        Ok((Some(Tensor::from_vec(dx, logits.dims(), logits.device())?), None))
    }
}
