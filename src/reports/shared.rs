//! What the reports of a group of requests are made of, loaded once: enrolments, learners, activity, attempts and
//! hierarchies of the requested batches, as columns in memory.
//!
//! Two rounds: [`SharedBuilder::scans`] first, then [`SharedBuilder::learners_scan`], which asks for those learners
//! only that the first round found. Chunks come from several threads and in any order; nothing in the result depends
//! on it. Not here: how the tables are read (`sources`), what a report makes of them.

pub(super) mod activity;
pub(super) mod attempts;
pub(super) mod enrolments;
pub(super) mod learners;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use chrono_tz::Tz;
use hashbrown::HashMap;
use rayon::prelude::*;

use super::catalog::{Batch, Catalog};
use super::columns::Chunk;
use super::interner::{Interner, SharedInterner};
use super::modules::{Hierarchies, Module};
use super::schema::{Column, KeySet, Scan, Table};
use super::table::TextBlock;
use super::{Needs, Options};
use activity::{ActivityBuilder, Progress};
use attempts::{Attempts, AttemptsBuilder};
use enrolments::{Enrolled, EnrolmentsBuilder};
use learners::{Learners, LearnersBuilder};

/// Stands for "nothing there" among instants and decimals; smaller than any of them.
pub(super) const NOTHING: i64 = i64::MIN;

/// Stands for "no such number" among numbers given out here.
pub(super) const NONE: u32 = u32::MAX;

/// Takes what was loaded.
#[derive(Debug)]
pub struct SharedBuilder {
    catalog: Arc<Catalog>,
    tz: Tz,
    needs: Needs,
    slots: Slots,
    users: SharedInterner,
    enrolments: EnrolmentsBuilder,
    activity: ActivityBuilder,
    attempts: AttemptsBuilder,
    hierarchies: Hierarchies,
    learners: LearnersBuilder,
    settled: OnceLock<Settled>,
}

/// The people of the first round in order, once it is over.
#[derive(Debug)]
struct Settled {
    /// Numbers of users by rank: the order of their ids' bytes.
    order: Vec<u32>,
    /// Their ranks by number.
    ranks: Vec<u32>,
    /// By rank: has an enrolment that is active and of the batch's course.
    passing: Vec<bool>,
}

