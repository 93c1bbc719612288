//! An encoder as ONNX, for programs that run networks without training them.
//!
//! Input `images`, `[batch, 3, h, w]`, normalized as in training; outputs `feature`, `[batch, d]`, the class token
//! after the final norm, and `tokens`, `[batch, prefix + k, d]`. The batch is free, the picture's size is not:
//! positions are for one grid. GELU is written out by its error function, which every version of ONNX has.

mod graph;
mod protobuf;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::encoder::Encoder;
use crate::error::{BackboneError, Result};
use crate::ops::LAYER_NORM_EPS;
use crate::vit::{STEM_EPS, STEM_KERNELS, Vit};
use graph::{Attribute, Graph, Side};

/// The file's bytes. `tensors` is what [`super::encoder_tensors`] gives.
///
/// # Errors
/// If a tensor is missing, or candle refuses.
pub fn onnx(vit: &Vit, tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let dims = vit.dims();
    let mut writer = Writer { graph: Graph::default(), tensors };
    let (patches, count) = writer.patches(vit)?;
    let (mut x, prefix) = writer.with_prefix(&patches, dims.width)?;
    for i in 0..dims.depth {
        x = writer.block(&x, &format!("blocks.{i}."), dims.width, dims.heads)?;
    }
    writer.layer_norm(&x, "norm.", Some("tokens"))?;
    let first = writer.graph.index(0);
    writer.graph.named("Gather", &["tokens", &first], &[("axis", Attribute::Int(1))], &["feature".to_owned()]);
    let (h, w) = vit.image();
    let input = [Side::Batch, Side::Fixed(3), Side::Fixed(h), Side::Fixed(w)];
    let feature = [Side::Batch, Side::Fixed(dims.width)];
    let tokens = [Side::Batch, Side::Fixed(prefix + count), Side::Fixed(dims.width)];
    Ok(writer.graph.finish(("images", &input), &[("feature", &feature), ("tokens", &tokens)], metadata))
}

struct Writer<'a> {
    graph: Graph,
    tensors: &'a BTreeMap<String, Tensor>,
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&value| value as i64).collect())
}

