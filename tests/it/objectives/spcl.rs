//! Adaptation with a memory of both domains.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use proptest::prelude::*;
use reid_data::dataset::{Record, Split};
use reid_objectives::Result;
use reid_objectives::cluster::hybrid::{HybridMemory, NOWHERE};
use reid_objectives::cluster::reliable::{Clusterings, ReliabilitySpec, alone, reliable};
use reid_objectives::math::distance::normalize_rows;
use reid_objectives::protocols::model::EncoderModel;
use reid_objectives::protocols::spcl::Spcl;
use reid_objectives::protocols::spcl::spec::SpclSpec;
use reid_objectives::spec::{DbscanSpec, JaccardSpec, TrainSpec};
use reid_objectives::task::{Features, Task};
use reid_tests::tensors::{bits, normal, values};

use super::fixture::{Archive, backbone, batch, clock, record, train};

/// Which pictures share a cluster, as the n x n matrices of the reference; what is in none shares with itself only.
fn together(labels: &[Option<u32>]) -> Vec<Vec<bool>> {
    let own = alone(labels);
    own.iter().map(|a| own.iter().map(|b| a == b).collect()).collect()
}

/// The criteria on matrices: what is kept, as pairs of pictures that share a cluster, and the bound.
fn by_matrices(of: Clusterings<'_>, spec: ReliabilitySpec) -> (Vec<Vec<bool>>, f64) {
    let (own, tight, loose) = (together(of.labels), together(of.tight), together(of.loose));
    let n = own.len();
    let score = |a: &[bool], b: &[bool]| {
        let count = |holds: fn(bool, bool) -> bool| a.iter().zip(b).filter(|(a, b)| holds(**a, **b)).count() as f64;
        1.0 - count(|a, b| a && b) / count(|a, b| a || b)
    };
    let firm: Vec<f64> = (0..n).map(|i| score(&own[i], &tight[i])).collect();
    let depends: Vec<f64> = (0..n).map(|i| score(&own[i], &loose[i])).collect();
    let of_cluster =
        |i: usize, scores: &[f64]| (0..n).filter(|&j| own[i][j]).map(|j| scores[j]).fold(f64::INFINITY, f64::min);
    let mut by_label: BTreeMap<u32, f64> = BTreeMap::new();
    for i in 0..n {
        if let Some(label) = of.labels[i] {
            by_label.insert(label, of_cluster(i, &depends));
        }
    }
    let mut all: Vec<f64> = by_label.into_values().collect();
    all.sort_by(f64::total_cmp);
    let at = ((all.len() as f64 * spec.independent).round_ties_even() as usize).min(all.len().saturating_sub(1));
    let bound = all.get(at).copied().unwrap_or(1.0);
    let kept = |i: usize| of.labels[i].is_some() && of_cluster(i, &depends) <= bound && firm[i] <= of_cluster(i, &firm);
    let pairs = |i: usize| (0..n).map(|j| i == j || (own[i][j] && kept(i) && kept(j))).collect();
    ((0..n).map(pairs).collect(), bound)
}

