//! How much memory rows take. Rows that there is no room for are only counted, so that the caller can load fewer batches at
//! a time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::tables::catalog::BatchIdx;

/// Bytes of an enrolment that passes, the learner's id and line included. On the safe side: in the course report of four
/// times full scale it is about 240 with the activity rows (`docs/performance.md`, peak memory), since learners are in
/// several batches there.
pub(super) const ENROLMENT: u64 = 350;
/// Bytes of an id that an enrolment commonly has at most.
pub(super) const ID: usize = 64;

/// The bytes that a load may take, and those that it takes.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// Of an enrolment with everything that commonly comes with it.
    each: u64,
    enrolments: AtomicU64,
    /// Bytes of the rows that came with them.
    others: AtomicU64,
    /// Bytes of text beyond what rows commonly have: a name may be as long as anything.
    texts: AtomicU64,
}

impl Budget {
    /// Of `limit` bytes, where an enrolment takes `each` with everything that commonly comes with it.
    pub(super) fn new(limit: u64, each: u64) -> Self {
        Self { limit, each, enrolments: AtomicU64::new(0), others: AtomicU64::new(0), texts: AtomicU64::new(0) }
    }

    /// Counts further enrolments; whether there is room for them.
    pub(super) fn has_room_for_enrolments(&self, rows: usize) -> bool {
        let all = self.enrolments.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        all.saturating_mul(self.each) <= self.limit
    }

    /// Counts further rows of this many bytes each; whether there is room for them. All together may exceed the limit by a
    /// quarter, since how many rows come with an enrolment differs.
    pub(super) fn has_room(&self, rows: usize, bytes: u64) -> bool {
        self.others.fetch_add(rows as u64 * bytes, Ordering::Relaxed);
        self.fits()
    }

    /// Counts `bytes` of text beyond what rows commonly have; whether there is room for them.
    pub(super) fn has_room_for_texts(&self, bytes: usize) -> bool {
        if bytes > 0 {
            self.texts.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.fits()
    }

    /// Counts `bytes` of text less, which are dropped.
    pub(super) fn release_texts(&self, bytes: u64) {
        self.texts.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of text beyond what rows commonly have.
    pub(super) fn texts(&self) -> u64 {
        self.texts.load(Ordering::Relaxed)
    }

    fn fits(&self) -> bool {
        let others = self.others.load(Ordering::Relaxed).saturating_add(self.texts());
        let enrolments = self.enrolments.load(Ordering::Relaxed).saturating_mul(ENROLMENT);
        others.saturating_add(enrolments) <= self.limit.saturating_add(self.limit / 4)
    }

    /// Whether there was no room for something.
    pub(super) fn is_exceeded(&self) -> bool {
        !self.has_room_for_enrolments(0) || !self.has_room(0, 0)
    }

    /// Bytes of a batch, from its rows.
    pub(super) fn weight(&self, enrolments: u64, others: u64) -> u64 {
        (enrolments * self.each).max(enrolments * ENROLMENT + others)
    }

    /// Bytes of everything so far, with what is commonly still to come.
    pub(super) fn used(&self) -> u64 {
        let others = self.others.load(Ordering::Relaxed).saturating_add(self.texts());
        self.weight(self.enrolments.load(Ordering::Relaxed), others)
    }
}

/// What each batch takes, where all of them are too much to be loaded together: for the memory, or for the share of a
/// tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchWeights {
    /// Bytes that each takes, about.
    pub batches: Vec<(BatchIdx, u64)>,
}

impl BatchWeights {
    /// Bytes of these together, which ascend.
    #[must_use]
    pub fn of(&self, batches: &[BatchIdx]) -> u64 {
        self.batches.iter().filter(|(batch, _)| batches.binary_search(batch).is_ok()).map(|(_, bytes)| bytes).sum()
    }
}
