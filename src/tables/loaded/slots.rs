//! The batches of a load, and counts for each of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::columnar::interner::StringIndex;
use crate::tables::catalog::Catalog;

/// Stands for "no such number" among numbers given out here.
pub(super) const NONE: u32 = u32::MAX;

/// The loaded batches, numbered from 0 in the order of their ids.
#[derive(Debug)]
pub(super) struct Slots {
    /// Indices in the catalogue.
    batches: Vec<usize>,
    by_id: StringIndex,
}

impl Slots {
    /// For these batches, given by their indices in the catalogue.
    pub(super) fn new(catalog: &Catalog, batches: &[usize]) -> Self {
        let mut batches = batches.to_vec();
        batches.sort_unstable();
        batches.dedup();
        let by_id = StringIndex::of(batches.iter().map(|batch| catalog.batches()[*batch].id.as_str()));
        Self { batches, by_id }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.batches.len()
    }

    /// The batch in each slot, by its index in the catalogue.
    pub(super) fn batches(&self) -> &[usize] {
        &self.batches
    }

    /// The slot of a batch, given by its index in the catalogue.
    pub(super) fn find(&self, batch: usize) -> Option<usize> {
        self.batches.binary_search(&batch).ok()
    }

    /// The slot of the batch of this id.
    pub(super) fn find_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|slot| slot as usize)
    }

    /// The slot of the batch of each id, [`NONE`] for one that is not loaded.
    pub(super) fn of<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<u32> {
        self.by_id.all(ids, NONE)
    }
}

/// Counts by slot, from several threads at once.
#[derive(Debug, Default)]
pub(super) struct SlotCounts(Vec<AtomicU64>);

impl SlotCounts {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a row for each of these slots; [`NONE`] is none.
    pub(super) fn add(&self, slots: impl Iterator<Item = u32> + Clone) {
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
    pub(super) fn into_counts(self) -> impl Iterator<Item = u64> {
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
