//! Golden: identity loss, triplet loss and BNNeck, values and gradients.

use candle_core::{DType, Tensor, Var};
use reid_backbones::Result;
use reid_objectives::math::distance::l2_normalize;
use reid_objectives::protocols::losses::{Triplet, id_loss, smoothing, triplet_loss};
use reid_objectives::protocols::neck::{RunningStats, normalize_batch};
use reid_objectives::protocols::supervised::heads::with_margin;
use reid_objectives::spec::{Hard, IdHead, MarginHead, Smoothing, Soft, TripletMargin};
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};

const SOFT: TripletMargin = TripletMargin::Soft(Soft {});

/// Identity losses and their gradients, relative.
const F32_ID: f64 = 1e-6;
/// Triplet losses, relative.
const F32_TRIPLET: f64 = 1e-5;
/// Triplet gradients, relative to the largest.
const F32_TRIPLET_GRADIENT: f64 = 1e-4;
/// The same where a batch holds copies.
const F32_DUPLICATE_GRADIENT: f64 = 1e-3;
/// Everything about the neck.
const F32_NECK: f64 = 1e-5;

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}

fn labels(golden: &Golden) -> Result<Tensor> {
    Ok(golden.tensor("in.labels").to_dtype(DType::U32)?)
}

/// Compares a tensor with a stored one, relative to the largest stored value.
fn check(golden: &Golden, key: &str, actual: &Tensor, tolerance: f64) -> Result<()> {
    let worst = relative_to_max(&values(actual)?, &golden.f64s(key));
    assert!(worst <= tolerance, "{key}: {worst:e}");
    Ok(())
}

/// The gradient of `loss` with respect to `var`, which must exist.
fn gradient(loss: &Tensor, var: &Var) -> Result<Tensor> {
    Ok(loss.backward()?.get(var).expect("the loss depends on the variable").clone())
}

#[test]
fn id_losses() -> Result<()> {
    let golden = Golden::load("id_loss");
    let epsilon: f64 = golden.param("epsilon");
    let logits = Var::from_tensor(&golden.tensor("in.logits"))?;
    let others = smoothing(Smoothing::Others, epsilon, logits.dim(1)?);
    let rules = [("ce", 0.0), ("transreid_smooth", epsilon), ("timm_smooth", epsilon), ("fastreid_smooth", others)];
    for (name, smoothing) in rules {
        let loss = id_loss(&logits, &labels(&golden)?, smoothing)?;
        check(&golden, &format!("out.{name}.loss"), &loss, F32_ID)?;
        check(&golden, &format!("out.{name}.grad"), &gradient(&loss, &logits)?, F32_ID)?;
    }
    Ok(())
}

#[test]
fn triplet_losses() -> Result<()> {
    let golden = Golden::load("triplet_loss");
    let hard = TripletMargin::Hard(Hard { margin: golden.param("margin") });
    let features = Var::from_tensor(&golden.tensor("in.features"))?;
    let cases =
        [("soft", SOFT, false), ("margin", hard, false), ("soft_norm", SOFT, true), ("margin_norm", hard, true)];
    for (name, margin, normalized) in cases {
        let input = if normalized { l2_normalize(&features)? } else { features.as_tensor().clone() };
        let Triplet { loss, hardest_positive, hardest_negative } = triplet_loss(&input, &labels(&golden)?, margin)?;
        check(&golden, &format!("out.{name}.loss"), &loss, F32_TRIPLET)?;
        check(&golden, &format!("out.{name}.dist_ap"), &hardest_positive, F32_TRIPLET)?;
        check(&golden, &format!("out.{name}.dist_an"), &hardest_negative, F32_TRIPLET)?;
        check(&golden, &format!("out.{name}.grad"), &gradient(&loss, &features)?, F32_TRIPLET_GRADIENT)?;
    }
    Ok(())
}

#[test]
fn triplet_loss_duplicates() -> Result<()> {
    let golden = Golden::load("triplet_loss_duplicates");
    let features = Var::from_tensor(&golden.tensor("in.features"))?;
    let Triplet { loss, hardest_positive, hardest_negative } = triplet_loss(&features, &labels(&golden)?, SOFT)?;
    check(&golden, "out.loss", &loss, F32_TRIPLET)?;
    check(&golden, "out.dist_ap", &hardest_positive, F32_TRIPLET)?;
    check(&golden, "out.dist_an", &hardest_negative, F32_TRIPLET)?;
    let gradient = gradient(&loss, &features)?;
    assert!(values(&gradient)?.iter().all(|value| value.is_finite()));
    check(&golden, "out.grad", &gradient, F32_DUPLICATE_GRADIENT)
}

