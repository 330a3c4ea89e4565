//! Answers of many requests: made one request after the other, and cut where they are long enough. What follows is told by
//! `next`.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::call::{Answer, Asked};
use super::envelope::{Fault, Told};
use super::status::Cut;
use crate::requests::{COUNT_LIMIT, PageCursor, PageEntry, QueueError, READ_BYTES, ReadSteps, RequestKey};

/// Bytes of the requests of one answer, at most. One that is more by itself is shortened.
const MOST: usize = 4 << 20;

/// What `count` is to say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// How many requests are in the answer.
    Returned,
    /// How many match, on all pages; beyond [`COUNT_LIMIT`] it is a lower bound.
    Matching(u64),
}

/// The page that a call asks for: its limit of rows, and one more that tells whether there is a next page.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) limit: u32,
    pub(super) after: Option<PageCursor>,
}

impl Wanted {
    /// `after`: as the client has got it.
    pub(super) fn new(limit: u32, after: Option<&str>) -> Result<Self, Fault> {
        let after = after.map(PageCursor::decode).transpose().map_err(|_| no_place())?;
        Ok(Self { limit, after })
    }

    pub(super) fn page(self) -> crate::requests::Page {
        crate::requests::Page { limit: self.limit + 1, after: self.after }
    }
}

fn no_place() -> Fault {
    Fault::bad("after must be what an answer gave as next")
}

/// What a list or a search failed with, for the client.
pub(super) fn fault(error: &QueueError) -> Option<Fault> {
    matches!(error, QueueError::InvalidCursor).then(no_place)
}

/// A request of an answer, and what it is sorted by.
struct Piece {
    submitted: Option<DateTime<Utc>>,
    key: RequestKey,
    text: String,
}

/// `{"count", "jobs", "next"}` of at most `limit` of these entries.
pub(super) async fn shown(asked: &Asked, count: Count, mut entries: Vec<PageEntry>, limit: u32) -> Answer {
    // Few at a time: each holds some rows and its whole answer.
    let _building = asked.api.places.building().await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut next =
        entries.get(limit.saturating_sub(1)).filter(|_| entries.len() > limit).map(|last| last.cursor.clone());
    entries.truncate(limit);
    let (mut pieces, mut size) = (Vec::new(), 0);
    let (mut begin, mut steps) = (0, ReadSteps::default());
    'page: while begin < entries.len() {
        let end = steps.end(begin, entries.len());
        let keys: Vec<RequestKey> = entries[begin..end].iter().map(|entry| entry.key.clone()).collect();
        let rows = asked.api.ask(move |queue| queue.rows(&keys, READ_BYTES)).await?;
        let asked_for = begin;
        let through = rows.last().map_or(end - begin, |(at, _)| at + 1);
        steps.record(end - begin, through);
        begin += through;
        for (at, row) in rows {
            let text = asked.api.text(&row, asked.now, MOST, Cut::Files).await?;
            size += text.len() + 1;
            if size > MOST + 1 && !pieces.is_empty() {
                // Rows between the last one and this are not there any more.
                next = (asked_for + at).checked_sub(1).map(|last| entries[last].cursor.clone());
                break 'page;
            }
            let key = RequestKey { tag: row.tag, request_id: row.request_id };
            pieces.push(Piece { submitted: row.submitted, key, text });
        }
    }
    pieces.sort_by(|a, b| b.submitted.cmp(&a.submitted).then_with(|| a.key.cmp(&b.key)));
    let text = answer(count, pieces, next.as_ref());
    asked.api.held(asked.api.key_name(&asked.caller), Told::text(text)).await
}

fn answer(count: Count, pieces: Vec<Piece>, next: Option<&PageCursor>) -> String {
    let count = match count {
        Count::Returned => json!({ "count": pieces.len() }),
        Count::Matching(n) if n > COUNT_LIMIT => json!({ "count": COUNT_LIMIT + 1, "count_is_lower_bound": true }),
        Count::Matching(n) => json!({ "count": n }),
    };
    let mut text = count.to_string();
    // Without its closing brace.
    text.pop();
    text.reserve(pieces.iter().map(|piece| piece.text.len() + 1).sum());
    text.push_str(",\"jobs\":[");
    for (at, piece) in pieces.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&piece.text);
    }
    text.push(']');
    if let Some(next) = next {
        // Letters, digits, `-` and `_` only.
        text.extend([",\"next\":\"", &next.encode(), "\""]);
    }
    text.push('}');
    text
}

/// The schema of such an answer.
pub(super) fn result() -> Value {
    json!({
        "type": "object",
        "required": ["count", "jobs"],
        "additionalProperties": false,
        "properties": {
            "count": { "type": "integer", "minimum": 0 },
            "count_is_lower_bound": {
                "type": "boolean",
                "description": "Of a search that matches more than 10,000 requests: there may be any number more.",
            },
            "jobs": { "type": "array", "items": { "$ref": "#/components/schemas/StatusObject" } },
            "next": {
                "type": "string",
                "format": TOKEN_FORMAT,
                "description": "There may be more: the same call with this as `after` goes on.",
            },
        },
    })
}

/// The `format` of `next` and `after`. It says to programs that not every text will do: only an answer's `next` is a valid
/// `after`.
const TOKEN_FORMAT: &str = "page-token";

/// The description of `after`, a parameter of the query.
pub(super) fn after() -> Value {
    json!({
        "type": "string",
        "format": TOKEN_FORMAT,
        "description": "`next` of the answer before, unchanged: where this answer begins. Any other text is refused: 400.",
    })
}

/// The same in a body, where `null` is the same as no `after`.
pub(super) fn nullable_after() -> Value {
    let mut after = after();
    after["type"] = json!(["string", "null"]);
    after
}
