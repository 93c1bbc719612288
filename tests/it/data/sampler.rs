//! Orders of epochs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reid_data::DataError;
use reid_data::dataset::Record;
use reid_data::sampler::{PkSettings, pk, pk_labels, sequential, shuffle};

fn records(identities: &[(i64, bool)]) -> Vec<Record> {
    let record =
        |&(pid, usable): &(i64, bool)| Record { path: String::new(), pid, camera: 0, hidden: None, usable, stamp: 0 };
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
