//! Answers of many requests: made one request after the other, and ended where they are long enough. `next` says where the
//! next page begins.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::call::{CallResult, IncomingCall};
use super::envelope::ApiError;
use super::schemas::{Schemas, counted_list};
use super::status::StatusObject;
use crate::requests::{COUNT_LIMIT, PageCursor, PageEntry, QueueError, READ_BYTES, ReadSteps, RequestKey, Status};

/// Bytes of the requests of one answer, at most. One that is more by itself is shortened.
const MOST: usize = 4 << 20;

/// What `count` counts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    /// How many requests are in the answer.
    Returned,
    /// How many match, on all pages; beyond [`COUNT_LIMIT`] it is a lower bound.
    Matching(u64),
}

/// The page that a call asks for: its limit of rows, and one more that tells whether there is a next page.
#[derive(Clone, Debug)]
pub(super) struct PageRequest {
    pub(super) limit: u32,
    pub(super) after: Option<PageCursor>,
}

impl PageRequest {
    /// `after`: as the client sends it.
    pub(super) fn new(limit: u32, after: Option<&str>) -> Result<Self, ApiError> {
        let after = after.map(PageCursor::decode).transpose().map_err(|_| invalid_cursor())?;
        Ok(Self { limit, after })
    }

    pub(super) fn page(self) -> crate::requests::Page {
        crate::requests::Page { limit: self.limit + 1, after: self.after }
    }
}

fn invalid_cursor() -> ApiError {
    ApiError::bad("after must be what an answer gave as next")
}

/// The answer to a client whose `after` the database refused; `None`: it failed with something else.
pub(super) fn error(error: &QueueError) -> Option<ApiError> {
    matches!(error, QueueError::InvalidCursor).then(invalid_cursor)
}

/// A request of an answer, and the values that it is sorted by.
struct ListedRequest {
    submitted: Option<DateTime<Utc>>,
    key: RequestKey,
    text: String,
}

/// The result with at most `limit` of these entries.
pub(super) async fn result(call: &IncomingCall, count: Count, mut entries: Vec<PageEntry>, limit: u32) -> CallResult {
    // Few at a time: each holds some rows and its whole answer.
    let _permit = call.api.limits.large_answer().await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut next =
        entries.get(limit.saturating_sub(1)).filter(|_| entries.len() > limit).map(|last| last.cursor.clone());
    entries.truncate(limit);
    let (mut requests, mut size, mut completed) = (Vec::new(), 0, 0);
    let (mut begin, mut steps) = (0, ReadSteps::default());
    'page: while begin < entries.len() {
        let end = steps.end(begin, entries.len());
        let keys: Vec<RequestKey> = entries[begin..end].iter().map(|entry| entry.key.clone()).collect();
        let rows = call.api.ask(move |queue| queue.rows(&keys, READ_BYTES)).await?;
        let first = begin;
        let through = rows.last().map_or(end - begin, |(at, _)| at + 1);
        steps.record(end - begin, through);
        begin += through;
        for (at, row) in rows {
            let text = call.api.status_text(&call.caller, &row, call.now, MOST).await?;
            size += text.len() + 1;
            if size > MOST + 1 && !requests.is_empty() {
                // Entries between the last row and this one have no row any more.
                next = (first + at).checked_sub(1).map(|last| entries[last].cursor.clone());
                break 'page;
            }
            completed += u64::from(Status::parse(&row.status) == Some(Status::Completed));
            let key = RequestKey { tag: row.tag, request_id: row.request_id };
            requests.push(ListedRequest { submitted: row.submitted, key, text });
        }
    }
    requests.sort_by(|a, b| b.submitted.cmp(&a.submitted).then_with(|| a.key.cmp(&b.key)));
    if completed > 0 && call.caller.sees_files() {
        let subject = call.path.first().map_or("search", String::as_str);
        call.api.audit.read_links(call.key_name(), (subject, completed), call.address);
    }
    let text = json_text(count, requests, next.as_ref());
    call.api.result(call.key_name(), text).await
}

/// `{"count", "jobs", "next"}`
fn json_text(count: Count, requests: Vec<ListedRequest>, next: Option<&PageCursor>) -> String {
    let count = match count {
        Count::Returned => json!({ "count": requests.len() }),
        Count::Matching(n) if n > COUNT_LIMIT => json!({ "count": COUNT_LIMIT + 1, "count_is_lower_bound": true }),
        Count::Matching(n) => json!({ "count": n }),
    };
    let mut text = count.to_string();
    // Without its closing brace.
    text.pop();
    text.reserve(requests.iter().map(|request| request.text.len() + 1).sum());
    text.push_str(",\"jobs\":[");
    for (at, request) in requests.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&request.text);
    }
    text.push(']');
    if let Some(next) = next {
        // Letters, digits, `-` and `_` only.
        text.extend([",\"next\":\"", &next.encode(), "\""]);
    }
    text.push('}');
    text
}

/// The schema of such a result.
pub(super) fn schema(schemas: &mut Schemas) -> Value {
    let status_object = schemas.of::<StatusObject>();
    let lower_bound = json!({
        "type": "boolean",
        "description": "Of a search that matches more than 10,000 requests: there may be any number more.",
    });
    let next = json!({
        "type": "string",
        "format": TOKEN_FORMAT,
        "description": "There may be more: the same call with this as `after` goes on.",
    });
    let list = counted_list(&status_object, [("count_is_lower_bound", lower_bound), ("next", next)]);
    schemas.named("RequestList", list)
}

/// The `format` of `next` and `after`. It tells programs that not every text is valid: only an answer's `next` is an `after`.
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
