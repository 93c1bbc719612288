//! Golden: neighbours, Jaccard distances, DBSCAN and cluster memories.

use candle_core::{DType, Tensor, Var};
use reid_backbones::Result;
use reid_objectives::cluster::dbscan::dbscan;
use reid_objectives::cluster::jaccard::{JaccardSpec, jaccard};
use reid_objectives::cluster::memory::{ClusterMemory, Follow, MemorySpec};
use reid_objectives::math::distance::l2_normalize;
use reid_objectives::math::neighbours::Neighbours;
use reid_objectives::math::reciprocal::Scratch;
use reid_objectives::protocols::losses::id_loss;
use reid_tests::Golden;
use reid_tests::golden::{max_abs, relative_to_max};

/// Jaccard distances, absolute.
const F32_JACCARD: f64 = 1e-5;
/// The memory's loss, relative.
const F32_LOSS: f64 = 1e-5;
/// Gradients, relative to the largest.
const F32_GRADIENT: f64 = 1e-4;
/// Centres, absolute.
const F32_CENTRES: f64 = 1e-5;

fn check_jaccard(name: &str) {
    let golden = Golden::load(name);
    let (k1, k2) = (golden.param("k1"), golden.param("k2"));
    let (features, width): (Vec<f32>, usize) = (golden.f32s("in.features"), golden.param("dim"));
    let n = features.len() / width;

    let near = Neighbours::of(&features, width, k1);
    let indices: Vec<i64> = near.indices.iter().map(|&index| i64::from(index)).collect();
    assert_eq!(indices, golden.i64s("out.rank"), "{name}: neighbours");

    let jaccard = jaccard(&features, width, JaccardSpec { k1, k2 });
    let mut dense = vec![1.0; n * n];
    let mut scratch = Scratch::default();
    for i in 0..n {
        for (j, distance) in jaccard.near(i, &mut scratch) {
            dense[i * n + j as usize] = f64::from(distance);
        }
    }
    let worst = max_abs(&dense, &golden.f64s("out.jaccard"));
    assert!(worst <= F32_JACCARD, "{name}: {worst:e}");

    let min_samples: usize = golden.param("min_samples");
    for (key, eps) in [("04", 0.4), ("05", 0.5), ("06", 0.6), ("07", 0.7)] {
        let labels = dbscan(&jaccard.within(eps), min_samples);
        let labels: Vec<i64> = labels.into_iter().map(|label| label.map_or(-1, i64::from)).collect();
        assert_eq!(labels, golden.i64s(&format!("out.labels_eps{key}")), "{name}: eps {eps}");
    }
}

#[test]
fn clusters() {
    for name in ["jaccard_dbscan_k20_6", "jaccard_dbscan_k30_6", "jaccard_dbscan_k15_1"] {
        check_jaccard(name);
    }
}

fn check_memory(name: &str, follow: Follow) -> Result<()> {
    let golden = Golden::load(name);
    let spec = MemorySpec { momentum: golden.param("momentum"), temperature: golden.param("temp"), follow };
    let start = golden.tensor("in.memory");
    let mut memory = ClusterMemory::from_tensor(&start, start.device())?;
    let values = |tensor: &Tensor| -> Result<Vec<f64>> { Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?) };
    for step in 0..4 {
        let x = Var::from_tensor(&golden.tensor(&format!("in.s{step}.x")))?;
        let labels = golden.tensor(&format!("in.s{step}.labels")).to_dtype(DType::U32)?;
        let feature = l2_normalize(&x)?;
        let loss = id_loss(&memory.logits(&feature, spec.temperature)?, &labels, 0.0)?;
        let out = |part: &str| golden.f64s(&format!("out.s{step}.{part}"));
        assert!(relative_to_max(&values(&loss)?, &out("loss")) <= F32_LOSS, "{name}: loss of step {step}");
        let gradient = loss.backward()?.get(&x).expect("the loss depends on the feature").clone();
        assert!(
            relative_to_max(&values(&gradient)?, &out("grad_x")) <= F32_GRADIENT,
            "{name}: gradient of step {step}"
        );
        memory.follow(&feature.flatten_all()?.to_vec1()?, &labels.to_vec1()?, spec);
        let worst = max_abs(&values(&memory.tensor()?)?, &out("memory_after"));
        assert!(worst <= F32_CENTRES, "{name}: centres after step {step}: {worst:e}");
    }
    Ok(())
}

#[test]
fn memories() -> Result<()> {
    check_memory("cluster_memory", Follow::All)?;
    check_memory("cluster_memory_hard", Follow::Hardest)
}
