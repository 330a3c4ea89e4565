//! `assessment_aggregator`: of each learner at each assessment the attempt that counts.

mod counting;

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;
use rayon::prelude::*;

pub use counting::{Attempt, BatchAttempts, CountedAttempt};
use counting::{CountingRules, Raw};

use super::batches::{LoadedBatches, LoadedRows};
use super::budget::Budget;
use super::enrolled::{Enrolled, NOTHING};
use super::learner_index::Rank;
use super::needs::TableNeed;
use super::slots::{NONE, Slot, SlotCounts};
use super::table::{LoadedTable, RowSize, TableLoader};
use crate::columnar::interner::SharedInterner;
use crate::columnar::pieces::{TEXTS, TextPieces};
use crate::columnar::radix_partitions::RadixPartitions;
use crate::columnar::text_block::TextBlock;
use crate::tables::chunk::{Chunk, ChunkView, SharedDictionaryCache};
use crate::tables::key_range::KeyRange;
use crate::tables::plan::{KeySet, Reach, Scan};
use crate::tables::schema::assessment_aggregator::{
    ATTEMPT_ID, BATCH_ID, CONTENT_ID, COURSE_ID, GRAND_TOTAL, LAST_ATTEMPTED_ON, TOTAL_MAX_SCORE, TOTAL_SCORE, USER_ID,
};
use crate::tables::schema::{Column, Table};

/// Bytes of a row, and how many of them there commonly are to an enrolment.
const BYTES: u64 = 90;
const ROWS: u64 = 3;

/// The attempts that count: of each learner at each assessment one, at contents of these types.
#[must_use]
pub fn need(attempt: Attempt, content_types: &[String]) -> TableNeed {
    TableNeed {
        table: Table::AssessmentAggregator,
        columns: vec![
            COURSE_ID.required(),
            BATCH_ID.key(),
            USER_ID.key(),
            CONTENT_ID.key(),
            ATTEMPT_ID.key(),
            TOTAL_SCORE.required(),
            TOTAL_MAX_SCORE.required(),
            GRAND_TOTAL.optional(),
            LAST_ATTEMPTED_ON.optional(),
        ],
        reach: Reach::Keys { column: BATCH_ID, of: KeySet::Batches },
        learner: Some(USER_ID),
        loader: Some(Arc::new(AttemptsLoader { attempt, content_types: content_types.to_vec() })),
    }
}

/// The attempts at the assessments of all batches, by slot.
#[derive(Debug)]
pub struct Attempts(Vec<BatchAttempts>);

impl Attempts {
    /// Those of the batch in a slot.
    #[must_use]
    pub fn of(&self, slot: Slot) -> &BatchAttempts {
        &self.0[slot.index()]
    }
}

impl LoadedRows for Attempts {
    fn keep_listed(&mut self, enrolled: &[Enrolled]) {
        let attempts = self.0.par_iter_mut().zip(enrolled);
        attempts.for_each(|(attempts, enrolled)| attempts.keep_listed(enrolled));
    }

    fn columns(&self, slot: Slot) -> &[u32] {
        &self.0[slot.index()].contents
    }

    fn set_columns(&mut self, slot: Slot, columns: Vec<u32>) {
        if let Some(attempts) = self.0.get_mut(slot.index()) {
            attempts.contents = columns;
        }
    }
}

#[derive(Debug)]
struct AttemptsLoader {
    attempt: Attempt,
    content_types: Vec<String>,
}

impl TableLoader for AttemptsLoader {
    fn bytes_per_enrolment(&self) -> u64 {
        ROWS * BYTES
    }

    fn finds_columns(&self) -> bool {
        true
    }

    fn begin(&self, scan: &Scan, loaded: &LoadedBatches) -> Box<dyn LoadedTable> {
        let (contents, slots) = (loaded.catalog().contents(), loaded.slots().len());
        let counts = |content| self.content_types.iter().any(|of| of == contents.content_type(content));
        Box::new(AttemptsBuilder {
            columns: scan.columns.clone(),
            learners: scan.learner_range(),
            counting: (0..contents.len()).map(counts).collect(),
            attempt: self.attempt,
            usable: SlotCounts::new(slots),
            courses: SharedInterner::default(),
            grand_totals: SharedInterner::default(),
            not_enrolled: SharedInterner::default(),
            ids: Mutex::default(),
            hasher: DefaultHashBuilder::default(),
            batches_known: SharedDictionaryCache::new(),
            contents_known: SharedDictionaryCache::new(),
            courses_known: SharedDictionaryCache::new(),
            totals_known: SharedDictionaryCache::new(),
            slots: RadixPartitions::new(slots),
        })
    }
}

#[derive(Debug)]
struct AttemptsBuilder {
    columns: Vec<Column>,
    /// Of whom rows are taken.
    learners: KeyRange,
    /// By content: whether attempts at it count.
    counting: Vec<bool>,
    attempt: Attempt,
    /// Every usable row of the batches.
    usable: SlotCounts,
    courses: SharedInterner,
    grand_totals: SharedInterner,
    /// Learners without an enrolment, who are numbered after those who have one.
    not_enrolled: SharedInterner,
    /// `attempt_id`s.
    ids: Mutex<TextPieces>,
    hasher: DefaultHashBuilder,
    batches_known: SharedDictionaryCache<Slot>,
    contents_known: SharedDictionaryCache<u32>,
    courses_known: SharedDictionaryCache<u32>,
    totals_known: SharedDictionaryCache<u32>,
    /// Of each, the number of rows that were too many to be kept, and the others.
    slots: RadixPartitions<u64, Raw>,
}

