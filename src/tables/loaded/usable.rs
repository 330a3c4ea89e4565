//! How many usable rows of a table each batch has: counted before anything else is decided about them, so that a batch
//! of which nothing can be used is told from one that has nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::NONE;

/// Counts by slot, from several threads at once.
#[derive(Debug, Default)]
pub(crate) struct SlotCounts(Vec<AtomicU64>);

impl SlotCounts {
    pub(crate) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a row for each of these slots; [`NONE`] is none.
    pub(crate) fn add(&self, slots: impl Iterator<Item = u32> + Clone) {
        let rows = slots.clone().count();
        if rows < self.0.len() {
            for slot in slots.filter(|slot| *slot != NONE) {
                self.0[slot as usize].fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // Two threads that count in the same place row by row wait for each other's cache.
        let mut counts = vec![0_u64; self.0.len()];
        for slot in slots.filter(|slot| *slot != NONE) {
            counts[slot as usize] += 1;
        }
        for (sum, count) in self.0.iter().zip(counts).filter(|(_, count)| *count > 0) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The counts, slot by slot.
    pub(crate) fn into_counts(self) -> impl Iterator<Item = u64> {
        self.0.into_iter().map(AtomicU64::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_and_many_are_counted_alike() {
        let counts = SlotCounts::new(3);
        counts.add([2, NONE].into_iter());
        counts.add([2, 0, NONE, 2, 0, 2].into_iter());
        assert_eq!(counts.into_counts().collect::<Vec<_>>(), [2, 0, 4]);
        SlotCounts::new(0).add([NONE, NONE].into_iter());
    }
}
