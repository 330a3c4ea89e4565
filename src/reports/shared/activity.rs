//! Progress counters by batch.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::{NONE, NOTHING, Slots, reserve};
use crate::reports::columns::Chunk;
use crate::reports::interner::{Interner, SharedInterner};

/// What `context_id` begins with where the context is a batch.
const CONTEXT: &str = "cb:";

/// Stands for "no count there"; smaller than any count.
const NO_COUNT: i32 = i32::MIN;

/// How far a learner has come in a course or module.
#[derive(Clone, Copy, Debug)]
pub(in crate::reports) struct Progress {
    /// Rank of the user.
    pub(in crate::reports) user: u32,
    /// Number of the activity.
    pub(in crate::reports) activity: u32,
    count: i32,
}

impl Progress {
    /// `completedCount`.
    pub(in crate::reports) fn count(&self) -> Option<i64> {
        (self.count != NO_COUNT).then_some(self.count.into())
    }
}

/// The same with what tells duplicates apart, in 20 bytes: there are millions of these at a time.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Raw {
    updated: i64,
    user: u32,
    activity: u32,
    count: i32,
}

#[derive(Debug, Default)]
struct Bucket {
    raw: Vec<Raw>,
    rows: Vec<Progress>,
    duplicates: u64,
}

#[derive(Debug)]
pub(super) struct ActivityBuilder {
    activities: SharedInterner,
    slots: Vec<Mutex<Bucket>>,
}

impl ActivityBuilder {
    pub(super) fn new(slots: usize) -> Self {
        Self { activities: SharedInterner::default(), slots: (0..slots).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn take(&self, chunk: &Chunk<'_>, slots: &Slots, users: &SharedInterner) {
        let (contexts, ids) = (chunk.texts("context_id"), chunk.texts("user_id"));
        let (activities, counts) = (chunk.texts("activity_id"), chunk.integers("agg"));
        let updated = chunk.instants("agg_last_updated");
        let batch = |row| contexts.get(row).strip_prefix(CONTEXT);
        // A context of another kind gets the slot of a batch that is never there.
        let slots = slots.of((0..chunk.rows()).map(|row| batch(row).unwrap_or("")));
        let rows: Vec<usize> = (0..chunk.rows()).filter(|row| slots[*row] != NONE && batch(*row).is_some()).collect();
        let ids: Vec<&str> = rows.iter().map(|row| ids.get(*row)).collect();
        let names: Vec<&str> = rows.iter().map(|row| activities.get(*row)).collect();
        let (users, activities) = (users.numbers(&ids), self.activities.numbers(&names));
        let mut at = 0;
        for run in rows.chunk_by(|left, right| slots[*left] == slots[*right]) {
            let bucket = &self.slots[slots[run[0]] as usize];
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            for row in run {
                reserve(&mut bucket.raw);
                bucket.raw.push(Raw {
                    updated: updated.get(*row).unwrap_or(NOTHING),
                    user: users[at],
                    activity: activities[at],
                    count: counts.get(*row).map_or(NO_COUNT, whole),
                });
                at += 1;
            }
        }
    }

    /// Calls users by rank, keeps one row per user and activity, and only those of users with an enrolment.
    pub(super) fn settle(&self, ranks: &[u32], passing: &[bool]) {
        self.slots.par_iter().for_each(|bucket| {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            let mut raw = std::mem::take(&mut bucket.raw);
            for row in &mut raw {
                row.user = ranks[row.user as usize];
            }
            raw.sort_unstable_by_key(|row| (row.user, row.activity, Reverse((row.updated, row.count))));
            let all = raw.len();
            raw.dedup_by_key(|row| (row.user, row.activity));
            bucket.duplicates = (all - raw.len()) as u64;
            raw.retain(|row| passing[row.user as usize]);
            bucket.rows = Vec::with_capacity(raw.len());
            let row = |raw: &Raw| Progress { user: raw.user, activity: raw.activity, count: raw.count };
            bucket.rows.extend(raw.iter().map(row));
        });
    }

    pub(super) fn finish(self) -> (Vec<Vec<Progress>>, Interner, u64) {
        let mut duplicates = 0;
        let rows = self.slots.into_iter().map(|bucket| {
            let bucket = bucket.into_inner().unwrap_or_else(PoisonError::into_inner);
            duplicates += bucket.duplicates;
            bucket.rows
        });
        (rows.collect(), self.activities.into_inner(), duplicates)
    }
}

/// A count in 32 bits; no course has two thousand million leaf nodes, so that what does not fit is all of them.
fn whole(count: i64) -> i32 {
    i32::try_from(count.clamp(i64::from(NO_COUNT) + 1, i64::from(i32::MAX))).unwrap_or(i32::MAX)
}
