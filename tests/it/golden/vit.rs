//! Golden `vit_timm_*`: forward and gradients of our ViT against timm's.

use candle_core::{Device, Var};
use reid_backbones::spec::{Positions, VitDims, VitSize, VitSpec};
use reid_backbones::{Encoder, Input, ParamStore, Vit};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{gradient_of, values};

/// Tolerances of the golden README for f32.
const TOKENS_ABS: f64 = 2e-5;
const LOSS_REL: f64 = 1e-5;
const GRAD_REL_TO_MAX: f64 = 1e-4;

fn build(golden: &Golden) -> (Vit, ParamStore) {
    let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
    let spec = VitSpec {
        size: VitSize::Micro,
        image: [golden.param("height"), golden.param("width")],
        patch: golden.param("patch"),
        positions: Positions::Learned,
        drop_path: 0.0,
        ..VitSpec::default()
    };
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &spec, "", &mut store, &|_| Box::new(|| 0.5)).unwrap();
    let weights = golden.keys("in.w.");
    assert_eq!(weights.len(), store.names().count(), "our parameters are timm's");
    for key in weights {
        store.set(key.strip_prefix("in.w.").unwrap(), &golden.tensor(&key)).unwrap();
    }
    (vit, store)
}

fn check(name: &str) {
    let golden = Golden::load(name);
    let (vit, store) = build(&golden);
    let image = Var::from_tensor(&golden.tensor("in.image")).unwrap();
    let tokens = vit.forward(&store.training(), &image, &Input::default()).unwrap();
    assert!(max_abs(&values(&tokens.all), &golden.f64s("out.tokens")) <= TOKENS_ABS);
    let class = tokens.class().unwrap();
    assert!(max_abs(&values(&class), &golden.f64s("out.cls")) <= TOKENS_ABS);

    let loss = class.sqr().unwrap().sum(1).unwrap().mean_all().unwrap();
    let expected = golden.scalar("out.loss");
    assert!((values(&loss)[0] - expected).abs() <= LOSS_REL * expected.abs());

    let mut grads = loss.backward().unwrap();
    let image_grad = grads.get(image.as_tensor()).map(values);
    let gradients = store.gradients(&mut grads).unwrap();
    let mut checked = 0;
    for key in golden.keys("out.grad.") {
        let parameter = key.strip_prefix("out.grad.").unwrap();
        let ours = if parameter == "image" {
            image_grad.clone().unwrap()
        } else {
            values(&gradient_of(&store, &gradients, parameter))
        };
        let error = relative_to_max(&ours, &golden.f64s(&key));
        assert!(error <= GRAD_REL_TO_MAX, "{name} {parameter}: {error:e}");
        checked += 1;
    }
    assert!(checked >= 10, "{checked} gradients compared");
}

#[test]
fn small_image() {
    check("vit_timm_small");
}

#[test]
fn person_image() {
    check("vit_timm_256x128");
}
