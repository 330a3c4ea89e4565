//! A load under way: one table after the other, each limited to what the tables before it say.
//!
//! Not here: how the tables are read (`sources`), what a report makes of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;

use super::batches::{FoundColumns, LoadedBatches};
use super::budget::{BatchWeights, Budget};
use super::needs::{Needs, TableNeed};
use super::table::{LoadedTable, RowSize};
use crate::tables::catalog::{BatchIdx, Catalog};
use crate::tables::chunk::Chunk;
use crate::tables::key_range::KeyRange;
use crate::tables::plan::{LoadPlan, Scan, ScanReach};
use crate::tables::quality::{Faults, RowsRead};
use crate::tables::schema::Table;

/// Takes what is loaded, table by table.
#[derive(Debug)]
pub struct Loading {
    needs: Needs,
    plan: LoadPlan,
    /// How many scans of the plan have begun.
    begun: usize,
    /// The table that is being read.
    table: Option<Box<dyn LoadedTable>>,
    budget: Budget,
    /// What each slot's rows are, once they were too much.
    too_heavy: Option<Vec<u64>>,
    /// The columns of the report, where more is known of them than what is taken here.
    columns: Option<FoundColumns>,
    /// Which rows of each table were read.
    read: BTreeMap<Table, RowsRead>,
    loaded: LoadedBatches,
}

impl Loading {
    /// For these batches and what a report needs for them. Dates are days in
    /// `timezone`.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, batches: &[BatchIdx], needs: &Needs, timezone: Tz) -> Self {
        Self {
            plan: needs.plan(&catalog, batches, &KeyRange::default()),
            begun: 0,
            table: None,
            budget: Budget::new(u64::MAX, needs.bytes_per_enrolment()),
            too_heavy: None,
            columns: None,
            read: BTreeMap::new(),
            loaded: LoadedBatches::new(catalog, batches, timezone),
            needs: needs.clone(),
        }
    }

    /// Keeps no more than about `bytes` bytes.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        self.budget = Budget::new(bytes, self.needs.bytes_per_enrolment());
        self
    }

    /// Takes only what is of these learners.
    #[must_use]
    pub fn of(mut self, learners: &KeyRange) -> Self {
        self.plan = self.needs.plan(self.loaded.catalog(), self.loaded.slots().batches(), learners);
        self
    }

    /// Shows these columns of the one batch ([`LoadedBatches::find_columns`]), whichever learners they follow from.
    #[must_use]
    pub fn showing(mut self, columns: &FoundColumns) -> Self {
        self.columns = Some(columns.clone());
        self
    }

    /// The next table to read; `None`: everything is there, or it is too much.
    pub fn next_scan(&mut self) -> Option<Scan> {
        loop {
            self.end_table();
            let scan = self.begin_table()?;
            if scan.only().is_none_or(|(_, keys)| !keys.is_empty()) {
                return Some(scan);
            }
        }
    }

    /// Begins the next table; `None`: there is none, or what there is is too much.
    fn begin_table(&mut self) -> Option<Scan> {
        if self.too_heavy.is_some() {
            return None;
        }
        let (_, loader) = *self.needs.in_order().get(self.begun)?;
        let mut scan = self.plan.scans.get(self.begun)?.clone();
        if let ScanReach::Semi { keys, of, .. } = &mut scan.reach {
            *keys = self.loaded.keys(of.scan.table, &of.column).cloned();
        }
        self.table = Some(loader.begin(&scan, &self.loaded));
        self.begun += 1;
        Some(scan)
    }

    /// Takes a chunk of the table that is being read.
    ///
    /// # Panics
    /// If the columns are not those of the scan.
    pub fn take(&self, chunk: &Chunk) {
        if let Some(table) = &self.table {
            table.take(chunk, &self.loaded, &self.budget);
        }
    }

    /// Adds the faults of a table, once all of it was taken, and notes which rows were read.
    pub fn add_faults(&mut self, table: Table, faults: &Faults, read: RowsRead) {
        self.read.insert(table, read);
        let keys = self.needs.tables.iter().find(|need| need.table == table).and_then(TableNeed::keys);
        self.loaded.add_faults(table, keys, faults);
    }

    /// Ends the table that is being read.
    fn end_table(&mut self) {
        let Some(table) = self.table.take() else { return };
        if self.budget.is_exceeded() {
            self.too_heavy = Some(self.weigh(table.size()));
        } else {
            table.finish(&mut self.loaded, &self.budget);
        }
    }

    /// The bytes of each slot where the table that was read last was too much.
    fn weigh(&self, size: RowSize) -> Vec<u64> {
        let known = || self.loaded.all_enrolled().collect::<Vec<u64>>();
        let (counts, others) = match size {
            RowSize::Enrolments(counts) => (counts, None),
            RowSize::Bytes(bytes) => (known(), Some(bytes)),
            RowSize::Unknown => (known(), None),
        };
        let others = others.unwrap_or_else(|| vec![0; counts.len()]);
        // Whose long texts are is not known: everybody's, by their number.
        let all = counts.iter().sum::<u64>().max(1);
        let texts = |count: u64| {
            u64::try_from(u128::from(self.budget.texts()) * u128::from(count) / u128::from(all)).unwrap_or(u64::MAX)
        };
        let others = counts.iter().zip(others).map(|(count, others)| others.saturating_add(texts(*count)));
        let others: Vec<u64> = others.collect();
        counts.into_iter().zip(others).map(|(enrolments, others)| self.budget.weight(enrolments, others)).collect()
    }

    /// Bytes of what is taken, about, with what is commonly still to come.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.budget.used()
    }

    /// What each batch weighs, about, once enrolments were taken and the next table is asked for.
    #[must_use]
    pub fn weights(&self) -> BatchWeights {
        let weights = self.loaded.all_enrolled().map(|all| self.budget.weight(all, 0)).collect();
        self.by_batch(weights)
    }

    fn by_batch(&self, weights: Vec<u64>) -> BatchWeights {
        BatchWeights { batches: self.loaded.slots().batches().iter().copied().zip(weights).collect() }
    }

    /// Everything that was taken, in order. Tables that were not read are empty.
    ///
    /// # Errors
    /// It was more than the limit; nothing is kept.
    pub fn finish(mut self) -> Result<LoadedBatches, BatchWeights> {
        self.end_table();
        while self.begin_table().is_some() {
            self.end_table();
        }
        if let Some(weights) = self.too_heavy.take() {
            return Err(self.by_batch(weights));
        }
        if let Some(columns) = &self.columns {
            self.loaded.set_columns(columns);
        }
        self.loaded.set_read(&self.read);
        Ok(self.loaded)
    }
}
