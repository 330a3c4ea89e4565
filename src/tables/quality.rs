//! How much of what was found could be used: unusable rows and values that do not read, by batch.
//!
//! A source counts faults by key ([`Faults`]); the tables in memory count what was usable; both together are the
//! [`Quality`] of a batch. Not here: what follows from it (`worker::verdict`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tables::schema::Table;

/// Keys of one table whose faults are counted apart. Faults of further keys are counted for every batch, like those of
/// rows without a readable key, so that the memory they take is bounded.
const MAX_KEYS: usize = 100_000;

/// The first row that could not be used, or of which a value does not read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fault {
    /// The file, relative to the source; empty where the row is wrong in itself and its file is not known.
    pub file: String,
    /// Line (or row) of the file, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// What is wrong with the rows of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFaults {
    /// Rows that cannot be used.
    pub unusable: u64,
    /// The first of them by file and line.
    pub first: Option<Fault>,
    /// By column: dates that do not read, and the first of them.
    pub unreadable: BTreeMap<Cow<'static, str>, (u64, Option<Fault>)>,
}

/// The faults of a table by key; rows without a readable key are under the empty key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<String, KeyFaults>);

impl Faults {
    /// The faults of a key, to add to them.
    pub fn of(&mut self, key: &str) -> &mut KeyFaults {
        // Looked up first, so that a key that is known is not copied again for each of its rows.
        let key = if self.0.contains_key(key) || self.0.len() < MAX_KEYS { key } else { "" };
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), KeyFaults::default());
        }
        self.0.entry(key.to_owned()).or_default()
    }

    /// Adds those of another part of the table.
    pub fn add(&mut self, other: &Self) {
        for (key, theirs) in &other.0 {
            self.of(key).add(theirs);
        }
    }

    /// Each key with its faults, in the order of keys; the empty key stands for rows without a readable one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &KeyFaults)> {
        self.0.iter().map(|(key, faults)| (key.as_str(), faults))
    }

    /// The first unusable row of all keys.
    #[must_use]
    pub fn first(&self) -> Option<&Fault> {
        self.0.values().filter_map(|faults| faults.first.as_ref()).min()
    }
}

impl KeyFaults {
    fn add(&mut self, other: &Self) {
        self.unusable += other.unusable;
        keep_first(&mut self.first, other.first.as_ref());
        for (column, (count, first)) in &other.unreadable {
            let (mine, known) = self.unreadable.entry(column.clone()).or_default();
            *mine += count;
            keep_first(known, first.as_ref());
        }
    }
}

/// Keeps the lesser of two faults: the result does not depend on the order in which files are read.
fn keep_first(known: &mut Option<Fault>, other: Option<&Fault>) {
    if let Some(other) = other
        && known.as_ref().is_none_or(|known| other < known)
    {
        *known = Some(other.clone());
    }
}

/// Rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableRows {
    /// Rows that could be used.
    #[serde(skip_serializing_if = "is_zero")]
    pub usable: u64,
    /// Rows that could not, of the batch's own.
    #[serde(skip_serializing_if = "is_zero")]
    pub unusable: u64,
    /// Rows without a readable key, which may belong to any batch.
    #[serde(skip_serializing_if = "is_zero")]
    pub without_key: u64,
    /// The first row that could not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Fault>,
    /// Which rows of the batch were read.
    #[serde(skip)]
    pub read: RowsRead,
}

/// Which rows of a table the load of one range of learners reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowsRead {
    /// All rows of the batch: every range comes across the same ones. So does a load of all learners.
    #[default]
    All,
    /// Rows of its learners, and rows without a key, which every range comes across.
    OfLearners,
    /// Rows of its learners. Rows without a learner are in the first range.
    OfRange,
}

/// Values of one column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Values {
    /// Values that read.
    #[serde(skip_serializing_if = "is_zero")]
    pub readable: u64,
    /// Values that do not.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
    /// The first that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Fault>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What was found of a batch, or of all batches of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quality {
    /// Rows by table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<Table, TableRows>,
    /// Values by table and column, of columns that the report shows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<Table, BTreeMap<String, Values>>,
}

impl Quality {
    /// The rows of a table, to add to them.
    pub fn rows(&mut self, table: Table) -> &mut TableRows {
        self.tables.entry(table).or_default()
    }

    /// The values of a column, to add to them.
    pub fn values(&mut self, table: Table, column: &str) -> &mut Values {
        self.values.entry(table).or_default().entry(column.to_owned()).or_default()
    }

    /// Adds unusable rows of the batch's own, and values of its own that do not read.
    pub(crate) fn add_own(&mut self, table: Table, faults: &KeyFaults) {
        let rows = self.rows(table);
        rows.unusable += faults.unusable;
        keep_first(&mut rows.first, faults.first.as_ref());
        for (column, (count, first)) in &faults.unreadable {
            let values = self.values(table, column);
            values.unreadable += count;
            keep_first(&mut values.first, first.as_ref());
        }
    }

