//! Golden `transreid_model*` and `transreid_jpm_shuffle`: TransReID's whole model, with camera embeddings and jigsaw parts.

use candle_core::Device;
use reid_backbones::ops;
use reid_backbones::spec::{Positions, Stride, VitDims, VitSpec};
use reid_backbones::{ParamStore, Vit};
use reid_data::spec::Size;
use reid_data::views::{ViewBatch, ViewGroup};
use reid_objectives::metric::MetricKey;
use reid_objectives::protocols::ENCODER;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::supervised::jigsaw::jigsaw_order;
use reid_objectives::protocols::supervised::network::{Drops, Network};
use reid_objectives::protocols::supervised::{Seen, Supervised};
use reid_objectives::spec::{
    CamerasSpec, EvaluationFeature, EvaluationSpec, JigsawSpec, LocalSpec, NeckBias, SideSpec, SupervisedSpec,
};
use reid_objectives::task::{Clock, State, Task};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};
use reid_tests::tensors::{gradient_of, values};

/// Tolerances of the golden README for f32.
const FEATURE_ABS: f64 = 3e-5;
const LOSS_REL: f64 = 1e-5;
const GRAD_REL_TO_MAX: f64 = 2e-4;

/// One of TransReID's names in ours; none for what the reference keeps without using it.
fn ours(theirs: &str, depth: usize, has_branches: bool) -> Option<String> {
    let last = format!("base.blocks.{}.", depth - 1);
    if has_branches && (theirs.starts_with(&last) || theirs.starts_with("base.norm.")) {
        return None;
    }
    let renamed = [
        ("base.sie_embed", "side.sie_embed".to_owned()),
        ("base.", ENCODER.to_owned()),
        // The global branch, there a copy of the last block, is here the last block.
        ("b1.0.", format!("{ENCODER}blocks.{}.", depth - 1)),
        ("b1.1.", format!("{ENCODER}norm.")),
        ("b2.0.", "local.block.".to_owned()),
        ("b2.1.", "local.norm.".to_owned()),
        ("bottleneck", "neck".to_owned()),
        ("classifier", "classifier".to_owned()),
    ];
    let (from, to) = renamed.iter().find(|(from, _)| theirs.starts_with(from))?;
    Some(format!("{to}{}", &theirs[from.len()..]))
}

struct Case {
    golden: Golden,
    backbone: VitSpec,
    dims: VitDims,
    spec: SupervisedSpec,
    parts: usize,
}

impl Case {
    fn load(name: &str) -> Self {
        let golden = Golden::load(name);
        let parts = golden.keys("in.w.classifier_").len();
        let local = match parts {
            0 => LocalSpec::default(),
            parts => LocalSpec::Jigsaw(JigsawSpec { shift: 1, groups: 2, parts, weight: 0.5 }),
        };
        let spec = SupervisedSpec {
            side: SideSpec::Cameras(CamerasSpec { weight: golden.param("sie_coe"), ..CamerasSpec::default() }),
            local,
            label_smoothing: 0.1,
            // The reference's is frozen, but at random numbers here.
            neck_bias: NeckBias::Learned,
            ..SupervisedSpec::default()
        };
        let patch = golden.shape("in.w.base.patch_embed.proj.weight")[3];
        let backbone = VitSpec {
            image: [golden.param("height"), golden.param("width")],
            patch,
            stride: Stride::Pixels(golden.param("stride")),
            positions: Positions::Learned,
            drop_path: 0.0,
            ..VitSpec::default()
        };
        let dims = VitDims { width: golden.param("dim"), depth: golden.param("depth"), heads: golden.param("heads") };
        Self { golden, backbone, dims, spec, parts }
    }

    fn encoder(&self) -> EncoderModel {
        let mut store = ParamStore::new(&Device::Cpu);
        let half = |_: &str| -> Box<dyn FnMut() -> f64> { Box::new(|| 0.5) };
        let vit = Vit::with_dims(self.dims, &self.backbone, ENCODER, &mut store, &half).unwrap();
        EncoderModel::from_parts(vit, store)
    }

