//! `user_activity_agg`: how far each learner has come in the course of a batch and in its modules.

use std::cmp::Reverse;
use std::sync::Arc;

use super::batches::{LoadedBatches, LoadedRows};
use super::budget::Budget;
use super::enrolled::NOTHING;
use super::hierarchy::Modules;
use super::learner_index::Rank;
use super::needs::TableNeed;
use super::slots::{NONE, Slot, SlotCounts};
use super::table::{LoadedTable, RowSize, TableLoader};
use crate::columnar::interner::StringIndex;
use crate::columnar::radix_partitions::RadixPartitions;
use crate::tables::chunk::{Chunk, ChunkView, SharedDictionaryCache};
use crate::tables::plan::{KeySet, Reach, Scan};
use crate::tables::schema::user_activity_agg::{ACTIVITY_ID, AGG, AGG_LAST_UPDATED, CONTEXT_ID, USER_ID};
use crate::tables::schema::{Column, Table};

/// Bytes of a row, and how many of them there commonly are to an enrolment.
const BYTES: u64 = 32;
const ROWS: u64 = 4;

/// Stands for "no count there"; smaller than any count.
const NO_COUNT: i32 = i32::MIN;

/// How far learners have come: in the batch's course, and in the modules of its tree if that is needed too.
#[must_use]
pub fn need() -> TableNeed {
    TableNeed {
        table: Table::UserActivityAgg,
        columns: vec![ACTIVITY_ID.key(), USER_ID.key(), CONTEXT_ID.key(), AGG.required(), AGG_LAST_UPDATED.optional()],
        reach: Reach::Keys { column: CONTEXT_ID, of: KeySet::Contexts },
        learner: Some(USER_ID),
        loader: Some(Arc::new(ActivityLoader)),
    }
}

/// How far a learner has come in a course or module.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The learner.
    pub user: Rank,
    /// Number of the activity, see [`Activity::number`].
    pub activity: u32,
    count: i32,
}

impl Progress {
    /// `completedCount`.
    #[must_use]
    pub fn count(&self) -> Option<i64> {
        (self.count != NO_COUNT).then_some(self.count.into())
    }
}

/// The progress of all learners.
#[derive(Debug)]
pub struct Activity {
    /// By slot, sorted by learner and activity.
    batches: Vec<Vec<Progress>>,
    /// The activities that count: courses and modules, numbered.
    activities: StringIndex,
}

impl Activity {
    /// The progress of a batch's learners, sorted by learner and activity.
    #[must_use]
    pub fn of(&self, slot: Slot) -> &[Progress] {
        &self.batches[slot.index()]
    }

    /// The number by which an activity of one of the courses is called.
    #[must_use]
    pub fn number(&self, identifier: &str) -> Option<u32> {
        self.activities.get(identifier)
    }
}

impl LoadedRows for Activity {}

#[derive(Debug)]
struct ActivityLoader;

impl TableLoader for ActivityLoader {
    fn bytes_per_enrolment(&self) -> u64 {
        ROWS * BYTES
    }

    fn begin(&self, scan: &Scan, loaded: &LoadedBatches) -> Box<dyn LoadedTable> {
        let mut activities = StringIndex::default();
        let modules = loaded.rows::<Modules>();
        for batch in loaded.batches() {
            activities.number(&batch.course_id);
            let modules = batch.course.zip(modules).map_or(&[][..], |(course, modules)| modules.of(course));
            for module in modules {
                activities.number(&module.identifier);
            }
        }
        let slots = loaded.slots().len();
        Box::new(ActivityBuilder {
            columns: scan.columns.clone(),
            activities,
            usable: SlotCounts::new(slots),
            contexts_known: SharedDictionaryCache::new(),
            activities_known: SharedDictionaryCache::new(),
            slots: RadixPartitions::new(slots),
        })
    }
}