    /// Adds rows that may belong to any batch.
    pub(crate) fn add_without_key(&mut self, table: Table, faults: &KeyFaults) {
        let rows = self.rows(table);
        rows.without_key += faults.unusable;
        keep_first(&mut rows.first, faults.first.as_ref());
    }

    /// Adds another batch of the same request. Rows without a key are the same rows for both.
    pub fn add_batch(&mut self, other: &Self) {
        self.merge(
            other,
            |_, with_key, mine, theirs| {
                if with_key { *mine += theirs } else { *mine = theirs.max(*mine) }
            },
        );
    }

    /// Adds another range of learners of the same batch. Where every range reads all rows of the batch they are the same.
    pub fn add_range(&mut self, other: &Self) {
        let read = |table: Table| other.tables.get(&table).map_or(RowsRead::All, |rows| rows.read);
        self.merge(other, |table, with_key, mine, theirs| match read(table) {
            RowsRead::OfRange => *mine += theirs,
            RowsRead::OfLearners if with_key => *mine += theirs,
            RowsRead::OfLearners | RowsRead::All => *mine = theirs.max(*mine),
        });
        for (table, theirs) in &other.tables {
            self.rows(*table).read = theirs.read;
        }
    }

    /// All ranges of learners were added: what was read of ranges is now of the whole batch.
    pub fn end_ranges(&mut self) {
        self.tables.values_mut().for_each(|rows| rows.read = RowsRead::All);
    }

    /// `add` is told whether what it adds to a count of a table is of rows with a key.
    fn merge(&mut self, other: &Self, add: impl Fn(Table, bool, &mut u64, u64)) {
        for (&table, theirs) in &other.tables {
            let mine = self.rows(table);
            add(table, true, &mut mine.usable, theirs.usable);
            add(table, true, &mut mine.unusable, theirs.unusable);
            add(table, false, &mut mine.without_key, theirs.without_key);
            keep_first(&mut mine.first, theirs.first.as_ref());
        }
        for (&table, columns) in &other.values {
            for (column, theirs) in columns {
                let mine = self.values(table, column);
                add(table, true, &mut mine.readable, theirs.readable);
                add(table, true, &mut mine.unreadable, theirs.unreadable);
                keep_first(&mut mine.first, theirs.first.as_ref());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "as the fields have it")]
    fn fault(line: u64) -> Option<Fault> {
        Some(Fault { file: "f".to_owned(), line, reason: "wrong".to_owned() })
    }

    fn quality(usable: u64, unusable: u64, without_key: u64, line: u64) -> Quality {
        let rows = TableRows { usable, unusable, without_key, first: fault(line), read: RowsRead::All };
        let tables =
            [Table::UserEnrolments, Table::AssessmentAggregator, Table::User].map(|table| (table, rows.clone())).into();
        let values = Values { readable: usable, unreadable: unusable, first: fault(line) };
        let values = BTreeMap::from([(Table::UserEnrolments, BTreeMap::from([("enrolleddate".to_owned(), values)]))]);
        Quality { tables, values }
    }

    #[test]
    fn batches_add_up_and_rows_without_a_key_are_the_same_for_all() {
        let mut sum = quality(1, 2, 3, 9);
        sum.add_batch(&quality(10, 20, 2, 4));
        assert_eq!(sum, quality(11, 22, 3, 4));
    }

    #[test]
    fn ranges_that_read_the_same_rows_count_them_once_and_others_add_up() {
        let range = |usable, unusable, without_key, line| {
            let mut range = quality(usable, unusable, without_key, line);
            range.rows(Table::User).read = RowsRead::OfLearners;
            range.rows(Table::AssessmentAggregator).read = RowsRead::OfRange;
            range
        };
        let mut sum = Quality::default();
        sum.add_range(&range(1, 2, 3, 9));
        sum.add_range(&range(10, 20, 2, 4));
        sum.end_ranges();
        let mut expected = quality(10, 20, 3, 4);
        let first = fault(4);
        let rows = TableRows { usable: 11, unusable: 22, without_key: 3, first, read: RowsRead::All };
        *expected.rows(Table::AssessmentAggregator) = TableRows { without_key: 5, ..rows.clone() };
        *expected.rows(Table::User) = rows;
        assert_eq!(sum, expected);
    }

    #[test]
    fn faults_of_further_keys_are_counted_for_every_batch() {
        let mut faults = Faults::default();
        for key in 0..MAX_KEYS + 5 {
            faults.of(&key.to_string()).unusable += 1;
        }
        faults.of("3").unusable += 1;
        let by_key: BTreeMap<&str, u64> = faults.iter().map(|(key, faults)| (key, faults.unusable)).collect();
        assert_eq!((by_key["3"], by_key[""], by_key.len()), (2, 5, MAX_KEYS + 1));
    }

    #[test]
    fn it_is_noted_and_read_again() {
        let noted = serde_json::to_string(&quality(1, 0, 2, 3)).unwrap();
        assert_eq!(serde_json::from_str::<Quality>(&noted).unwrap(), quality(1, 0, 2, 3));
        assert_eq!(serde_json::to_string(&Quality::default()).unwrap(), "{}");
    }
}
