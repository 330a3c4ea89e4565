//! Attempts at assessments by batch: of each learner at each assessment the one that counts.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;

use super::enrolments::Enrolled;
use super::people::People;
use super::usable::SlotCounts;
use super::weight::{ATTEMPT, Budget};
use super::{NONE, NOTHING, Slots};
use crate::columnar::interner::{Interner, SharedInterner};
use crate::columnar::pieces::{TEXTS, TextPieces};
use crate::columnar::radix_partitions::RadixPartitions;
use crate::columnar::text_block::TextBlock;
use crate::reports::{Attempt as Choice, Options};
use crate::tables::catalog::Catalog;
use crate::tables::chunk::{ChunkView, SharedDictionaryCache};
use crate::tables::key_range::KeyRange;
use crate::tables::schema::assessment_aggregator;
use crate::tables::scores::{Unreadable, grand_total};

/// Stands for a `grand_total` that does not read.
const UNREADABLE: i64 = NOTHING + 1;

/// The attempt of a learner at an assessment that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// Rank of the user.
    pub(crate) user: u32,
    /// The assessment in the catalogue's contents.
    pub(crate) content: u32,
    /// How many attempts of theirs at it there are.
    attempts: u32,
    score: i64,
    max: i64,
    grand_total: i64,
}

impl Counted {
    /// `total_score` in millionths, 0 where there is none.
    pub(crate) fn score(&self) -> i64 {
        if self.score == NOTHING { 0 } else { self.score }
    }

    /// `total_max_score` in millionths, 0 where there is none.
    pub(crate) fn max(&self) -> i64 {
        if self.max == NOTHING { 0 } else { self.max }
    }

    /// `grand_total` in whole per cents, `None` where there is none.
    pub(crate) fn grand_total(&self) -> Result<Option<i64>, Unreadable> {
        match self.grand_total {
            NOTHING => Ok(None),
            UNREADABLE => Err(Unreadable),
            per_cent => Ok(Some(per_cent)),
        }
    }
}

/// What counts of a batch's attempts.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// Of those who have an enrolment that passes; sorted by user and assessment.
    pub(crate) rows: Vec<Counted>,
    /// The assessments with an attempt, whoever made it, ascending.
    pub(crate) contents: Vec<u32>,
    /// Attempts of all others.
    pub(crate) of_others: u64,
}

impl Attempts {
    /// Leaves those who are listed.
    pub(crate) fn settle(&mut self, enrolled: &Enrolled) {
        let Self { rows, of_others, .. } = self;
        rows.retain(|row| {
            let is_listed = enrolled.lists(row.user);
            *of_others += if is_listed { 0 } else { u64::from(row.attempts) };
            is_listed
        });
    }

    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Counted>() + self.contents.capacity() * size_of::<u32>()
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, packed(4))]
struct Raw {
    score: i64,
    max: i64,
    at: i64,
    user: u32,
    content: u32,
    course: u32,
    grand_total: u32,
    /// The number of its id, and a hash of it: ids of different hashes need no look, and they lie all over memory.
    id: u32,
    id_hash: u32,
}

impl Judge<'_> {
    /// `attempt_id`
    fn id(&self, row: &Raw) -> &str {
        self.ids.get(row.id)
    }

    /// Brings rows of one key together, those of one learner at one assessment side by side.
    fn compare_keys(&self, left: &Raw, right: &Raw) -> Ordering {
        let hashes = { left.id_hash }.cmp(&{ right.id_hash });
        pair(left).cmp(&pair(right)).then(hashes).then_with(|| self.id(left).cmp(self.id(right)))
    }

    /// The greater of two attempts of one learner at one assessment counts. Best: by score, then time, then attempt id.
    /// Latest: by time, then attempt id. What is missing is smallest.
    fn compare_worth(&self, left: &Raw, right: &Raw) -> Ordering {
        let times = { left.at }.cmp(&{ right.at });
        let by_score = match self.choice {
            Choice::Best => { left.score }.cmp(&{ right.score }),
            Choice::Latest => Ordering::Equal,
        };
        by_score.then(times).then_with(|| self.id(left).cmp(self.id(right)))
    }
}

/// Learner and assessment, in one number.
fn pair(row: &Raw) -> u64 {
    u64::from(row.user) << 32 | u64::from(row.content)
}

/// What a row must be of to be kept.
pub(crate) struct Of<'a> {
    pub(crate) slots: &'a Slots,
    pub(crate) people: &'a People,
    pub(crate) learners: &'a KeyRange,
    pub(crate) catalog: &'a Catalog,
    /// Counts every row of the batches.
    pub(crate) usable: &'a SlotCounts,
}

