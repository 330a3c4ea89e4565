//! Lists and searches page by page: which rows, and where the next page begins. The rows themselves are read apart, a few
//! at a time, so that no page is ever held as a whole.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::types::{QueueError, RequestKey, RequestRow};

/// Characters of a place that is read: six keys of SQLite, each as long as a key can be.
const LONGEST_PLACE: usize = 128 << 10;

/// One page of a list or a search.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most so many rows.
    pub limit: u32,
    /// Where it begins: after the row that this place came with. `None`: with the newest.
    pub after: Option<Place>,
}

impl Page {
    /// The first page, of at most so many rows.
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }
}

/// Bytes of rows that are read at a time, about.
pub const BYTES_AT_ONCE: u64 = 512 << 10;

/// Rows that are asked for at a time, at most.
const ROWS_AT_ONCE: usize = 100;

/// How many rows to ask for at a time. The database measures each row that it is asked for, and that may take longer than
/// to read it (PostgreSQL unpacks `download_urls`): where rows are so large that few come at a time, few are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Steps(usize);

impl Default for Steps {
    fn default() -> Self {
        Self(ROWS_AT_ONCE)
    }
}

impl Steps {
    /// Where a step that begins here ends, of so many rows in all.
    #[must_use]
    pub fn end(self, begin: usize, all: usize) -> usize {
        all.min(begin + self.0)
    }

    /// What to ask for after so many were asked for and so many were gone through.
    pub fn went(&mut self, asked: usize, through: usize) {
        let more = if through < asked { through } else { self.0 };
        self.0 = (2 * more).clamp(1, ROWS_AT_ONCE);
    }
}

/// A row of a page.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: RequestKey,
    /// Where the next page begins if this row is the last of its page.
    pub place: Place,
}

/// Where a page ends: rows before it are not met again, and none after it is left out, whatever happens to the row itself.
/// Only the kind of database that made it understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub(super) String);

impl Place {
    /// As clients are given it.
    #[must_use]
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reads what a client has sent back. Whether it is a place at all is for the database to say.
    ///
    /// # Errors
    /// [`QueueError::NoPlace`] where it cannot be.
    pub fn decode(text: &str) -> Result<Self, QueueError> {
        if text.len() > LONGEST_PLACE {
            return Err(QueueError::NoPlace);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| QueueError::NoPlace)?;
        String::from_utf8(bytes).map(Self).map_err(|_| QueueError::NoPlace)
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
        /// Of rows of which `large` is true one comes at a time, of others as many as are asked for.
        #[test]
        fn few_rows_are_measured_in_vain(large in prop::collection::vec(any::<bool>(), 1..1000), all_large: bool) {
            let (mut steps, mut begin, mut measured) = (Steps::default(), 0, 0);
            while begin < large.len() {
                let end = steps.end(begin, large.len());
                let stop = (begin..end).find(|at| all_large || large[*at]).map_or(end, |at| at + 1);
                steps.went(end - begin, stop - begin);
                measured += end - begin;
                begin = stop;
            }
            prop_assert!(measured <= 3 * large.len() + ROWS_AT_ONCE, "{measured} of {}", large.len());
        }
    }
}
