//! Finished rows page by page, for retention: the words. Which rows they are is for each database to say.

use chrono::{DateTime, Utc};

use super::types::RequestKey;

/// A row that is COMPLETED or FAILED and has been so for as long as was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its key.
    pub key: RequestKey,
    /// When it ended.
    pub completed: DateTime<Utc>,
    /// As the row has them: object keys, where we wrote them.
    pub download_urls: Vec<String>,
}

/// One page of finished rows. It may have fewer rows than were asked for, even none, and still not be the last one:
/// rows whose time is found not to count are left out after they were read.
#[derive(Clone, Debug, Default)]
pub struct FinishedPage {
    /// The rows.
    pub rows: Vec<Finished>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<FinishedCursor>,
}

/// Where a page ended: the last row that was read. Rows before it are not met again, whether they were removed or not,
/// so that rows which cannot be removed hold nothing up. Only the database that made it understands it.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct FinishedCursor {
    pub(super) completed: RawTime,
    pub(super) key: RequestKey,
}

/// A time as the column holds it, in the order in which SQLite sorts what it holds.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub(super) enum RawTime {
    Number(f64),
    Text(String),
}
