//! The generator against its published vectors, and the numbers made of it.

use reid_data::rng::{Key, Rng, Stream, philox4x32};

const KEY: Key = Key { seed: 3, stream: Stream::Augment, epoch: 1, draw: 2, view: 4 };

/// Known answers of Random123's `kat_vectors` for philox4x32-10.
#[test]
fn philox_gives_the_published_vectors() {
    let cases = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, expected) in cases {
        assert_eq!(philox4x32(counter, key), expected);
    }
}

/// One block after the other, however many of them are computed together.
#[test]
fn a_sequence_is_its_blocks_in_order() {
    let mut rng = Rng::new(Key { seed: 7 | 9 << 32, ..KEY });
    for block in 0..100 {
        let expected = philox4x32([block, 2, 1, 2 << 16 | 4], [7, 9]);
        assert_eq!([rng.next_u32(), rng.next_u32(), rng.next_u32(), rng.next_u32()], expected, "block {block}");
    }
}

#[test]
fn every_part_of_the_key_matters() {
    let first = |key| Rng::new(key).next_u64();
    let others = [
        Key { seed: 4, ..KEY },
        Key { seed: 3 | 1 << 40, ..KEY },
        Key { stream: Stream::Mask, ..KEY },
        Key { epoch: 2, ..KEY },
        Key { draw: 3, ..KEY },
        Key { view: 5, ..KEY },
    ];
    assert_eq!(first(KEY), first(KEY));
    for other in others {
        assert_ne!(first(KEY), first(other), "{other:?}");
    }
}

#[test]
fn numbers_have_their_laws() {
    const N: usize = 20_000;
    let mut rng = Rng::new(KEY);
    let normals: Vec<f64> = (0..N).map(|_| rng.normal()).collect();
    let mean = normals.iter().sum::<f64>() / N as f64;
    let variance = normals.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / N as f64;
    // Five standard errors: 1 / sqrt(n) of the mean, sqrt(2 / n) of the variance.
    assert!(mean.abs() < 0.036, "{mean}");
    assert!((variance - 1.0).abs() < 0.05, "{variance}");

    let mut counts = [0_usize; 7];
    for _ in 0..N {
        counts[rng.below(7)] += 1;
        let real = rng.range(-2.0, 3.0);
        assert!((-2.0..3.0).contains(&real), "{real}");
    }
    // Five standard errors of a share of 1/7.
    assert!(counts.iter().all(|&count| (count as f64 - N as f64 / 7.0).abs() < 250.0), "{counts:?}");

    let mut items: Vec<usize> = (0..50).collect();
    rng.shuffle(&mut items);
    assert_ne!(items, (0..50).collect::<Vec<_>>());
    items.sort_unstable();
    assert_eq!(items, (0..50).collect::<Vec<_>>());
}
