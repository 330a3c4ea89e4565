//! The batches of a load, and counts for each of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::columnar::interner::StringIndex;
use crate::tables::catalog::{BatchIdx, Catalog};

/// Stands for "no such number" among numbers given out here.
pub(super) const NONE: u32 = u32::MAX;

/// A batch of a load, by its place among all of them: in the order of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub(super) u32);

impl Slot {
    /// The only one of a load of one batch.
    pub(super) const ONLY: Self = Self(0);
    /// Stands for "this batch is not loaded".
    pub(super) const NONE: Self = Self(NONE);

    /// To index with.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<Slot> for u32 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

/// The loaded batches, numbered from 0 in the order of their ids.
#[derive(Debug)]
pub(super) struct Slots {
    batches: Vec<BatchIdx>,
    by_id: StringIndex,
}

impl Slots {
    pub(super) fn new(catalog: &Catalog, batches: &[BatchIdx]) -> Self {
        let mut batches = batches.to_vec();
        batches.sort_unstable();
        batches.dedup();
        let by_id = StringIndex::of(batches.iter().map(|batch| catalog.batch(*batch).id.as_str()));
        Self { batches, by_id }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.batches.len()
    }

    /// The batch in each slot.
    pub(super) fn batches(&self) -> &[BatchIdx] {
        &self.batches
    }

    /// The slot of a batch.
    pub(super) fn find(&self, batch: BatchIdx) -> Option<Slot> {
        self.batches.binary_search(&batch).ok().and_then(|slot| u32::try_from(slot).ok()).map(Slot)
    }

    /// The slot of the batch of this id.
    pub(super) fn find_id(&self, id: &str) -> Option<Slot> {
        self.by_id.get(id).map(Slot)
    }

    /// The slot of the batch of each id, [`Slot::NONE`] for one that is not loaded.
    pub(super) fn of<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<Slot> {
        self.by_id.all(ids, NONE).into_iter().map(Slot).collect()
    }
}

/// Counts by slot, from several threads at once.
#[derive(Debug, Default)]
pub(super) struct SlotCounts(Vec<AtomicU64>);

impl SlotCounts {
    pub(super) fn new(slots: usize) -> Self {
        Self((0..slots).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts a row for each of these slots; [`Slot::NONE`] is none.
    pub(super) fn add(&self, slots: impl Iterator<Item = Slot> + Clone) {
        let rows = slots.clone().count();
        if rows < self.0.len() {
            for slot in slots.filter(|slot| *slot != Slot::NONE) {
                self.0[slot.index()].fetch_add(1, Ordering::Relaxed);
            }
            return;
        }
        // Two threads that count in the same place row by row wait for each other's cache.
        let mut counts = vec![0_u64; self.0.len()];
        for slot in slots.filter(|slot| *slot != Slot::NONE) {
            counts[slot.index()] += 1;
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
        counts.add([2, NONE].map(Slot).into_iter());
        counts.add([2, 0, NONE, 2, 0, 2].map(Slot).into_iter());
        assert_eq!(counts.into_counts().collect::<Vec<_>>(), [2, 0, 4]);
        SlotCounts::new(0).add([Slot::NONE, Slot::NONE].into_iter());
    }
}
