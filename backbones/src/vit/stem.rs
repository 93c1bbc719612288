//! The convolutional stem of TransReID-SSL (Luo et al., arXiv 2111.12084, section 3.4): three convolutions with
//! instance and batch norms (IBN, Pan et al., arXiv 1807.09441) on half the resolution. Composed of candle's own
//! operations.

use candle_core::{D, Tensor};

use crate::error::Result;
use crate::init::{Init, InitSource};
use crate::params::{ModuleId, ParamDef, ParamStore, Params, Role, view};

/// Channels between the convolutions.
pub(super) const CHANNELS: usize = 64;
/// Pixels between two cells of the stem's map.
pub(super) const STRIDE: usize = 2;
/// Side, stride and padding of each convolution's kernel.
pub(crate) const KERNELS: [(usize, usize, usize); 3] = [(7, STRIDE, 3), (3, 1, 1), (3, 1, 1)];
/// Added to variances (PyTorch's default).
pub(crate) const EPS: f64 = 1e-5;
/// Share of the newest batch in running statistics (PyTorch's default).
const MOMENTUM: f64 = 0.1;

/// Convolution, norm and rectifier, three times.
#[derive(Clone, Debug)]
pub(super) struct IcsStem {
    layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
struct Layer {
    kernel: ModuleId,
    norm: ModuleId,
    statistics: ModuleId,
    /// Channels, counted from the first, that are normalized by picture instead of by batch.
    by_picture: usize,
}

impl IcsStem {
    /// Defines the parameters with the names of TransReID-SSL.
    pub(super) fn build(prefix: &str, store: &mut ParamStore, source: &InitSource) -> Result<Self> {
        let mut layers = Vec::with_capacity(KERNELS.len());
        for (i, (side, _, _)) in KERNELS.into_iter().enumerate() {
            let inputs = if i == 0 { 3 } else { CHANNELS };
            let (conv, norm) = (format!("{prefix}patch_embed.conv.{}", 3 * i), 3 * i + 1);
            // Kaiming's normal over outputs, as TransReID-SSL starts its convolutions.
            let std = (2.0 / (side * side * CHANNELS) as f64).sqrt();
            let shape = vec![CHANNELS, inputs, side, side];
            let weight = ParamDef { name: "weight", shape, role: Role::Weight, init: Init::Normal(std) };
            let kernel = store.add(&conv, 0, &[weight], source)?;
            // The last norm is of batches alone.
            let is_last = i + 1 == KERNELS.len();
            let by_picture = if is_last { 0 } else { CHANNELS / 2 };
            let by_batch = CHANNELS - by_picture;
            let names: &[(&'static str, &'static str, usize)] = if is_last {
                &[("weight", "bias", CHANNELS)]
            } else {
                &[("IN.weight", "IN.bias", CHANNELS / 2), ("BN.weight", "BN.bias", CHANNELS / 2)]
            };
            let mut defs = Vec::with_capacity(4);
            for &(weight, bias, channels) in names {
                let def =
                    |name, role, value| ParamDef { name, shape: vec![channels], role, init: Init::Constant(value) };
                defs.extend([def(weight, Role::Scale, 1.0), def(bias, Role::Bias, 0.0)]);
            }
            let module = format!("{prefix}patch_embed.conv.{norm}");
            let id = store.add(&module, 0, &defs, source)?;
            let running = |name, value| ParamDef {
                name,
                shape: vec![by_batch],
                role: Role::Statistic,
                init: Init::Constant(value),
            };
            // Two modules of one name would overwrite each other in checkpoints.
            let (module, [mean, variance]) = if is_last {
                (format!("{prefix}patch_embed.conv"), ["7.running_mean", "7.running_var"])
            } else {
                (format!("{module}.BN"), ["running_mean", "running_var"])
            };
            let statistics = store.add(&module, 0, &[running(mean, 0.0), running(variance, 1.0)], source)?;
            layers.push(Layer { kernel, norm: id, statistics, by_picture });
        }
        Ok(Self { layers })
    }

