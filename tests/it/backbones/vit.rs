//! The Vision Transformer: a second opinion, what may not change its numbers, and its sizes.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::vit as second;
use reid_backbones::init::Init;
use reid_backbones::ops::layer_norm;
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::vit::{block_defs, sincos_2d};
use reid_backbones::{Capture, Encoder, Input, Keep, MaskedPatches, ParamStore, Result, Vit};
use reid_objectives::random::init_source;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{bits, in_pool, named_gradients, normal, randomize, values};

use super::fixture::{DIMS, spec, tiny};

/// Tokens, absolute: two ways to add the same numbers.
const TOKENS: f64 = 2e-5;

/// A store's tensors under the names of Hugging Face's ViT, with a classifier that changes nothing.
fn second_weights(store: &ParamStore) -> Result<HashMap<String, Tensor>> {
    let mut out = HashMap::new();
    for (name, tensor) in store.tensors()? {
        let name = name
            .replace("patch_embed.proj.", "embeddings.patch_embeddings.projection.")
            .replace("attn.proj.", "attention.output.dense.")
            .replace("mlp.fc1.", "intermediate.dense.")
            .replace("mlp.fc2.", "output.dense.")
            .replace("norm1.", "layernorm_before.")
            .replace("norm2.", "layernorm_after.")
            .replace("blocks.", "encoder.layer.");
        if let Some((block, rest)) = name.split_once("attn.qkv.") {
            for (part, piece) in ["query", "key", "value"].into_iter().zip(tensor.chunk(3, 0)?) {
                out.insert(format!("vit.{block}attention.attention.{part}.{rest}"), piece);
            }
            continue;
        }
        let name = match name.as_str() {
            "cls_token" => "embeddings.cls_token".to_owned(),
            "pos_embed" => "embeddings.position_embeddings".to_owned(),
            _ => name.strip_prefix("norm.").map_or(name.clone(), |rest| format!("layernorm.{rest}")),
        };
        out.insert(format!("vit.{name}"), tensor);
    }
    let width = store.get("cls_token").expect("a class token")?.dim(2)?;
    out.insert("classifier.weight".to_owned(), Tensor::eye(width, DType::F32, &Device::Cpu)?);
    out.insert("classifier.bias".to_owned(), Tensor::zeros(width, DType::F32, &Device::Cpu)?);
    Ok(out)
}

#[test]
fn class_token_equals_another_implementation_s() -> Result<()> {
    for (dims, side, patch) in [
        (VitDims { width: 48, depth: 3, heads: 3 }, 32, 8),
        (VitDims { width: 32, depth: 2, heads: 1 }, 36, 12),
        (VitDims { width: 40, depth: 1, heads: 4 }, 16, 16),
    ] {
        let mut store = ParamStore::new(&Device::Cpu);
        let spec = VitSpec { patch, ..spec([side, side]) };
        let vit = Vit::with_dims(dims, &spec, "", &mut store, &init_source(0))?;
        randomize(&store, 2);
        let config = second::Config {
            hidden_size: dims.width,
            num_hidden_layers: dims.depth,
            num_attention_heads: dims.heads,
            intermediate_size: 4 * dims.width,
            hidden_act: Activation::Gelu,
            layer_norm_eps: 1e-6,
            image_size: side,
            patch_size: patch,
            num_channels: 3,
            qkv_bias: true,
        };
        let builder = VarBuilder::from_tensors(second_weights(&store)?, DType::F32, &Device::Cpu);
        let other = second::Model::new(&config, dims.width, builder)?;
        let images = normal(3, (3, 3, side, side));
        let ours = vit.forward(&store.frozen(), &images, &Input::default())?.class()?;
        let worst = max_abs(&values(&ours), &values(&other.forward(&images)?));
        assert!(worst <= TOKENS, "{dims:?}: {worst:e}");
    }
    Ok(())
}

