//! What the reports of a group of requests are made of, loaded once: enrolments, learners, activity, attempts and
//! hierarchies of the requested batches, as columns in memory.
//!
//! One table after the other, since each says what of the next is needed ([`SharedBuilder::next_scan`]). Chunks of a table
//! come from several threads and in any order; nothing in the result depends on it. Not here: how the tables are read
//! (`sources`), what a report makes of them.

pub(crate) mod activity;
pub(crate) mod attempts;
pub(crate) mod enrolments;
pub(crate) mod learners;
pub(crate) mod modules;
pub(crate) mod people;
pub(crate) mod quality;
pub(crate) mod usable;
pub(crate) mod weight;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use hashbrown::HashMap;
use rayon::prelude::*;

use crate::columnar::interner::StringIndex;
use crate::reports::common::users;
use crate::reports::{Needs, Options};
use crate::tables::catalog::{Batch, Catalog};
use crate::tables::chunk::{Chunk, ChunkView};
use crate::tables::key_range::KeyRange;
use crate::tables::keys::{Keys, keys};
use crate::tables::plan::Scan;
use crate::tables::quality::Quality;
use crate::tables::schema::Table;
use activity::{Activities, ActivityBuilder, Progress};
use attempts::{Attempts, AttemptsBuilder};
use enrolments::{Enrolled, EnrolmentsBuilder};
use learners::{Learners, LearnersBuilder};
use modules::{Hierarchies, Module};
use people::People;
pub use quality::BROKEN_HIERARCHY;
use usable::SlotCounts;
use weight::Budget;
pub use weight::Heavy;

/// Stands for "nothing there" among instants and decimals; smaller than any of them.
pub(crate) const NOTHING: i64 = i64::MIN;

/// Stands for "no such number" among numbers given out here.
pub(crate) const NONE: u32 = u32::MAX;

/// Takes what is loaded, table by table.
#[derive(Debug)]
pub struct SharedBuilder {
    needs: Needs,
    options: Options,
    stage: Stage,
    budget: Budget,
    learners: KeyRange,
    /// The assessments to show, where more is known of them than what is taken here.
    assessments: Option<Vec<u32>>,
    people: Arc<People>,
    activities: Activities,
    /// Usable rows of the table that is being read, and of each date column of `user_enrolments` the cells that read.
    usable: SlotCounts,
    dates: Vec<(String, SlotCounts)>,
    /// What has been taken so far.
    shared: Shared,
}

/// The table that is being read.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Begin,
    Enrolments(EnrolmentsBuilder),
    Hierarchy(Hierarchies),
    Activity(ActivityBuilder),
    Attempts(Box<AttemptsBuilder>),
    Users(LearnersBuilder),
    End,
    /// For each slot the bytes of its rows.
    TooHeavy(Vec<u64>),
}

