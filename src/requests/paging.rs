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