#[derive(Debug)]
struct ActivityBuilder {
    columns: Vec<Column>,
    activities: StringIndex,
    /// Every usable row of the batches.
    usable: SlotCounts,
    contexts_known: SharedDictionaryCache<Slot>,
    activities_known: SharedDictionaryCache<u32>,
    /// Of each, the number of rows that were too many to be kept, and the others.
    slots: RadixPartitions<u64, Raw>,
}

/// A row with what tells duplicates apart, in 20 bytes: there are millions of these at a time.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Raw {
    updated: i64,
    user: Rank,
    activity: u32,
    count: i32,
}

impl LoadedTable for ActivityBuilder {
    /// Takes rows of activities that count, of learners who have an enrolment.
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let (ids, counts, updated) = (chunk.cells(USER_ID), chunk.cells(AGG), chunk.cells(AGG_LAST_UPDATED));
        let of_batches = |contexts: &[&str]| {
            // What is no batch's has no id, and no batch has that.
            let ids = contexts.iter().map(|context| context.strip_prefix(KeySet::CONTEXT).unwrap_or_default());
            loaded.slots().of(ids)
        };
        let slots = self.contexts_known.each(chunk.cells(CONTEXT_ID), chunk.rows(), of_batches);
        self.usable.add(slots.iter().copied());
        let numbers = |activities: &[&str]| self.activities.all(activities.iter().copied(), NONE);
        let numbers = self.activities_known.each(chunk.cells(ACTIVITY_ID), chunk.rows(), numbers);
        let rows = chunk.rows().zip(slots).zip(numbers).map(|((row, slot), activity)| (row, slot, activity));
        let wanted = |(_, slot, activity): &(usize, Slot, u32)| *slot != Slot::NONE && *activity != NONE;
        let rows: Vec<(usize, Slot, u32)> = rows.filter(wanted).collect();
        let users = loaded.learner_index().ranks(rows.iter().map(|(row, ..)| ids.get(*row)));
        let raw = |row: usize, activity: u32, user: Rank| Raw {
            updated: updated.get(row).unwrap_or(NOTHING),
            user,
            activity,
            count: counts.get(row).map_or(NO_COUNT, whole),
        };
        let of_learners = rows.into_iter().zip(users).filter(|(_, user)| *user != Rank::NONE);
        let rows: Vec<(Slot, Raw)> =
            of_learners.map(|((row, slot, activity), user)| (slot, raw(row, activity, user))).collect();
        let is_kept = budget.has_room(rows.len(), BYTES);
        self.slots.put(&rows, |left, row| {
            *left += u64::from(!is_kept);
            is_kept.then_some(row)
        });
    }

    /// Keeps one row per learner and activity, in their order.
    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, _: &Budget) {
        loaded.add_usable(Table::UserActivityAgg, self.usable);
        let in_order = |_, _, mut raw: Vec<Raw>| {
            let key = |row: &Raw| u64::from({ row.user }.0) << 32 | u64::from(row.activity);
            raw.sort_unstable_by_key(|row| (key(row), Reverse((row.updated, row.count))));
            let all = raw.len();
            raw.dedup_by_key(|row| key(row));
            let mut rows = Vec::with_capacity(raw.len());
            let row = |raw: &Raw| Progress { user: raw.user, activity: raw.activity, count: raw.count };
            rows.extend(raw.iter().map(row));
            (rows, (all - raw.len()) as u64)
        };
        let (batches, duplicates): (Vec<_>, Vec<u64>) = self.slots.divided(in_order).into_iter().unzip();
        loaded.add_duplicates(Table::UserActivityAgg, duplicates.into_iter().sum());
        loaded.add(Table::UserActivityAgg, Activity { batches, activities: self.activities });
    }

    fn size(self: Box<Self>) -> RowSize {
        RowSize::Bytes(self.slots.divided(|_, left, rows| (rows.len() as u64 + left) * BYTES))
    }
}

/// A count in 32 bits; no course has two thousand million leaf nodes, so that what does not fit is all of them.
fn whole(count: i64) -> i32 {
    i32::try_from(count.clamp(i64::from(NO_COUNT) + 1, i64::from(i32::MAX))).unwrap_or(i32::MAX)
}
