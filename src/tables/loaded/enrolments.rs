//! Enrolments by batch.

use std::cmp::Reverse;

use super::learners::Learners;
use super::people::{Arrivals, People};
use super::usable::SlotCounts;
use super::weight::{Budget, ID};
use super::{NONE, NOTHING, Slots};
use crate::columnar::interner::StringIndex;
use crate::columnar::radix_partitions::RadixPartitions;
use crate::tables::chunk::{ChunkView, SharedDictionaryCache};
use crate::tables::key_range::KeyRange;
use crate::tables::schema::user_enrolments;

/// An enrolment that is active and of the batch's course.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Enrolment {
    /// Instant, or [`NOTHING`].
    enrolled: i64,
    /// Instant, or [`NOTHING`].
    completed: i64,
    /// Rank of the user (a number until all are known).
    user: u32,
    /// Entries of `certificates` and of `issued_certificates`: 0 nothing there, 1 none, 2 some. More is not needed
    /// to tell which of two rows is greater as text: only rows that differ in it can give different reports.
    certificates: [u8; 2],
}

impl Enrolment {
    /// The rank of the user.
    pub(crate) const fn user(&self) -> u32 {
        self.user
    }

    /// When the learner enrolled.
    pub(crate) fn enrolled(&self) -> Option<i64> {
        Some(self.enrolled).filter(|instant| *instant != NOTHING)
    }

    /// When the learner completed the course.
    pub(crate) fn completed(&self) -> Option<i64> {
        Some(self.completed).filter(|instant| *instant != NOTHING)
    }

    /// Whether a certificate was issued.
    pub(crate) fn certified(&self) -> bool {
        self.certificates.contains(&2)
    }
}

fn entries(count: Option<i64>) -> u8 {
    match count {
        None => 0,
        Some(count) if count <= 0 => 1,
        Some(_) => 2,
    }
}

/// The enrolments of a batch that may be listed, one per learner, in the order of user ids; and what became of the
/// others.
#[derive(Debug, Default)]
pub(crate) struct Enrolled {
    pub(crate) rows: Vec<Enrolment>,
    /// All usable rows.
    pub(crate) all: u64,
    pub(crate) other_course: u64,
    pub(crate) inactive: u64,
    pub(crate) no_user: u64,
    pub(crate) duplicate: u64,
}

impl Enrolled {
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Enrolment>()
    }

    /// Whether the user of this rank is among them.
    pub(crate) fn lists(&self, user: u32) -> bool {
        self.rows.binary_search_by_key(&user, Enrolment::user).is_ok()
    }
}

#[derive(Debug)]
pub(crate) struct EnrolmentsBuilder {
    /// The courses of the batches, numbered.
    course_numbers: StringIndex,
    /// The course of the batch in each slot.
    courses: Vec<u32>,
    users: Arrivals,
    batches_known: SharedDictionaryCache<u32>,
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

/// What a row must be of to be taken.
pub(crate) struct Of<'a> {
    pub(crate) slots: &'a Slots,
    pub(crate) learners: &'a KeyRange,
    /// Counts every row of the batches.
    pub(crate) usable: &'a SlotCounts,
    /// By date column, counts those that read.
    pub(crate) dates: &'a [(String, SlotCounts)],
}

