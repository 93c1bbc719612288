//! Golden: trajectories of `AdamW`, Adam and SGD, and the groups of layer-wise rates.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::optim::spec::{AdamSpec, AdamwSpec, DecayRule, OptimSpec, SgdSpec};
use reid_backbones::optim::{Course, Optimizer, ema_update, groups};
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::vit::linear_defs;
use reid_backbones::{Gradients, ParamStore, Result, Vit};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::values;

/// Parameters after a step, absolute.
const TRAJECTORY: f64 = 1e-6;
/// Scales and decays of groups, absolute.
const GROUP: f64 = 1e-12;

/// Clipped gradients and averages, relative to each tensor's largest value.
const SSL: f64 = 1e-6;

/// The case's three tensors, in the order in which they lie in one buffer here.
const TENSORS: [(&str, Role); 3] = [("w", Role::Weight), ("b", Role::Bias), ("pos_embed", Role::Token)];

fn store_of(golden: &Golden) -> Result<ParamStore> {
    let def = |(name, role)| {
        let key = format!("in.p.{name}");
        ParamDef { name, shape: golden.shape(&key), role, init: Init::Fixed(golden.f32s(&key)) }
    };
    let mut store = ParamStore::new(&Device::Cpu);
    store.add("p", 0, &TENSORS.map(def), &|_| Box::new(|| 0.5))?;
    Ok(store)
}

/// Step `step`'s gradients in the store's layout.
fn gradients_of(golden: &Golden, step: usize) -> Result<Gradients> {
    let flat = |(name, _)| golden.tensor(&format!("in.g.{name}")).get(step)?.flatten_all();
    let [w, b, positions] = TENSORS.map(flat);
    Ok(Gradients { buffers: vec![Tensor::cat(&[w?, b?, positions?], 0)?] })
}

fn check_trajectory(case: &str, spec: &OptimSpec) -> Result<()> {
    let golden = Golden::load("optimisers");
    let store = store_of(&golden)?;
    let mut optimizer = Optimizer::new(spec, &store);
    let rates = golden.f64s("in.lr");
    assert_eq!(rates.len(), golden.param::<usize>("steps"));
    for (step, rate) in rates.into_iter().enumerate() {
        optimizer.step(&store, &gradients_of(&golden, step)?, &Course::of_rate(&|multiplier| rate * multiplier))?;
        for (name, _) in TENSORS {
            let ours = store.get(&format!("p.{name}")).expect("a parameter of the store")?;
            let expected = values(&golden.tensor(&format!("out.{case}.{name}")).get(step)?);
            let worst = max_abs(&values(&ours), &expected);
            assert!(worst <= TRAJECTORY, "{case} {name} after step {step}: {worst:e}");
        }
    }
    Ok(())
}

#[test]
fn adamw() -> Result<()> {
    let weight_decay = Golden::load("optimisers").param("weight_decay");
    for (case, betas) in [("adamw", [0.9, 0.999]), ("adamw_b95", [0.9, 0.95])] {
        let spec = AdamwSpec { betas, eps: 1e-8, weight_decay, decay: DecayRule::NotVectors, ..AdamwSpec::default() };
        check_trajectory(case, &OptimSpec::Adamw(spec))?;
    }
    Ok(())
}

#[test]
fn adam() -> Result<()> {
    let weight_decay = Golden::load("optimisers").param("weight_decay");
    check_trajectory(
        "adam",
        &OptimSpec::Adam(AdamSpec { weight_decay, decay: DecayRule::NotVectors, ..AdamSpec::default() }),
    )
}

#[test]
fn sgd() -> Result<()> {
    let weight_decay = Golden::load("optimisers").param("weight_decay");
    let spec = SgdSpec { momentum: 0.9, weight_decay, decay: DecayRule::NotVectors, bias_lr: 1.0, layer_decay: 1.0 };
    check_trajectory("sgd", &OptimSpec::Sgd(spec))
}

