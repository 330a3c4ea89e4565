//! Values without state: everything is a hash of (seed, what, which one), so any row can be made on its own, in any
//! order, on any thread, and comes out the same. Not `fastrand`, whose sequence may change with its version.

/// What is drawn for; keeps the draws of different things apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    BatchId = 1,
    CourseId,
    ContentId,
    Course,
    Module,
    Batch,
    LearnerId,
    Learner,
    Enrolment,
    Duplicate,
    Progress,
    Activity,
    Attempt,
    Score,
    Order,
}

/// A short sequence of draws for one thing.
#[derive(Clone, Debug)]
pub(super) struct Draws(u64);

/// The finaliser of splitmix64: every input bit changes every output bit.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Draws {
    /// The draws of the thing with these two numbers (a batch and a place in it, say).
    pub(super) const fn new(seed: u64, of: Of, a: u64, b: u64) -> Self {
        let start = mix(seed ^ (of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self(mix(mix(start ^ a).wrapping_add(b)))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to `n` - 1; `n` must not be 0.
    pub(super) const fn below(&mut self, n: u64) -> u64 {
        ((self.next() as u128 * n as u128) >> 64) as u64
    }

    /// True once in `n` times.
    pub(super) const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of some.
    pub(super) const fn pick<T: Copy>(&mut self, some: &[T]) -> T {
        #[allow(clippy::cast_possible_truncation, reason = "below the length of a slice")]
        some[self.below(some.len() as u64) as usize]
    }
}

/// A permutation of 0..n that needs no memory: a Feistel network over the next power of four, walked until it is back
/// inside. It puts rows into random order.
#[derive(Clone, Debug)]
pub(super) struct Shuffle {
    n: u64,
    half: u32,
    keys: [u64; 4],
}

impl Shuffle {
    pub(super) fn new(n: u64, mut draws: Draws) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Self { n, half: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| draws.next()) }
    }

    /// Where `i` (below n) goes.
    pub(super) fn at(&self, i: u64) -> u64 {
        debug_assert!(i < self.n);
        let mut x = i;
        loop {
            x = self.once(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn once(&self, x: u64) -> u64 {
        let mask = (1 << self.half) - 1;
        let (mut left, mut right) = (x >> self.half, x & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_of_any_length() {
        for n in [1, 2, 3, 4, 5, 16, 17, 1000, 4097] {
            let shuffle = Shuffle::new(n, Draws::new(7, Of::Order, n, 0));
            let mut seen: Vec<u64> = (0..n).map(|i| shuffle.at(i)).collect();
            if n > 100 {
                assert!(!seen.is_sorted(), "{n} rows stayed in order");
            }
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..n), "not a permutation of {n}");
        }
    }

    #[test]
    fn draws_stay_in_range_and_differ_between_things() {
        let mut draws = Draws::new(1, Of::Learner, 2, 3);
        let mut counts = [0_u32; 10];
        for _ in 0..10_000 {
            counts[usize::try_from(draws.below(10)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
        let first = |of, a, b| Draws::new(1, of, a, b).next();
        assert_ne!(first(Of::Learner, 2, 3), first(Of::Course, 2, 3));
        assert_ne!(first(Of::Learner, 2, 3), first(Of::Learner, 3, 2));
    }
}
