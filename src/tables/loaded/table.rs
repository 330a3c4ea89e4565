//! The seam of tables in memory: how one is loaded, one that is being loaded, and what is kept of it.
//!
//! A table is one file beside this one: a [`TableLoader`] with what the report chose of it, a [`LoadedTable`] that takes
//! chunks, and the [`LoadedRows`] that reports ask by their type ([`LoadedBatches::rows`]). Chunks come from several
//! threads and in any order; nothing in the result may depend on it.

use std::fmt::Debug;

use super::batches::LoadedBatches;
use super::budget::Budget;
use crate::tables::chunk::Chunk;
use crate::tables::plan::Scan;

/// How a table is loaded.
pub trait TableLoader: Debug + Send + Sync {
    /// Bytes of the rows that commonly come with one enrolment: memory is planned on them.
    fn bytes_per_enrolment(&self) -> u64 {
        0
    }

    /// Whether columns of the report follow from the rows of all learners of a batch
    /// ([`LoadedRows::columns`](super::batches::LoadedRows::columns)): they are then looked for before a batch is loaded
    /// range by range.
    fn finds_columns(&self) -> bool {
        false
    }

    /// Begins to take what `scan` delivers. `loaded`: the tables before it.
    fn begin(&self, scan: &Scan, loaded: &LoadedBatches) -> Box<dyn LoadedTable>;
}

/// A table that is being loaded.
pub trait LoadedTable: Debug + Send + Sync {
    /// Takes a chunk of the scan. Rows that are more than the budget has room for are counted and not kept.
    ///
    /// # Panics
    /// If the columns are not those of the scan.
    fn take(&self, chunk: &Chunk, loaded: &LoadedBatches, budget: &Budget);

    /// Puts what was taken in order, and adds it to what is loaded.
    fn finish(self: Box<Self>, loaded: &mut LoadedBatches, budget: &Budget);

    /// What its rows take, kept or not, where they were too much.
    fn size(self: Box<Self>) -> RowSize {
        RowSize::Unknown
    }
}

/// What the rows of a table take, by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSize {
    /// The enrolments of each batch.
    Enrolments(Vec<u64>),
    /// The bytes of each batch's rows.
    Bytes(Vec<u64>),
    /// It is not known which batch has how much of them.
    Unknown,
}