#[test]
fn frozen_forward_records_nothing_and_changes_nothing() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(4, (2, 3, 32, 16));
    let frozen = vit.forward(&store.frozen(), &images, &Input::default())?;
    let training = vit.forward(&store.training(), &images, &Input::default())?;
    assert!(!frozen.all.track_op() && training.all.track_op());
    assert_eq!(bits(&frozen.all), bits(&training.all));
    assert_eq!((frozen.all.dims(), frozen.prefix, frozen.grid), (&[2, 9, DIMS.width][..], 1, (4, 2)));
    assert_eq!(bits(&frozen.class()?), bits(&frozen.all.narrow(1, 0, 1)?));
    assert_eq!(frozen.patches()?.dims(), [2, 8, DIMS.width]);
    Ok(())
}

#[test]
fn keeping_every_patch_is_keeping_none_out() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(5, (3, 3, 32, 16));
    let all = Keep::all(3, 8);
    let forward = |keep| vit.forward(&store.frozen(), &images, &Input { keep, ..Input::default() });
    assert_eq!(bits(&forward(Some(&all))?.all), bits(&forward(None)?.all));
    Ok(())
}

/// A picture split into sequences is the sequences on their own: no token of one reaches another, and patches
/// keep their positions.
#[test]
fn split_pictures_are_encoded_piece_by_piece() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(21, (2, 3, 32, 16));
    let forward = |input: &Input| vit.forward(&store.training(), &images, input);
    let split = forward(&Input { split: Some(4), ..Input::default() })?;
    assert_eq!(split.all.dims(), [2 * 4, 1 + 2, DIMS.width]);
    for row in 0..4 {
        let keep = Keep { cells: [2 * row, 2 * row + 1].repeat(2), per_sample: 2 };
        let alone = forward(&Input { keep: Some(&keep), ..Input::default() })?;
        for sample in 0..2 {
            let piece = values(&split.all.get(4 * sample + row as usize)?);
            assert!(max_abs(&piece, &values(&alone.all.get(sample)?)) < 1e-5, "picture {sample}, row {row}");
        }
    }
    let whole = forward(&Input { split: Some(1), ..Input::default() })?;
    assert_eq!(bits(&whole.all), bits(&forward(&Input::default())?.all));
    for wrong in [0, 3] {
        let error = forward(&Input { split: Some(wrong), ..Input::default() }).unwrap_err().to_string();
        assert!(error.contains(&format!("8 patches do not split into {wrong} sequences")), "{error}");
    }
    Ok(())
}

/// What lies in a patch that is left out reaches no token, and the order of kept patches is only the
/// order of tokens.
#[test]
fn left_out_patches_have_no_influence() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(6, (2, 3, 32, 16));
    let forward = |images: &Tensor, keep: &Keep| {
        vit.forward(&store.frozen(), images, &Input { keep: Some(keep), ..Input::default() })
    };
    // The lower half of the picture, patches 4..8, becomes something else.
    let other = Tensor::cat(&[&images.narrow(2, 0, 16)?, &normal(7, (2, 3, 16, 16))], 2)?;
    let upper = Keep { cells: vec![0, 1, 2, 3, 3, 0, 2, 1], per_sample: 4 };
    let tokens = forward(&images, &upper)?;
    assert_eq!(bits(&tokens.all), bits(&forward(&other, &upper)?.all));
    assert_eq!((tokens.all.dims(), tokens.grid), (&[2, 5, DIMS.width][..], (4, 2)));

    let ordered = forward(&images, &Keep { cells: vec![0, 1, 2, 3, 0, 1, 2, 3], per_sample: 4 })?;
    assert_eq!(bits(&tokens.all.get(0)?), bits(&ordered.all.get(0)?));
    let order = Tensor::new(&[0_u32, 4, 1, 3, 2], &Device::Cpu)?;
    let expected = ordered.all.get(1)?.index_select(&order, 0)?;
    let worst = max_abs(&values(&tokens.all.get(1)?), &values(&expected));
    assert!(worst <= TOKENS, "{worst:e}");
    Ok(())
}

