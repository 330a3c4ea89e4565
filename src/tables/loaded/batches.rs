//! What the reports of a group are made of: enrolments and everything that was loaded for them, batch by batch.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use chrono_tz::Tz;

use super::enrolled::Enrolled;
use super::learner_index::LearnerIndex;
use super::slots::{Slot, SlotCounts, Slots};
use crate::tables::catalog::{Batch, BatchIdx, Catalog};
use crate::tables::keys::Keys;
use crate::tables::plan::KeySet;
use crate::tables::quality::{Faults, Quality, RowsRead};
use crate::tables::schema::{Table, Text, TypedColumn};

/// What is kept of a loaded table.
pub trait LoadedRows: Any + Debug + Send + Sync {
    /// Leaves the rows of learners who are listed. `enrolled`: the learners who are listed, by slot.
    fn keep_listed(&mut self, enrolled: &[Enrolled]) {
        let _ = enrolled;
    }

    /// The columns of a batch's report that follow from the rows of all of its learners, as numbers in ascending order.
    fn columns(&self, slot: Slot) -> &[u32] {
        let _ = slot;
        &[]
    }

    /// Replaces them: more is known of them than what was loaded.
    fn set_columns(&mut self, slot: Slot, columns: Vec<u32>) {
        let _ = (slot, columns);
    }
}

/// Columns of a batch's report that follow from the rows of all of its learners, by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundColumns(BTreeMap<Table, BTreeSet<u32>>);

/// What the reports of a group are made of.
#[derive(Debug)]
pub struct LoadedBatches {
    catalog: Arc<Catalog>,
    timezone: Tz,
    slots: Slots,
    learner_index: Arc<LearnerIndex>,
    enrolled: Vec<Enrolled>,
    rows: Vec<(Table, Box<dyn LoadedRows>)>,
    /// Keys that rows of further tables are reached by.
    keys: BTreeMap<(Table, &'static str), Arc<dyn Keys>>,
    duplicates: BTreeMap<Table, u64>,
    unusable: BTreeMap<(Table, &'static str), u64>,
    quality: Vec<Quality>,
}

impl LoadedBatches {
    /// Nothing of these batches yet. Dates are days in `timezone`.
    pub(super) fn new(catalog: Arc<Catalog>, batches: &[BatchIdx], timezone: Tz) -> Self {
        let slots = Slots::new(&catalog, batches);
        Self {
            timezone,
            learner_index: Arc::default(),
            enrolled: slots.batches().iter().map(|_| Enrolled::default()).collect(),
            rows: Vec::new(),
            keys: BTreeMap::new(),
            duplicates: BTreeMap::new(),
            unusable: BTreeMap::new(),
            quality: slots.batches().iter().map(|_| Quality::default()).collect(),
            catalog,
            slots,
        }
    }

    /// The configured zone.
    #[must_use]
    pub const fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The batches and contents.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The loaded batches.
    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The batch in each slot.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.slots.batches().iter().map(|at| self.catalog.batch(*at))
    }

    /// The batch, and its slot if it was loaded.
    #[must_use]
    pub fn batch(&self, batch: BatchIdx) -> Option<(&Batch, Slot)> {
        let slot = self.slots.find(batch)?;
        Some((self.catalog.batch(batch), slot))
    }

    /// How many are listed of a batch at most; 0 for one that was not loaded.
    #[must_use]
    pub fn listed(&self, batch: BatchIdx) -> usize {
        self.batch(batch).map_or(0, |(_, slot)| self.enrolled[slot.index()].rows.len())
    }

    /// The enrolments of the batch in a slot.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn enrolled(&self, slot: Slot) -> &Enrolled {
        &self.enrolled[slot.index()]
    }

    /// How many usable enrolments each batch has, slot by slot.
    pub(super) fn all_enrolled(&self) -> impl Iterator<Item = u64> {
        self.enrolled.iter().map(|enrolled| enrolled.all)
    }

    /// What was loaded of a table, by its type; `None` where it was not.
    #[must_use]
    pub fn rows<R: LoadedRows>(&self) -> Option<&R> {
        self.rows.iter().find_map(|(_, rows)| {
            let rows: &dyn Any = rows.as_ref();
            rows.downcast_ref()
        })
    }

    /// Rows that were not used because another one has their key, by table; tables without any are not named.
    /// (Enrolments are counted per batch, in [`Enrolled`].)
    #[must_use]
    pub const fn duplicates(&self) -> &BTreeMap<Table, u64> {
        &self.duplicates
    }

    /// Rows that could not be used although their source could read them, by table and reason.
    #[must_use]
    pub const fn unusable(&self) -> &BTreeMap<(Table, &'static str), u64> {
        &self.unusable
    }

    /// What was found of a batch; nothing of one that was not loaded.
    #[must_use]
    pub fn quality(&self, batch: BatchIdx) -> Quality {
        self.batch(batch).map(|(_, slot)| self.quality[slot.index()].clone()).unwrap_or_default()
    }

    /// Adds the columns of a batch's report that follow from what was loaded.
    pub fn find_columns(&self, batch: BatchIdx, found: &mut FoundColumns) {
        let Some((_, slot)) = self.batch(batch) else { return };
        for (table, rows) in &self.rows {
            found.0.entry(*table).or_default().extend(rows.columns(slot));
        }
    }
}

/// For the tables that are loaded one after the other.
impl LoadedBatches {
    /// The learners of the enrolments that were kept.
    pub(super) fn learner_index(&self) -> &LearnerIndex {
        &self.learner_index
    }