    fn cameras(&self) -> Vec<u32> {
        self.golden.i64s("in.camera").into_iter().map(|camera| camera as u32).collect()
    }

    /// A camera for every row of the table, whether the batch has a picture of it or not.
    fn known_cameras(&self) -> Vec<u32> {
        (0..self.golden.shape("in.w.base.sie_embed")[0] as u32).collect()
    }

    fn batch(&self) -> ViewBatch {
        let labels: Vec<u32> = self.golden.i64s("in.labels").into_iter().map(|label| label as u32).collect();
        let count = labels.len() as u32;
        let pixels = self.golden.f64s("in.image").into_iter().map(|pixel| pixel as f32).collect();
        let size = Size(self.backbone.image[0], self.backbone.image[1]);
        ViewBatch {
            groups: vec![ViewGroup { size, views: vec![0], pixels, windows: Vec::new() }],
            draws: (0..count).collect(),
            images: (0..count).collect(),
            labels,
            cameras: self.cameras(),
        }
    }

    /// Fills all parameters, and says how many of the reference's were used.
    fn fill(&self, store: &ParamStore, skip: &str) -> usize {
        let mut used = 0;
        for key in self.golden.keys("in.w.") {
            let theirs = key.strip_prefix("in.w.").unwrap();
            let Some(name) = ours(theirs, self.dims.depth, self.parts > 0) else { continue };
            if name.contains("running") || (!skip.is_empty() && name.starts_with(skip)) {
                continue;
            }
            store.set(&name, &self.golden.tensor(&key)).unwrap_or_else(|error| panic!("{theirs}: {error}"));
            used += 1;
        }
        used
    }

    /// Features and logits of every branch.
    fn check_features(&self) {
        let (network, store) = Network::build(&self.spec, self.encoder(), &self.known_cameras(), 0).unwrap();
        assert_eq!(self.fill(&store, "classifier"), store.names().count(), "all of ours are theirs");
        let params = store.training();
        let images = self.golden.tensor("in.image");
        let seen = network.forward(&params, &images, &self.cameras(), Drops::NONE, true).unwrap();
        assert_eq!(seen.features.len(), 1 + self.parts);
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        for (branch, feature) in seen.features.iter().enumerate() {
            let number = if branch == 0 { String::new() } else { format!("_{branch}") };
            let (normed, _) = network.behind_neck(&params, branch, feature).unwrap();
            let classifier = self.golden.tensor(&format!("in.w.classifier{number}.weight"));
            logits.extend(values(&ops::dot_products(&normed, &classifier).unwrap()));
            features.extend(values(feature));
        }
        for (ours, key) in [(features, "out.features"), (logits, "out.logits")] {
            let error = max_abs(&ours, &self.golden.f64s(key));
            assert!(error <= FEATURE_ABS, "{key}: {error:e}");
        }
    }

    fn task(&self, feature: EvaluationFeature) -> Supervised {
        let evaluation = EvaluationSpec { feature, ..self.spec.evaluation.clone() };
        let spec = SupervisedSpec { evaluation, ..self.spec.clone() };
        let identities = self.golden.param("classes");
        let cameras = self.known_cameras();
        let seen = Seen { identities, cameras: &cameras };
        let mut task = Supervised::build(&spec, &self.backbone, self.encoder(), seen, 0, &Device::Cpu).unwrap();
        assert_eq!(self.fill(task.trainable(), ""), task.trainable().names().count(), "all of ours are theirs");
        let running = self.golden.keys("in.w.bottleneck").into_iter().filter(|key| key.contains("running"));
        let of_key = |key: String| {
            let name = ours(key.strip_prefix("in.w.").unwrap(), self.dims.depth, self.parts > 0).unwrap();
            (name, self.golden.tensor(&key))
        };
        task.load(&State { tensors: running.map(of_key).collect(), ..State::default() }).unwrap();
        task
    }

