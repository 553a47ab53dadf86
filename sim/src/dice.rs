//! All chance of a run: it follows from the seed alone.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Numbers that follow from a seed.
#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    /// `purpose` tells the streams of one seed apart.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        Self(StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose))
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.random_range(0..end as u64)).expect("it is below a usize")
    }

    /// True once in `n` times; never if `n` is zero.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// One of `from`, which is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
