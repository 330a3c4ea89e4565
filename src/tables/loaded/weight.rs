//! How much memory rows take, and what is done where that is too much: rows are then only counted, so that whoever asked
//! for all these batches can ask for fewer at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::reports::Needs;

/// Bytes of an enrolment that passes, the learner's id and line included. On the safe side: in the course report of four
/// times full scale it is about 240 with the activity rows (`docs/performance.md`, peak memory), since learners are in
/// several batches there.
const ENROLMENT: u64 = 350;
/// Bytes of an id that an enrolment commonly has at most.
pub(crate) const ID: usize = 64;
/// Bytes of an activity row.
pub(crate) const ACTIVITY: u64 = 32;
/// Bytes of an attempt.
pub(crate) const ATTEMPT: u64 = 90;
/// Of these tables there are commonly so many rows to an enrolment.
const ACTIVITY_ROWS: u64 = 4;
const ATTEMPT_ROWS: u64 = 3;

/// Bytes for a load.
#[derive(Debug)]
pub(crate) struct Budget {
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
    pub(crate) fn new(limit: u64, needs: &Needs) -> Self {
        let of = |columns: &[_], rows: u64, bytes: u64| if columns.is_empty() { 0 } else { rows * bytes };
        let each =
            ENROLMENT + of(&needs.activity, ACTIVITY_ROWS, ACTIVITY) + of(&needs.attempts, ATTEMPT_ROWS, ATTEMPT);
        Self { limit, each, enrolments: AtomicU64::new(0), others: AtomicU64::new(0), texts: AtomicU64::new(0) }
    }

    /// Whether so many more enrolments are borne.
    pub(crate) fn bears_enrolments(&self, rows: usize) -> bool {
        let all = self.enrolments.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        all.saturating_mul(self.each) <= self.limit
    }

    /// Whether so many more rows of this size are borne: what was expected of them may be exceeded by a quarter of all.
    pub(crate) fn bears(&self, rows: usize, bytes: u64) -> bool {
        self.others.fetch_add(rows as u64 * bytes, Ordering::Relaxed);
        self.fits()
    }

    /// Counts `bytes` of text beyond what rows commonly have; whether the load still fits.
    pub(crate) fn bears_texts(&self, bytes: usize) -> bool {
        if bytes > 0 {
            self.texts.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        self.fits()
    }

    /// Texts are let go of.
    pub(crate) fn release_texts(&self, bytes: u64) {
        self.texts.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of text beyond what rows commonly have.
    pub(crate) fn texts(&self) -> u64 {
        self.texts.load(Ordering::Relaxed)
    }

    fn fits(&self) -> bool {
        let others = self.others.load(Ordering::Relaxed).saturating_add(self.texts());
        let enrolments = self.enrolments.load(Ordering::Relaxed).saturating_mul(ENROLMENT);
        others.saturating_add(enrolments) <= self.limit.saturating_add(self.limit / 4)
    }

    /// Whether something was not borne.
    pub(crate) fn is_exceeded(&self) -> bool {
        !self.bears_enrolments(0) || !self.bears(0, 0)
    }

    /// Bytes of a batch, from its rows.
    pub(crate) fn weight(&self, enrolments: u64, others: u64) -> u64 {
        (enrolments * self.each).max(enrolments * ENROLMENT + others)
    }

    /// Bytes of everything so far, with what is commonly still to come.
    pub(crate) fn used(&self) -> u64 {
        let others = self.others.load(Ordering::Relaxed).saturating_add(self.texts());
        self.weight(self.enrolments.load(Ordering::Relaxed), others)
    }
}

/// The batches are too much to be loaded together: for the memory, or for somebody whose turn it is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heavy {
    /// Bytes that each takes, about, by index in the catalogue.
    pub batches: Vec<(usize, u64)>,
}

impl Heavy {
    /// Bytes of these together, which ascend.
    #[must_use]
    pub fn of(&self, batches: &[usize]) -> u64 {
        self.batches.iter().filter(|(batch, _)| batches.binary_search(batch).is_ok()).map(|(_, bytes)| bytes).sum()
    }
}