#[derive(Debug)]
pub(crate) struct AttemptsBuilder {
    /// By content: whether attempts at it count.
    counting: Vec<bool>,
    choice: Choice,
    courses: SharedInterner,
    grand_totals: SharedInterner,
    /// People without an enrolment, who are numbered after those who have one.
    strangers: SharedInterner,
    /// `attempt_id`s.
    ids: Mutex<TextPieces>,
    hasher: DefaultHashBuilder,
    batches_known: SharedDictionaryCache<u32>,
    contents_known: SharedDictionaryCache<u32>,
    courses_known: SharedDictionaryCache<u32>,
    totals_known: SharedDictionaryCache<u32>,
    /// Of each, the rows that were too many to be kept, and the others.
    slots: RadixPartitions<u64, Raw>,
}

impl AttemptsBuilder {
    pub(crate) fn new(slots: usize, catalog: &Catalog, options: &Options) -> Self {
        let contents = catalog.contents();
        let types = &options.assessment_content_types;
        let counts = |content| types.iter().any(|of| of == contents.content_type(content));
        Self {
            counting: (0..contents.len()).map(counts).collect(),
            choice: options.attempt,
            courses: SharedInterner::default(),
            grand_totals: SharedInterner::default(),
            strangers: SharedInterner::default(),
            ids: Mutex::default(),
            hasher: DefaultHashBuilder::default(),
            batches_known: SharedDictionaryCache::new(),
            contents_known: SharedDictionaryCache::new(),
            courses_known: SharedDictionaryCache::new(),
            totals_known: SharedDictionaryCache::new(),
            slots: RadixPartitions::new(slots),
        }
    }

    /// Takes a chunk. Attempts at contents of other types are passed over; those that name another course stay until
    /// duplicates are told apart.
    pub(crate) fn take(&self, chunk: ChunkView<'_>, of: &Of<'_>, budget: &Budget) {
        let Of { slots, people, learners, catalog, usable } = of;
        let (users, everybody) = (chunk.cells(assessment_aggregator::USER_ID), learners.is_everybody());
        let position = |content: &str| {
            let content = catalog.contents().position(content).filter(|content| self.counting[*content]);
            content.and_then(|content| u32::try_from(content).ok()).unwrap_or(NONE)
        };
        let in_slots = self.batches_known.each(chunk.cells(assessment_aggregator::BATCH_ID), chunk.rows(), |batches| {
            slots.of(batches.iter().copied())
        });
        usable.add(in_slots.iter().copied());
        let contents =
            self.contents_known.each(chunk.cells(assessment_aggregator::CONTENT_ID), chunk.rows(), |contents| {
                contents.iter().map(|content| position(content)).collect()
            });
        let all = chunk.rows().zip(in_slots).zip(contents).map(|((row, slot), content)| (row, slot, content));
        let is_wanted = |(row, slot, content): &(usize, u32, u32)| {
            *slot != NONE && *content != NONE && (everybody || learners.has(users.get(*row)))
        };
        let rows: Vec<(usize, u32, u32)> = all.filter(is_wanted).collect();
        if !budget.bears(rows.len(), ATTEMPT) {
            let left: Vec<(u32, ())> = rows.iter().map(|(_, slot, _)| (*slot, ())).collect();
            return self.slots.put(&left, |left, ()| {
                *left += 1;
                None
            });
        }
        let at = || rows.iter().map(|(row, ..)| *row);
        let courses = self
            .courses_known
            .each(chunk.cells(assessment_aggregator::COURSE_ID), at(), |courses| self.courses.numbers(courses));
        let totals = self
            .totals_known
            .each(chunk.cells(assessment_aggregator::GRAND_TOTAL), at(), |totals| self.grand_totals.numbers(totals));
        let ids = chunk.cells(assessment_aggregator::ATTEMPT_ID);
        let (scores, maxima) =
            (chunk.cells(assessment_aggregator::TOTAL_SCORE), chunk.cells(assessment_aggregator::TOTAL_MAX_SCORE));
        let ats = chunk.cells(assessment_aggregator::LAST_ATTEMPTED_ON);
        #[allow(clippy::cast_possible_truncation, reason = "ranks have 32 bits")]
        let stranger = |user: &str| people.count() as u32 + self.strangers.number(user);
        let ranks = people.ranks(at().map(|row| users.get(row)));
        let ids = self.keep(at().map(|row| ids.get(row)));
        let numbers = courses.into_iter().zip(totals).zip(ids).zip(ranks);
        let raw = |(&(row, slot, content), (((course, grand_total), (id, id_hash)), rank))| {
            let user = if rank == NONE { stranger(users.get(row)) } else { rank };
            let raw = Raw {
                score: scores.get(row).unwrap_or(NOTHING),
                max: maxima.get(row).unwrap_or(NOTHING),
                at: ats.get(row).unwrap_or(NOTHING),
                user,
                content,
                course,
                grand_total,
                id,
                id_hash,
            };
            (slot, raw)
        };
        let rows: Vec<(u32, Raw)> = rows.iter().zip(numbers).map(raw).collect();
        self.slots.put(&rows, |_, row| Some(row));
    }