    /// Losses, gradients, running statistics, and the features that are ranked afterwards.
    fn check_step(&self) {
        let clock = Clock { epoch: 0, epochs: 1.0, step: 0, steps: 1, seed: 0 };
        for (feature, ranked) in
            [(EvaluationFeature::BeforeNeck, "out.eval_before"), (EvaluationFeature::AfterNeck, "out.eval_after")]
        {
            let mut task = self.task(feature);
            let output = task.step(&self.batch(), clock).unwrap();
            let stat = |key| values(&output.stats.iter().find(|(of, _)| *of == key).unwrap().1)[0];
            for (ours, key) in [
                (stat(MetricKey::LossId), "out.id_loss"),
                (stat(MetricKey::LossTriplet), "out.triplet_loss"),
                (values(&output.loss)[0], "out.total"),
            ] {
                let expected = self.golden.scalar(key);
                assert!((ours - expected).abs() <= LOSS_REL * expected.abs(), "{key}: {ours} {expected}");
            }
            let gradients = task.trainable().gradients(&mut output.loss.backward().unwrap()).unwrap();
            let keys = self.golden.keys("out.grad.");
            assert!(keys.len() >= 7, "{} gradients compared", keys.len());
            for key in &keys {
                let theirs = key.strip_prefix("out.grad.").unwrap();
                let name = ours(theirs, self.dims.depth, self.parts > 0).unwrap();
                let found = values(&gradient_of(task.trainable(), &gradients, &name));
                let error = relative_to_max(&found, &self.golden.f64s(key));
                assert!(error <= GRAD_REL_TO_MAX, "{key}: {error:e}");
            }
            task.after_step(&[output], clock).unwrap();
            let saved = task.save().unwrap().tensors;
            let buffers = self.golden.keys("out.buffer_after.");
            assert_eq!(buffers.len(), 2 * (1 + self.parts));
            for key in &buffers {
                let name = ours(key.strip_prefix("out.buffer_after.").unwrap(), self.dims.depth, false).unwrap();
                let error = max_abs(&values(&saved[&name]), &self.golden.f64s(key));
                assert!(error <= FEATURE_ABS, "{key}: {error:e}");
            }
            let embedded = task.evaluated().model.embed(&self.golden.tensor("in.image"), &self.cameras()).unwrap();
            let error = max_abs(&values(&embedded), &self.golden.f64s(ranked));
            assert!(error <= FEATURE_ABS, "{ranked}: {error:e}");
        }
    }
}

#[test]
fn one_branch() {
    let case = Case::load("transreid_model");
    case.check_features();
    case.check_step();
}

#[test]
fn jigsaw_branches() {
    let case = Case::load("transreid_model_jpm");
    assert!(case.parts > 0);
    case.check_features();
    case.check_step();
}

#[test]
fn jigsaw_shuffles() {
    let golden = Golden::load("transreid_jpm_shuffle");
    let cases = golden.keys("out.");
    assert!(cases.len() > 1);
    for out in cases {
        let case = out.strip_prefix("out.").unwrap();
        let of = |what: &str| golden.i64s(&format!("in.{case}.{what}"))[0] as usize;
        let shape = golden.shape(&format!("in.{case}.tokens"));
        let [samples, count, width] = shape[..] else { panic!("tokens of {shape:?}") };
        let tokens = golden.f64s(&format!("in.{case}.tokens"));
        let order = jigsaw_order(count, of("shift"), of("groups"));
        let token = |sample: usize, at: u32| {
            let first = (sample * count + at as usize) * width;
            tokens[first..first + width].to_vec()
        };
        let shuffled = (0..samples).flat_map(|sample| order.iter().flat_map(move |&at| token(sample, at)));
        assert_eq!(shuffled.collect::<Vec<f64>>(), golden.f64s(&out), "{case}");
    }
}
