//! What each table's file says of its table.

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::Columns;
use super::plan::Plan;
use crate::tables::schema::Table;

/// How one table is made.
pub(super) struct SampleTable {
    pub(super) table: Table,
    /// The number of its rows.
    pub(super) count: fn(&Plan) -> u64,
    /// Makes the rows with these numbers.
    pub(super) rows: fn(&Plan, &[u64], Columns) -> Result<RecordBatch, ArrowError>,
    pub(super) division: Division,
}

/// Into which files a layout of more than one file divides a table.
pub(super) enum Division {
    /// Always one file.
    Whole,
    /// Parts of about the same number of rows; as Hive partitions it is one file.
    Parts,
    /// Parts, or Hive partitions by batch.
    Batches {
        /// The column that has the batch.
        column: &'static str,
        /// What stands before the batch's id in the name of its directory.
        prefix: &'static str,
        /// The first row of each batch, and the number of all rows at the end.
        starts: fn(&Plan) -> &[u64],
    },
}
