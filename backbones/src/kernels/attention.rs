//! Multi-head attention straight on packed projections, without moving heads about.

use rayon::prelude::*;

use super::gemm::{Mat, Write, product};
use super::rows::{softmax, softmax_again, softmax_backward};

/// Where the queries, keys and values of one sample lie: `[n, stride]` rows, heads side by side.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a> {
    pub(crate) data: &'a [f32],
    /// Elements from token to token.
    pub(crate) stride: usize,
    /// First channel of the part.
    pub(crate) offset: usize,
    /// Tokens per sample.
    pub(crate) tokens: usize,
}

impl<'a> Packed<'a> {
    fn head(&self, sample: usize, head: usize, dim: usize) -> Mat<'a> {
        let start = sample * self.tokens * self.stride + self.offset + head * dim;
        Mat::strided(&self.data[start..], self.tokens, dim, self.stride)
    }
}

/// Batch, heads and head width.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) samples: usize,
    pub(crate) count: usize,
    pub(crate) dim: usize,
}

impl Heads {
    fn scale(self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn width(self) -> usize {
        self.count * self.dim
    }
}

/// `out [b, n, h*d]` for queries of n tokens and keys and values of m tokens, and the logarithms
/// `[b, h, n]` of the softmaxes' sums, from which the backward pass makes the probabilities again: no
/// more of them than one head's at a time exist.
pub(crate) fn forward(shape: Heads, q: Packed, k: Packed, v: Packed) -> (Vec<f32>, Vec<f32>) {
    let (n, m, width) = (q.tokens, k.tokens, shape.width());
    let mut out = vec![0.0; shape.samples * n * width];
    let mut log_sums = vec![0.0; shape.samples * shape.count * n];
    out.par_chunks_mut(n * width).zip(log_sums.par_chunks_mut(shape.count * n)).enumerate().for_each(
        |(sample, (out, log_sums))| {
            let mut probs = vec![0.0; n * m];
            for (head, log_sums) in log_sums.chunks_exact_mut(n).enumerate() {
                let [q, k, v] = [q, k, v].map(|part| part.head(sample, head, shape.dim));
                product(&mut probs, m, Write::Replace, shape.scale(), q, k.t());
                softmax(&mut probs, m, log_sums);
                let out = &mut out[head * shape.dim..];
                product(out, width, Write::Replace, 1.0, Mat::new(&probs, n, m), v);
            }
        },
    );
    (out, log_sums)
}

/// The probabilities `[n, m]` of one head of one sample, again.
fn probabilities(shape: Heads, q: Mat, k: Mat, log_sums: &[f32], probs: &mut [f32]) {
    product(probs, k.rows(), Write::Replace, shape.scale(), q, k.t());
    softmax_again(probs, k.rows(), log_sums);
}

/// Gradients of a self-attention whose queries, keys and values lie packed as `[b, n, 3 h d]`:
/// writes `dqkv` of the same layout.
pub(crate) fn backward_packed(
    shape: Heads,
    qkv: &[f32],
    tokens: usize,
    log_sums: &[f32],
    dout: &[f32],
    dqkv: &mut [f32],
) {
    let (n, width) = (tokens, shape.width());
    let stride = 3 * width;
    dqkv.par_chunks_mut(n * stride).enumerate().for_each(|(sample, grad)| {
        let part = |index: usize| Packed { data: qkv, stride, offset: index * width, tokens };
        let (mut probs, mut dp) = (vec![0.0; n * n], vec![0.0; n * n]);
        for head in 0..shape.count {
            let dout = Packed { data: dout, stride: width, offset: 0, tokens }.head(sample, head, shape.dim);
            let [q, k, v] = [0, 1, 2].map(|index| part(index).head(sample, head, shape.dim));
            probabilities(shape, q, k, &log_sums[(sample * shape.count + head) * n..][..n], &mut probs);
            let at = |index: usize| index * width + head * shape.dim;
            product(&mut grad[at(2)..], stride, Write::Replace, 1.0, Mat::new(&probs, n, n).t(), dout);
            product(&mut dp, n, Write::Replace, 1.0, dout, v.t());
            softmax_backward(&probs, &mut dp, n);
            product(&mut grad[at(0)..], stride, Write::Replace, shape.scale(), Mat::new(&dp, n, n), k);
            product(&mut grad[at(1)..], stride, Write::Replace, shape.scale(), Mat::new(&dp, n, n).t(), q);
        }
    });
}

/// Gradients of a cross-attention: queries `[b, n, h d]`, keys and values packed as `[b, m, 2 h d]`.
#[expect(clippy::too_many_arguments, reason = "two projections, their gradients and the saved state of one operator")]
pub(crate) fn backward_cross(
    shape: Heads,
    q: &[f32],
    kv: &[f32],
    tokens: (usize, usize),
    log_sums: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dkv: &mut [f32],
) {
    let ((n, m), width) = (tokens, shape.width());
    let stride = 2 * width;
    let pairs = dq.par_chunks_mut(n * width).zip(dkv.par_chunks_mut(m * stride));
    pairs.enumerate().for_each(|(sample, (dq, dkv))| {
        let (mut probs, mut dp) = (vec![0.0; n * m], vec![0.0; n * m]);
        for head in 0..shape.count {
            let queries = |data| Packed { data, stride: width, offset: 0, tokens: n }.head(sample, head, shape.dim);
            let keys = |offset| Packed { data: kv, stride, offset, tokens: m }.head(sample, head, shape.dim);
            let (dout, at) = (queries(dout), head * shape.dim);
            let log_sums = &log_sums[(sample * shape.count + head) * n..][..n];
            probabilities(shape, queries(q), keys(0), log_sums, &mut probs);
            product(&mut dkv[width + at..], stride, Write::Replace, 1.0, Mat::new(&probs, n, m).t(), dout);
            product(&mut dp, m, Write::Replace, 1.0, dout, keys(width).t());
            softmax_backward(&probs, &mut dp, m);
            product(&mut dq[at..], width, Write::Replace, shape.scale(), Mat::new(&dp, n, m), keys(0));
            product(&mut dkv[at..], stride, Write::Replace, shape.scale(), Mat::new(&dp, n, m).t(), queries(q));
        }
    });
}