impl Writer<'_> {
    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| BackboneError::UnknownParameter { name: name.to_owned() })
    }

    /// A weight as a constant of its own name.
    fn weight(&mut self, name: &str) -> Result<String> {
        let tensor = self.tensor(name)?.clone();
        self.constant(name, &tensor)
    }

    fn constant(&mut self, name: &str, tensor: &Tensor) -> Result<String> {
        Ok(self.graph.floats(name, tensor.dims(), &tensor.flatten_all()?.to_vec1::<f32>()?))
    }

    fn scalar(&mut self, name: &str, value: f64) -> String {
        self.graph.floats(name, &[], &[value as f32])
    }

    /// `[batch, k, d]` with positions, and k.
    fn patches(&mut self, vit: &Vit) -> Result<(String, usize)> {
        let (mut x, mut side, mut stride) = ("images".to_owned(), vit.patch(), vit.stride());
        if self.tensors.contains_key("patch_embed.conv.0.weight") {
            x = self.stem(&x)?;
            side /= STEM_KERNELS[0].1;
            stride = side;
        }
        let (weight, bias) = (self.weight("patch_embed.proj.weight")?, self.weight("patch_embed.proj.bias")?);
        let attributes = [("kernel_shape", ints(&[side, side])), ("strides", ints(&[stride, stride]))];
        x = self.graph.node("Conv", &[&x, &weight, &bias], &attributes); // [batch, d, rows, cols]
        let (rows, cols) = vit.grid();
        let shape = self.graph.ints(&[0, vit.dims().width as i64, (rows * cols) as i64]);
        x = self.graph.node("Reshape", &[&x, &shape], &[]);
        x = self.graph.node("Transpose", &[&x], &[("perm", ints(&[0, 2, 1]))]); // [batch, k, d]
        let positions = self.tensor("pos_embed")?.narrow(1, 1, rows * cols)?;
        let positions = self.constant("pos_embed.patches", &positions)?;
        Ok((self.graph.node("Add", &[&x, &positions], &[]), rows * cols))
    }

    /// TransReID-SSL's convolutions with their norms.
    fn stem(&mut self, images: &str) -> Result<String> {
        let mut x = images.to_owned();
        for (i, (side, stride, padding)) in STEM_KERNELS.into_iter().enumerate() {
            let (conv, norm) = (format!("patch_embed.conv.{}.", 3 * i), format!("patch_embed.conv.{}.", 3 * i + 1));
            let weight = self.weight(&format!("{conv}weight"))?;
            let attributes = [
                ("kernel_shape", ints(&[side, side])),
                ("strides", ints(&[stride, stride])),
                ("pads", ints(&[padding; 4])),
            ];
            x = self.graph.node("Conv", &[&x, &weight], &attributes);
            x = if self.tensors.contains_key(&format!("{norm}IN.weight")) {
                let half = self.tensor(&format!("{norm}IN.weight"))?.dim(0)? as i64;
                let rest = self.tensor(&format!("{norm}BN.weight"))?.dim(0)? as i64;
                let sizes = self.graph.ints(&[half, rest]);
                let halves = self.graph.nodes("Split", &[&x, &sizes], &[("axis", Attribute::Int(1))], 2);
                let (scale, bias) =
                    (self.weight(&format!("{norm}IN.weight"))?, self.weight(&format!("{norm}IN.bias"))?);
                let eps = [("epsilon", Attribute::Float(STEM_EPS as f32))];
                let first = self.graph.node("InstanceNormalization", &[&halves[0], &scale, &bias], &eps);
                let second = self.batch_norm(&halves[1], &format!("{norm}BN."))?;
                self.graph.node("Concat", &[&first, &second], &[("axis", Attribute::Int(1))])
            } else {
                self.batch_norm(&x, &norm)?
            };
            x = self.graph.node("Relu", &[&x], &[]);
        }
        Ok(x)
    }

    fn batch_norm(&mut self, x: &str, name: &str) -> Result<String> {
        let mut inputs = vec![x.to_owned()];
        for part in ["weight", "bias", "running_mean", "running_var"] {
            inputs.push(self.weight(&format!("{name}{part}"))?);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        Ok(self.graph.node("BatchNormalization", &inputs, &[("epsilon", Attribute::Float(STEM_EPS as f32))]))
    }

    /// Class token and part tokens before the patches, and how many they are.
    fn with_prefix(&mut self, patches: &str, width: usize) -> Result<(String, usize)> {
        let mut prefix = vec![(self.tensor("cls_token")? + self.tensor("pos_embed")?.narrow(1, 0, 1)?)?];
        while let Some(own) = self.tensors.get(&format!("part_token{}", prefix.len())) {
            prefix.push((own + self.tensor(&format!("part{}_pos", prefix.len()))?)?);
        }
        let count = prefix.len();
        let prefix = self.constant("prefix", &Tensor::cat(&prefix, 1)?)?; // [1, prefix, d]
        let ends = [("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
        let batch = self.graph.node("Shape", &["images"], &ends);
        let rest = self.graph.ints(&[count as i64, width as i64]);
        let shape = self.graph.node("Concat", &[&batch, &rest], &[("axis", Attribute::Int(0))]);
        let prefix = self.graph.node("Expand", &[&prefix, &shape], &[]);
        Ok((self.graph.node("Concat", &[&prefix, patches], &[("axis", Attribute::Int(1))]), count))
    }

    fn layer_norm(&mut self, x: &str, name: &str, output: Option<&str>) -> Result<String> {
        let (scale, bias) = (self.weight(&format!("{name}weight"))?, self.weight(&format!("{name}bias"))?);
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(LAYER_NORM_EPS as f32))];
        let inputs = [x, &scale, &bias];
        match output {
            Some(output) => {
                self.graph.named("LayerNormalization", &inputs, &attributes, &[output.to_owned()]);
                Ok(output.to_owned())
            }
            None => Ok(self.graph.node("LayerNormalization", &inputs, &attributes)),
        }
    }

    fn linear(&mut self, x: &str, name: &str) -> Result<String> {
        let transposed = self.tensor(&format!("{name}weight"))?.t()?.contiguous()?; // [i, o]
        let weight = self.constant(&format!("{name}weight"), &transposed)?;
        let bias = self.weight(&format!("{name}bias"))?;
        let product = self.graph.node("MatMul", &[x, &weight], &[]);
        Ok(self.graph.node("Add", &[&product, &bias], &[]))
    }

    fn block(&mut self, x: &str, name: &str, width: usize, heads: usize) -> Result<String> {
        let y = self.layer_norm(x, &format!("{name}norm1."), None)?;
        let y = self.attention(&y, &format!("{name}attn."), width, heads)?;
        let x = self.graph.node("Add", &[x, &y], &[]);
        let y = self.layer_norm(&x, &format!("{name}norm2."), None)?;
        let y = self.linear(&y, &format!("{name}mlp.fc1."))?;
        let y = self.gelu(&y, &format!("{name}mlp."));
        let y = self.linear(&y, &format!("{name}mlp.fc2."))?;
        Ok(self.graph.node("Add", &[&x, &y], &[]))
    }

    fn attention(&mut self, x: &str, name: &str, width: usize, heads: usize) -> Result<String> {
        let head = width / heads;
        let qkv = self.linear(x, &format!("{name}qkv."))?; // [batch, n, 3 * d]
        let shape = self.graph.ints(&[0, 0, 3, heads as i64, head as i64]);
        let qkv = self.graph.node("Reshape", &[&qkv, &shape], &[]);
        let qkv = self.graph.node("Transpose", &[&qkv], &[("perm", ints(&[2, 0, 3, 1, 4]))]); // [3, batch, h, n, d / h]
        let third = |writer: &mut Self, which: i64| {
            let index = writer.graph.index(which);
            writer.graph.node("Gather", &[&qkv, &index], &[("axis", Attribute::Int(0))])
        };
        let (q, k, v) = (third(self, 0), third(self, 1), third(self, 2));
        let scale = self.scalar(&format!("{name}scale"), (head as f64).powf(-0.5));
        let q = self.graph.node("Mul", &[&q, &scale], &[]);
        let k = self.graph.node("Transpose", &[&k], &[("perm", ints(&[0, 1, 3, 2]))]);
        let scores = self.graph.node("MatMul", &[&q, &k], &[]); // [batch, h, n, n]
        let weights = self.graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let mixed = self.graph.node("MatMul", &[&weights, &v], &[]);
        let mixed = self.graph.node("Transpose", &[&mixed], &[("perm", ints(&[0, 2, 1, 3]))]);
        let shape = self.graph.ints(&[0, 0, width as i64]);
        let mixed = self.graph.node("Reshape", &[&mixed, &shape], &[]); // [batch, n, d]
        self.linear(&mixed, &format!("{name}proj."))
    }

    /// `x / 2 (1 + erf(x / sqrt 2))`.
    fn gelu(&mut self, x: &str, name: &str) -> String {
        let root = self.scalar(&format!("{name}root"), std::f64::consts::SQRT_2);
        let one = self.scalar(&format!("{name}one"), 1.0);
        let half = self.scalar(&format!("{name}half"), 0.5);
        let inner = self.graph.node("Div", &[x, &root], &[]);
        let erf = self.graph.node("Erf", &[&inner], &[]);
        let sum = self.graph.node("Add", &[&erf, &one], &[]);
        let product = self.graph.node("Mul", &[x, &sum], &[]);
        self.graph.node("Mul", &[&product, &half], &[])
    }
}
