//! Rows in buckets (one for each batch of a load), while several threads add to many buckets at a time.
//!
//! Rows come to their bucket in two steps, each with few places to write to: a chunk puts them into some dozens of partitions,
//! in the order in which they come, and once all are there each partition is divided among its buckets. Put into thousands of
//! buckets at once, every row waited for memory, and for the page tables (`docs/performance.md`).

use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::pieces::Pieces;

/// How many partitions there are; a chunk has some thousand rows.
pub(crate) const PARTITIONS: usize = 64;

/// A bucket for each slot: what is counted, and rows.
#[derive(Debug)]
pub(crate) struct RadixPartitions<B, R: Copy> {
    /// Slot `s` is the bucket `s / PARTITIONS` of the partition `s % PARTITIONS`.
    partitions: Vec<Mutex<Partition<B, R>>>,
}

#[derive(Debug)]
struct Partition<B, R: Copy> {
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
    /// An empty bucket for each of `slots` slots.
    pub(crate) fn new(slots: usize) -> Self {
        let buckets = |place: usize| (place..slots).step_by(PARTITIONS).map(|_| (B::default(), 0)).collect();
        let partition = |place| Mutex::new(Partition { buckets: buckets(place), rows: Pieces::default() });
        Self { partitions: (0..PARTITIONS.min(slots)).map(partition).collect() }
    }

    /// Puts rows into the buckets of their slots: those of one slot in their order. `count` says what becomes of a row; it
    /// is called in no order of slots.
    ///
    /// # Panics
    /// If there is no such slot.
    pub(crate) fn put<S: Copy + Into<u32>, T: Copy>(
        &self,
        rows: &[(S, T)],
        mut count: impl FnMut(&mut B, T) -> Option<R>,
    ) {
        let order = by_partition(rows.iter().map(|(slot, _)| (*slot).into()));
        for place in order.partitions() {
            let mut partition = self.partitions[place].lock().unwrap_or_else(PoisonError::into_inner);
            let Partition { buckets, rows: kept } = &mut *partition;
            for at in order.of(place) {
                let (slot, row) = rows[*at as usize];
                #[allow(clippy::cast_possible_truncation, reason = "there are few partitions")]
                let bucket = slot.into() / PARTITIONS as u32;
                let (counts, rows) = &mut buckets[bucket as usize];
                if let Some(row) = count(counts, row) {
                    *rows += 1;
                    kept.push(Placed { bucket, row });
                }
            }
        }
    }

    /// What `take` makes of each bucket and its rows, slot by slot; on all threads.
    pub(crate) fn divided<S: Send>(self, take: impl Fn(usize, B, Vec<R>) -> S + Sync) -> Vec<S> {
        let of_partition = |(place, partition): (usize, Mutex<Partition<B, R>>)| -> Vec<S> {
            let buckets = partition.into_inner().unwrap_or_else(PoisonError::into_inner).into_buckets();
            let take = |(at, (bucket, rows))| take(at * PARTITIONS + place, bucket, rows);
            buckets.into_par_iter().enumerate().map(take).collect()
        };
        let taken: Vec<Vec<S>> = self.partitions.into_par_iter().enumerate().map(of_partition).collect();
        let slots: usize = taken.iter().map(Vec::len).sum();
        let mut taken: Vec<_> = taken.into_iter().map(Vec::into_iter).collect();
        (0..slots).filter_map(|slot| taken[slot % PARTITIONS].next()).collect()
    }
}

impl<B, R: Copy> Partition<B, R> {
    /// The buckets, each with its rows, which have no room for more.
    fn into_buckets(self) -> Vec<(B, Vec<R>)> {
        let with_room = |(bucket, rows)| (bucket, Vec::with_capacity(rows));
        let mut buckets: Vec<(B, Vec<R>)> = self.buckets.into_iter().map(with_room).collect();
        self.rows.into_each(|Placed { bucket, row }| buckets[bucket as usize].1.push(row));
        buckets
    }
}

/// Rows, those of each partition together.
pub(crate) struct Order {
    rows: Vec<u32>,
    /// Where each partition's rows end.
    ends: [usize; PARTITIONS],
}

impl Order {
    /// The partitions that have rows. Each thread begins at another one, so that they seldom wait for each other.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = usize> + '_ {
        let first =
            rayon::current_thread_index().map_or(0, |thread| thread * PARTITIONS / rayon::current_num_threads());
        (first..PARTITIONS).chain(0..first).filter(|partition| !self.of(*partition).is_empty())
    }

    /// The rows of a partition, in their order.
    pub(crate) fn of(&self, partition: usize) -> &[u32] {
        let start = partition.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.rows[start..self.ends[partition]]
    }
}

/// Counts, then places.
pub(crate) fn by_partition(slots: impl Iterator<Item = u32> + Clone) -> Order {
    let partition = |slot: u32| slot as usize % PARTITIONS;
    let mut ends = [0; PARTITIONS];
    slots.clone().for_each(|slot| ends[partition(slot)] += 1);
    let mut all = 0;
    for end in &mut ends {
        // Where the partition begins, until its rows are placed.
        (*end, all) = (all, all + *end);
    }
    let mut rows = vec![0; all];
    for (row, slot) in (0..).zip(slots) {
        let end = &mut ends[partition(slot)];
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
            let partitions: RadixPartitions<u32, u32> = RadixPartitions::new(slots as usize);
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
                partitions.put(&rows, |left, row| {
                    *left += u32::from(row % 7 == 0);
                    (row % 7 != 0).then_some(row)
                });
            }
            let taken = partitions.divided(|slot, left, rows| {
                assert_eq!(rows.len(), rows.capacity());
                (slot, (left, rows))
            });
            let expected: Vec<_> = expected.into_iter().enumerate().collect();
            assert_eq!(taken, expected, "{slots} slots");
        }
        assert_eq!(RadixPartitions::<u32, u32>::new(0).divided(|_, _, rows| rows), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn threads_add_side_by_side() {
        let partitions: RadixPartitions<u64, u64> = RadixPartitions::new(100);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let rows: Vec<(u32, u64)> = (0..10_000).map(|n| (n % 100, 1)).collect();
                    partitions.put(&rows, |sum, one| {
                        *sum += one;
                        Some(one)
                    });
                });
            }
        });
        assert_eq!(partitions.divided(|_, sum, rows| (sum, rows.len())), vec![(400, 400); 100]);
    }
}
