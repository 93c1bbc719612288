//! Counter-based random numbers.
//!
//! A draw is a pure function of a [`Key`]: no generator state exists, so a resumed run needs none
//! restored, and any number of workers sees the same numbers. The generator is Philox4x32-10
//! (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), whose published
//! vectors the tests check.

use std::convert::Infallible;

use rand_core::TryRng;
use rand_distr::{Distribution, StandardNormal};

use crate::simd::vectorized;

/// What a random number is for. Two streams never share numbers; the discriminants are part of the
/// results and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Stream {
    /// Order of the draws of an epoch (samplers).
    Plan = 1,
    /// Geometric and photometric augmentation of one view.
    Augment = 2,
    /// Masks over patches.
    Mask = 3,
    /// Stochastic depth.
    DropPath = 4,
    /// Initial values of parameters; `draw` is a hash of the parameter's name.
    Init = 5,
    /// The built-in renderer.
    Render = 6,
    /// Choice of held-out identities.
    Holdout = 7,
    /// Resampling statistics (bootstrap, permutation).
    Statistics = 8,
}

/// Position of a random stream: nothing else decides its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Seed of the run, or of the data for streams that belong to the data.
    pub seed: u64,
    /// Purpose.
    pub stream: Stream,
    /// Epoch, from 0; 0 where there is none.
    pub epoch: u32,
    /// Position in the epoch's plan (not the image's index).
    pub draw: u32,
    /// View of that draw, from 0.
    pub view: u16,
}

const MULTIPLIER_0: u32 = 0xD251_1F53;
const MULTIPLIER_1: u32 = 0xCD9E_8D57;
const WEYL_0: u32 = 0x9E37_79B9;
const WEYL_1: u32 = 0xBB67_AE85;

/// One Philox4x32-10 block: 128 counter bits and 64 key bits to 128 random bits.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [block] = blocks(counter, key);
    block
}

/// The blocks of `counter` and of those after it, each round of all of them before the next round.
#[inline(always)]
fn blocks<const N: usize>(counter: [u32; 4], mut key: [u32; 2]) -> [[u32; 4]; N] {
    let mut counters = counter.map(|part| [part; N]);
    for (ahead, first) in (0..).zip(&mut counters[0]) {
        *first = first.wrapping_add(ahead);
    }
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL_0), key[1].wrapping_add(WEYL_1)];
        }
        let [a, b, c, d] = &mut counters;
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let p0 = u64::from(MULTIPLIER_0) * u64::from(*a);
            let p1 = u64::from(MULTIPLIER_1) * u64::from(*c);
            [*a, *b, *c, *d] = [(p1 >> 32) as u32 ^ *b ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ *d ^ key[1], p0 as u32];
        }
    }
    std::array::from_fn(|at| counters.map(|part| part[at]))
}

/// Blocks that are computed side by side for a sequence of which the first block has been used up.
const AHEAD: usize = 16;

/// Sequence of random numbers at one [`Key`].
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    /// Counter of the next block that is to be computed.
    counter: [u32; 4],
    /// Computed numbers: `next..end` are still to be given.
    numbers: [u32; 4 * AHEAD],
    next: usize,
    end: usize,
}

impl Rng {
    /// The numbers of `key`, from the first.
    pub fn new(key: Key) -> Self {
        Self {
            key: [key.seed as u32, (key.seed >> 32) as u32],
            counter: [0, key.draw, key.epoch, (key.stream as u32) << 16 | u32::from(key.view)],
            numbers: [0; 4 * AHEAD],
            next: 0,
            end: 0,
        }
    }

    /// 32 random bits.
    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        if self.next == self.end {
            self.compute();
        }
        let number = self.numbers[self.next];
        self.next += 1;
        number
    }

    /// A sequence's first block is computed alone, for many have no other; whoever wants more may want thousands.
    fn compute(&mut self) {
        // No later block has this counter: they come in sixteens from 1 on, and wrap to 1.
        let first = self.counter[0];
        let computed = if first == 0 { 1 } else { AHEAD };
        if computed == 1 {
            self.numbers[..4].copy_from_slice(&philox4x32(self.counter, self.key));
        } else {
            vectorized(
                #[inline(always)]
                || self.numbers.copy_from_slice(blocks::<AHEAD>(self.counter, self.key).as_flattened()),
            );
        }
        self.counter[0] = first.wrapping_add(computed as u32);
        (self.next, self.end) = (0, 4 * computed);
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) << 32 | u64::from(self.next_u32())
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform integer in 0..bound, without bias (Lemire's rejection).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "below(0) has no value to draw");
        let bound = bound as u64;
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            if (wide as u64) >= bound.wrapping_neg() % bound {
                return (wide >> 64) as usize;
            }
        }
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    /// Standard normal (the ziggurat of Marsaglia and Tsang, "The Ziggurat Method for Generating Random Variables",
    /// Journal of Statistical Software 5, 2000).
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(self)
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// For laws that others have written.
impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for word in bytes.chunks_mut(4) {
            word.copy_from_slice(&self.next_u32().to_le_bytes()[..word.len()]);
        }
        Ok(())
    }
}