/// Groups, clipping of each tensor and the teacher's average, of tensors that lie in one buffer here.
#[test]
fn ssl_param_groups_clip_ema() -> Result<()> {
    let golden = Golden::load("ssl_param_groups_clip_ema");
    let name = |key: String| key.trim_start_matches("in.student.").to_owned();
    let names: Vec<String> = golden.keys("in.student.").into_iter().map(name).collect();
    assert!(!names.is_empty());
    let role = |name: &str| match name {
        "pos_embed" => Role::Token,
        name if name.rsplit('.').next() == Some("bias") => Role::Bias,
        name if golden.shape(&format!("in.student.{name}")).len() == 1 => Role::Scale,
        _ => Role::Weight,
    };
    let store_of = |side: &str| -> Result<ParamStore> {
        let mut store = ParamStore::new(&Device::Cpu);
        let def = |name: &String| {
            let key = format!("in.{side}.{name}");
            let name: &'static str = name.clone().leak();
            ParamDef { name, shape: golden.shape(&key), role: role(name), init: Init::Fixed(golden.f32s(&key)) }
        };
        store.add("m", 0, &names.iter().map(def).collect::<Vec<_>>(), &|_| Box::new(|| 0.5))?;
        Ok(store)
    };
    let (student, teacher) = (store_of("student")?, store_of("teacher")?);

    let spec = AdamwSpec { weight_decay: 0.04, decay: DecayRule::NotVectors, ..AdamwSpec::default() };
    for (name, segment) in names.iter().zip(&groups(&OptimSpec::Adamw(spec), &student)[0]) {
        let is_free = golden.i64s(&format!("out.group.{name}")) == [1];
        assert_eq!(segment.group.weight_decay == 0.0, is_free, "{name}");
    }

    let flat = |name: &String| golden.tensor(&format!("in.grad.{name}")).flatten_all();
    let flat: Vec<Tensor> = names.iter().map(flat).collect::<candle_core::Result<_>>()?;
    let mut gradients = Gradients { buffers: vec![Tensor::cat(&flat, 0)?] };
    let norm = gradients.clip_tensors(&student, golden.scalar("in.clip"))?;
    let expected = golden.f64s("out.norms_before").iter().map(|norm| norm * norm).sum::<f64>().sqrt();
    assert!((norm / expected - 1.0).abs() <= SSL, "{norm} {expected}");
    ema_update(&teacher, &student, golden.scalar("in.momentum"))?;
    for (name, entry) in names.iter().zip(student.modules()[0].entries.iter()) {
        let clipped = values(&gradients.buffers[0].narrow(0, entry.offset, entry.len())?);
        let averaged = values(&teacher.get(&format!("m.{name}")).expect("a parameter of the store")?);
        for (what, ours) in [("grad_clipped", clipped), ("teacher", averaged)] {
            let off = relative_to_max(&ours, &golden.f64s(&format!("out.{what}.{name}")));
            assert!(off <= SSL, "{what} {name}: {off:e}");
        }
    }
    Ok(())
}

/// The case names an encoder's parameters and a head's, whatever their sizes.
#[test]
fn layer_decay_groups() -> Result<()> {
    let golden = Golden::load("layer_decay_groups");
    let depth: usize = golden.param("depth");
    let dims = VitDims { width: 8, depth, heads: 2 };
    let backbone = VitSpec {
        size: VitSize::Micro,
        image: [8, 8],
        patch: 4,
        positions: Positions::Learned,
        drop_path: 0.0,
        ..VitSpec::default()
    };
    let mut store = ParamStore::new(&Device::Cpu);
    Vit::with_dims(dims, &backbone, "", &mut store, &|_| Box::new(|| 0.5))?;
    store.add("head", depth + 1, &linear_defs(dims.width, 4, Init::Constant(0.0)), &|_| Box::new(|| 0.5))?;

    let spec = OptimSpec::Adamw(AdamwSpec {
        weight_decay: golden.param("weight_decay"),
        decay: DecayRule::Matrices,
        layer_decay: golden.param("layer_decay"),
        ..AdamwSpec::default()
    });
    let of_modules = groups(&spec, &store);
    let segments = store.modules().iter().zip(&of_modules).flat_map(|(module, segments)| {
        assert_eq!(module.entries.len(), segments.len(), "one segment for each tensor of {}", module.name);
        module.entries.iter().map(|entry| entry.name.as_str()).zip(segments)
    });
    let groups: BTreeMap<&str, _> = segments.map(|(name, segment)| (name, segment.group)).collect();
    let names: Vec<&str> = golden.text("names").split(',').collect();
    assert_eq!(groups.len(), names.len());
    let ours: Vec<_> = names.into_iter().map(|name| groups[name]).collect();
    let scales: Vec<f64> = ours.iter().map(|group| group.scale).collect();
    let decays: Vec<f64> = ours.iter().map(|group| group.weight_decay).collect();
    assert!(max_abs(&scales, &golden.f64s("out.lr_scale")) <= GROUP);
    assert!(max_abs(&decays, &golden.f64s("out.weight_decay")) <= GROUP);
    assert!(max_abs(&ours.iter().map(|group| group.multiplier).collect::<Vec<_>>(), &vec![1.0; ours.len()]) <= GROUP);
    Ok(())
}
