//! Attempts at assessments by batch.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use super::{NONE, NOTHING, Slots, reserve};
use crate::reports::Options;
use crate::reports::catalog::Catalog;
use crate::reports::columns::Chunk;
use crate::reports::interner::SharedInterner;
use crate::reports::table::TextBlock;

const ATTEMPT_ID: usize = 0;
const GRAND_TOTAL: usize = 1;

/// An attempt at an assessment.
#[derive(Clone, Copy, Debug)]
pub(in crate::reports) struct Attempt {
    score: i64,
    max: i64,
    at: i64,
    /// Rank of the user.
    pub(in crate::reports) user: u32,
    /// The assessment in the catalogue's contents.
    pub(in crate::reports) content: u32,
    course: u32,
    text: u32,
}

impl Attempt {
    /// `total_score` in millionths.
    pub(in crate::reports) fn score(&self) -> Option<i64> {
        Some(self.score).filter(|score| *score != NOTHING)
    }

    /// `total_max_score` in millionths.
    pub(in crate::reports) fn max(&self) -> Option<i64> {
        Some(self.max).filter(|max| *max != NOTHING)
    }

    /// `last_attempted_on`.
    pub(in crate::reports) fn at(&self) -> Option<i64> {
        Some(self.at).filter(|at| *at != NOTHING)
    }
}

/// The attempts of a batch that count, one per key, sorted by user, assessment and attempt id.
#[derive(Debug)]
pub(in crate::reports) struct Attempts {
    pub(in crate::reports) rows: Vec<Attempt>,
    texts: TextBlock,
    duplicates: u64,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { rows: Vec::new(), texts: TextBlock::new(2), duplicates: 0 }
    }
}

impl Attempts {
    /// `attempt_id`
    pub(in crate::reports) fn attempt_id(&self, attempt: &Attempt) -> &str {
        self.texts.get(attempt.text as usize, ATTEMPT_ID)
    }

    /// `grand_total`, empty where there is none.
    pub(in crate::reports) fn grand_total(&self, attempt: &Attempt) -> &str {
        self.texts.get(attempt.text as usize, GRAND_TOTAL)
    }

    pub(super) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Attempt>() + self.texts.memory()
    }

    fn compare_keys(&self, left: &Attempt, right: &Attempt) -> Ordering {
        let key = |attempt: &Attempt| (attempt.user, attempt.content);
        key(left).cmp(&key(right)).then_with(|| self.attempt_id(left).cmp(self.attempt_id(right)))
    }

    /// Compares what is not the key, in the table's order.
    fn compare_values<'c>(&self, left: &Attempt, right: &Attempt, course: impl Fn(u32) -> &'c str) -> Ordering {
        let scores = |attempt: &Attempt| (attempt.score, attempt.max);
        course(left.course)
            .cmp(course(right.course))
            .then_with(|| scores(left).cmp(&scores(right)))
            .then_with(|| self.grand_total(left).cmp(self.grand_total(right)))
            .then_with(|| left.at.cmp(&right.at))
    }
}

#[derive(Debug)]
pub(super) struct AttemptsBuilder {
    /// By content: whether attempts at it count.
    counting: Vec<bool>,
    courses: SharedInterner,
    slots: Vec<Mutex<Attempts>>,
}

impl AttemptsBuilder {
    pub(super) fn new(slots: usize, catalog: &Catalog, options: &Options) -> Self {
        let contents = catalog.contents();
        let types = &options.assessment_content_types;
        let counts = |content| types.iter().any(|of| of == contents.content_type(content));
        Self {
            counting: (0..contents.len()).map(counts).collect(),
            courses: SharedInterner::default(),
            slots: (0..slots).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes a chunk. Attempts at contents of other types are passed over; those that name another course stay until
    /// duplicates are told apart.
    pub(super) fn take(&self, chunk: &Chunk<'_>, slots: &Slots, users: &SharedInterner, catalog: &Catalog) {
        let (batches, contents) = (chunk.texts("batch_id"), chunk.texts("content_id"));
        let (ids, courses) = (chunk.texts("user_id"), chunk.texts("course_id"));
        let (attempt_ids, totals) = (chunk.texts("attempt_id"), chunk.texts("grand_total"));
        let (scores, maxima) = (chunk.integers("total_score"), chunk.integers("total_max_score"));
        let ats = chunk.instants("last_attempted_on");
        let slots = slots.of((0..chunk.rows()).map(|row| batches.get(row)));
        let counts = |row: usize| {
            let content = catalog.contents().position(contents.get(row)).filter(|content| self.counting[*content])?;
            (slots[row] != NONE).then_some((row, u32::try_from(content).unwrap_or(NONE)))
        };
        let rows: Vec<(usize, u32)> = (0..chunk.rows()).filter_map(counts).collect();
        let ids: Vec<&str> = rows.iter().map(|(row, _)| ids.get(*row)).collect();
        let names: Vec<&str> = rows.iter().map(|(row, _)| courses.get(*row)).collect();
        let (users, courses) = (users.numbers(&ids), self.courses.numbers(&names));
        for ((row, content), (user, course)) in rows.into_iter().zip(users.into_iter().zip(courses)) {
            let mut batch = self.slots[slots[row] as usize].lock().unwrap_or_else(PoisonError::into_inner);
            let text = u32::try_from(batch.texts.rows()).unwrap_or(NONE);
            batch.texts.push(attempt_ids.get(row));
            batch.texts.push(totals.get(row));
            reserve(&mut batch.rows);
            batch.rows.push(Attempt {
                score: scores.get(row).unwrap_or(NOTHING),
                max: maxima.get(row).unwrap_or(NOTHING),
                at: ats.get(row).unwrap_or(NOTHING),
                user,
                content,
                course,
                text,
            });
        }
    }

    /// Calls users by rank, keeps the greatest row of each key, and of these the ones that name the batch's course.
    pub(super) fn settle<'c>(&self, ranks: &[u32], batch_course: impl Fn(usize) -> &'c String + Sync) {
        self.slots.par_iter().enumerate().for_each(|(slot, batch)| {
            let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rows = std::mem::take(&mut batch.rows);
            for row in &mut rows {
                row.user = ranks[row.user as usize];
            }
            self.courses.with(|courses| {
                let course = |number| courses.text(number);
                rows.sort_unstable_by(|left, right| {
                    batch.compare_keys(left, right).then_with(|| batch.compare_values(right, left, course))
                });
                let all = rows.len();
                rows.dedup_by(|next, kept| batch.compare_keys(next, kept).is_eq());
                batch.duplicates = (all - rows.len()) as u64;
                let own = batch_course(slot);
                rows.retain(|row| course(row.course) == own);
            });
            batch.rows = rows;
        });
    }

    pub(super) fn finish(self) -> (Vec<Attempts>, u64) {
        let into = |batch: Mutex<Attempts>| batch.into_inner().unwrap_or_else(PoisonError::into_inner);
        let batches: Vec<Attempts> = self.slots.into_iter().map(into).collect();
        let duplicates = batches.iter().map(|batch| batch.duplicates).sum();
        (batches, duplicates)
    }
}
