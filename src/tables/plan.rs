//! What is read, as data: how rows of a table are reached, the scan that a source gets, and the plan of a load, which is
//! there before any of its tables is read.
//!
//! Not here: which tables a report needs (`needs`), and reading them (`sources`).

use std::borrow::Cow;
use std::sync::Arc;

use super::key_range::KeyRange;
use super::keys::{Keys, keys};
use super::schema::{Column, Table, Text, TypedColumn};

/// What is wanted of one table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table.
    pub table: Table,
    /// The columns to deliver, in this order.
    pub columns: Vec<Column>,
    /// Which rows are wanted.
    pub reach: ScanReach,
    /// Only rows of some learners are wanted. A source may deliver rows of others as well: they are
    /// left out where the rows are taken.
    pub learners: Option<LearnerRange>,
}

/// Learners by the order of their ids, and the column (one of the scan's, of kind text) that has them. Ids are compared as
/// they are delivered, by their bytes: a range that a source applies itself must not leave out a row that would be
/// delivered with an id in the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerRange {
    /// The column with the learner's id.
    pub column: Cow<'static, str>,
    /// Which ids.
    pub range: KeyRange,
}

/// Which rows of a table are wanted.
#[derive(Clone, Debug)]
pub enum ScanReach {
    /// All of them.
    Everything,
    /// Those whose value in a column (one of the scan's, of kind text) is in a set. Bad rows are counted only if their
    /// key is in the set or cannot be read.
    Keys {
        /// The column.
        column: Cow<'static, str>,
        /// The values that are wanted.
        keys: Arc<dyn Keys>,
    },
    /// The same where the set follows from rows of another table that were kept. A source that has both tables may join
    /// them instead of being sent the keys; it may deliver more rows, never fewer.
    Semi {
        /// The column.
        column: Cow<'static, str>,
        /// The values that are wanted; `None` in a plan, until the other table has been read.
        keys: Option<Arc<dyn Keys>>,
        /// Where they come from.
        of: Arc<SemiOrigin>,
    },
}

impl From<Option<(Cow<'static, str>, Arc<dyn Keys>)>> for ScanReach {
    fn from(only: Option<(Cow<'static, str>, Arc<dyn Keys>)>) -> Self {
        only.map_or(Self::Everything, |(column, keys)| Self::Keys { column, keys })
    }
}

/// The rows that a semi join follows from. Those that were kept are among them.
#[derive(Clone, Debug)]
pub struct SemiOrigin {
    /// The column whose values are the keys.
    pub column: Cow<'static, str>,
    /// The rows.
    pub scan: Scan,
}

impl Scan {
    /// The column and the keys that rows are limited to, where there are any and they are known.
    #[must_use]
    pub fn only(&self) -> Option<(&str, &Arc<dyn Keys>)> {
        match &self.reach {
            ScanReach::Everything | ScanReach::Semi { keys: None, .. } => None,
            ScanReach::Keys { column, keys } | ScanReach::Semi { column, keys: Some(keys), .. } => Some((column, keys)),
        }
    }

    /// The learners whose rows are wanted; all of them where there is no range.
    #[must_use]
    pub fn learner_range(&self) -> KeyRange {
        self.learners.as_ref().map_or_else(KeyRange::default, |learners| learners.range.clone())
    }

    /// Every row of a table.
    #[must_use]
    pub const fn everything(table: Table, columns: Vec<Column>) -> Self {
        Self { table, columns, reach: ScanReach::Everything, learners: None }
    }

    /// The rows of a table whose value in a column is among the keys.
    #[must_use]
    pub fn of_keys(
        table: Table,
        columns: Vec<Column>,
        column: impl Into<Cow<'static, str>>,
        keys: Arc<dyn Keys>,
    ) -> Self {
        Self { table, columns, reach: ScanReach::Keys { column: column.into(), keys }, learners: None }
    }
}

/// How the rows of a table that a report needs are reached from what is known already: a source that has a query language
/// can join by it, others are given keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of them are read.
    Everything,
    /// Those whose value in a column is one of the keys, which are known before any row is read.
    Keys {
        /// The column.
        column: TypedColumn<Text>,
        /// The keys.
        of: KeySet,
    },
    /// Those whose value in a column is in the rows that were kept of a table before it.
    Semi {
        /// The column.
        column: TypedColumn<Text>,
        /// That table, and its column.
        of: (Table, TypedColumn<Text>),
    },
}

/// Keys that are known before any row is read: they follow from the batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySet {
    /// The batches' ids.
    Batches,
    /// The batches' courses.
    Courses,
    /// The batches' ids behind [`KeySet::CONTEXT`].
    Contexts,
}

impl KeySet {
    /// What a key begins with where it is the context of a batch.
    pub const CONTEXT: &'static str = "cb:";

    /// The keys of these batches, each given by its id and its course.
    #[must_use]
    pub fn of<'b>(self, batches: impl Iterator<Item = (&'b str, &'b str)>) -> Arc<dyn Keys> {
        match self {
            Self::Batches => keys(batches.map(|(id, _)| id)),
            Self::Courses => keys(batches.map(|(_, course)| course)),
            Self::Contexts => keys(batches.map(|(id, _)| format!("{}{id}", Self::CONTEXT))),
        }
    }
}

/// What a load reads, in this order; it is there before any of the tables is read.
#[derive(Clone, Debug, Default)]
pub struct LoadPlan {
    /// The scans. The keys of those that follow from another one are not known yet.
    pub scans: Vec<Scan>,
}