impl SharedBuilder {
    /// For these batches (indices in [`Catalog::batches`]) and what a report needs for them. Dates are days in `tz`.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, batches: &[usize], needs: &Needs, options: &Options, tz: Tz) -> Self {
        let slots = Slots::new(&catalog, batches);
        let shared = Shared {
            tz,
            enrolled: slots.batches.iter().map(|_| Enrolled::default()).collect(),
            learners: Learners::default(),
            activity: Vec::new(),
            activities: Activities::default(),
            attempts: Vec::new(),
            modules: HashMap::new(),
            duplicates: BTreeMap::new(),
            broken_hierarchies: 0,
            quality: slots.batches.iter().map(|_| Quality::default()).collect(),
            catalog,
            slots,
        };
        Self {
            budget: Budget::new(u64::MAX, needs),
            needs: needs.clone(),
            options: options.clone(),
            stage: Stage::Begin,
            learners: KeyRange::default(),
            assessments: None,
            people: Arc::default(),
            activities: Activities::default(),
            usable: SlotCounts::default(),
            dates: Vec::new(),
            shared,
        }
    }

    /// Bears no more than about so many bytes.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        self.budget = Budget::new(bytes, &self.needs);
        self
    }

    /// Takes only what is of these learners.
    #[must_use]
    pub fn of(mut self, learners: &KeyRange) -> Self {
        self.learners = learners.clone();
        self
    }

    /// Shows these assessments (see [`Shared::assessments`]) of the one batch, whoever has attempts at them.
    #[must_use]
    pub fn showing(mut self, assessments: &[u32]) -> Self {
        self.assessments = Some(assessments.to_vec());
        self
    }

    /// The next table to read, limited to what the batches need; `None`: everything is there, or it is too much.
    ///
    /// Enrolments say who is looked for in all others; the tree of a course, which of its activities count. Learners come
    /// last: what is said of them is most of what stays, and the rows of the others have become few by then.
    pub fn next_scan(&mut self) -> Option<Scan> {
        loop {
            self.go_on();
            let slots = &self.shared.slots;
            let batches = || slots.batches.iter().map(|at| &self.shared.catalog.batches()[*at]);
            let ids = || keys(batches().map(|batch| batch.id.as_str()));
            let (table, columns, key, only) = match &self.stage {
                Stage::Begin | Stage::End | Stage::TooHeavy(_) => return None,
                Stage::Enrolments(_) => (Table::UserEnrolments, self.needs.enrolments.clone(), "batchid", ids()),
                Stage::Users(_) => {
                    let people: Arc<dyn Keys> = Arc::<People>::clone(&self.people);
                    (Table::User, users(self.needs.common), "userid", people)
                }
                Stage::Hierarchy(_) => {
                    let courses = keys(batches().map(|batch| batch.course_id.as_str()));
                    (Table::ContentHierarchy, self.needs.hierarchy.clone(), "identifier", courses)
                }
                Stage::Activity(_) => {
                    let contexts = keys(batches().map(|batch| format!("cb:{}", batch.id)));
                    (Table::UserActivityAgg, self.needs.activity.clone(), "context_id", contexts)
                }
                Stage::Attempts(_) => (Table::AssessmentAggregator, self.needs.attempts.clone(), "batch_id", ids()),
            };
            if !columns.is_empty() && !only.is_empty() {
                return Some(Scan::of_keys(table, columns, key, only));
            }
        }
    }

    /// Takes a chunk of the table that is being read.
    ///
    /// # Panics
    /// If the columns are not those of the scan.
    pub fn take(&self, chunk: &Chunk) {
        let (Shared { slots, catalog, .. }, needs) = (&self.shared, &self.needs);
        match &self.stage {
            Stage::Enrolments(builder) => {
                let of = enrolments::Of { slots, learners: &self.learners, usable: &self.usable, dates: &self.dates };
                builder.take(ChunkView::new(chunk, &needs.enrolments), &of, &self.budget);
            }
            Stage::Users(builder) => builder.take(chunk, &self.people, &self.budget),
            Stage::Hierarchy(builder) => {
                builder.take(ChunkView::new(chunk, &needs.hierarchy), catalog, &|bytes| self.budget.bears_texts(bytes));
            }
            Stage::Activity(builder) => {
                let of =
                    activity::Of { slots, activities: &self.activities, people: &self.people, usable: &self.usable };
                builder.take(ChunkView::new(chunk, &needs.activity), &of, &self.budget);
            }
            Stage::Attempts(builder) => {
                let of = attempts::Of {
                    slots,
                    people: &self.people,
                    learners: &self.learners,
                    catalog,
                    usable: &self.usable,
                };
                builder.take(ChunkView::new(chunk, &needs.attempts), &of, &self.budget);
            }
            Stage::Begin | Stage::End | Stage::TooHeavy(_) => {}
        }
    }

    /// Ends a table and begins the next.
    fn go_on(&mut self) {
        self.count_usable();
        let Self { needs, options, people, shared, budget, assessments, .. } = self;
        let slots = shared.slots.batches.len();
        let stage = std::mem::take(&mut self.stage);
        if budget.is_exceeded() {
            self.stage = Stage::TooHeavy(weights(stage, shared, budget));
            return;
        }
        self.stage = match stage {
            Stage::Begin => {
                let courses = shared.slots.batches.iter().map(|at| shared.catalog.batches()[*at].course_id.as_str());
                Stage::Enrolments(EnrolmentsBuilder::new(courses))
            }
            Stage::Enrolments(builder) => {
                let (found, enrolled) = builder.finish();
                shared.enrolled = enrolled;
                *people = Arc::new(found);
                Stage::Hierarchy(Hierarchies::default())
            }
            Stage::Hierarchy(builder) => {
                budget.release_texts(builder.counted() as u64);
                let (modules, duplicates, broken) = builder.finish();
                shared.broken_hierarchies = broken.values().sum();
                shared.count_hierarchies(&modules, &broken);
                shared.modules = modules;
                shared.duplicate(Table::ContentHierarchy, duplicates);
                self.activities = shared.counted();
                Stage::Activity(ActivityBuilder::new(slots))
            }
            Stage::Activity(builder) => {
                let (activity, duplicates) = builder.finish();
                (shared.activity, shared.activities) = (activity, std::mem::take(&mut self.activities));
                shared.duplicate(Table::UserActivityAgg, duplicates);
                Stage::Attempts(Box::new(AttemptsBuilder::new(slots, &shared.catalog, options)))
            }
            Stage::Attempts(builder) => {
                let course = |slot: usize| shared.catalog.batches()[shared.slots.batches[slot]].course_id.as_str();
                let (attempts, duplicates) = builder.finish(people, course);
                shared.attempts = attempts;
                if let (Some(assessments), [attempts]) = (assessments.take(), &mut shared.attempts[..]) {
                    attempts.contents = assessments;
                }
                shared.duplicate(Table::AssessmentAggregator, duplicates);
                Stage::Users(LearnersBuilder::new(needs.common, people.count()))
            }
            Stage::Users(builder) => {
                let learners = builder.finish();
                shared.enrolled.par_iter_mut().for_each(|enrolled| enrolled.settle(&learners));
                let attempts = shared.attempts.par_iter_mut().zip(&shared.enrolled);
                attempts.for_each(|(attempts, enrolled)| attempts.settle(enrolled));
                shared.duplicate(Table::User, learners.duplicates);
                shared.learners = learners;
                shared.count_learners();
                Stage::End
            }
            ended @ (Stage::End | Stage::TooHeavy(_)) => ended,
        };
    }

    /// Bytes of what is taken, about, with what is commonly still to come.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.budget.used()
    }

    /// What each batch weighs, about, once enrolments were taken and the next table is asked for.
    #[must_use]
    pub fn weights(&self) -> Heavy {
        let enrolled = self.shared.enrolled.iter().map(|enrolled| self.budget.weight(enrolled.all, 0));
        Heavy { batches: self.shared.slots.batches.iter().copied().zip(enrolled).collect() }
    }

    /// Everything that was taken, in order.
    ///
    /// # Errors
    /// It was more than the limit; nothing is kept.
    pub fn finish(mut self) -> Result<Shared, Heavy> {
        loop {
            match self.stage {
                Stage::End => return Ok(self.shared),
                Stage::TooHeavy(weights) => {
                    return Err(Heavy { batches: self.shared.slots.batches.into_iter().zip(weights).collect() });
                }
                _ => self.go_on(),
            }
        }
    }
}

