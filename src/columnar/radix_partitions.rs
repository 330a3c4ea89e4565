//! What is known of each batch so far, while several threads add to many batches at a time.
//!
//! Rows come to their batch in two steps, each with few places to write to: a chunk puts them on some dozens of shelves, in
//! the order in which they come, and once all are there each shelf is divided among its batches. Put to thousands of batches
//! at once, every row waited for memory, and for the page tables to say where that is (`docs/performance.md`).

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::pieces::Pieces;

/// How many shelves there are; a chunk has some thousand rows.
pub(crate) const SHELVES: usize = 64;

/// A bucket for each slot: what is counted, and rows.
#[derive(Debug)]
pub(crate) struct RadixPartitions<B, R: Copy> {
    /// Slot `s` is the bucket `s / SHELVES` of the shelf `s % SHELVES`.
    shelves: Vec<Mutex<Shelf<B, R>>>,
}

#[derive(Debug)]
struct Shelf<B, R: Copy> {
    /// With the number of their rows.
    buckets: Vec<(B, usize)>,
    rows: Pieces<Placed<R>>,
}

/// A row and its bucket. Packed, since there are millions of them.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Placed<R: Copy> {
    bucket: u32,
    row: R,
}

impl<B: Default + Send, R: Copy + Send> RadixPartitions<B, R> {
    /// An empty bucket for each of so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        let buckets = |place: usize| (place..slots).step_by(SHELVES).map(|_| (B::default(), 0)).collect();
        let shelf = |place| Mutex::new(Shelf { buckets: buckets(place), rows: Pieces::default() });
        Self { shelves: (0..SHELVES.min(slots)).map(shelf).collect() }
    }

    /// Puts rows into the buckets of their slots: those of one slot in their order. `count` says what becomes of a row, and
    /// is told of it in no order of slots.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(crate) fn put<T: Copy>(&self, rows: &[(u32, T)], mut count: impl FnMut(&mut B, T) -> Option<R>) {
        let order = by_shelf(rows.iter().map(|(slot, _)| *slot));
        for place in order.shelves() {
            let mut shelf = self.shelves[place].lock().unwrap_or_else(PoisonError::into_inner);
            let Shelf { buckets, rows: kept } = &mut *shelf;
            for at in order.of(place) {
                let (slot, row) = rows[*at as usize];
                #[allow(clippy::cast_possible_truncation, reason = "there are few shelves")]
                let bucket = slot / SHELVES as u32;
                let (counts, rows) = &mut buckets[bucket as usize];
                if let Some(row) = count(counts, row) {
                    *rows += 1;
                    kept.push(Placed { bucket, row });
                }
            }
        }
    }

    /// What `settle` makes of each bucket and its rows, slot by slot; on all threads.
    pub(crate) fn settled<S: Send>(self, settle: impl Fn(usize, B, Vec<R>) -> S + Sync) -> Vec<S> {
        let of_shelf = |(place, shelf): (usize, Mutex<Shelf<B, R>>)| -> Vec<S> {
            let buckets = shelf.into_inner().unwrap_or_else(PoisonError::into_inner).divided();
            let settle = |(at, (bucket, rows))| settle(at * SHELVES + place, bucket, rows);
            buckets.into_par_iter().enumerate().map(settle).collect()
        };
        let settled: Vec<Vec<S>> = self.shelves.into_par_iter().enumerate().map(of_shelf).collect();
        let slots: usize = settled.iter().map(Vec::len).sum();
        let mut settled: Vec<_> = settled.into_iter().map(Vec::into_iter).collect();
        (0..slots).filter_map(|slot| settled[slot % SHELVES].next()).collect()
    }
}

impl<B, R: Copy> Shelf<B, R> {
    /// The buckets, each with its rows, which have no room for more.
    fn divided(self) -> Vec<(B, Vec<R>)> {
        let with_room = |(bucket, rows)| (bucket, Vec::with_capacity(rows));
        let mut divided: Vec<(B, Vec<R>)> = self.buckets.into_iter().map(with_room).collect();
        self.rows.into_each(|Placed { bucket, row }| divided[bucket as usize].1.push(row));
        divided
    }
}

/// Rows, those of each shelf together.
pub(crate) struct Order {
    rows: Vec<u32>,
    /// Where each shelf's rows end.
    ends: [usize; SHELVES],
}

impl Order {
    /// The shelves that have rows. Whoever comes at the same time begins somewhere else.
    pub(crate) fn shelves(&self) -> impl Iterator<Item = usize> + '_ {
        let first = rayon::current_thread_index().map_or(0, |thread| thread * SHELVES / rayon::current_num_threads());
        (first..SHELVES).chain(0..first).filter(|shelf| !self.of(*shelf).is_empty())
    }

    /// The rows of a shelf, in their order.
    pub(crate) fn of(&self, shelf: usize) -> &[u32] {
        let start = shelf.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[start..self.ends[shelf]]
    }
}

/// Counts, then places.
pub(crate) fn by_shelf(slots: impl Iterator<Item = u32> + Clone) -> Order {
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
            let shelves: RadixPartitions<u32, u32> = RadixPartitions::new(slots as usize);
            let mut expected = vec![(0, Vec::new()); slots as usize];
            for chunk in 0..3 {
                let rows: Vec<(u32, u32)> = (0..1_000).map(|n| ((n * n + chunk) % slots, chunk * 1_000 + n)).collect();
                for (slot, row) in &rows {
                    let (left, kept) = &mut expected[*slot as usize];
                    if row % 7 == 0 {
                        *left += 1;
                    } else {
                        kept.push(*row);
                    }
                }
                shelves.put(&rows, |left, row| {
                    *left += u32::from(row % 7 == 0);
                    (row % 7 != 0).then_some(row)
                });
            }
            let settled = shelves.settled(|slot, left, rows| {
                assert_eq!(rows.len(), rows.capacity());
                (slot, (left, rows))
            });
            let expected: Vec<_> = expected.into_iter().enumerate().collect();
            assert_eq!(settled, expected, "{slots} slots");
        }
        assert_eq!(RadixPartitions::<u32, u32>::new(0).settled(|_, _, rows| rows), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn threads_add_side_by_side() {
        let shelves: RadixPartitions<u64, u64> = RadixPartitions::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let rows: Vec<(u32, u64)> = (0..10_000).map(|n| (n % 100, 1)).collect();
                    shelves.put(&rows, |sum, one| {
                        *sum += one;
                        Some(one)
                    });
                });
            }
        });
        assert_eq!(shelves.settled(|_, sum, rows| (sum, rows.len())), vec![(400, 400); 100]);
    }
}
