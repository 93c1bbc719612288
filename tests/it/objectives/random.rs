//! Stochastic depth and initial values: their laws and their keys.

use reid_objectives::random::{drop_paths, init_source};

const LARGEST: f64 = 0.4;
const DEPTH: usize = 5;

/// Whether a branch was kept; what is kept must be scaled up by the keep probability.
fn kept(factor: f32, keep: f64) -> bool {
    assert!(factor == 0.0 || (f64::from(factor) * keep - 1.0).abs() < 1e-6, "{factor} at {keep}");
    factor > 0.0
}

#[test]
fn branches_are_dropped_as_often_as_asked() {
    let draws: Vec<u32> = (0..4000).collect();
    let blocks = drop_paths(LARGEST, DEPTH, 1, 2, &draws, 0..1).expect("something may drop");
    assert_eq!(blocks.len(), DEPTH);
    let n = draws.len() as f64;
    for (i, block) in blocks.iter().enumerate() {
        let keep = 1.0 - LARGEST * i as f64 / (DEPTH - 1) as f64;
        let share = |factors: &[f32]| factors.iter().filter(|&&factor| kept(factor, keep)).count() as f64 / n;
        let four_sigma = 4.0 * (keep * (1.0 - keep) / n).sqrt() + 1e-12;
        for factors in [&block.attention, &block.mlp] {
            assert_eq!(factors.len(), draws.len());
            let share = share(factors);
            assert!((share - keep).abs() <= four_sigma, "block {i}: {share} kept of {keep}");
        }
        // The two branches of a block are drawn on their own.
        let both: Vec<f32> = block.attention.iter().zip(&block.mlp).map(|(a, b)| a.min(*b)).collect();
        let share = share(&both);
        let expected = keep * keep;
        let four_sigma = 4.0 * (expected * (1.0 - expected) / n).sqrt() + 1e-12;
        assert!((share - expected).abs() <= four_sigma, "block {i}: {share} kept both of {expected}");
    }
}

#[test]
fn dropped_branches_are_keyed_by_seed_epoch_and_draw() {
    let all = drop_paths(LARGEST, DEPTH, 1, 2, &(0..64).collect::<Vec<_>>(), 0..1).expect("something may drop");
    let order = [63, 5, 17, 5];
    let some = drop_paths(LARGEST, DEPTH, 1, 2, &order, 0..1).expect("something may drop");
    for (all, some) in all.iter().zip(&some) {
        for (at, &draw) in order.iter().enumerate() {
            assert_eq!(some.attention[at], all.attention[draw as usize]);
            assert_eq!(some.mlp[at], all.mlp[draw as usize]);
        }
    }
    let draws: Vec<u32> = (0..64).collect();
    for (seed, epoch) in [(2, 2), (1, 3)] {
        assert_ne!(
            drop_paths(LARGEST, DEPTH, seed, epoch, &draws, 0..1).as_ref(),
            Some(&all),
            "seed {seed}, epoch {epoch}"
        );
    }
}

#[test]
fn nothing_is_dropped_where_nothing_may() {
    assert_eq!(drop_paths(0.0, DEPTH, 1, 2, &[0, 1], 0..1), None);
    let only = drop_paths(0.9, 1, 1, 2, &[0, 1, 2], 0..1).expect("a single block");
    assert_eq!((&only[0].attention, &only[0].mlp), (&vec![1.0; 3], &vec![1.0; 3]), "the first block never drops");
}

#[test]
fn initial_values_are_uniform_and_keyed_by_name() {
    let take = |seed, name: &str| {
        let mut next = init_source(seed)(name);
        (0..10_000).map(|_| next()).collect::<Vec<f64>>()
    };
    let values = take(1, "encoder.norm.weight");
    assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    // The variance of a uniform number is 1/12.
    assert!((mean - 0.5).abs() <= 4.0 / (12.0 * values.len() as f64).sqrt(), "{mean}");
    assert_eq!(values, take(1, "encoder.norm.weight"));
    assert_ne!(values, take(2, "encoder.norm.weight"));
    assert_ne!(values, take(1, "encoder.norm.bias"));
}
