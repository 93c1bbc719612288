//! Golden `transreid_vit_*` and `personvit_pooling`: variants of the ViT in the TransReID family.

use candle_core::{Device, Tensor};
use reid_backbones::pooling::{Pooling, pool};
use reid_backbones::spec::{Positions, Stem, Stride, VitDims, VitSpec};
use reid_backbones::vit::{SideEmbedding, Sides};
use reid_backbones::{Encoder, Input, ParamStore, Params, Tokens, Vit};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{gradient_of, values};

/// Tolerances of the golden README for f32.
const FEATURE_ABS: f64 = 2e-5;
const LOSS_REL: f64 = 1e-5;
const GRAD_REL_TO_MAX: f64 = 1e-4;

struct Case {
    golden: Golden,
    vit: Vit,
    store: ParamStore,
    side: Option<SideEmbedding>,
}

impl Case {
    fn load(name: &str, stride: Stride, stem: Stem, sides: Option<fn(&Golden) -> Sides>) -> Self {
        let golden = Golden::load(name);
        let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
        let spec = VitSpec {
            image: [golden.param("height"), golden.param("width")],
            patch: golden.param("patch"),
            stride,
            stem,
            positions: Positions::Learned,
            drop_path: 0.0,
            ..VitSpec::default()
        };
        let mut store = ParamStore::new(&Device::Cpu);
        let half = |_: &str| -> Box<dyn FnMut() -> f64> { Box::new(|| 0.5) };
        let vit = Vit::with_dims(dims, &spec, "", &mut store, &half).unwrap();
        let side = sides.map(|sides| {
            let weight = golden.param("sie_coe");
            SideEmbedding::build(sides(&golden), dims.width, weight, "", &mut store, &half).unwrap()
        });
        let weights = golden.keys("in.w.");
        let ours: Vec<&str> = store.names().collect();
        let theirs: Vec<&str> = weights.iter().map(|key| key.strip_prefix("in.w.").unwrap()).collect();
        assert_eq!(ours, theirs, "our parameters are theirs");
        for (name, key) in theirs.iter().zip(&weights) {
            store.set(name, &golden.tensor(key)).unwrap();
        }
        Self { golden, vit, store, side }
    }

    fn forward(&self, params: &Params, batch_statistics: bool) -> Tokens {
        let side = self.side.as_ref().map(|side| {
            let of = |key: &str| self.golden.keys(key).first().map(|key| self.golden.i64s(key));
            let (cameras, views) = (of("in.camera"), of("in.view"));
            let count = self.golden.shape("in.image")[0];
            let at = |list: &Option<Vec<i64>>, i: usize| list.as_ref().map_or(0, |list| list[i] as u32);
            let pictures: Vec<(u32, u32)> = (0..count).map(|i| (at(&cameras, i), at(&views, i))).collect();
            side.forward(params, &pictures).unwrap()
        });
        let input = Input { side: side.as_ref(), batch_statistics, ..Input::default() };
        self.vit.forward(params, &self.golden.tensor("in.image"), &input).unwrap()
    }

    /// Feature, loss and gradients under these prefixes.
    fn check(&self, feature: &Tensor, out: &str, least: usize) {
        let key = |what: &str| format!("out.{out}{what}");
        let error = max_abs(&values(feature), &self.golden.f64s(&key("feature")));
        assert!(error <= FEATURE_ABS, "{out} feature: {error:e}");
        let loss = feature.sqr().unwrap().sum(1).unwrap().mean_all().unwrap();
        let expected = self.golden.scalar(&key("loss"));
        assert!((values(&loss)[0] - expected).abs() <= LOSS_REL * expected.abs());
        let gradients = self.store.gradients(&mut loss.backward().unwrap()).unwrap();
        let keys = self.golden.keys(&key("grad."));
        for key in &keys {
            let parameter = key.split_once("grad.").unwrap().1;
            let ours = values(&gradient_of(&self.store, &gradients, parameter));
            let error = relative_to_max(&ours, &self.golden.f64s(key));
            assert!(error <= GRAD_REL_TO_MAX, "{key}: {error:e}");
        }
        assert!(keys.len() >= least, "{} gradients compared", keys.len());
    }

    fn check_class(&self) {
        self.check(&self.forward(&self.store.training(), false).class().unwrap(), "", 4);
    }
}

#[test]
fn camera_embedding() {
    let cameras = |golden: &Golden| Sides::Cameras(golden.param("cameras"));
    Case::load("transreid_vit_sie_camera", Stride::Patch, Stem::Patch, Some(cameras)).check_class();
}

#[test]
fn camera_and_view_embedding() {
    let both = |golden: &Golden| Sides::Both(golden.param("cameras"), golden.param("views"));
    Case::load("transreid_vit_sie_camera_view", Stride::Patch, Stem::Patch, Some(both)).check_class();
}

#[test]
fn overlapping_patches() {
    let name = "transreid_vit_stride12";
    let stride = Stride::Pixels(Golden::load(name).param("stride"));
    Case::load(name, stride, Stem::Patch, None).check_class();
}