/// A row of a chunk that is taken: where it is, the slot of its batch, and its content.
type Wanted = (usize, Slot, u32);

impl LoadedTable for AttemptsBuilder {
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget) {
        let chunk = ChunkView::new(chunk, &self.columns);
        let rows = self.wanted(chunk, loaded);
        if !budget.has_room(rows.len(), BYTES) {
            let left: Vec<(Slot, ())> = rows.iter().map(|(_, slot, _)| (*slot, ())).collect();
            return self.slots.put(&left, |left, ()| {
                *left += 1;
                None
            });
        }
        let rows = self.raw(chunk, &rows, loaded);
        self.slots.put(&rows, |_, row| Some(row));
    }

    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, _: &Budget) {
        loaded.add_usable(Table::AssessmentAggregator, self.usable);
        let (courses, totals) = (self.courses.into_inner(), self.grand_totals.into_inner());
        let ids = self.ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        let learners = Rank(u32::try_from(loaded.learner_index().count()).unwrap_or(NONE));
        let rules = CountingRules::new(self.attempt, &courses, &totals, &ids, learners);
        let course_ids: Vec<&str> = loaded.batches().map(|batch| batch.course_id.as_str()).collect();
        let counted = |slot: usize, _, rows| rules.counted(rows, course_ids[slot]);
        let (attempts, duplicates): (Vec<_>, Vec<u64>) = self.slots.divided(counted).into_iter().unzip();
        loaded.add_duplicates(Table::AssessmentAggregator, duplicates.into_iter().sum());
        loaded.add(Table::AssessmentAggregator, Attempts(attempts));
    }

    fn size(self: Box<Self>) -> RowSize {
        RowSize::Bytes(self.slots.divided(|_, left, rows| (rows.len() as u64 + left) * BYTES))
    }
}

impl AttemptsBuilder {
    /// The rows of the batches, at contents of the types that count. Those that name another course stay until duplicates
    /// are told apart.
    fn wanted(&self, chunk: ChunkView<'_>, loaded: &LoadedBatches) -> Vec<Wanted> {
        let (users, everybody) = (chunk.cells(USER_ID), self.learners.is_everybody());
        let contents = loaded.catalog().contents();
        let position = |content: &&str| {
            let content = contents.position(content).filter(|content| self.counting[*content]);
            content.and_then(|content| u32::try_from(content).ok()).unwrap_or(NONE)
        };
        let of_batches = |batches: &[&str]| loaded.slots().of(batches.iter().copied());
        let slots = self.batches_known.each(chunk.cells(BATCH_ID), chunk.rows(), of_batches);
        self.usable.add(slots.iter().copied());
        let positions = |contents: &[&str]| contents.iter().map(position).collect();
        let contents = self.contents_known.each(chunk.cells(CONTENT_ID), chunk.rows(), positions);
        let all = chunk.rows().zip(slots).zip(contents).map(|((row, slot), content)| (row, slot, content));
        let is_wanted = |(row, slot, content): &Wanted| {
            *slot != Slot::NONE && *content != NONE && (everybody || self.learners.has(users.get(*row)))
        };
        all.filter(is_wanted).collect()
    }

    /// These rows with everything that is needed of them, and their slots.
    fn raw(&self, chunk: ChunkView<'_>, rows: &[Wanted], loaded: &LoadedBatches) -> Vec<(Slot, Raw)> {
        let (users, learners) = (chunk.cells(USER_ID), loaded.learner_index());
        let at = || rows.iter().map(|(row, ..)| *row);
        let courses = self.courses_known.each(chunk.cells(COURSE_ID), at(), |courses| self.courses.numbers(courses));
        let totals = self.totals_known.each(chunk.cells(GRAND_TOTAL), at(), |totals| self.grand_totals.numbers(totals));
        let ids = chunk.cells(ATTEMPT_ID);
        let (scores, maxima) = (chunk.cells(TOTAL_SCORE), chunk.cells(TOTAL_MAX_SCORE));
        let ats = chunk.cells(LAST_ATTEMPTED_ON);
        #[allow(clippy::cast_possible_truncation, reason = "ranks have 32 bits")]
        let rank_after_enrolled = |user: &str| Rank(learners.count() as u32 + self.not_enrolled.number(user));
        let ranks = learners.ranks(at().map(|row| users.get(row)));
        let ids = self.keep(at().map(|row| ids.get(row)));
        let numbers = courses.into_iter().zip(totals).zip(ids).zip(ranks);
        let raw = |(&(row, slot, content), (((course, grand_total), (id, id_hash)), rank)): (&Wanted, _)| {
            let user = if rank == Rank::NONE { rank_after_enrolled(users.get(row)) } else { rank };
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
        rows.iter().zip(numbers).map(raw).collect()
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
}