/// A sample's tokens are its own: no statistic runs over the batch.
#[test]
fn samples_do_not_see_each_other() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(8, (5, 3, 32, 16));
    let together = vit.forward(&store.frozen(), &images, &Input::default())?.all;
    for sample in 0..5 {
        let alone = vit.forward(&store.frozen(), &images.narrow(0, sample, 1)?, &Input::default())?.all;
        let worst = max_abs(&values(&alone), &values(&together.get(sample)?));
        assert!(worst <= TOKENS, "{worst:e}");
    }
    Ok(())
}

#[test]
fn captured_blocks_are_what_the_final_norm_sees() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(9, (2, 3, 32, 16));
    let capture = Capture { blocks: &[0, 2], attention: &[1] };
    let tokens = vit.forward(&store.frozen(), &images, &Input { capture, ..Input::default() })?;
    let plain = vit.forward(&store.frozen(), &images, &Input::default())?;
    assert_eq!(bits(&tokens.all), bits(&plain.all), "looking changes nothing");
    assert!(plain.captured.blocks.is_empty() && plain.captured.attention.is_empty());

    let [first, last] = tokens.captured.blocks.as_slice() else { panic!("two blocks were asked for") };
    assert_eq!((first.dims(), last.dims()), (tokens.all.dims(), tokens.all.dims()));
    let mut norm = ParamStore::new(&Device::Cpu);
    let id = norm.add("norm", 0, &reid_backbones::vit::norm_defs(DIMS.width), &init_source(0))?;
    for name in ["norm.weight", "norm.bias"] {
        norm.set(name, &store.get(name).expect("the final norm")?)?;
    }
    assert_eq!(bits(&layer_norm(last, &norm.frozen(), id)?), bits(&tokens.all));
    assert!(max_abs(&values(first), &values(last)) > 0.1, "blocks do something");
    Ok(())
}

#[test]
fn captured_attention_is_a_softmax_over_tokens() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(10, (2, 3, 32, 16));
    let capture = Capture { blocks: &[0], attention: &[0, 1, 2] };
    let tokens = vit.forward(&store.training(), &images, &Input { capture, ..Input::default() })?;
    assert_eq!(tokens.captured.attention.len(), 3);
    for attention in &tokens.captured.attention {
        assert_eq!(attention.dims(), [2, DIMS.heads, 9, 9]);
        assert!(!attention.track_op(), "attention is for looking at");
        assert!(values(attention).iter().all(|&value| value >= 0.0));
        let sums = values(&attention.sum(D::Minus1)?);
        assert!(max_abs(&sums, &vec![1.0; sums.len()]) < 1e-6);
    }
    // The second block's first head, by its formula in f64.
    let get = |name: &str| -> Result<Tensor> {
        Ok(store.get(&format!("blocks.1.{name}")).expect("a parameter")?.to_dtype(DType::F64)?)
    };
    let x = tokens.captured.blocks[0].get(1)?.to_dtype(DType::F64)?.detach(); // [n, d]
    let centered = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let deviation = (centered.sqr()?.mean_keepdim(1)? + 1e-6)?.sqrt()?;
    let normed = centered.broadcast_div(&deviation)?.broadcast_mul(&get("norm1.weight")?)?;
    let normed = normed.broadcast_add(&get("norm1.bias")?)?;
    let qkv = normed.matmul(&get("attn.qkv.weight")?.t()?)?.broadcast_add(&get("attn.qkv.bias")?)?; // [n, 3 d]
    let head = DIMS.width / DIMS.heads;
    let (q, k) = (qkv.narrow(1, 0, head)?, qkv.narrow(1, DIMS.width, head)?);
    let logits = (q.contiguous()?.matmul(&k.t()?.contiguous()?)? / (head as f64).sqrt())?;
    let expected = candle_nn::ops::softmax(&logits, D::Minus1)?;
    let worst = max_abs(&values(&tokens.captured.attention[1].get(1)?.get(0)?), &values(&expected));
    assert!(worst < 1e-5, "{worst:e}");
    Ok(())
}