/// The bytes of each slot where the table that was read last was too much.
fn weights(stage: Stage, shared: &Shared, budget: &Budget) -> Vec<u64> {
    let enrolments = |enrolled: &Enrolled| enrolled.all;
    let (counts, others): (Vec<u64>, Option<Vec<u64>>) = match stage {
        Stage::TooHeavy(weights) => return weights,
        Stage::Enrolments(builder) => (builder.counts(), None),
        Stage::Activity(builder) => (shared.enrolled.iter().map(enrolments).collect(), Some(builder.bytes())),
        Stage::Attempts(builder) => (shared.enrolled.iter().map(enrolments).collect(), Some(builder.bytes())),
        _ => (shared.enrolled.iter().map(enrolments).collect(), None),
    };
    let others = others.unwrap_or_else(|| vec![0; counts.len()]);
    // Whose long texts are is not known: everybody's, by their number.
    let all = counts.iter().sum::<u64>().max(1);
    let texts = |count: u64| {
        u64::try_from(u128::from(budget.texts()) * u128::from(count) / u128::from(all)).unwrap_or(u64::MAX)
    };
    let others = counts.iter().zip(others).map(|(count, others)| others.saturating_add(texts(*count)));
    let others: Vec<u64> = others.collect();
    counts.into_iter().zip(others).map(|(enrolments, others)| budget.weight(enrolments, others)).collect()
}

