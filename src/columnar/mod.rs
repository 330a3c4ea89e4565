//! Columns in memory, of any content: texts under numbers, rows in partitions, rows in the spelling of CSV.
//!
//! Knows nothing of the platform's tables or of reports: those are in [`tables`](crate::tables).

pub mod encoded_rows;
pub mod formula;
pub mod interner;
pub(crate) mod pieces;
pub(crate) mod radix_partitions;
pub mod spelling;
pub mod text_block;