#[test]
fn masked_patches_show_nothing_of_the_picture() -> Result<()> {
    let (vit, store) = tiny()?;
    let token = normal(11, (1, 1, DIMS.width));
    let forward = |images: &Tensor, cells: [bool; 8]| {
        let mask = Some(MaskedPatches { hidden: &[cells, cells].concat(), token: &token });
        vit.forward(&store.frozen(), images, &Input { mask, ..Input::default() })
    };
    let images = normal(12, (2, 3, 32, 16));
    let other = Tensor::cat(&[&images.narrow(2, 0, 16)?, &normal(13, (2, 3, 16, 16))], 2)?;
    let lower = [false, false, false, false, true, true, true, true];
    let masked = forward(&images, lower)?.all;
    assert_eq!(bits(&masked), bits(&forward(&other, lower)?.all));
    let plain = vit.forward(&store.frozen(), &images, &Input::default())?.all;
    assert_eq!(bits(&forward(&images, [false; 8])?.all), bits(&plain));
    assert!(max_abs(&values(&masked), &values(&plain)) > 0.1);
    Ok(())
}

/// A side vector enters every token before the first block, so it may as well have come with the
/// positions.
#[test]
fn side_information_is_added_to_every_token() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(14, (2, 3, 32, 16));
    let side = normal(15, (1, DIMS.width));
    let both = Tensor::cat(&[&side, &side], 0)?;
    let ours = vit.forward(&store.frozen(), &images, &Input { side: Some(&both), ..Input::default() })?.all;
    let moved = store.duplicate()?;
    let positions = store.get("pos_embed").expect("positions")?;
    moved.set("pos_embed", &positions.broadcast_add(&side.unsqueeze(0)?)?)?;
    let expected = vit.forward(&moved.frozen(), &images, &Input::default())?.all;
    let worst = max_abs(&values(&ours), &values(&expected));
    assert!(worst <= TOKENS, "{worst:e}");
    Ok(())
}

#[test]
fn pictures_that_do_not_divide_into_patches_are_refused() -> Result<()> {
    let (vit, store) = tiny()?;
    for shape in [(1, 3, 16, 30), (1, 3, 41, 16), (1, 1, 32, 16)] {
        let error = vit.forward(&store.frozen(), &normal(16, shape), &Input::default()).unwrap_err().to_string();
        assert!(error.contains("cannot be cut into patches of side 8"), "{error}");
    }
    Ok(())
}

/// A position table that is the same everywhere is the same on every grid.
#[test]
fn pictures_of_another_size_get_resampled_positions() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(16, (2, 3, 16, 16));
    let tokens = vit.forward(&store.frozen(), &images, &Input::default())?;
    assert_eq!((tokens.grid, tokens.all.dims()), ((2, 2), &[2, 5, DIMS.width][..]));

    let flat = store.duplicate()?;
    let table = store.get("pos_embed").expect("positions")?;
    let row = table.narrow(1, 1, 1)?;
    let class = table.narrow(1, 0, 1)?;
    let cells = table.dim(1)? - 1;
    flat.set("pos_embed", &Tensor::cat(&[&class, &row.repeat((1, cells, 1))?], 1)?)?;
    let small = spec([16, 16]);
    let mut other = ParamStore::new(&Device::Cpu);
    let small = Vit::with_dims(DIMS, &small, "", &mut other, &|_| Box::new(|| 0.5))?;
    for (name, value) in flat.tensors()? {
        let value = if name == "pos_embed" { value.narrow(1, 0, 5)?.contiguous()? } else { value };
        other.set(&name, &value)?;
    }
    let ours = vit.forward(&flat.frozen(), &images, &Input::default())?.all;
    let expected = small.forward(&other.frozen(), &images, &Input::default())?.all;
    let worst = max_abs(&values(&ours), &values(&expected));
    assert!(worst <= TOKENS, "{worst:e}");
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    let (vit, store) = tiny()?;
    let tokens = vit.forward(&store.training(), &normal(17, (2, 3, 32, 16)), &Input::default())?;
    let loss = (tokens.all.sqr()? * normal(18, tokens.all.dims()))?.sum_all()?;
    let gradients = store.gradients(&mut loss.backward()?)?;
    for (entry, gradient) in named_gradients(&store, &gradients) {
        let gradient = values(&gradient);
        assert!(gradient.iter().all(|value| value.is_finite()), "{}", entry.name);
        assert!(gradient.iter().any(|value| value.abs() > 1e-6), "{}", entry.name);
    }
    Ok(())
}

