//! Progress counters by batch.

use std::cmp::Reverse;

use super::people::People;
use super::usable::SlotCounts;
use super::weight::{ACTIVITY, Budget};
use super::{NONE, NOTHING, Slots};
use crate::columnar::interner::StringIndex;
use crate::columnar::radix_partitions::RadixPartitions;
use crate::tables::chunk::{ChunkView, SharedDictionaryCache};
use crate::tables::schema::user_activity_agg;

/// What `context_id` begins with where the context is a batch.
pub(crate) const CONTEXT: &str = "cb:";

/// Stands for "no count there"; smaller than any count.
const NO_COUNT: i32 = i32::MIN;

/// How far a learner has come in a course or module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Rank of the user.
    pub(crate) user: u32,
    /// Number of the activity.
    pub(crate) activity: u32,
    count: i32,
}

impl Progress {
    /// `completedCount`.
    pub(crate) fn count(&self) -> Option<i64> {
        (self.count != NO_COUNT).then_some(self.count.into())
    }
}

/// The same with what tells duplicates apart, in 20 bytes: there are millions of these at a time.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Raw {
    updated: i64,
    user: u32,
    activity: u32,
    count: i32,
}

/// The activities that reports count: courses and modules, numbered.
#[derive(Debug, Default)]
pub(crate) struct Activities(StringIndex);

impl Activities {
    /// Adds one, unless it is known.
    pub(crate) fn add(&mut self, identifier: &str) {
        self.0.number(identifier);
    }

    /// The number of each, [`NONE`] for those that are not counted.
    fn numbers<'i>(&self, identifiers: impl Iterator<Item = &'i str>) -> Vec<u32> {
        self.0.all(identifiers, NONE)
    }

    /// The number of one.
    pub(crate) fn number(&self, identifier: &str) -> Option<u32> {
        self.0.get(identifier)
    }
}

#[derive(Debug)]
pub(crate) struct ActivityBuilder {
    contexts_known: SharedDictionaryCache<u32>,
    activities_known: SharedDictionaryCache<u32>,
    /// Of each, the rows that were too many to be kept, and the others.
    slots: RadixPartitions<u64, Raw>,
}

/// What a row must be of to be kept.
pub(crate) struct Of<'a> {
    pub(crate) slots: &'a Slots,
    pub(crate) activities: &'a Activities,
    pub(crate) people: &'a People,
    /// Counts every row of the batches.
    pub(crate) usable: &'a SlotCounts,
}

impl ActivityBuilder {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            contexts_known: SharedDictionaryCache::new(),
            activities_known: SharedDictionaryCache::new(),
            slots: RadixPartitions::new(slots),
        }
    }

    /// Takes a chunk: rows of activities that are counted, of people who have an enrolment.
    pub(crate) fn take(&self, chunk: ChunkView<'_>, of: &Of<'_>, budget: &Budget) {
        let (contexts, ids) = (chunk.cells(user_activity_agg::CONTEXT_ID), chunk.cells(user_activity_agg::USER_ID));
        let counts = chunk.cells(user_activity_agg::AGG);
        let updated = chunk.cells(user_activity_agg::AGG_LAST_UPDATED);
        let of_batches = |contexts: &[&str]| {
            // What is no batch's has no id, and no batch has that.
            of.slots.of(contexts.iter().map(|context| context.strip_prefix(CONTEXT).unwrap_or_default()))
        };
        let slots = self.contexts_known.each(contexts, chunk.rows(), of_batches);
        of.usable.add(slots.iter().copied());
        let numbers = |activities: &[&str]| of.activities.numbers(activities.iter().copied());
        let numbers = self.activities_known.each(chunk.cells(user_activity_agg::ACTIVITY_ID), chunk.rows(), numbers);
        let rows = chunk.rows().zip(slots).zip(numbers).map(|((row, slot), activity)| (row, slot, activity));
        let wanted = |(_, slot, activity): &(usize, u32, u32)| *slot != NONE && *activity != NONE;
        let rows: Vec<(usize, u32, u32)> = rows.filter(wanted).collect();
        let users = of.people.ranks(rows.iter().map(|(row, ..)| ids.get(*row)));
        let raw = |row: usize, activity: u32, user: u32| Raw {
            updated: updated.get(row).unwrap_or(NOTHING),
            user,
            activity,
            count: counts.get(row).map_or(NO_COUNT, whole),
        };
        let of_people = rows.into_iter().zip(users).filter(|(_, user)| *user != NONE);
        let rows: Vec<(u32, Raw)> =
            of_people.map(|((row, slot, activity), user)| (slot, raw(row, activity, user))).collect();
        let bears = budget.bears(rows.len(), ACTIVITY);
        self.slots.put(&rows, |left, row| {
            *left += u64::from(!bears);
            bears.then_some(row)
        });
    }

    /// The bytes of each slot's rows, kept or not.
    pub(crate) fn bytes(self) -> Vec<u64> {
        self.slots.settled(|_, left, rows| (rows.len() as u64 + left) * ACTIVITY)
    }

    /// One row per user and activity, in their order; and how many more there were.
    pub(crate) fn finish(self) -> (Vec<Vec<Progress>>, u64) {
        let settle = |_, _, mut raw: Vec<Raw>| {
            let key = |row: &Raw| u64::from(row.user) << 32 | u64::from(row.activity);
            raw.sort_unstable_by_key(|row| (key(row), Reverse((row.updated, row.count))));
            let all = raw.len();
            raw.dedup_by_key(|row| key(row));
            let mut rows = Vec::with_capacity(raw.len());
            let row = |raw: &Raw| Progress { user: raw.user, activity: raw.activity, count: raw.count };
            rows.extend(raw.iter().map(row));
            (rows, (all - raw.len()) as u64)
        };
        let (rows, duplicates): (Vec<_>, Vec<u64>) = self.slots.settled(settle).into_iter().unzip();
        (rows, duplicates.into_iter().sum())
    }
}

/// A count in 32 bits; no course has two thousand million leaf nodes, so that what does not fit is all of them.
fn whole(count: i64) -> i32 {
    i32::try_from(count.clamp(i64::from(NO_COUNT) + 1, i64::from(i32::MAX))).unwrap_or(i32::MAX)
}