    /// Keeps attempt ids: their numbers and hashes.
    fn keep<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<(u32, u32)> {
        let ids: Vec<&str> = ids.collect();
        let mut numbers = Vec::with_capacity(ids.len());
        #[allow(clippy::cast_possible_truncation, reason = "a part of a hash is one")]
        let hash = |id: &&str| self.hasher.hash_one(id) as u32;
        for ids in ids.chunks(TEXTS) {
            let mut texts = TextBlock::new(1);
            texts.reserve(ids.len(), ids.iter().map(|id| id.len()).sum());
            for id in ids {
                texts.push(id);
            }
            let rows = u32::try_from(texts.rows()).unwrap_or_default();
            let first = self.ids.lock().unwrap_or_else(PoisonError::into_inner).append(texts);
            numbers.extend((first..first + rows).zip(ids.iter().map(hash)));
        }
        numbers
    }

    /// The bytes of each slot's rows, kept or not.
    pub(crate) fn bytes(self) -> Vec<u64> {
        self.slots.settled(|_, left, rows| (rows.len() as u64 + left) * ATTEMPT)
    }

    /// What counts, slot by slot, and how many rows were duplicates. `course`: that of the batch in a slot.
    pub(crate) fn finish<'c>(self, people: &People, course: impl Fn(usize) -> &'c str + Sync) -> (Vec<Attempts>, u64) {
        let (courses, totals) = (self.courses.into_inner(), self.grand_totals.into_inner());
        #[allow(clippy::cast_possible_truncation, reason = "an interner gives out 32-bit numbers")]
        let per_cents = (0..totals.len() as u32).map(|total| match grand_total(totals.text(total)) {
            Ok(per_cent) => per_cent.unwrap_or(NOTHING),
            Err(Unreadable) => UNREADABLE,
        });
        let per_cents = per_cents.collect();
        let people = u32::try_from(people.count()).unwrap_or(NONE);
        let ids = self.ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        let judge = Judge { courses: &courses, totals: &totals, ids: &ids, per_cents, choice: self.choice, people };
        let settle = |slot, _, rows| judge.settle(rows, course(slot));
        let (attempts, duplicates): (Vec<_>, Vec<u64>) = self.slots.settled(settle).into_iter().unzip();
        (attempts, duplicates.into_iter().sum())
    }
}

/// Tells which attempts count.
struct Judge<'a> {
    courses: &'a Interner,
    totals: &'a Interner,
    ids: &'a TextPieces,
    /// By number of the `grand_total`.
    per_cents: Vec<i64>,
    choice: Choice,
    /// How many people have an enrolment; from this number on users have none.
    people: u32,
}

impl Judge<'_> {
    /// Keeps the greatest row of each key, of these the ones that name the batch's course, and of these the one of each
    /// learner and assessment that counts; also says how many rows had a key that another one has.
    fn settle(&self, mut rows: Vec<Raw>, course: &str) -> (Attempts, u64) {
        rows.sort_unstable_by(|left, right| {
            self.compare_keys(left, right).then_with(|| self.compare_values(right, left))
        });
        let all = rows.len();
        rows.dedup_by(|next, kept| self.compare_keys(next, kept).is_eq());
        let duplicates = (all - rows.len()) as u64;
        rows.retain(|row| self.courses.text(row.course) == course);
        let mut attempts = Attempts { contents: rows.iter().map(|row| row.content).collect(), ..Attempts::default() };
        attempts.contents.sort_unstable();
        attempts.contents.dedup();
        attempts.contents.shrink_to_fit();
        let before = rows.len();
        rows.retain(|row| row.user < self.people);
        attempts.of_others = (before - rows.len()) as u64;
        let counted = rows.chunk_by(|left, right| pair(left) == pair(right)).filter_map(|at_one| {
            let row = at_one.iter().max_by(|left, right| self.compare_worth(left, right))?;
            let Raw { user, content, score, max, .. } = *row;
            let attempts = u32::try_from(at_one.len()).unwrap_or(u32::MAX);
            let grand_total = self.per_cents[row.grand_total as usize];
            Some(Counted { user, content, attempts, score, max, grand_total })
        });
        attempts.rows = counted.collect();
        attempts.rows.shrink_to_fit();
        (attempts, duplicates)
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
}