#[test]
fn forward_and_gradients_do_not_depend_on_the_number_of_threads() -> Result<()> {
    let (vit, store) = tiny()?;
    let images = normal(19, (7, 3, 32, 16));
    let keep = Keep { cells: [1, 6, 3, 0, 2].repeat(7), per_sample: 5 };
    let run = || -> Result<Vec<Vec<u32>>> {
        let input = Input { keep: Some(&keep), ..Input::default() };
        let tokens = vit.forward(&store.training(), &images, &input)?;
        let gradients = store.gradients(&mut tokens.all.sqr()?.sum_all()?.backward()?)?;
        let norm = gradients.norm()?.to_bits();
        let mut out: Vec<Vec<u32>> = gradients.buffers.iter().map(bits).collect();
        out.extend([bits(&tokens.all), vec![norm as u32, (norm >> 32) as u32]]);
        Ok(out)
    };
    let one = in_pool(1, run)?;
    for threads in [2, 3] {
        assert!(in_pool(threads, run)? == one, "{threads} threads");
    }
    Ok(())
}

/// Counts of timm's `vit_{tiny,small,base,large}_patch16_224` without a classifier. All but one block of
/// a size are like its first, so none of the large ones needs to be filled with numbers.
#[test]
fn named_sizes_have_timm_s_parameters() -> Result<()> {
    let known = [
        (VitSize::Tiny, 5_524_416),
        (VitSize::Small, 21_665_664),
        (VitSize::Base, 85_798_656),
        (VitSize::Large, 303_301_632),
    ];
    for (size, expected) in known {
        let spec = VitSpec { size, patch: 16, ..spec([224, 224]) };
        let mut store = ParamStore::new(&Device::Cpu);
        let no_blocks = VitDims { depth: 0, ..size.dims() };
        Vit::with_dims(no_blocks, &spec, "", &mut store, &|_| Box::new(|| 0.5))?;
        let block: usize = block_defs(size.dims().width, &|_, _| Init::Constant(0.0))
            .iter()
            .map(|def| def.shape.iter().product::<usize>())
            .sum();
        assert_eq!(store.len() + size.dims().depth * block, expected, "{size:?}");
    }
    let mut micro = ParamStore::new(&Device::Cpu);
    let vit = Vit::build(&spec([32, 16]), "", &mut micro, &|_| Box::new(|| 0.5))?;
    assert_eq!((vit.dims(), vit.grid()), (VitSize::Micro.dims(), (4, 2)));
    assert_eq!((vit.patch(), vit.image()), (8, (32, 16)));
    Ok(())
}

#[test]
fn fixed_positions_are_no_parameters() -> Result<()> {
    let mut store = ParamStore::new(&Device::Cpu);
    let spec = VitSpec { positions: Positions::SinCos, ..spec([32, 16]) };
    let vit = Vit::with_dims(DIMS, &spec, "", &mut store, &init_source(0))?;
    assert!(store.names().all(|name| name != "pos_embed"));
    let table = vit.fixed_positions().expect("fixed positions");
    assert_eq!(table.dims(), [1, 9, DIMS.width]);
    assert!(!table.track_op() && !table.is_variable());
    let expected = [vec![0.0; DIMS.width], sincos_2d(DIMS.width, 4, 2)].concat();
    assert_eq!(table.flatten_all()?.to_vec1::<f32>()?, expected);

    // The same table as learned positions gives the same tokens.
    let (learned, twin) = tiny()?;
    for (name, tensor) in store.tensors()? {
        twin.set(&name, &tensor)?;
    }
    twin.set("pos_embed", table)?;
    let images = normal(20, (2, 3, 32, 16));
    let [ours, expected] = [(&vit, &store), (&learned, &twin)]
        .map(|(vit, store)| vit.forward(&store.frozen(), &images, &Input::default()).map(|tokens| bits(&tokens.all)));
    assert_eq!(ours?, expected?);
    assert!(learned.fixed_positions().is_none());
    Ok(())
}

