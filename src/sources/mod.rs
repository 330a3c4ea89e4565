//! The platform's tables, read from where the operator keeps them.
//!
//! A [`Source`] delivers the columns a scan names in canonical arrow types (see
//! [`Kind`](crate::reports::schema::Kind)). All odd values of the wild are dealt with here, alike for every source:
//! one conformance suite (`tests/it/sources.rs`) runs over all of them. Not here: joins, duplicates, anything a report
//! decides.

pub mod files;
pub mod postgres;
pub mod rows;
pub mod values;

use std::collections::BTreeMap;

use crate::config::checked::MaxBadRows;
use crate::reports::columns::Chunk;
use crate::reports::schema::{Scan, Table};

/// What every source must know to take values alike.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where a date or time without zone is local.
    pub timezone: chrono_tz::Tz,
    /// How many unusable rows are borne.
    pub max_bad_rows: MaxBadRows,
}

/// Takes the chunks of a scan, from several threads at once and in no particular order.
pub type Sink<'a> = dyn Fn(&Chunk) + Sync + 'a;

/// What a scan came across.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Usable rows delivered.
    pub rows: u64,
    /// Rows that could not be used, by reason.
    pub bad: BTreeMap<String, u64>,
    /// Rows that were used although something about them was odd (bytes that are not UTF-8), by reason.
    pub odd: BTreeMap<String, u64>,
    /// Dates that do not read; their cells are empty.
    pub unreadable_dates: u64,
}

impl Tally {
    /// Adds what another part of the table came to.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.unreadable_dates += other.unreadable_dates;
        for (mine, theirs) in [(&mut self.bad, &other.bad), (&mut self.odd, &other.odd)] {
            for (reason, count) in theirs {
                *mine.entry(reason.clone()).or_default() += count;
            }
        }
    }
}

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The table.
    pub table: Table,
    /// For the client, the most telling part first, naming table, file and line or column.
    pub message: String,
    /// For the operator: the whole chain with full paths.
    pub detail: String,
    /// Whether trying again later may help.
    pub may_pass: bool,
}

/// A place that has the platform's tables.
pub trait Source: Send + Sync {
    /// Reads what `scan` wants, all cores busy (on the current rayon pool), and hands it over chunk by chunk.
    ///
    /// # Errors
    /// The table is missing, broken, lacks a column or has more unusable rows than allowed; or the source cannot be
    /// reached, which may pass.
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<Tally, SourceError>;

    /// Which tables are there, for `check`.
    ///
    /// # Errors
    /// The source as a whole cannot be reached.
    fn tables(&self) -> Result<Vec<Table>, String>;
}
