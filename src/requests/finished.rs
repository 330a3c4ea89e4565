//! Finished rows page by page, for retention: the types.

use chrono::{DateTime, Utc};

use super::types::RequestKey;

/// A COMPLETED or FAILED row that ended long enough ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its key.
    pub key: RequestKey,
    /// When it ended.
    pub completed: DateTime<Utc>,
    /// As the row has them: object keys, where we wrote them.
    pub download_urls: Vec<String>,
}

/// One page of finished rows. It may have fewer rows than were asked for, even none, and still not be the last one: rows
/// whose end turns out not to be a time, or to be too young, are left out after they were read.
#[derive(Clone, Debug, Default)]
pub struct FinishedPage {
    /// The rows.
    pub rows: Vec<Finished>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<FinishedCursor>,
}

/// The end of a page: the last row that was read. Rows before it do not come again, whether they were removed or not, so
/// that rows which cannot be removed do not block the ones behind them. Only the database that made it can read it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct FinishedCursor {
    pub(super) completed: RawTime,
    pub(super) key: RequestKey,
}

/// A time as the column holds it, in SQLite's order of values.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum RawTime {
    Number(f64),
    Text(String),
}
