//! `user_enrolments`: who takes part in which batch. Everything else is loaded for the learners who are found here.

use super::batches::LoadedBatches;
use super::budget::{Budget, ID};
use super::enrolled::{Enrolled, Enrolment, NOTHING};
use super::learner_index::{LearnerIndex, LearnerIndexBuilder, Rank};
use super::needs::TableNeed;
use super::slots::{NONE, Slot, SlotCounts};
use super::table::{LoadedTable, RowSize, TableLoader};
use crate::columnar::interner::StringIndex;
use crate::columnar::radix_partitions::RadixPartitions;
use crate::tables::chunk::{Chunk, ChunkView, SharedDictionaryCache};
use crate::tables::key_range::KeyRange;
use crate::tables::plan::{KeySet, Reach, Scan};
use crate::tables::schema::user_enrolments::{
    ACTIVE, BATCHID, CERTIFICATES, COMPLETEDON, COURSEID, ENROLLEDDATE, ISSUED_CERTIFICATES, USERID,
};
use crate::tables::schema::{Column, Kind, Table};

/// Who takes part in the batches. A report may ask for `further` columns: `enrolleddate`, `completedon`, `certificates`
/// and `issued_certificates`, in this order.
#[must_use]
pub fn need(further: &[Column]) -> TableNeed {
    let columns = [BATCHID.key(), USERID.key(), COURSEID.key(), ACTIVE.required()];
    TableNeed {
        table: Table::UserEnrolments,
        columns: columns.into_iter().chain(further.iter().cloned()).collect(),
        reach: Reach::Keys { column: BATCHID, of: KeySet::Batches },
        learner: Some(USERID),
        loader: Some(std::sync::Arc::new(Enrolments)),
    }
}

/// Loads them.
#[derive(Debug)]
struct Enrolments;

impl TableLoader for Enrolments {
    fn bytes_per_enrolment(&self) -> u64 {
        super::budget::ENROLMENT
    }

    fn begin(&self, scan: &Scan, loaded: &LoadedBatches) -> Box<dyn LoadedTable> {
        let mut course_numbers = StringIndex::default();
        let courses: Vec<u32> = loaded.batches().map(|batch| course_numbers.number(&batch.course_id)).collect();
        let slots = courses.len();
        let dates = scan.columns.iter().filter(|column| column.kind == Kind::Instant);
        Box::new(EnrolmentsBuilder {
            columns: scan.columns.clone(),
            learners: scan.learner_range(),
            usable: SlotCounts::new(slots),
            dates: dates.map(|column| (column.name.to_string(), SlotCounts::new(slots))).collect(),
            slots: RadixPartitions::new(slots),
            course_numbers,
            courses,
            users: LearnerIndexBuilder::default(),
            batches_known: SharedDictionaryCache::new(),
            courses_known: SharedDictionaryCache::new(),
        })
    }
}

#[derive(Debug)]
struct EnrolmentsBuilder {
    columns: Vec<Column>,
    /// Of whom rows are taken.
    learners: KeyRange,
    /// Every usable row of the batches.
    usable: SlotCounts,
    /// By date column, the rows in which it reads.
    dates: Vec<(String, SlotCounts)>,
    /// The courses of the batches, numbered.
    course_numbers: StringIndex,
    /// The course of the batch in each slot.
    courses: Vec<u32>,
    users: LearnerIndexBuilder,
    batches_known: SharedDictionaryCache<Slot>,
    courses_known: SharedDictionaryCache<u32>,
    /// Of each, counts, and the rows that pass.
    slots: RadixPartitions<Enrolled, Enrolment>,
}

/// What becomes of a row.
#[derive(Clone, Copy)]
enum Verdict<P> {
    OtherCourse,
    Inactive,
    Passes(P),
}

impl Enrolled {
    /// Counts a row; gives it back if it passes.
    fn count(&mut self, row: Verdict<Enrolment>) -> Option<Enrolment> {
        self.all += 1;
        match row {
            Verdict::OtherCourse => self.other_course += 1,
            Verdict::Inactive => self.inactive += 1,
            Verdict::Passes(row) => return Some(row),
        }
        None
    }
}

