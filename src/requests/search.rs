//! Searches: their conditions and their results.

use chrono::NaiveDate;

use super::paging::PageEntry;

/// The conditions of a search. All that are given hold; of a list, one value holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Job ids as written in rows.
    pub job_ids: Option<Vec<String>>,
    /// Statuses as written in rows.
    pub statuses: Option<Vec<String>>,
    /// The channels that requests were made for.
    pub channels: Option<Vec<String>>,
    /// The day (UTC) of the submission.
    pub submitted_on: Option<NaiveDate>,
}

/// Rows of a search are counted up to one more than this number.
pub const COUNT_LIMIT: u64 = 10_000;

/// Up to this number, all matching rows are read and sorted; of more, the newest are found fast in the order of an index.
pub(super) const SORT_LIMIT: u64 = 1000;

/// The result of a search.
#[derive(Clone, Debug, Default)]
pub struct SearchResult {
    /// How many rows match, on all pages. A number above [`COUNT_LIMIT`] is a lower bound.
    pub total: u64,
    /// The rows of this page, the newest first.
    pub entries: Vec<PageEntry>,
}