#[test]
fn bnneck() -> Result<()> {
    let golden = Golden::load("bnneck");
    let labels = labels(&golden)?;
    assert!(golden.f64s("in.bn.bias").iter().all(|&bias| bias == 0.0), "the neck has no bias");
    let x = Var::from_tensor(&golden.tensor("in.x"))?;
    let weight = Var::from_tensor(&golden.tensor("in.bn.weight"))?;
    let classifier = Var::from_tensor(&golden.tensor("in.classifier.weight"))?;
    let mut running =
        RunningStats::from_tensors(golden.tensor("in.bn.running_mean"), golden.tensor("in.bn.running_var"))?;

    let (feature, stats) = normalize_batch(&x, &weight)?;
    let logits = feature.matmul(&classifier.t()?)?;
    // The case's loss, by its description: smoothing 0.1, soft margin, before the neck.
    let id = id_loss(&logits, &labels, 0.1)?;
    let triplet = triplet_loss(&x, &labels, SOFT)?.loss;
    let total = (&id + &triplet)?;
    let gradients = total.backward()?;
    running.update(&stats)?;
    let evaluated = running.normalize(&x, &weight)?;

    let gradient = |var: &Var| gradients.get(var).expect("the total depends on every variable").clone();
    let cases = [
        ("out.train_feat", feature),
        ("out.train_logits", logits),
        ("out.id_loss", id),
        ("out.triplet_loss", triplet),
        ("out.total", total),
        ("out.grad_x", gradient(&x)),
        ("out.grad_bn_weight", gradient(&weight)),
        ("out.grad_classifier", gradient(&classifier)),
        ("out.running_mean_after", running.mean.clone()),
        ("out.running_var_after", running.variance.clone()),
        ("out.eval_feat_with_updated_stats", evaluated),
    ];
    for (key, actual) in cases {
        let worst = max_abs(&values(&actual)?, &golden.f64s(key));
        assert!(worst <= F32_NECK, "{key}: {worst:e}");
    }
    Ok(())
}

/// Logits over the scale, absolute.
const F32_LOGITS: f64 = 1e-5;
/// Losses, relative.
const F32_MARGIN_LOSS: f64 = 1e-5;
/// Gradients, relative to the largest.
const F32_MARGIN_GRADIENT: f64 = 1e-4;

#[test]
fn margin_heads() -> Result<()> {
    let golden = Golden::load("margin_heads");
    let spec = MarginHead { scale: golden.param("s"), margin: golden.param("m") };
    let labels = golden.tensor("in.labels").to_dtype(DType::U32)?;
    let heads = [
        ("Arcface", IdHead::ArcFace(spec)),
        ("Cosface", IdHead::CosFace(spec)),
        // The same formula, its weight the other way round.
        ("AMSoftmax", IdHead::CosFace(spec)),
        ("CircleLoss", IdHead::Circle(spec)),
    ];
    for (name, head) in heads {
        let out = |part: &str| golden.f64s(&format!("out.{name}.{part}"));
        let x = Var::from_tensor(&golden.tensor("in.x"))?;
        let weight = Var::from_tensor(&golden.tensor(&format!("in.{name}.weight")))?;
        let rows = if name == "AMSoftmax" { weight.t()?.contiguous()? } else { weight.as_tensor().clone() };
        let cosines = l2_normalize(&x)?.matmul(&l2_normalize(&rows)?.t()?)?;
        let logits = with_margin(head, spec, &cosines, &labels)?;
        let unscaled = |values: Vec<f64>| values.into_iter().map(|value| value / spec.scale).collect::<Vec<_>>();
        let worst = max_abs(&unscaled(values(&logits)?), &unscaled(out("logits")));
        assert!(worst <= F32_LOGITS, "{name}: logits {worst:e}");
        let loss = id_loss(&logits, &labels, 0.0)?;
        assert!(relative_to_max(&values(&loss)?, &out("loss")) <= F32_MARGIN_LOSS, "{name}: loss");
        let gradients = loss.backward()?;
        for (part, of) in [("grad_x", &x), ("grad_weight", &weight)] {
            let gradient = gradients.get(of).expect("the loss depends on it");
            let worst = relative_to_max(&values(gradient)?, &out(part));
            assert!(worst <= F32_MARGIN_GRADIENT, "{name}: {part} {worst:e}");
        }
    }
    Ok(())
}