#[test]
fn generalized_mean() {
    let case = Case::load("transreid_vit_gem", Stride::Patch, Stem::Patch, None);
    let tokens = case.forward(&case.store.training(), false);
    case.check(&pool(&tokens, Pooling::Gem).unwrap(), "", 4);
}

#[test]
fn convolutional_stem() {
    let cameras = |golden: &Golden| Sides::Cameras(golden.param("cameras"));
    let case = Case::load("transreid_vit_ics_stem", Stride::Patch, Stem::Ics, Some(cameras));
    case.check_class();
    let tokens = case.forward(&case.store.training(), true);
    case.check(&tokens.class().unwrap(), "train_", 10);
    case.vit.learn_statistics(&case.store, &tokens.captured.statistics).unwrap();
    let buffers = case.golden.keys("out.train_buffer.");
    assert_eq!(buffers.len(), tokens.captured.statistics.len());
    for key in buffers {
        let ours = case.store.get(key.strip_prefix("out.train_buffer.").unwrap()).unwrap().unwrap();
        let error = max_abs(&values(&ours), &case.golden.f64s(&key));
        assert!(error <= FEATURE_ABS, "{key}: {error:e}");
    }
}

/// The stem and the positions of TransReID-SSL's pre-training, at the size of its whole pictures and of others.
#[test]
fn pretraining_sizes() {
    const FEATURE_ABS: f64 = 3e-5;
    const GRAD_REL_TO_MAX: f64 = 2e-4;
    let golden = Golden::load("ours_vit_pretrain");
    let sides = |text: &str| text.split_once('x').map(|(h, w)| [h.parse().unwrap(), w.parse().unwrap()]).unwrap();
    let base: String = golden.param("base");
    let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
    let (image, patch) = (sides(&base), golden.param("patch"));
    let spec =
        VitSpec { image, patch, stem: Stem::Ics, positions: Positions::Learned, drop_path: 0.0, ..VitSpec::default() };
    let mut store = ParamStore::new(&Device::Cpu);
    let vit = Vit::with_dims(dims, &spec, "", &mut store, &|_: &str| Box::new(|| 0.5)).unwrap();
    let weights = golden.keys("in.w.");
    assert_eq!(store.names().count(), weights.len(), "our parameters are theirs");
    for key in &weights {
        store.set(key.strip_prefix("in.w.").unwrap(), &golden.tensor(key)).unwrap();
    }
    let images = golden.keys("in.image_");
    assert!(images.len() > 1, "more than one size");
    for key in &images {
        let size = key.strip_prefix("in.image_").unwrap();
        let tokens = vit.forward(&store.frozen(), &golden.tensor(key), &Input::default()).unwrap();
        let error = max_abs(&values(&tokens.class().unwrap()), &golden.f64s(&format!("out.eval_{size}")));
        assert!(error <= FEATURE_ABS, "{size}: {error:e}");
    }

    let input = Input { batch_statistics: true, ..Input::default() };
    let tokens = vit.forward(&store.training(), &golden.tensor(&format!("in.image_{base}")), &input).unwrap();
    let feature = tokens.class().unwrap();
    let error = max_abs(&values(&feature), &golden.f64s("out.train_feature"));
    assert!(error <= FEATURE_ABS, "training: {error:e}");
    let loss = feature.sqr().unwrap().sum(1).unwrap().mean_all().unwrap();
    let expected = golden.scalar("out.train_loss");
    assert!((values(&loss)[0] - expected).abs() <= FEATURE_ABS * expected.abs());
    let gradients = store.gradients(&mut loss.backward().unwrap()).unwrap();
    let keys = golden.keys("out.grad.");
    assert!(keys.len() >= 10, "{} gradients compared", keys.len());
    for key in &keys {
        let ours = values(&gradient_of(&store, &gradients, key.strip_prefix("out.grad.").unwrap()));
        let error = relative_to_max(&ours, &golden.f64s(key));
        assert!(error <= GRAD_REL_TO_MAX, "{key}: {error:e}");
    }
    vit.learn_statistics(&store, &tokens.captured.statistics).unwrap();
    let buffers = golden.keys("out.buffer_after.");
    assert_eq!(buffers.len(), tokens.captured.statistics.len());
    for key in &buffers {
        let ours = store.get(key.strip_prefix("out.buffer_after.").unwrap()).unwrap().unwrap();
        let error = max_abs(&values(&ours), &golden.f64s(key));
        assert!(error <= FEATURE_ABS, "{key}: {error:e}");
    }
}

#[test]
fn pooling() {
    let case = Case::load("personvit_pooling", Stride::Patch, Stem::Patch, None);
    let tokens = case.forward(&case.store.frozen(), false);
    for (how, name) in Pooling::ALL.into_iter().zip(["cls", "avg", "max", "avg_max", "gem"]) {
        let feature = pool(&tokens, how).unwrap();
        let error = max_abs(&values(&feature), &case.golden.f64s(&format!("out.{name}")));
        assert!(error <= FEATURE_ABS, "{name}: {error:e}");
    }
}
