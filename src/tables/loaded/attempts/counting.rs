//! Which attempts count: of each key one row, and of these one for each learner and assessment.

use std::cmp::Ordering;

use crate::columnar::interner::Interner;
use crate::columnar::pieces::TextPieces;
use crate::tables::loaded::enrolled::{Enrolled, NOTHING};
use crate::tables::loaded::learner_index::Rank;
use crate::tables::scores::{Unreadable, grand_total};

/// Stands for a `grand_total` that does not read.
const UNREADABLE: i64 = NOTHING + 1;

/// Which attempt at an assessment counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempt {
    /// The one with the best score.
    Best,
    /// The latest one.
    Latest,
}

/// The attempt of a learner at an assessment that counts.
#[derive(Clone, Copy, Debug)]
pub struct CountedAttempt {
    /// The learner.
    pub user: Rank,
    /// The assessment in the catalogue's contents.
    pub content: u32,
    /// How many attempts of theirs at it there are.
    attempts: u32,
    score: i64,
    max: i64,
    grand_total: i64,
}

impl CountedAttempt {
    /// `total_score` in millionths, 0 where there is none.
    #[must_use]
    pub fn score(&self) -> i64 {
        if self.score == NOTHING { 0 } else { self.score }
    }

    /// `total_max_score` in millionths, 0 where there is none.
    #[must_use]
    pub fn max(&self) -> i64 {
        if self.max == NOTHING { 0 } else { self.max }
    }

    /// `grand_total` in whole per cents, `None` where there is none.
    ///
    /// # Errors
    /// It does not read.
    pub fn grand_total(&self) -> Result<Option<i64>, Unreadable> {
        match self.grand_total {
            NOTHING => Ok(None),
            UNREADABLE => Err(Unreadable),
            per_cent => Ok(Some(per_cent)),
        }
    }
}

/// The attempts at the assessments of a batch.
#[derive(Debug, Default)]
pub struct BatchAttempts {
    /// Those that count, of learners who are listed; sorted by learner and assessment.
    pub rows: Vec<CountedAttempt>,
    /// The assessments with an attempt, of learners who are listed or not, ascending.
    pub contents: Vec<u32>,
    /// Attempts of everybody else.
    pub of_others: u64,
}

impl BatchAttempts {
    /// Leaves those of learners who are listed.
    pub(super) fn keep_listed(&mut self, enrolled: &Enrolled) {
        let Self { rows, of_others, .. } = self;
        rows.retain(|row| {
            let is_listed = enrolled.lists(row.user);
            *of_others += if is_listed { 0 } else { u64::from(row.attempts) };
            is_listed
        });
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
pub(super) struct Raw {
    pub(super) score: i64,
    pub(super) max: i64,
    pub(super) at: i64,
    pub(super) user: Rank,
    pub(super) content: u32,
    pub(super) course: u32,
    pub(super) grand_total: u32,
    /// The number of its id, and a hash of it: ids of different hashes need no look, and they lie all over memory.
    pub(super) id: u32,
    pub(super) id_hash: u32,
}

/// Tells which attempts count.
pub(super) struct CountingRules<'a> {
    courses: &'a Interner,
    totals: &'a Interner,
    ids: &'a TextPieces,
    /// By number of the `grand_total`.
    per_cents: Vec<i64>,
    attempt: Attempt,
    /// From this rank on learners have no enrolment.
    without_enrolment: Rank,
}

impl<'a> CountingRules<'a> {
    /// With what was taken. Learners from the rank `without_enrolment` on have no enrolment.
    pub(super) fn new(
        attempt: Attempt,
        courses: &'a Interner,
        totals: &'a Interner,
        ids: &'a TextPieces,
        without_enrolment: Rank,
    ) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "an interner gives out 32-bit numbers")]
        let per_cents = (0..totals.len() as u32).map(|total| match grand_total(totals.text(total)) {
            Ok(per_cent) => per_cent.unwrap_or(NOTHING),
            Err(Unreadable) => UNREADABLE,
        });
        Self { courses, totals, ids, per_cents: per_cents.collect(), attempt, without_enrolment }
    }

    /// Keeps the greatest row of each key, of these the ones that name the batch's course, and of these the one of each
    /// learner and assessment that counts; also says how many rows had a key that another one has.
    pub(super) fn counted(&self, mut rows: Vec<Raw>, course: &str) -> (BatchAttempts, u64) {
        rows.sort_unstable_by(|left, right| {
            self.compare_keys(left, right).then_with(|| self.compare_values(right, left))
        });
        let all = rows.len();
        rows.dedup_by(|next, kept| self.compare_keys(next, kept).is_eq());
        let duplicates = (all - rows.len()) as u64;
        rows.retain(|row| self.courses.text(row.course) == course);
        let contents = rows.iter().map(|row| row.content).collect();
        let mut attempts = BatchAttempts { contents, ..BatchAttempts::default() };
        attempts.contents.sort_unstable();
        attempts.contents.dedup();
        attempts.contents.shrink_to_fit();
        let before = rows.len();
        rows.retain(|row| row.user < self.without_enrolment);
        attempts.of_others = (before - rows.len()) as u64;
        let counted = rows.chunk_by(|left, right| pair(left) == pair(right)).filter_map(|at_one| {
            let row = at_one.iter().max_by(|left, right| self.compare_worth(left, right))?;
            let Raw { user, content, score, max, .. } = *row;
            let attempts = u32::try_from(at_one.len()).unwrap_or(u32::MAX);
            let grand_total = self.per_cents[row.grand_total as usize];
            Some(CountedAttempt { user, content, attempts, score, max, grand_total })
        });
        attempts.rows = counted.collect();
        attempts.rows.shrink_to_fit();
        (attempts, duplicates)
    }

    /// `attempt_id`
    fn id(&self, row: &Raw) -> &str {
        self.ids.get(row.id)
    }

    /// Brings rows of one key together, those of one learner at one assessment side by side.
    fn compare_keys(&self, left: &Raw, right: &Raw) -> Ordering {
        let hashes = { left.id_hash }.cmp(&{ right.id_hash });
        pair(left).cmp(&pair(right)).then(hashes).then_with(|| self.id(left).cmp(self.id(right)))
    }

    /// Compares what is not the key, in the table's order.
    fn compare_values(&self, left: &Raw, right: &Raw) -> Ordering {
        let course = |row: &Raw| self.courses.text(row.course);
        let total = |row: &Raw| self.totals.text(row.grand_total);
        course(left)
            .cmp(course(right))
            .then({ (left.score, left.max) }.cmp(&(right.score, right.max)))
            .then_with(|| total(left).cmp(total(right)))
            .then({ left.at }.cmp(&{ right.at }))
    }

    /// The greater of two attempts of one learner at one assessment counts. Best: by score, then time, then attempt id.
    /// Latest: by time, then attempt id. What is missing is smallest.
    fn compare_worth(&self, left: &Raw, right: &Raw) -> Ordering {
        let times = { left.at }.cmp(&{ right.at });
        let by_score = match self.attempt {
            Attempt::Best => { left.score }.cmp(&{ right.score }),
            Attempt::Latest => Ordering::Equal,
        };
        by_score.then(times).then_with(|| self.id(left).cmp(self.id(right)))
    }
}

/// Learner and assessment, in one number.
fn pair(row: &Raw) -> u64 {
    u64::from({ row.user }.0) << 32 | u64::from(row.content)
}