impl LoadedTable for EnrolmentsBuilder {
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let judged = self.judged(chunk, loaded);
        let ids = chunk.cells(USERID);
        let id = |(_, verdict): &(Slot, Verdict<usize>)| match verdict {
            Verdict::Passes(row) => Some(ids.get(*row)),
            Verdict::OtherCourse | Verdict::Inactive => None,
        };
        let ids: Vec<&str> = judged.iter().filter_map(id).collect();
        let long = ids.iter().map(|id| id.len().saturating_sub(ID)).sum();
        if !budget.has_room_for_enrolments(ids.len()) || !budget.has_room_for_texts(long) {
            // Too many to be kept.
            return self.slots.put(&judged, |batch, _| {
                batch.all += 1;
                None
            });
        }
        let mut users = self.users.numbers(&ids).into_iter();
        let (enrolled, completed) = (chunk.cells(ENROLLEDDATE), chunk.cells(COMPLETEDON));
        let certificates = [chunk.cells(CERTIFICATES), chunk.cells(ISSUED_CERTIFICATES)];
        let mut enrolment = |row: usize| Enrolment {
            enrolled: enrolled.get(row).unwrap_or(NOTHING),
            completed: completed.get(row).unwrap_or(NOTHING),
            user: Rank(users.next().unwrap_or(NONE)),
            certificates: certificates.map(|column| entries(column.get(row))),
        };
        let taken = judged.into_iter().map(|(slot, verdict)| match verdict {
            Verdict::Passes(row) => (slot, Verdict::Passes(enrolment(row))),
            Verdict::Inactive => (slot, Verdict::Inactive),
            Verdict::OtherCourse => (slot, Verdict::OtherCourse),
        });
        self.slots.put(&taken.collect::<Vec<_>>(), Enrolled::count);
    }

    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, _: &Budget) {
        loaded.add_usable(Table::UserEnrolments, self.usable);
        for (column, readable) in self.dates {
            loaded.add_readable(Table::UserEnrolments, &column, readable);
        }
        let (learner_index, ranks) = LearnerIndex::of(self.users);
        let ranked = |_, counts, mut rows: Vec<Enrolment>| {
            for row in &mut rows {
                row.user = ranks[row.user.index()];
            }
            Enrolled { rows, ..counts }
        };
        let enrolled = self.slots.divided(ranked);
        loaded.set_enrolled(learner_index, enrolled);
        loaded.set_keys(Table::UserEnrolments, USERID, loaded.learner_keys());
    }

    fn size(self: Box<Self>) -> RowSize {
        RowSize::Enrolments(self.slots.divided(|_, batch, _| batch.all))
    }
}

impl EnrolmentsBuilder {
    /// The rows of the batches, and what becomes of each. Batches and courses come as few texts again and again, so that
    /// each is looked up once.
    fn judged(&self, chunk: ChunkView<'_>, loaded: &LoadedBatches) -> Vec<(Slot, Verdict<usize>)> {
        let (ids, active) = (chunk.cells(USERID), chunk.cells(ACTIVE));
        let of_batches = |batches: &[&str]| loaded.slots().of(batches.iter().copied());
        let slots = self.batches_known.each(chunk.cells(BATCHID), chunk.rows(), of_batches);
        self.usable.add(slots.iter().copied());
        for (column, readable) in &self.dates {
            let cells = chunk.instants(column);
            let with_date = chunk.rows().zip(&slots).filter(|(row, _)| cells.get(*row).is_some());
            readable.add(with_date.map(|(_, slot)| *slot));
        }
        let numbers = |courses: &[&str]| self.course_numbers.all(courses.iter().copied(), NONE);
        let course_numbers = self.courses_known.each(chunk.cells(COURSEID), chunk.rows(), numbers);
        let verdict = |row: usize, slot: Slot, course: u32| {
            if course != self.courses[slot.index()] {
                Verdict::OtherCourse
            } else if active.get(row) {
                Verdict::Passes(row)
            } else {
                Verdict::Inactive
            }
        };
        let everybody = self.learners.is_everybody();
        let rows = chunk.rows().zip(slots).zip(course_numbers);
        let rows =
            rows.filter(|((row, slot), _)| *slot != Slot::NONE && (everybody || self.learners.has(ids.get(*row))));
        rows.map(|((row, slot), course)| (slot, verdict(row, slot, course))).collect()
    }
}

fn entries(count: Option<i64>) -> u8 {
    match count {
        None => 0,
        Some(count) if count <= 0 => 1,
        Some(_) => 2,
    }
}
