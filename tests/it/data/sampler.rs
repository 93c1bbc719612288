//! Orders of epochs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reid_data::DataError;
use reid_data::dataset::Record;
use reid_data::sampler::{Labels, PkSettings, multi_gallery, pk, pk_labels, sequential, shuffle, shuffle_labels};
use reid_data::spec::{LabelsSpec, Singleton};

fn records(identities: &[(i64, bool)]) -> Vec<Record> {
    let record = |&(pid, usable): &(i64, bool)| Record { usable, ..Record::new(String::new(), pid, 0) };
    identities.iter().map(record).collect()
}

fn identities() -> impl Strategy<Value = Vec<(i64, bool)>> {
    prop::collection::vec((0_i64..12, prop::bool::weighted(0.9)), 1..80)
}

proptest! {
    #[test]
    fn shuffle_draws_each_usable_picture_at_most_once(set in identities(), batch in 1_usize..9, seed: u64) {
        let records = records(&set);
        let plan = shuffle(&records, batch, seed, 3);
        let usable = records.iter().filter(|record| record.usable).count();
        prop_assert_eq!(plan.draws.len(), usable / batch * batch);
        prop_assert_eq!(plan.steps(), usable / batch);
        let mut images: Vec<u32> = plan.draws.iter().map(|draw| draw.image).collect();
        images.sort_unstable();
        images.dedup();
        prop_assert_eq!(images.len(), plan.draws.len());
        prop_assert!(images.iter().all(|&image| records[image as usize].usable));
        prop_assert_eq!(&plan, &shuffle(&records, batch, seed, 3));
    }

    #[test]
    fn pk_batches_have_p_identities_of_k_pictures(
        set in identities(),
        identities in 1_usize..5,
        images in 1_usize..5,
        seed: u64,
    ) {
        let records = records(&set);
        let settings = PkSettings { identities, images };
        // Usable pictures of each identity, and groups of K that they give.
        let mut own: BTreeMap<i64, usize> = BTreeMap::new();
        for record in records.iter().filter(|record| record.usable) {
            *own.entry(record.pid).or_default() += 1;
        }
        let groups = |count: usize| if count < images { 1 } else { count / images };
        let plan = match pk(&records, settings, seed, 0) {
            Ok(plan) => plan,
            Err(DataError::TooFewIdentities { found, needed }) => {
                prop_assert!(own.len() < identities);
                prop_assert_eq!((found, needed), (own.len(), identities));
                return Ok(());
            }
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(plan.batch, identities * images);
        prop_assert_eq!(plan.draws.len() % plan.batch, 0);
        let mut pids: Vec<i64> = records.iter().map(|record| record.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        let mut used: BTreeMap<i64, usize> = BTreeMap::new();
        let mut times: BTreeMap<u32, usize> = BTreeMap::new();
        for batch in plan.draws.chunks(plan.batch) {
            let mut labels = Vec::new();
            for group in batch.chunks(images) {
                let pid = records[group[0].image as usize].pid;
                *used.entry(pid).or_default() += 1;
                labels.push(group[0].label);
                for draw in group {
                    let record = &records[draw.image as usize];
                    prop_assert!(record.usable);
                    prop_assert_eq!(record.pid, pid);
                    prop_assert_eq!(pids[draw.label as usize], pid);
                    *times.entry(draw.image).or_default() += 1;
                }
            }
            labels.sort_unstable();
            labels.dedup();
            prop_assert_eq!(labels.len(), identities);
        }
        for (image, count) in times {
            let pid = records[image as usize].pid;
            prop_assert!(count == 1 || own[&pid] < images, "picture {} is drawn {} times", image, count);
        }
        // The epoch ends only when fewer than P identities have a group left.
        let left = own.iter().filter(|(pid, count)| used.get(pid).copied().unwrap_or(0) < groups(**count)).count();
        prop_assert!(left < identities);
        prop_assert!(own.iter().all(|(pid, count)| used.get(pid).copied().unwrap_or(0) <= groups(*count)));
        prop_assert_eq!(&plan, &pk(&records, settings, seed, 0)?);
    }
}

#[test]
fn epochs_and_seeds_differ() {
    let records = records(&[(1, true), (2, true)].repeat(20));
    let settings = PkSettings { identities: 2, images: 4 };
    let pk_plan = |seed, epoch| pk(&records, settings, seed, epoch).expect("enough identities");
    for (a, b) in [((0, 0), (0, 1)), ((0, 0), (1, 0))] {
        assert_ne!(shuffle(&records, 4, a.0, a.1), shuffle(&records, 4, b.0, b.1));
        assert_ne!(pk_plan(a.0, a.1), pk_plan(b.0, b.1));
    }
}

#[test]
fn sequential_keeps_every_usable_picture_in_order() {
    let plan = sequential(&records(&[(1, true), (1, false), (2, true), (3, true)]), 2);
    assert_eq!(plan.draws.iter().map(|draw| draw.image).collect::<Vec<_>>(), [0, 2, 3]);
    assert_eq!(plan.steps(), 1);
}

#[test]
fn labels_do_not_depend_on_which_pictures_are_sound() {
    let plan = pk(&records(&[(7, false), (9, true), (11, true)]), PkSettings { identities: 2, images: 1 }, 0, 0);
    let mut labels: Vec<u32> = plan.expect("two identities").draws.iter().map(|draw| draw.label).collect();
    labels.sort_unstable();
    assert_eq!(labels, [1, 2]);
}

#[test]
fn given_labels_leave_pictures_out() {
    let labels = [Some(4), None, Some(2), Some(4), None];
    let plan = pk_labels(&labels, PkSettings { identities: 2, images: 2 }, 1, 0).expect("two labels");
    assert_eq!(plan.draws.len(), 4);
    assert!(plan.draws.iter().all(|draw| labels[draw.image as usize] == Some(draw.label)));
}

/// Pictures with names of their own.
fn named(set: &[(i64, bool)]) -> Vec<Record> {
    let mut records = records(set);
    for (at, record) in records.iter_mut().enumerate() {
        record.path = format!("train/{at:05}.jpg");
    }
    records
}

/// Paths of the pictures that have a label, with their identities.
fn chosen(records: &[Record], spec: LabelsSpec) -> BTreeMap<String, i64> {
    let labels = Labels::of(records, spec).of_records;
    let labelled = records.iter().zip(labels).filter(|(_, label)| label.is_some());
    labelled.map(|(record, _)| (record.path.clone(), record.pid)).collect()
}

proptest! {
    #[test]
    fn subsets_of_labels_are_nested_and_know_no_order(
        set in identities(),
        shares in prop::array::uniform2(0.01_f64..1.0),
        most in prop::array::uniform2(1_usize..6),
        turn in 0_usize..80,
    ) {
        let records = named(&set);
        let spec = |share: f64, images_per_identity| LabelsSpec { identities: share, images_per_identity };
        let [few, many] = [shares[0].min(shares[1]), shares[0].max(shares[1])];
        let [least, more] = [most[0].min(most[1]), most[0].max(most[1])];
        let small = chosen(&records, spec(few, least));
        for wider in [spec(few, more), spec(many, least), spec(many, 0), LabelsSpec::default()] {
            let wide = chosen(&records, wider);
            prop_assert!(small.iter().all(|(path, pid)| wide.get(path) == Some(pid)), "{:?}", wider);
        }
        let mut turned = records.clone();
        turned.rotate_left(turn % records.len());
        prop_assert_eq!(&chosen(&turned, spec(few, least)), &small);

        let labels = Labels::of(&records, spec(few, least));
        let mut own: BTreeMap<u32, usize> = BTreeMap::new();
        for (record, label) in records.iter().zip(&labels.of_records) {
            prop_assert!(record.usable || label.is_none());
            if let Some(label) = label {
                prop_assert!((*label as usize) < labels.identities);
                *own.entry(*label).or_default() += 1;
            }
        }
        prop_assert!(own.values().all(|&count| count <= least));
        prop_assert_eq!(labels.images, own.values().sum::<usize>());
        let expected = ((few * labels.all_identities as f64).round() as usize).max(2).min(labels.all_identities);
        prop_assert_eq!(labels.identities, expected);
    }

    #[test]
    fn all_labels_are_the_default(set in identities(), seed: u64, batch in 1_usize..9) {
        let records = named(&set);
        let labels = Labels::of(&records, LabelsSpec::default());
        prop_assert!(!labels.is_part());
        let settings = PkSettings { identities: 1, images: 2 };
        prop_assert_eq!(pk(&records, settings, seed, 1).ok(), pk_labels(&labels.of_records, settings, seed, 1).ok());
        // A label more or less is all that tells the two orders of an epoch apart.
        let images = |draws: &[reid_data::plan::Draw]| draws.iter().map(|draw| draw.image).collect::<Vec<_>>();
        let plan = shuffle_labels(&labels.of_records, batch, seed, 1);
        prop_assert_eq!(images(&plan.draws), images(&shuffle(&records, batch, seed, 1).draws));
        for draw in &plan.draws {
            prop_assert_eq!(Some(draw.label), labels.of_records[draw.image as usize]);
        }
    }
}

proptest! {
    #[test]
    fn multi_gallery_batches_prefer_other_cameras(
        seen in prop::collection::vec((0_u32..8, 0_u32..3, prop::bool::weighted(0.9)), 1..60),
        identities in 1_usize..4,
        images in 1_usize..5,
        repeated: bool,
        seed: u64,
    ) {
        let records: Vec<Record> =
            seen.iter().map(|&(label, camera, _)| Record::new(String::new(), i64::from(label), camera)).collect();
        let labels: Vec<Option<u32>> = seen.iter().map(|&(label, _, known)| known.then_some(label)).collect();
        let mut own: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (image, label) in (0..).zip(&labels) {
            if let Some(label) = label {
                own.entry(*label).or_default().push(image);
            }
        }
        let settings = PkSettings { identities, images };
        let singleton = if repeated { Singleton::Repeated } else { Singleton::Once };
        let plan = match multi_gallery(&records, &labels, settings, singleton, None, (seed, 1)) {
            Ok(plan) => plan,
            Err(DataError::TooFewIdentities { found, needed }) => {
                prop_assert!(own.len() < identities);
                prop_assert_eq!((found, needed), (own.len(), identities));
                return Ok(());
            }
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(plan.batch, identities * images);
        prop_assert!(plan.draws.len().is_multiple_of(plan.batch));
        let whole: usize = own.values().map(|own| if own.len() > 1 || repeated { images } else { 1 }).sum();
        prop_assert_eq!(plan.draws.len(), whole / plan.batch * plan.batch);
        let camera = |image: u32| records[image as usize].camera;
        let groups: Vec<&[reid_data::plan::Draw]> = plan.draws.chunk_by(|a, b| a.label == b.label).collect();
        // The last group may be cut.
        for group in &groups[..groups.len().saturating_sub(1)] {
            let (anchor, others) = group.split_first().expect("a group");
            let own = &own[&anchor.label];
            prop_assert!(group.iter().all(|draw| own.contains(&draw.image)));
            let elsewhere = own.iter().filter(|&&image| camera(image) != camera(anchor.image)).count();
            if elsewhere > 0 {
                prop_assert!(others.iter().all(|draw| camera(draw.image) != camera(anchor.image)));
            } else if own.len() > 1 {
                prop_assert!(others.iter().all(|draw| draw.image != anchor.image));
            }
            let candidates = if elsewhere > 0 { elsewhere } else { own.len() - 1 };
            let mut different: Vec<u32> = others.iter().map(|draw| draw.image).collect();
            different.sort_unstable();
            different.dedup();
            if candidates >= images {
                prop_assert_eq!(different.len(), images - 1);
            }
        }
        prop_assert_eq!(&plan, &multi_gallery(&records, &labels, settings, singleton, None, (seed, 1)).expect("again"));
    }
}
