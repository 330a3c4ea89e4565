//! Lists and searches page by page: which rows, and where the next page begins. The rows themselves are read separately, a
//! few at a time, so that no page is ever in memory as a whole.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::types::{QueueError, RequestKey, RequestRow};

/// Characters of the longest cursor that is accepted: six keys of SQLite, each as long as a key can be.
const LONGEST_CURSOR: usize = 128 << 10;

/// One page of a list or a search.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Number of rows, at most.
    pub limit: u32,
    /// The page begins after the row that this cursor came with. `None`: with the newest row.
    pub after: Option<PageCursor>,
}

impl Page {
    /// The first page, of at most `limit` rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }
}

/// Bytes of rows that are read at a time, approximately.
pub const READ_BYTES: u64 = 512 << 10;

/// Rows that are asked for at a time, at most.
const READ_ROWS: usize = 100;

/// How many rows to ask for at a time. The database measures each row that it is asked for, which may take longer than
/// reading it (PostgreSQL unpacks `download_urls`). Where rows are so large that only a few come at a time, only a few are
/// asked for.
#[derive(Clone, Copy, Debug)]
pub struct ReadSteps(usize);

impl Default for ReadSteps {
    fn default() -> Self {
        Self(READ_ROWS)
    }
}

impl ReadSteps {
    /// Where a step ends that begins at `begin`, of `all` rows.
    #[must_use]
    pub fn end(self, begin: usize, all: usize) -> usize {
        all.min(begin + self.0)
    }

    /// Adapts the next step: of `asked` rows the last answer went `through` the first ones.
    pub fn record(&mut self, asked: usize, through: usize) {
        let more = if through < asked { through } else { self.0 };
        self.0 = (2 * more).clamp(1, READ_ROWS);
    }
}

/// A row of a page.
#[derive(Clone, Debug)]
pub struct PageEntry {
    /// Its key.
    pub key: RequestKey,
    /// Where the next page begins if this row is the last of its page.
    pub cursor: PageCursor,
}

/// The end of a page: rows before it are not met again, and none after it is left out, whatever happens to the row itself.
/// Only the kind of database that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCursor(pub(super) String);

impl PageCursor {
    /// The text that clients get.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads what a client has sent back. Only the database can tell whether it is one of its cursors.
    ///
    /// # Errors
    /// [`QueueError::InvalidCursor`] where it cannot be one.
    pub fn decode(text: &str) -> Result<Self, QueueError> {
        if text.len() > LONGEST_CURSOR {
            return Err(QueueError::InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| QueueError::InvalidCursor)?;
        String::from_utf8(bytes).map(Self).map_err(|_| QueueError::InvalidCursor)
    }
}

/// Newest submission first, those that do not read last.
pub(super) fn newest_first(rows: &mut [RequestRow]) {
    rows.sort_by(|a, b| {
        b.submitted.cmp(&a.submitted).then_with(|| (&a.tag, &a.request_id).cmp(&(&b.tag, &b.request_id)))
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Large rows come one at a time, others as many as are asked for.
        #[test]
        fn few_rows_are_measured_in_vain(large in prop::collection::vec(any::<bool>(), 1..1000), all_large: bool) {
            let (mut steps, mut begin, mut measured) = (ReadSteps::default(), 0, 0);
            while begin < large.len() {
                let end = steps.end(begin, large.len());
                let stop = (begin..end).find(|at| all_large || large[*at]).map_or(end, |at| at + 1);
                steps.record(end - begin, stop - begin);
                measured += end - begin;
                begin = stop;
            }
            prop_assert!(measured <= 3 * large.len() + READ_ROWS, "{measured} of {}", large.len());
        }
    }
}
