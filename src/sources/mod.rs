//! The platform's tables, read from where the operator keeps them.
//!
//! A [`Source`] delivers the columns a scan names in canonical arrow types (see
//! [`Kind`](crate::tables::schema::Kind)). All odd values of the wild are dealt with here, alike for every source:
//! one conformance suite (`tests/it/sources.rs`) runs over all of them. Not here: joins, duplicates, anything a report
//! decides.

pub mod configured;
pub mod files;
pub mod kind;
pub mod postgres;
pub mod query_engine;
pub mod routed;
pub mod rows;
mod seen_keys;
pub mod spellings;
pub mod sql;
pub mod stage;
pub mod values;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use self::stage::Stage;
use crate::tables::chunk::Chunk;
use crate::tables::plan::{LoadPlan, Scan};
use crate::tables::quality::Faults;
use crate::tables::schema::Table;
use query_engine::QueryEngine;

/// What every source must know to take values alike.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where a date or time without zone is local.
    pub timezone: chrono_tz::Tz,
    /// How large what is read may be.
    pub bounds: Bounds,
}

impl Settings {
    /// With the bounds that everybody has.
    #[must_use]
    pub const fn new(timezone: chrono_tz::Tz) -> Self {
        Self { timezone, bounds: Bounds::DEFAULT }
    }
}

/// How large what is read may be. Data that exceeds a bound fails its load for good, by file and place. There is none on
/// how much smaller it is when compressed: a column that has one value throughout is honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a line, a cell or a page of a Parquet file, decompressed.
    pub unit: usize,
    /// Bytes of pages that all readers of a source hold at a time. Where it is exceeded they take turns.
    pub held: usize,
}

impl Bounds {
    /// What holds where nothing else is said.
    pub const DEFAULT: Self = Self { unit: 64 << 20, held: 256 << 20 };
}

/// Takes the chunks of a scan, from several threads at once and in no particular order.
pub type Sink<'a> = dyn Fn(&Chunk) + Sync + 'a;

/// Whether nobody waits for the answer any more. What was begun elsewhere for it is ended then.
pub type GivenUp = Arc<dyn Fn() -> bool + Send + Sync>;

/// For which claimed requests a source is read.
#[derive(Clone)]
pub struct GroupRun {
    /// The id of the table's installation; empty where no source stages.
    pub installation: String,
    /// The token of the claim.
    pub claim: String,
    /// Whether nobody waits for the group any more: what the source has begun elsewhere is ended then.
    pub given_up: GivenUp,
}

/// What a scan came across, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanStats {
    /// Usable rows delivered.
    pub rows: u64,
    /// Rows that could not be used, by reason.
    pub bad: BTreeMap<String, u64>,
    /// Those of them without a readable key, by reason.
    pub without_key: BTreeMap<String, u64>,
    /// Rows that were used although something about them was odd (bytes that are not UTF-8), by reason.
    pub odd: BTreeMap<String, u64>,
    /// Dates that do not read; their cells are empty.
    pub unreadable_dates: u64,
    /// The same unusable rows and dates by the key that the scan is limited by, else by the first column of the table's key.
    pub faults: Faults,
    /// Whether only rows of the scan's range of learners were read, so that bad rows of others are not counted.
    pub of_range: bool,
    /// What reading took.
    pub cost: ReadCost,
}

/// What reading a table took, as far as it is known without measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCost {
    /// Bytes as they are stored, or as they came over the network. What fills a gap between two ranges of a file counts.
    pub bytes: u64,
    /// Pages of Parquet files.
    pub pages: u64,
    /// Files that were opened on this machine, requests to an object store, statements.
    pub calls: u64,
}

impl ScanStats {
    /// Both together; the order does not matter.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "to reduce with")]
    pub fn and(mut self, other: Self) -> Self {
        self.add(&other);
        self
    }

    /// Adds what another part of the table came to.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.unreadable_dates += other.unreadable_dates;
        self.of_range |= other.of_range;
        self.faults.add(&other.faults);
        self.cost.bytes += other.cost.bytes;
        self.cost.pages += other.cost.pages;
        self.cost.calls += other.cost.calls;
        let counts =
            [(&mut self.bad, &other.bad), (&mut self.without_key, &other.without_key), (&mut self.odd, &other.odd)];
        for (mine, theirs) in counts {
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
    /// Whether it is that there is more of the table than memory.
    pub is_too_large: bool,
}

impl SourceError {
    /// With the name of its source before it.
    fn prefixed(self, prefix: &str) -> Self {
        Self { message: format!("{prefix}{}", self.message), detail: format!("{prefix}{}", self.detail), ..self }
    }
}

/// A place that has the platform's tables.
pub trait Source: Send + Sync {
    /// Reads what `scan` wants, all cores busy (on the current rayon pool), and hands it over chunk by chunk.
    ///
    /// Unusable rows are counted and left out, however many they are: how many are too many depends on the request.
    ///
    /// # Errors
    /// The table is missing, broken or lacks a column; or the source cannot be reached, which may pass.
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError>;

    /// Told what a group of requests (or its catalogue) will read, before anything of it is read. What comes back is read in
    /// place of this source, and holds what was prepared until it is dropped. `None`: nothing had to be prepared, and the run is
    /// nothing to this source.
    ///
    /// # Errors
    /// As for [`Source::read`].
    fn prepare(&self, plan: &LoadPlan, run: &GroupRun) -> Result<Option<Box<dyn Source>>, SourceError> {
        let _ = (plan, run);
        Ok(None)
    }

    /// The statements by which a plan is asked for, each with its table, where an engine is asked in SQL. Keys stand in them as
    /// the names of relations. A scan whose keys follow from another source has none.
    ///
    /// # Errors
    /// As for [`Source::read`].
    fn statements(&self, plan: &LoadPlan) -> Result<Vec<(Table, String)>, SourceError> {
        let _ = plan;
        Ok(Vec::new())
    }

    /// Waits until what was begun elsewhere for groups that are given up has ended there, for at most this long. To be called
    /// before the process ends.
    fn wait_for_cancelled(&self, patience: Duration) {
        let _ = patience;
    }

    /// Where tables are staged for groups, if they are.
    fn stage(&self) -> Option<&Stage> {
        None
    }

    /// One view of the tables for all scans of one load, which sees no change that is made meanwhile. `None`: each scan sees
    /// the table as it is then.
    fn snapshot(&self) -> Option<Box<dyn Source + '_>> {
        None
    }

    /// Whether a daemon that reads some of the batches of these scans, each of which is limited by batches, reads only about
    /// their share of the tables.
    ///
    /// # Errors
    /// As for [`Source::read`].
    fn divides(&self, scans: &[Scan]) -> Result<bool, SourceError> {
        let _ = scans;
        Ok(false)
    }

    /// Whether daemons on other machines may see something else, or nothing, under the same configuration.
    fn is_on_this_machine(&self) -> bool {
        false
    }

    /// What answers queries of reports in SQL here. `None`: this source answers none.
    fn query_engine(&self) -> Option<&dyn QueryEngine> {
        None
    }

    /// Which tables are there, for `check`.
    ///
    /// # Errors
    /// The source as a whole cannot be reached.
    fn tables(&self) -> Result<Vec<Table>, String>;
}
