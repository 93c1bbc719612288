//! Golden: trajectories of `AdamW` and SGD, and the groups of layer-wise rates.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use reid_backbones::init::Init;
use reid_backbones::optim::spec::{AdamwSpec, DecayRule, OptimSpec, SgdSpec};
use reid_backbones::optim::{Optimizer, groups};
use reid_backbones::params::{ParamDef, Role};
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::vit::linear_defs;
use reid_backbones::{Gradients, ParamStore, Result, Vit};
use reid_tests::Golden;
use reid_tests::golden::max_abs;
use reid_tests::tensors::values;

/// Parameters after a step, absolute.
const TRAJECTORY: f64 = 1e-6;
/// Scales and decays of groups, absolute.
const GROUP: f64 = 1e-12;

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
        optimizer.step(&store, &gradients_of(&golden, step)?, &|multiplier| rate * multiplier)?;
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
        let spec = AdamwSpec { betas, eps: 1e-8, weight_decay, decay: DecayRule::NotVectors, layer_decay: 1.0 };
        check_trajectory(case, &OptimSpec::Adamw(spec))?;
    }
    Ok(())
}

#[test]
fn sgd() -> Result<()> {
    let weight_decay = Golden::load("optimisers").param("weight_decay");
    let spec = SgdSpec { momentum: 0.9, weight_decay, decay: DecayRule::NotVectors, bias_lr: 1.0, layer_decay: 1.0 };
    check_trajectory("sgd", &OptimSpec::Sgd(spec))
}

/// The case names an encoder's parameters and a head's, whatever their sizes.
#[test]
fn layer_decay_groups() -> Result<()> {
    let golden = Golden::load("layer_decay_groups");
    let depth: usize = golden.param("depth");
    let dims = VitDims { width: 8, depth, heads: 2 };
    let backbone =
        VitSpec { size: VitSize::Micro, image: [8, 8], patch: 4, positions: Positions::Learned, drop_path: 0.0 };
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