/// The loaded batches, numbered from 0 in the order of their ids.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Indices in the catalogue.
    batches: Vec<usize>,
    by_id: StringIndex,
}

impl Slots {
    fn new(catalog: &Catalog, batches: &[usize]) -> Self {
        let mut batches = batches.to_vec();
        batches.sort_unstable();
        batches.dedup();
        let by_id = StringIndex::of(batches.iter().map(|batch| catalog.batches()[*batch].id.as_str()));
        Self { batches, by_id }
    }

    /// The slot of each batch, [`NONE`] for one that is not loaded.
    fn of<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<u32> {
        self.by_id.all(ids, NONE)
    }
}

/// What the reports of a group are made of.
#[derive(Debug)]
pub struct Shared {
    catalog: Arc<Catalog>,
    tz: Tz,
    slots: Slots,
    enrolled: Vec<Enrolled>,
    learners: Learners,
    activity: Vec<Vec<Progress>>,
    activities: Activities,
    attempts: Vec<Attempts>,
    modules: HashMap<usize, Vec<Module>>,
    duplicates: BTreeMap<Table, u64>,
    broken_hierarchies: u64,
    quality: Vec<Quality>,
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
        self.learners.memory() + enrolled + activity + attempts
    }

    fn duplicate(&mut self, table: Table, rows: u64) {
        if rows > 0 {
            self.duplicates.insert(table, rows);
        }
    }

    /// The activities of the batches' courses.
    fn counted(&self) -> Activities {
        let mut activities = Activities::default();
        for batch in self.slots.batches.iter().map(|at| &self.catalog.batches()[*at]) {
            activities.add(&batch.course_id);
            let modules = batch.course.map_or(&[][..], |course| self.modules(course));
            for module in modules {
                activities.add(&module.identifier);
            }
        }
        activities
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
    pub(crate) fn batch(&self, batch: usize) -> Option<(&Batch, usize)> {
        let slot = self.slots.batches.binary_search(&batch).ok()?;
        Some((self.catalog.batches().get(batch)?, slot))
    }

    /// How many are listed of a batch at most; 0 for one that was not loaded.
    #[must_use]
    pub fn listed(&self, batch: usize) -> usize {
        self.batch(batch).map_or(0, |(_, slot)| self.enrolled[slot].rows.len())
    }

    pub(crate) fn enrolled(&self, slot: usize) -> &Enrolled {
        &self.enrolled[slot]
    }

    pub(crate) const fn learners(&self) -> &Learners {
        &self.learners
    }

    /// Sorted by user (rank) and activity.
    pub(crate) fn activity(&self, slot: usize) -> &[Progress] {
        self.activity.get(slot).map_or(&[], Vec::as_slice)
    }

    /// The number by which [`Shared::activity`] calls an activity of one of the courses.
    pub(crate) fn activity_number(&self, identifier: &str) -> Option<u32> {
        self.activities.number(identifier)
    }

    /// The assessments with an attempt in a batch, whoever made it; none of a batch that was not loaded.
    #[must_use]
    pub fn assessments(&self, batch: usize) -> &[u32] {
        let attempts = self.batch(batch).and_then(|(_, slot)| self.attempts.get(slot));
        attempts.map_or(&[], |attempts| &attempts.contents)
    }

    pub(crate) fn attempts(&self, slot: usize) -> &Attempts {
        &self.attempts[slot]
    }

    /// The modules of a course, ordered by identifier.
    pub(crate) fn modules(&self, course: usize) -> &[Module] {
        self.modules.get(&course).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests;
