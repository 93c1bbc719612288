//! Random choices of tasks, each from its own counter-based stream.

use std::ops::Range;

use reid_backbones::DropPath;
use reid_data::rng::{Key, Rng, Stream};

/// Uniform numbers for the initial values of the parameter `name`: keyed by (seed, name), so that
/// adding a layer moves no other layer's numbers.
pub fn init_source(seed: u64) -> impl Fn(&str) -> Box<dyn FnMut() -> f64> {
    move |name| {
        let hash = fnv1a(name.as_bytes());
        let key = Key { seed, stream: Stream::Init, epoch: (hash >> 32) as u32, draw: hash as u32, view: 0 };
        let mut rng = Rng::new(key);
        Box::new(move || rng.uniform())
    }
}

/// 64-bit FNV-1a (Fowler, Noll and Vo; offset basis and prime of the 64-bit variant).
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Stochastic depth for views of a batch: block i drops a branch of a view with probability
/// `largest * i / (depth - 1)`; what stays is divided by the keep probability.
///
/// Returns one entry per block, view outermost, or `None` where nothing can drop. Keyed by (seed, epoch, draw, view).
pub fn drop_paths(
    largest: f64,
    depth: usize,
    seed: u64,
    epoch: usize,
    draws: &[u32],
    views: Range<u16>,
) -> Option<Vec<DropPath>> {
    if largest == 0.0 {
        return None;
    }
    let of_view = |view| draws.iter().map(move |&draw| (draw, view));
    drop_paths_of(largest, depth, seed, epoch, &views.flat_map(of_view).collect::<Vec<_>>())
}

/// [`drop_paths`] of sequences in any order, each keyed by its draw and view.
pub fn drop_paths_of(
    largest: f64,
    depth: usize,
    seed: u64,
    epoch: usize,
    sequences: &[(u32, u16)],
) -> Option<Vec<DropPath>> {
    if largest == 0.0 {
        return None;
    }
    let count = sequences.len();
    let empty = DropPath { attention: Vec::with_capacity(count), mlp: Vec::with_capacity(count) };
    let mut blocks = vec![empty; depth];
    for &(draw, view) in sequences {
        let mut rng = Rng::new(Key { seed, stream: Stream::DropPath, epoch: epoch as u32, draw, view });
        for (i, block) in blocks.iter_mut().enumerate() {
            let keep = 1.0 - largest * i as f64 / (depth - 1).max(1) as f64;
            let mut factor = || if rng.chance(keep) { (1.0 / keep) as f32 } else { 0.0 };
            block.attention.push(factor());
            block.mlp.push(factor());
        }
    }
    Some(blocks)
}