fn clustering() -> impl Strategy<Value = Vec<Option<u32>>> {
    let raw = prop::collection::vec(prop::option::weighted(0.8, 0_u32..5), 16);
    // Clusters are numbered without gaps.
    raw.prop_map(|labels| {
        let mut numbers = BTreeMap::new();
        let number = |label: u32| {
            let next = numbers.len() as u32;
            *numbers.entry(label).or_insert(next)
        };
        let mut number = number;
        labels.into_iter().map(|label| label.map(&mut number)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reliable_clusters_are_those_of_the_matrices(
        labels in clustering(),
        tight in clustering(),
        loose in clustering(),
        independent in 0.0..1.0_f64,
    ) {
        let of = Clusterings { labels: &labels, tight: &tight, loose: &loose };
        let spec = ReliabilitySpec { independent, ..ReliabilitySpec::default() };
        let found = reliable(of, None, spec);
        let (expected, bound) = by_matrices(of, spec);
        prop_assert_eq!(together(&found.labels), expected);
        prop_assert!((found.bound - bound).abs() < 1e-12);
        prop_assert_eq!(found.labels.iter().flatten().max().map_or(0, |last| *last as usize + 1), found.clusters);
        let again = reliable(of, Some(0.0), spec);
        prop_assert!(again.clusters <= found.clusters && again.bound == 0.0, "a narrower bound keeps no more");
    }
}

#[test]
fn logits_are_mean_similarities_and_places_follow() -> Result<()> {
    let (width, momentum, temperature) = (5, 0.2, 0.5);
    let mut places: Vec<f32> = values(&normal(3, (6, width))).into_iter().map(|value| value as f32).collect();
    normalize_rows(&mut places, width);
    let labels = vec![0, 1, 2, 1, NOWHERE, 2];
    let mut memory = HybridMemory::new(places.clone(), width, labels.clone(), &Device::Cpu);
    let features = normal(4, (3, width));
    let check = |memory: &HybridMemory, places: &[f32]| -> Result<()> {
        let found = values(&memory.logits(&features, temperature)?);
        for (row, feature) in values(&features).chunks(width).enumerate() {
            for class in 0..3 {
                let own: Vec<usize> = (0..6).filter(|&at| labels[at] == class).collect();
                let similarity = |at: &usize| -> f64 {
                    feature.iter().zip(&places[at * width..][..width]).map(|(a, b)| a * f64::from(*b)).sum()
                };
                let mean = own.iter().map(similarity).sum::<f64>() / own.len() as f64;
                let error = found[row * 3 + class as usize] - mean / temperature;
                assert!(error.abs() < 1e-5, "{row} {class}: {error}");
            }
        }
        Ok(())
    };
    check(&memory, &places)?;

    // One after the other, also where a place comes twice.
    let mut seen: Vec<f32> = values(&normal(5, (3, width))).into_iter().map(|value| value as f32).collect();
    normalize_rows(&mut seen, width);
    let moved = [3, 0, 3];
    memory.follow(&seen, &moved, momentum);
    for (feature, at) in seen.chunks(width).zip(moved) {
        let own = &mut places[at as usize * width..][..width];
        for (own, value) in own.iter_mut().zip(feature) {
            *own = momentum as f32 * *own + (1.0 - momentum as f32) * value;
        }
        normalize_rows(own, width);
    }
    check(&memory, &places)?;
    let (saved, labels) = memory.tensors()?;
    let again = HybridMemory::from_tensors(&saved, &labels, &Device::Cpu)?;
    assert_eq!(bits(&again.logits(&features, temperature)?), bits(&memory.logits(&features, temperature)?));
    Ok(())
}

/// Twelve pictures of four people of the target, one unusable, then eight of two of the source; features as the fixture's
/// pictures would hardly give them: each person's are alike.
fn archive() -> Archive {
    let mut records: Vec<Record> = (0..12).map(|at| record(1 + at / 3, (at % 2) as u32, at != 5)).collect();
    records.extend((0..8).map(|at| record(100 + at / 4, 2 + (at % 2) as u32, true)));
    let width = backbone().size.dims().width;
    let centres = normal(9, (6, width));
    let mut values = Vec::new();
    let mut seen = Vec::new();
    for (at, record) in records.iter().enumerate().filter(|(_, record)| record.usable) {
        let person = if record.pid >= 100 { record.pid as usize - 96 } else { record.pid as usize - 1 };
        let noise = normal(20 + at as u64, width);
        let centre = centres.get(person).unwrap();
        values.extend(((centre + (noise * 0.05).unwrap()).unwrap()).to_vec1::<f32>().unwrap());
        seen.push(at as u32);
    }
    let features = Features { values, width, records: seen };
    Archive { splits: BTreeMap::from([(Split::Train, (records, features))]) }
}

fn task() -> Result<Spcl> {
    let spec = SpclSpec {
        train: TrainSpec { batch: 8, ..SpclSpec::default().train },
        steps_per_epoch: 3,
        identities_per_batch: 2,
        jaccard: JaccardSpec { k1: 3, k2: 2 },
        dbscan: DbscanSpec { eps: 0.6, min_samples: 2 },
        ..SpclSpec::default()
    };
    let encoder = EncoderModel::random(&backbone(), 1, &Device::Cpu)?;
    Spcl::build(&spec, &backbone(), encoder, 12, 1, &Device::Cpu)
}

#[test]
fn batches_are_half_of_each_domain_and_labels_are_of_both() -> Result<()> {
    let (mut task, archive) = (task()?, archive());
    let plan = task.begin_epoch(0, 7, &archive)?;
    assert_eq!((plan.batch, plan.steps()), (8, 3));
    for draws in plan.draws.chunks(8) {
        let (source, target) = draws.split_at(4);
        assert!(source.iter().all(|draw| draw.image >= 12 && draw.label == (draw.image - 12) / 4), "{source:?}");
        assert!(target.iter().all(|draw| draw.image < 12 && draw.image != 5 && draw.label >= 2), "{target:?}");
    }
    let places = task.save()?.tensors["memory.labels"].to_vec1::<u32>()?;
    assert_eq!(places.len(), 2 + 12);
    assert_eq!(places[..2], [0, 1]);
    assert_eq!(places[2 + 5], NOWHERE, "what cannot be read is in no class");
    for person in [0..3, 6..9, 9..12] {
        let own: Vec<u32> = person.map(|at| places[2 + at]).collect();
        assert!(own.iter().all(|label| *label == own[0] && *label != NOWHERE), "{places:?}");
    }
    Ok(())
}

/// What a batch of the fixture shows: the first half of people 0 and 1 of the source, the rest of the target.
fn of_both_domains() -> reid_data::views::ViewBatch {
    let mut batch = batch(8, 1, 5);
    batch.images = vec![12, 13, 16, 17, 0, 1, 6, 7];
    batch.labels = vec![0, 0, 1, 1, 2, 2, 4, 4];
    batch
}

#[test]
fn eight_pictures_can_be_learned_by_heart() -> Result<()> {
    let mut task = task()?;
    task.begin_epoch(0, 7, &archive())?;
    let mut batch = of_both_domains();
    // As the epoch has numbered them.
    let labels = task.save()?.tensors["memory.labels"].to_vec1::<u32>()?;
    batch.labels[4..].iter_mut().zip([0, 1, 6, 7]).for_each(|(label, image)| *label = labels[2 + image]);
    // The memory follows: for long, classes of both domains chase each other.
    let losses = train(&mut task, &batch, 300, 1e-3)?;
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.3 * first, "{first} to {last}");
    Ok(())
}

#[test]
fn saved_state_restores_the_task() -> Result<()> {
    let mut first = task()?;
    first.begin_epoch(0, 7, &archive())?;
    train(&mut first, &of_both_domains(), 3, 1e-3)?;
    let state = first.save()?;
    let mut second = task()?;
    second.load(&state)?;
    for (name, tensor) in second.save()?.tensors {
        let (a, b) = (tensor.flatten_all()?, state.tensors[&name].flatten_all()?);
        if a.dtype() == candle_core::DType::U32 {
            assert_eq!(a.to_vec1::<u32>()?, b.to_vec1::<u32>()?, "{name}");
        } else {
            assert_eq!(bits(&a), bits(&b), "{name}");
        }
    }
    // The same step of both, but for the parameters, which the loop restores.
    for (name, tensor) in first.trainable().tensors()? {
        second.trainable().set(&name, &tensor)?;
    }
    let loss = |task: &Spcl| -> Result<Tensor> { Ok(task.step(&of_both_domains(), clock(3, 4))?.loss) };
    assert_eq!(bits(&loss(&first)?), bits(&loss(&second)?));
    let product = first.product()?;
    assert!(product.keys().all(|name| !name.contains("source")) && product.contains_key("neck.running_mean"));
    Ok(())
}

#[test]
fn one_cluster_of_all_is_refused() -> Result<()> {
    let (mut task, mut archive) = (task()?, archive());
    let (_, features) = archive.splits.get_mut(&Split::Train).expect("pictures");
    features.values.iter_mut().for_each(|value| *value = 1.0);
    let error = task.begin_epoch(0, 7, &archive).unwrap_err().to_string();
    assert!(error.contains("epoch 0") && error.contains("protocol.spcl.dbscan.eps"), "{error}");
    Ok(())
}
