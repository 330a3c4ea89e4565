//! Where a page of a list or a search begins.

use chrono::NaiveDateTime;

use super::super::paging::PageCursor;
use super::super::text::can_exist;
use super::super::types::{QueueError, RequestKey};

/// Where a page begins.
pub(super) struct After {
    /// As PostgreSQL writes it; `None`: the row has no time that counts.
    pub(super) submitted: Option<String>,
    pub(super) key: RequestKey,
}

impl After {
    pub(super) fn cursor(submitted: Option<&str>, key: &RequestKey) -> PageCursor {
        PageCursor(serde_json::json!([submitted, key.tag, key.request_id]).to_string())
    }

    /// Clients may send anything.
    fn read(cursor: &PageCursor) -> Result<Self, QueueError> {
        let read = serde_json::from_str::<(Option<String>, String, String)>(&cursor.0);
        let (submitted, tag, request_id) = read.map_err(|_| QueueError::InvalidCursor)?;
        let key = RequestKey { tag, request_id };
        let is_time = |text: &String| {
            text.bytes().all(|byte| byte.is_ascii_digit() || b"-: .".contains(&byte))
                && text.as_bytes().get(4) == Some(&b'-')
                && !text.starts_with("0000")
                && NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").is_ok()
        };
        if !can_exist(&key) || !submitted.as_ref().is_none_or(is_time) {
            return Err(QueueError::InvalidCursor);
        }
        Ok(Self { submitted, key })
    }
}

/// What a page begins after.
pub(super) struct Begin(pub(super) Option<After>);

pub(super) fn begin(after: Option<&PageCursor>) -> Result<Begin, QueueError> {
    after.map(After::read).transpose().map(Begin)
}