impl SharedBuilder {
    /// For these batches (indices in [`Catalog::batches`]) and what a report needs for them. Dates are days in `tz`.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, batches: &[usize], needs: &Needs, options: &Options, tz: Tz) -> Self {
        let slots = Slots::new(&catalog, batches);
        let courses = slots.batches.iter().map(|batch| catalog.batches()[*batch].course_id.clone()).collect();
        Self {
            tz,
            needs: needs.clone(),
            users: SharedInterner::default(),
            enrolments: EnrolmentsBuilder::new(courses),
            activity: ActivityBuilder::new(slots.batches.len()),
            attempts: AttemptsBuilder::new(slots.batches.len(), &catalog, options),
            hierarchies: Hierarchies::default(),
            learners: LearnersBuilder::new(&needs.users),
            settled: OnceLock::new(),
            catalog,
            slots,
        }
    }

    /// What to read in the first round, limited to the batches and their courses.
    #[must_use]
    pub fn scans(&self) -> Vec<Scan> {
        let batches = || self.slots.batches.iter().map(|at| &self.catalog.batches()[*at]);
        let ids: Arc<KeySet> = Arc::new(batches().map(|batch| batch.id.clone()).collect());
        let contexts = || Arc::new(batches().map(|batch| format!("cb:{}", batch.id)).collect());
        let courses = || Arc::new(batches().map(|batch| batch.course_id.clone()).collect());
        let mut scans = Vec::new();
        let mut add = |table, columns: &Vec<Column>, key: &'static str, only: Arc<KeySet>| {
            if !columns.is_empty() && !only.is_empty() {
                scans.push(Scan { table, columns: columns.clone(), only: Some((key.into(), only)) });
            }
        };
        add(Table::UserEnrolments, &self.needs.enrolments, "batchid", Arc::clone(&ids));
        add(Table::UserActivityAgg, &self.needs.activity, "context_id", contexts());
        add(Table::AssessmentAggregator, &self.needs.attempts, "batch_id", ids);
        add(Table::ContentHierarchy, &self.needs.hierarchy, "identifier", courses());
        scans
    }

    /// What to read in the second round, once the first is over: the learners with an enrolment that is active and of
    /// the batch's course. `None` if there are none or the report needs none. Also lets go of what was needed only to
    /// tell duplicates.
    #[must_use]
    pub fn learners_scan(&self) -> Option<Scan> {
        let settled = self.settled();
        if self.needs.users.is_empty() {
            return None;
        }
        let ids: KeySet = self.users.with(|users| {
            let passing = settled.order.iter().zip(&settled.passing).filter(|(_, passing)| **passing);
            passing.map(|(number, _)| users.text(*number).to_owned()).collect()
        });
        let columns = self.needs.users.clone();
        (!ids.is_empty()).then(|| Scan { table: Table::User, columns, only: Some(("userid".into(), Arc::new(ids))) })
    }

    /// Takes a chunk of a table that one of the scans asked for.
    ///
    /// # Panics
    /// If the columns are not those of the scan.
    pub fn take(&self, table: Table, chunk: &RecordBatch) {
        match table {
            Table::UserEnrolments => {
                self.enrolments.take(&Chunk::new(chunk, &self.needs.enrolments), &self.slots, &self.users);
            }
            Table::UserActivityAgg => {
                self.activity.take(&Chunk::new(chunk, &self.needs.activity), &self.slots, &self.users);
            }
            Table::AssessmentAggregator => {
                let chunk = Chunk::new(chunk, &self.needs.attempts);
                self.attempts.take(&chunk, &self.slots, &self.users, &self.catalog);
            }
            Table::ContentHierarchy => {
                self.hierarchies.take(&Chunk::new(chunk, &self.needs.hierarchy), &self.catalog);
            }
            Table::User => self.take_users(chunk),
            Table::CourseBatch | Table::Content => {}
        }
    }

    fn take_users(&self, chunk: &RecordBatch) {
        let settled = self.settled();
        let chunk = Chunk::new(chunk, &self.needs.users);
        let ids = chunk.texts("userid");
        let ranks: Vec<u32> = self.users.with(|users| {
            let rank = |row| users.get(ids.get(row)).map(|number| settled.ranks[number as usize]);
            let wanted = |rank: &u32| settled.passing[*rank as usize];
            (0..chunk.rows()).map(|row| rank(row).filter(wanted).unwrap_or(NONE)).collect()
        });
        self.learners.take(&chunk, &ranks, settled.order.len());
    }

    /// Ends the first round: from here on people are called by rank, so that sorting a batch is sorting numbers.
    fn settled(&self) -> &Settled {
        self.settled.get_or_init(|| {
            let (order, ranks) = self.users.with(rank);
            let mut passing = vec![false; order.len()];
            self.enrolments.settle(&ranks, &mut passing);
            self.activity.settle(&ranks, &passing);
            self.attempts.settle(&ranks, |slot| &self.catalog.batches()[self.slots.batches[slot]].course_id);
            self.hierarchies.settle();
            Settled { order, ranks, passing }
        })
    }

    /// Everything that was taken, in order.
    #[must_use]
    pub fn finish(self) -> Shared {
        self.settled();
        let order = self.settled.into_inner().map(|settled| settled.order).unwrap_or_default();
        let learners = self.learners.finish(order.len());
        let (activity, activities, duplicate_activity) = self.activity.finish();
        let (attempts, duplicate_attempts) = self.attempts.finish();
        let (modules, duplicate_hierarchies, broken_hierarchies) = self.hierarchies.finish();
        let duplicates = [
            (Table::User, learners.duplicates),
            (Table::UserActivityAgg, duplicate_activity),
            (Table::AssessmentAggregator, duplicate_attempts),
            (Table::ContentHierarchy, duplicate_hierarchies),
        ];
        Shared {
            enrolled: self.enrolments.finish(&learners),
            catalog: self.catalog,
            tz: self.tz,
            slots: self.slots.batches.iter().copied().zip(0..).collect(),
            user_ids: self.users.into_inner().into_texts(),
            order,
            learners,
            activity,
            activities,
            attempts,
            modules,
            duplicates: duplicates.into_iter().filter(|(_, count)| *count > 0).collect(),
            broken_hierarchies,
        }
    }
}

/// The order of texts by their bytes: numbers by rank, and ranks by number.
fn rank(interner: &Interner) -> (Vec<u32>, Vec<u32>) {
    #[allow(clippy::cast_possible_truncation, reason = "an interner gives out 32-bit numbers")]
    let mut order: Vec<u32> = (0..interner.len() as u32).collect();
    order.par_sort_unstable_by(|left, right| interner.text(*left).cmp(interner.text(*right)));
    let mut ranks = vec![0; order.len()];
    for (rank, number) in (0..).zip(&order) {
        ranks[*number as usize] = rank;
    }
    (order, ranks)
}