    pub(super) fn set_enrolled(&mut self, learner_index: LearnerIndex, enrolled: Vec<Enrolled>) {
        (self.learner_index, self.enrolled) = (Arc::new(learner_index), enrolled);
    }

    /// The learners of the enrolments that were kept, as keys of other tables.
    pub(super) fn learner_keys(&self) -> Arc<dyn Keys> {
        Arc::<LearnerIndex>::clone(&self.learner_index)
    }

    /// Sets the keys by which rows of other tables are reached from a column of this one.
    pub(super) fn set_keys(&mut self, table: Table, column: TypedColumn<Text>, keys: Arc<dyn Keys>) {
        self.keys.insert((table, column.name()), keys);
    }

    /// The keys of a column of a table that was loaded; `None` where it was not.
    pub(super) fn keys(&self, table: Table, column: &str) -> Option<&Arc<dyn Keys>> {
        self.keys.iter().find(|((of, name), _)| *of == table && *name == column).map(|(_, keys)| keys)
    }

    /// Keeps what was loaded of a table.
    pub(super) fn add(&mut self, table: Table, rows: impl LoadedRows) {
        self.rows.push((table, Box::new(rows)));
    }

    pub(super) fn add_duplicates(&mut self, table: Table, rows: u64) {
        if rows > 0 {
            *self.duplicates.entry(table).or_default() += rows;
        }
    }

    pub(super) fn add_unusable(&mut self, table: Table, reason: &'static str, rows: u64) {
        *self.unusable.entry((table, reason)).or_default() += rows;
    }

    /// What was found of each batch, slot by slot.
    pub(super) fn qualities(&mut self) -> impl Iterator<Item = (&mut Quality, &Batch)> {
        let batches = self.slots.batches().iter().map(|at| self.catalog.batch(*at));
        self.quality.iter_mut().zip(batches)
    }

    /// Notes how many rows of a table each batch has that can be used.
    pub(super) fn add_usable(&mut self, table: Table, counts: SlotCounts) {
        for (quality, usable) in self.quality.iter_mut().zip(counts.into_counts()).filter(|(_, usable)| *usable > 0) {
            quality.rows(table).usable += usable;
        }
    }

    /// Notes how many values of a column each batch has that can be read.
    pub(super) fn add_readable(&mut self, table: Table, column: &str, counts: SlotCounts) {
        let counts = self.quality.iter_mut().zip(counts.into_counts());
        for (quality, readable) in counts.filter(|(_, readable)| *readable > 0) {
            quality.values(table, column).readable += readable;
        }
    }

    /// Leaves the enrolments that are listed, batch by batch as `settle` does, and then the rows of all other tables that
    /// belong to them.
    pub(super) fn keep_listed(&mut self, settle: impl Fn(&mut Enrolled) + Send + Sync) {
        use rayon::prelude::*;

        self.enrolled.par_iter_mut().for_each(settle);
        for (_, rows) in &mut self.rows {
            rows.keep_listed(&self.enrolled);
        }
    }

    /// Of each batch, how many learners have an enrolment that passes, and how many of them `user` has.
    pub(super) fn count_learners(&mut self) {
        for (quality, enrolled) in self.quality.iter_mut().zip(&self.enrolled) {
            let known = enrolled.rows.len() as u64 + enrolled.duplicate;
            // A batch without learners wants no rows of that table.
            if known + enrolled.no_user == 0 {
                quality.tables.remove(&Table::User);
            } else {
                quality.rows(Table::User).usable += known;
            }
        }
    }

    /// Adds the faults of a table, once all of it was taken. `keys`: what its rows are reached by, `None` where their
    /// batch is not known.
    pub(super) fn add_faults(&mut self, table: Table, keys: Option<KeySet>, faults: &Faults) {
        for (key, faults) in faults.iter() {
            let own = keys.map_or_else(Vec::new, |keys| self.slots_of(keys, key));
            for slot in &own {
                self.quality[slot.index()].add_own(table, faults);
            }
            // Rows without a key may belong to any batch, as those of which the batch is not known.
            if own.is_empty() && (key.is_empty() || keys.is_none()) {
                self.quality.iter_mut().for_each(|quality| quality.add_without_key(table, faults));
            }
        }
    }

    /// The slots of the batches that a key of a table stands for.
    fn slots_of(&self, keys: KeySet, key: &str) -> Vec<Slot> {
        let batches = (0..).map(Slot).zip(self.batches());
        match keys {
            KeySet::Batches => self.slots.find_id(key).into_iter().collect(),
            KeySet::Contexts => {
                key.strip_prefix(KeySet::CONTEXT).and_then(|id| self.slots.find_id(id)).into_iter().collect()
            }
            KeySet::Courses => batches.filter(|(_, batch)| batch.course_id == key).map(|(slot, _)| slot).collect(),
        }
    }

    /// Notes which rows of the tables were read.
    pub(super) fn set_read(&mut self, read: &BTreeMap<Table, RowsRead>) {
        for (table, rows) in self.quality.iter_mut().flat_map(|quality| &mut quality.tables) {
            rows.read = read.get(table).copied().unwrap_or_default();
        }
    }

    /// Shows these columns of the one batch that was loaded.
    pub(super) fn set_columns(&mut self, found: &FoundColumns) {
        for (table, rows) in &mut self.rows {
            if let Some(columns) = found.0.get(table) {
                rows.set_columns(Slot::ONLY, columns.iter().copied().collect());
            }
        }
    }
}