impl EnrolmentsBuilder {
    /// For batches of these courses, slot by slot.
    pub(crate) fn new<'c>(courses: impl Iterator<Item = &'c str>) -> Self {
        let mut course_numbers = StringIndex::default();
        let courses: Vec<u32> = courses.map(|course| course_numbers.number(course)).collect();
        Self {
            slots: RadixPartitions::new(courses.len()),
            course_numbers,
            courses,
            users: Arrivals::default(),
            batches_known: SharedDictionaryCache::new(),
            courses_known: SharedDictionaryCache::new(),
        }
    }

    /// Takes a chunk. Batches and courses come as few texts again and again, so that each is looked up once.
    pub(crate) fn take(&self, chunk: ChunkView<'_>, of: &Of<'_>, budget: &Budget) {
        let Of { slots, learners, usable, dates } = of;
        let (batches, courses) = (chunk.cells(user_enrolments::BATCHID), chunk.cells(user_enrolments::COURSEID));
        let (ids, active) = (chunk.cells(user_enrolments::USERID), chunk.cells(user_enrolments::ACTIVE));
        let slots = self.batches_known.each(batches, chunk.rows(), |batches| slots.of(batches.iter().copied()));
        usable.add(slots.iter().copied());
        for (column, readable) in *dates {
            let cells = chunk.instants(column);
            let with_date = chunk.rows().zip(&slots).filter(|(row, _)| cells.get(*row).is_some());
            readable.add(with_date.map(|(_, slot)| *slot));
        }
        let numbers = |courses: &[&str]| self.course_numbers.all(courses.iter().copied(), NONE);
        let course_numbers = self.courses_known.each(courses, chunk.rows(), numbers);
        let verdict = |row: usize, slot: u32, course: u32| {
            if course != self.courses[slot as usize] {
                Verdict::OtherCourse
            } else if active.get(row) {
                Verdict::Passes(row)
            } else {
                Verdict::Inactive
            }
        };
        let everybody = learners.is_everybody();
        let rows = chunk.rows().zip(slots).zip(course_numbers);
        let rows = rows.filter(|((row, slot), _)| *slot != NONE && (everybody || learners.has(ids.get(*row))));
        let judged: Vec<(u32, Verdict<usize>)> =
            rows.map(|((row, slot), course)| (slot, verdict(row, slot, course))).collect();
        let id = |(_, verdict): &(u32, Verdict<usize>)| match verdict {
            Verdict::Passes(row) => Some(ids.get(*row)),
            Verdict::OtherCourse | Verdict::Inactive => None,
        };
        let ids: Vec<&str> = judged.iter().filter_map(id).collect();
        let long = ids.iter().map(|id| id.len().saturating_sub(ID)).sum();
        if !budget.bears_enrolments(ids.len()) || !budget.bears_texts(long) {
            // Too many to be kept.
            return self.slots.put(&judged, |batch, _| {
                batch.all += 1;
                None
            });
        }
        let mut users = self.users.numbers(&ids).into_iter();
        let (enrolled, completed) =
            (chunk.cells(user_enrolments::ENROLLEDDATE), chunk.cells(user_enrolments::COMPLETEDON));
        let certificates =
            [chunk.cells(user_enrolments::CERTIFICATES), chunk.cells(user_enrolments::ISSUED_CERTIFICATES)];
        let mut enrolment = |row: usize| Enrolment {
            enrolled: enrolled.get(row).unwrap_or(NOTHING),
            completed: completed.get(row).unwrap_or(NOTHING),
            user: users.next().unwrap_or(NONE),
            certificates: certificates.map(|column| entries(column.get(row))),
        };
        let taken = judged.into_iter().map(|(slot, verdict)| match verdict {
            Verdict::Passes(row) => (slot, Verdict::Passes(enrolment(row))),
            Verdict::Inactive => (slot, Verdict::Inactive),
            Verdict::OtherCourse => (slot, Verdict::OtherCourse),
        });
        self.slots.put(&taken.collect::<Vec<_>>(), Enrolled::count);
    }

    /// How many rows each slot has, kept or not.
    pub(crate) fn counts(self) -> Vec<u64> {
        self.slots.settled(|_, batch, _| batch.all)
    }

    /// Everybody who has an enrolment that passes, and the enrolments, which call them by rank.
    pub(crate) fn finish(self) -> (People, Vec<Enrolled>) {
        let (people, ranks) = People::of(self.users);
        let ranked = |_, counts, mut rows: Vec<Enrolment>| {
            for row in &mut rows {
                row.user = ranks[row.user as usize];
            }
            Enrolled { rows, ..counts }
        };
        let enrolled = self.slots.settled(ranked);
        (people, enrolled)
    }
}

impl Enrolled {
    /// One row per learner, of whom `user` has a row: the greatest.
    pub(crate) fn settle(&mut self, learners: &Learners) {
        let passing = self.rows.len();
        self.rows.retain(|row| learners.line(row.user).is_some());
        let known = self.rows.len();
        self.rows.sort_unstable_by_key(|row| (row.user, Reverse((row.enrolled, row.completed, row.certificates))));
        self.rows.dedup_by_key(|row| row.user);
        self.no_user = (passing - known) as u64;
        self.duplicate = (known - self.rows.len()) as u64;
    }
}
