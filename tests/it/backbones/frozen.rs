//! Encoders of others as candle-transformers builds them: what their files must hold.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use reid_backbones::frozen::FrozenEncoder;
use reid_backbones::frozen::spec::{BeitSpec, Dinov2Spec, FrozenEncoderSpec};
use reid_backbones::spec::VitSize;
use reid_backbones::{Result, weights};
use reid_tests::tensors::{bits, in_pool, normal, rng, values};

/// Width, blocks and heads of `micro`.
const DIMS: (usize, usize, usize) = (96, 4, 3);
/// Relative positions of 24 x 24 cells, and three for the class token.
const OFFSETS: usize = 47 * 47 + 3;

/// A file of an architecture, by the names that its authors gave; every tensor matters.
fn tensors(is_beit: bool) -> BTreeMap<String, Vec<usize>> {
    let (width, depth, heads) = DIMS;
    let patch = if is_beit { 16 } else { 14 };
    let mut shapes = BTreeMap::from([
        ("cls_token".to_owned(), vec![1, 1, width]),
        ("mask_token".to_owned(), vec![1, width]),
        ("patch_embed.proj.weight".to_owned(), vec![width, 3, patch, patch]),
        ("patch_embed.proj.bias".to_owned(), vec![width]),
        ("norm.weight".to_owned(), vec![width]),
        ("norm.bias".to_owned(), vec![width]),
    ]);
    if !is_beit {
        shapes.insert("pos_embed".to_owned(), vec![1, 1 + 37 * 37, width]);
    }
    let scales = if is_beit { ["gamma_1", "gamma_2"] } else { ["ls1.gamma", "ls2.gamma"] };
    for i in 0..depth {
        let mut add = |name: &str, shape: &[usize]| shapes.insert(format!("blocks.{i}.{name}"), shape.to_vec());
        for name in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attn.proj.bias", "mlp.fc2.bias"] {
            add(name, &[width]);
        }
        for name in scales {
            add(name, &[width]);
        }
        add("attn.qkv.weight", &[3 * width, width]);
        add("attn.proj.weight", &[width, width]);
        add("mlp.fc1.weight", &[4 * width, width]);
        add("mlp.fc1.bias", &[4 * width]);
        add("mlp.fc2.weight", &[width, 4 * width]);
        if is_beit {
            add("attn.q_bias", &[width]);
            add("attn.v_bias", &[width]);
            add("attn.relative_position_bias_table", &[OFFSETS, heads]);
        } else {
            add("attn.qkv.bias", &[3 * width]);
        }
    }
    shapes
}

fn write(path: &Path, shapes: &BTreeMap<String, Vec<usize>>) -> Result<()> {
    let tensor = |(i, (name, shape)): (usize, (&String, &Vec<usize>))| {
        let mut rng = rng(7, i as u32);
        let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| 0.2 * rng.normal() as f32).collect();
        Ok((name.clone(), Tensor::from_vec(numbers, shape.as_slice(), &Device::Cpu)?))
    };
    weights::write(path, &shapes.iter().enumerate().map(tensor).collect::<Result<_>>()?)
}

fn spec(is_beit: bool, path: &Path, size: VitSize) -> FrozenEncoderSpec {
    let path = path.display().to_string();
    if is_beit {
        FrozenEncoderSpec::Beit(BeitSpec { path, size })
    } else {
        FrozenEncoderSpec::Dinov2(Dinov2Spec { path, size })
    }
}

/// What a file with these tensors is refused with.
fn refusal(is_beit: bool, size: VitSize, shapes: &BTreeMap<String, Vec<usize>>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.safetensors");
    write(&path, shapes).unwrap();
    FrozenEncoder::open(&spec(is_beit, &path, size), &Device::Cpu).err().expect("a refusal").to_string()
}

#[test]
fn every_picture_has_its_own_features() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for (is_beit, side, cells) in [(false, 518, 37 * 37), (true, 384, 24 * 24)] {
        let path = folder.path().join(format!("{is_beit}.safetensors"));
        write(&path, &tensors(is_beit))?;
        let (encoder, report) = FrozenEncoder::open(&spec(is_beit, &path, VitSize::Micro), &Device::Cpu)?;
        assert_eq!(report.left_out, ["mask_token", "norm.bias", "norm.weight"]);
        assert_eq!((encoder.image(), encoder.width()), ((side, side), DIMS.0));
        let images = normal(1, (3, 3, side, side));
        let all = encoder.features(&images)?;
        assert_eq!((all.dims(), all.dtype()), (&[3, cells, DIMS.0][..], DType::F32));
        assert!(values(&all).iter().all(|value| value.is_finite()));
        for i in 0..3 {
            let one = in_pool(3, || encoder.features(&images.narrow(0, i, 1)?))?;
            assert_eq!(bits(&one), bits(&all.narrow(0, i, 1)?.contiguous()?), "picture {i}");
        }
        assert_ne!(bits(&all.narrow(0, 0, 1)?.contiguous()?), bits(&all.narrow(0, 1, 1)?.contiguous()?));
    }
    Ok(())
}

#[test]
fn one_table_of_relative_positions_serves_all_blocks() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let mut shapes = tensors(true);
    shapes.retain(|name, _| !name.contains("relative_position"));
    shapes.insert("rel_pos_bias.relative_position_bias_table".to_owned(), vec![OFFSETS, DIMS.2]);
    let path = folder.path().join("shared.safetensors");
    write(&path, &shapes)?;
    let (encoder, report) = FrozenEncoder::open(&spec(true, &path, VitSize::Micro), &Device::Cpu)?;
    assert!(report.used.iter().filter(|name| name.contains("relative_position")).count() == DIMS.1);
    let images = Tensor::zeros((1, 3, 384, 384), DType::F32, &Device::Cpu)?;
    assert_eq!(encoder.features(&images)?.dims(), [1, 24 * 24, DIMS.0]);
    Ok(())
}

#[test]
fn files_of_another_architecture_are_refused_with_the_way_out() {
    let (dinov2, beit) = (tensors(false), tensors(true));
    let with = |base: &BTreeMap<String, Vec<usize>>, name: &str, shape: &[usize]| {
        let mut shapes = base.clone();
        shapes.insert(name.to_owned(), shape.to_vec());
        shapes
    };
    let plain: BTreeMap<_, _> = dinov2.clone().into_iter().filter(|(name, _)| !name.contains("gamma")).collect();
    let small = with(&beit, "blocks.0.attn.relative_position_bias_table", &[27 * 27 + 3, 3]);
    let cases = [
        (false, VitSize::Micro, with(&dinov2, "register_tokens", &[1, 4, 96]), "without them"),
        (false, VitSize::Micro, plain, "frozen: {vit: ..}"),
        (false, VitSize::Small, dinov2.clone(), "of another `size`"),
        (false, VitSize::Micro, beit.clone(), "frozen: {beit: ..}"),
        (true, VitSize::Micro, dinov2.clone(), "frozen: {dinov2: ..}"),
        (true, VitSize::Micro, small, "BEiT is read at 384"),
        (false, VitSize::Micro, with(&dinov2, "pos_embed", &[1, 257, 96]), "DINOv2 at 518 pixels"),
    ];
    for (is_beit, size, shapes, part) in cases {
        let text = refusal(is_beit, size, &shapes);
        assert!(text.contains(part) && text.contains("encoder.safetensors"), "{part} not in: {text}");
    }
    let other = BTreeMap::from([("conv1.weight".to_owned(), vec![4, 3, 7, 7])]);
    assert!(refusal(false, VitSize::Micro, &other).contains("no Vision Transformer"));
}