    /// The map that patches are cut from.
    ///
    /// # Shapes
    /// - `images`: `[b, 3, h, w]`; output: `[b, 64, h / 2, w / 2]`
    pub(super) fn forward(
        &self,
        params: &Params,
        images: &Tensor,
        batch_statistics: bool,
        seen: &mut Vec<Tensor>,
    ) -> Result<Tensor> {
        let mut x = images.clone();
        for (layer, (_, stride, padding)) in self.layers.iter().zip(KERNELS) {
            x = x.contiguous()?.conv2d(&params.tensor(layer.kernel)?, padding, stride, 1, 1)?; // [b, c, h', w']
            x = layer.normalize(params, &x, batch_statistics, seen)?.relu()?;
        }
        Ok(x)
    }

    /// Moves the running statistics a tenth of the way to a batch's.
    pub(super) fn learn(&self, store: &ParamStore, seen: &[Tensor]) -> Result<()> {
        for (layer, of_batch) in self.layers.iter().zip(seen.chunks_exact(2)) {
            for (entry, of_batch) in store.module(layer.statistics).entries.iter().zip(of_batch) {
                let name = || crate::BackboneError::UnknownParameter { name: entry.name.clone() };
                let running = store.get(&entry.name).ok_or_else(name)??;
                store.set(&entry.name, &((running * (1.0 - MOMENTUM))? + (of_batch * MOMENTUM)?)?)?;
            }
        }
        Ok(())
    }
}

impl Layer {
    /// Instance norm of the first channels, batch norm of the others.
    fn normalize(&self, params: &Params, x: &Tensor, batch_statistics: bool, seen: &mut Vec<Tensor>) -> Result<Tensor> {
        let (b, channels, h, w) = x.dims4()?;
        let (buffer, entries) = (params.buffer(self.norm), params.entries(self.norm));
        let scaled = |x: &Tensor, first: usize| -> Result<Tensor> {
            let shape =
                |i: usize| Ok::<Tensor, crate::BackboneError>(view(&buffer, &entries[i])?.reshape((1, (), 1, 1))?);
            Ok(x.broadcast_mul(&shape(first)?)?.broadcast_add(&shape(first + 1)?)?)
        };
        let rest = x.narrow(1, self.by_picture, channels - self.by_picture)?;
        let of_batch = if batch_statistics {
            let pixels = rest.transpose(0, 1)?.flatten(1, 3)?; // [c, b * h * w]
            let mean = pixels.mean_keepdim(1)?; // [c, 1]
            let squares = pixels.broadcast_sub(&mean)?.sqr()?.sum_keepdim(1)?;
            let count = (b * h * w) as f64;
            // Remembered with the unbiased variance, normalized with the biased one, as PyTorch.
            let unbiased = (squares.detach() / (count - 1.0).max(1.0))?.flatten_all()?;
            seen.extend([mean.detach().flatten_all()?, unbiased]);
            standardized(&rest, &mean.reshape((1, (), 1, 1))?, &(squares / count)?.reshape((1, (), 1, 1))?)?
        } else {
            let (buffer, entries) = (params.buffer(self.statistics).detach(), params.entries(self.statistics));
            let mean = view(&buffer, &entries[0])?.reshape((1, (), 1, 1))?;
            standardized(&rest, &mean, &view(&buffer, &entries[1])?.reshape((1, (), 1, 1))?)?
        };
        if self.by_picture == 0 {
            return scaled(&of_batch, 0);
        }
        let first = x.narrow(1, 0, self.by_picture)?.flatten_from(2)?; // [b, c, h * w]
        let mean = first.mean_keepdim(D::Minus1)?;
        let variance = first.broadcast_sub(&mean)?.sqr()?.mean_keepdim(D::Minus1)?;
        let of_picture = standardized(&first, &mean, &variance)?.reshape((b, self.by_picture, h, w))?;
        Ok(Tensor::cat(&[scaled(&of_picture, 0)?, scaled(&of_batch, 2)?], 1)?)
    }
}

fn standardized(x: &Tensor, mean: &Tensor, variance: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(mean)?.broadcast_div(&(variance + EPS)?.sqrt()?)?)
}
