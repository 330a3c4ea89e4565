//! Enrolments by batch.

use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::learners::Learners;
use super::{NONE, NOTHING, Slots, reserve};
use crate::reports::columns::Chunk;
use crate::reports::interner::SharedInterner;

/// An enrolment that is active and of the batch's course.
#[derive(Clone, Copy, Debug)]
pub(in crate::reports) struct Enrolment {
    /// Instant, or [`NOTHING`].
    enrolled: i64,
    /// Instant, or [`NOTHING`].
    completed: i64,
    /// Rank of the user (a number until the first round is over).
    user: u32,
    /// Entries of `certificates` and of `issued_certificates`: 0 nothing there, 1 none, 2 some. More is not needed
    /// to tell which of two rows is greater as text: only rows that differ in it can give different reports.
    certificates: [u8; 2],
}

impl Enrolment {
    /// The rank of the user.
    pub(in crate::reports) const fn user(&self) -> u32 {
        self.user
    }

    /// When the learner enrolled.
    pub(in crate::reports) fn enrolled(&self) -> Option<i64> {
        Some(self.enrolled).filter(|instant| *instant != NOTHING)
    }

    /// When the learner completed the course.
    pub(in crate::reports) fn completed(&self) -> Option<i64> {
        Some(self.completed).filter(|instant| *instant != NOTHING)
    }

    /// Whether a certificate was issued.
    pub(in crate::reports) fn certified(&self) -> bool {
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
pub(in crate::reports) struct Enrolled {
    pub(in crate::reports) rows: Vec<Enrolment>,
    /// All usable rows.
    pub(in crate::reports) all: u64,
    pub(in crate::reports) other_course: u64,
    pub(in crate::reports) inactive: u64,
    pub(in crate::reports) no_user: u64,
    pub(in crate::reports) duplicate: u64,
}

impl Enrolled {
    pub(super) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Enrolment>()
    }

    /// Whether the user of this rank is among them.
    pub(in crate::reports) fn lists(&self, user: u32) -> bool {
        self.rows.binary_search_by_key(&user, Enrolment::user).is_ok()
    }
}

#[derive(Debug)]
pub(super) struct EnrolmentsBuilder {
    /// The course of the batch in each slot.
    courses: Vec<String>,
    slots: Vec<Mutex<Enrolled>>,
}

#[derive(Clone, Copy)]
enum Verdict {
    OtherCourse,
    Inactive,
    Passes,
}

impl EnrolmentsBuilder {
    pub(super) fn new(courses: Vec<String>) -> Self {
        Self { slots: courses.iter().map(|_| Mutex::default()).collect(), courses }
    }

    pub(super) fn take(&self, chunk: &Chunk<'_>, slots: &Slots, users: &SharedInterner) {
        let (batches, courses) = (chunk.texts("batchid"), chunk.texts("courseid"));
        let (ids, active) = (chunk.texts("userid"), chunk.booleans("active"));
        let slots = slots.of((0..chunk.rows()).map(|row| batches.get(row)));
        let verdict = |row: usize| {
            if courses.get(row) != self.courses[slots[row] as usize] {
                Verdict::OtherCourse
            } else if active.get(row) {
                Verdict::Passes
            } else {
                Verdict::Inactive
            }
        };
        let of_batches = (0..chunk.rows()).filter(|row| slots[*row] != NONE);
        let judged: Vec<(usize, Verdict)> = of_batches.map(|row| (row, verdict(row))).collect();
        let passing = judged.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Passes));
        let ids: Vec<&str> = passing.map(|(row, _)| ids.get(*row)).collect();
        let mut users = users.numbers(&ids).into_iter();
        let (enrolled, completed) = (chunk.instants("enrolleddate"), chunk.instants("completedon"));
        let certificates = [chunk.integers("certificates"), chunk.integers("issued_certificates")];
        for run in judged.chunk_by(|(left, _), (right, _)| slots[*left] == slots[*right]) {
            let slot = slots[run[0].0] as usize;
            let mut batch = self.slots[slot].lock().unwrap_or_else(PoisonError::into_inner);
            batch.all += run.len() as u64;
            for (row, verdict) in run {
                match verdict {
                    Verdict::OtherCourse => batch.other_course += 1,
                    Verdict::Inactive => batch.inactive += 1,
                    Verdict::Passes => {
                        reserve(&mut batch.rows);
                        batch.rows.push(Enrolment {
                            enrolled: enrolled.get(*row).unwrap_or(NOTHING),
                            completed: completed.get(*row).unwrap_or(NOTHING),
                            user: users.next().unwrap_or(NONE),
                            certificates: certificates.map(|column| entries(column.get(*row))),
                        });
                    }
                }
            }
        }
    }

    /// Calls users by rank, and marks those that have an enrolment.
    pub(super) fn settle(&self, ranks: &[u32], passing: &mut [bool]) {
        for batch in &self.slots {
            let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
            for row in &mut batch.rows {
                row.user = ranks[row.user as usize];
                passing[row.user as usize] = true;
            }
        }
    }

    /// One row per learner, of whom `user` has a row: the greatest.
    pub(super) fn finish(self, learners: &Learners) -> Vec<Enrolled> {
        let finish = |batch: Mutex<Enrolled>| {
            let mut batch = batch.into_inner().unwrap_or_else(PoisonError::into_inner);
            let passing = batch.rows.len();
            batch.rows.retain(|row| learners.row(row.user).is_some());
            let known = batch.rows.len();
            batch.rows.sort_unstable_by_key(|row| (row.user, Reverse((row.enrolled, row.completed, row.certificates))));
            batch.rows.dedup_by_key(|row| row.user);
            batch.no_user = (passing - known) as u64;
            batch.duplicate = (known - batch.rows.len()) as u64;
            batch
        };
        self.slots.into_par_iter().map(finish).collect()
    }
}