/// The loaded batches, numbered from 0 in the order of their ids.
#[derive(Debug)]
pub(super) struct Slots {
    /// Indices in the catalogue.
    batches: Vec<usize>,
    by_id: HashMap<String, u32>,
}

impl Slots {
    fn new(catalog: &Catalog, batches: &[usize]) -> Self {
        let mut batches = batches.to_vec();
        batches.sort_unstable();
        batches.dedup();
        let by_id = batches.iter().map(|batch| catalog.batches()[*batch].id.clone()).zip(0..).collect();
        Self { batches, by_id }
    }

    /// The slot of each batch id, [`NONE`] for a batch that is not loaded. Neighbouring rows tend to be of one batch.
    fn of<'t>(&self, ids: impl Iterator<Item = &'t str>) -> Vec<u32> {
        let mut last = ("", NONE);
        let slot = |id: &'t str| {
            if id != last.0 {
                last = (id, self.by_id.get(id).copied().unwrap_or(NONE));
            }
            last.1
        };
        ids.map(slot).collect()
    }
}

/// Makes room for one more without doubling: these are the largest lists in memory.
fn reserve<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 16);
    }
}

/// What the reports of a group are made of.
#[derive(Debug)]
pub struct Shared {
    catalog: Arc<Catalog>,
    tz: Tz,
    /// The slot of each loaded batch.
    slots: HashMap<usize, u32>,
    /// Row = number of a user.
    user_ids: TextBlock,
    /// Numbers of users by rank.
    order: Vec<u32>,
    enrolled: Vec<Enrolled>,
    learners: Learners,
    activity: Vec<Vec<Progress>>,
    activities: Interner,
    attempts: Vec<Attempts>,
    modules: HashMap<usize, Vec<Module>>,
    duplicates: BTreeMap<Table, u64>,
    broken_hierarchies: u64,
}

impl Shared {
    /// Rows that were not used because another one has their key, by table; tables without any are not named.
    /// (Enrolments are counted per batch: [`Counts::duplicate`](super::Counts::duplicate).)
    #[must_use]
    pub const fn duplicates(&self) -> &BTreeMap<Table, u64> {
        &self.duplicates
    }

    /// Rows of `content_hierarchy` that were skipped because their JSON does not read.
    #[must_use]
    pub const fn broken_hierarchies(&self) -> u64 {
        self.broken_hierarchies
    }

    /// Bytes of memory in use, nearly; the catalogue is not counted.
    #[must_use]
    pub fn memory(&self) -> usize {
        let enrolled: usize = self.enrolled.iter().map(Enrolled::memory).sum();
        let activity: usize = self.activity.iter().map(|rows| rows.capacity() * size_of::<Progress>()).sum();
        let attempts: usize = self.attempts.iter().map(Attempts::memory).sum();
        let people = self.user_ids.memory() + self.order.capacity() * size_of::<u32>() + self.learners.memory();
        people + enrolled + activity + attempts + self.activities.memory()
    }

    /// The configured zone.
    #[must_use]
    pub const fn timezone(&self) -> Tz {
        self.tz
    }

    /// The batches and contents.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The batch, and its slot if it was loaded.
    pub(super) fn batch(&self, batch: usize) -> Option<(&Batch, usize)> {
        Some((self.catalog.batches().get(batch)?, *self.slots.get(&batch)? as usize))
    }

    pub(super) fn enrolled(&self, slot: usize) -> &Enrolled {
        &self.enrolled[slot]
    }

    pub(super) const fn learners(&self) -> &Learners {
        &self.learners
    }

    /// Ids of users (one field) and the row of the user of this rank.
    pub(super) fn user_id(&self, rank: u32) -> (&TextBlock, u32) {
        (&self.user_ids, self.order[rank as usize])
    }

    pub(super) const fn user_ids(&self) -> &TextBlock {
        &self.user_ids
    }

    /// Sorted by user (rank) and activity.
    pub(super) fn activity(&self, slot: usize) -> &[Progress] {
        &self.activity[slot]
    }

    /// The number by which [`Shared::activity`] calls an activity; `None` if there is no row of it at all.
    pub(super) fn activity_number(&self, identifier: &str) -> Option<u32> {
        self.activities.get(identifier)
    }

    pub(super) fn attempts(&self, slot: usize) -> &Attempts {
        &self.attempts[slot]
    }

    /// The modules of a course, ordered by identifier.
    pub(super) fn modules(&self, course: usize) -> &[Module] {
        self.modules.get(&course).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests;
