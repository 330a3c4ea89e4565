//! What is known of each batch so far, while several threads add to many batches at a time.
//!
//! Buckets stand on shelves, and a chunk locks each shelf once. With a lock for each row, a row waited until the one
//! before it had got to its place in memory, which was most of what taking a row cost (`docs/performance.md`).

use std::sync::{Mutex, PoisonError};

/// How many shelves there are; a chunk has some thousand rows.
pub(super) const SHELVES: usize = 64;

/// Rows whose buckets are looked at together.
const TOGETHER: usize = 64;

/// A bucket for each slot.
#[derive(Debug)]
pub(super) struct Shelves<B> {
    /// Slot `s` is the bucket `s / SHELVES` of the shelf `s % SHELVES`.
    shelves: Vec<Mutex<Vec<B>>>,
    slots: usize,
}

impl<B: Default> Shelves<B> {
    /// An empty bucket for each of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        let shelf = |shelf: usize| (shelf..slots).step_by(SHELVES).map(|_| B::default()).collect();
        Self { shelves: (0..SHELVES.min(slots)).map(|place| Mutex::new(shelf(place))).collect(), slots }
    }

    /// Puts rows into the buckets of their slots: those of one slot in their order. `look` is at what `put` will need: buckets
    /// lie all over memory, and waiting for many of them together is shorter than for one after the other.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(super) fn put<R: Copy>(&self, rows: &[(u32, R)], look: impl Fn(&B) -> u32, mut put: impl FnMut(&mut B, R)) {
        let order = by_shelf(rows.iter().map(|(slot, _)| *slot));
        for shelf in order.shelves() {
            let mut buckets = self.shelves[shelf].lock().unwrap_or_else(PoisonError::into_inner);
            for some in order.of(shelf).chunks(TOGETHER) {
                let bucket = |at: &u32| rows[*at as usize].0 as usize / SHELVES;
                std::hint::black_box(some.iter().fold(0, |sum, at| sum ^ look(&buckets[bucket(at)])));
                for at in some {
                    put(&mut buckets[bucket(at)], rows[*at as usize].1);
                }
            }
        }
    }

    /// The buckets, slot by slot.
    pub(super) fn into_buckets(self) -> Vec<B> {
        let into_inner = |shelf: Mutex<Vec<B>>| shelf.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter();
        let mut shelves: Vec<_> = self.shelves.into_iter().map(into_inner).collect();
        let of = |slot: usize| shelves[slot % SHELVES].next();
        (0..self.slots).filter_map(of).collect()
    }
}

/// Rows, those of each shelf together.
pub(super) struct Order {
    rows: Vec<u32>,
    /// Where each shelf's rows end.
    ends: [usize; SHELVES],
}

impl Order {
    /// The shelves that have rows. Whoever comes at the same time begins somewhere else.
    pub(super) fn shelves(&self) -> impl Iterator<Item = usize> + '_ {
        let first = rayon::current_thread_index().map_or(0, |thread| thread * SHELVES / rayon::current_num_threads());
        (first..SHELVES).chain(0..first).filter(|shelf| !self.of(*shelf).is_empty())
    }

    /// The rows of a shelf, in their order.
    pub(super) fn of(&self, shelf: usize) -> &[u32] {
        let start = shelf.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[start..self.ends[shelf]]
    }
}

/// Counts, then places.
pub(super) fn by_shelf(slots: impl Iterator<Item = u32> + Clone) -> Order {
    let shelf = |slot: u32| slot as usize % SHELVES;
    let mut ends = [0; SHELVES];
    slots.clone().for_each(|slot| ends[shelf(slot)] += 1);
    let mut all = 0;
    for end in &mut ends {
        // Where the shelf begins, until its rows are placed.
        (*end, all) = (all, all + *end);
    }
    let mut rows = vec![0; all];
    for (row, slot) in (0..).zip(slots) {
        let end = &mut ends[shelf(slot)];
        rows[*end] = row;
        *end += 1;
    }
    Order { rows, ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_to_their_slots_in_their_order() {
        for slots in [1_u32, 2, 63, 64, 65, 300] {
            let shelves: Shelves<Vec<u32>> = Shelves::new(slots as usize);
            let mut expected = vec![Vec::new(); slots as usize];
            for chunk in 0..3 {
                let rows: Vec<(u32, u32)> = (0..1_000).map(|n| ((n * n + chunk) % slots, chunk * 1_000 + n)).collect();
                for (slot, row) in &rows {
                    expected[*slot as usize].push(*row);
                }
                shelves.put(&rows, |bucket| bucket.last().copied().unwrap_or_default(), Vec::push);
            }
            assert_eq!(shelves.into_buckets(), expected, "{slots} slots");
        }
        assert_eq!(Shelves::<Vec<u32>>::new(0).into_buckets(), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn threads_add_side_by_side() {
        let shelves: Shelves<u64> = Shelves::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let rows: Vec<(u32, u64)> = (0..10_000).map(|n| (n % 100, 1)).collect();
                    shelves.put(&rows, |_| 0, |bucket, one| *bucket += one);
                });
            }
        });
        assert_eq!(shelves.into_buckets(), vec![400; 100]);
    }
}