/// Initial values of every tensor of an encoder.
fn initial(dims: VitDims, positions: Positions, prefix: &str, seed: u64) -> Result<HashMap<String, Vec<f64>>> {
    let mut store = ParamStore::new(&Device::Cpu);
    let spec = VitSpec { positions, ..spec([32, 16]) };
    Vit::with_dims(dims, &spec, prefix, &mut store, &init_source(seed))?;
    Ok(store.tensors()?.into_iter().map(|(name, tensor)| (name, values(&tensor))).collect())
}

#[test]
fn initial_values_are_keyed_by_seed_and_name() -> Result<()> {
    let shallow = initial(DIMS, Positions::Learned, "", 5)?;
    let deep = initial(VitDims { depth: DIMS.depth + 2, ..DIMS }, Positions::Learned, "", 5)?;
    let other_seed = initial(DIMS, Positions::Learned, "", 6)?;
    let other_name = initial(DIMS, Positions::Learned, "x.", 5)?;
    assert_eq!(deep.len(), shallow.len() + 24);
    let mut random = 0;
    for (name, values) in shallow.iter().collect::<std::collections::BTreeMap<_, _>>() {
        assert_eq!(values, &deep[name], "{name}: more blocks move no numbers");
        if values.iter().any(|value| (value - values[0]).abs() > 0.0) {
            random += 1;
            assert_ne!(values, &other_seed[name], "{name}: another seed");
            assert_ne!(values, &other_name[&format!("x.{name}")], "{name}: another name");
        }
    }
    assert_eq!(random, 3 + 4 * DIMS.depth, "tokens and the weights of linear layers are random");
    Ok(())
}

#[test]
fn initial_values_have_their_distribution() -> Result<()> {
    let dims = VitDims { width: 96, depth: 1, heads: 3 };
    let std = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.002, "{mean}");
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    let learned = initial(dims, Positions::Learned, "", 1)?;
    let fixed = initial(dims, Positions::SinCos, "", 1)?;
    for (name, inputs, outputs) in [("attn.qkv", 96, 288), ("mlp.fc1", 96, 384), ("mlp.fc2", 384, 96)] {
        let name = format!("blocks.0.{name}.weight");
        assert!(relative_to_max(&[std(&learned[&name])], &[0.02]) < 0.05, "{name}");
        let bound = (6.0 / f64::from(inputs + outputs)).sqrt();
        assert!(relative_to_max(&[std(&fixed[&name])], &[bound / 3.0_f64.sqrt()]) < 0.05, "{name}");
        assert!(fixed[&name].iter().all(|value| value.abs() <= bound), "{name}");
    }
    // MoCo v3: query, key and value are layers of their own, and the class token starts next to nothing.
    let moco = initial(dims, Positions::SinCosMoco, "", 1)?;
    let bound = (6.0 / f64::from(96 + 96)).sqrt();
    assert!(relative_to_max(&[std(&moco["blocks.0.attn.qkv.weight"])], &[bound / 3.0_f64.sqrt()]) < 0.05);
    assert_eq!(moco["blocks.0.mlp.fc1.weight"], fixed["blocks.0.mlp.fc1.weight"]);
    assert!(moco["cls_token"].iter().all(|value| value.abs() < 1e-5 && *value != 0.0));
    assert!(learned["blocks.0.mlp.fc1.bias"].iter().all(|&value| value == 0.0));
    assert!(learned["norm.weight"].iter().all(|&value| (value - 1.0).abs() < 1e-12));
    Ok(())
}
