//! `GET /job/request/list/{tag}`: a tag's requests, newest first.

use serde_json::json;

use super::call::{Call, CallResult, IncomingCall, Method, Operation, path_parameter};
use super::envelope::ApiError;
use super::paging::{self, Count, PageRequest};

/// The limit of requests where the call has none.
const USUAL: u32 = 100;
/// The largest limit.
pub(super) const MOST: u32 = 1000;

pub(super) const CALL: Call = Call {
    name: "list",
    id: "ekstep.analytics.job.request.list",
    method: Method::Get,
    path: "/job/request/list/{tag}",
    fields: &[],
    handle: |call| Box::pin(list(call)),
    describe: |schemas| Operation {
        summary: "The requests of a tag, newest first",
        description: "`count` is the number of jobs returned. An unknown tag is an empty list. An answer has at most 4 MiB \
                      of them; `next` is there where more follow, taken as `after`.",
        parameters: vec![
            path_parameter("tag", "The client's key."),
            json!({
                "name": "limit", "in": "query", "description": "How many at most.",
                "schema": { "type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL },
            }),
            json!({ "name": "after", "in": "query", "description": "Where it begins.", "schema": paging::after() }),
        ],
        body: None,
        result: paging::schema(schemas),
        errors: &[400],
        links: None,
    },
};

async fn list(call: IncomingCall) -> CallResult {
    let tag = call.path.first().cloned().unwrap_or_default();
    call.caller.covers_tag(&tag)?;
    let limit = match call.query.get("limit") {
        None => USUAL,
        Some(text) => text.parse().map_err(|_| wrong_limit())?,
    };
    if !(1..=MOST).contains(&limit) {
        return Err(wrong_limit());
    }
    let page = PageRequest::new(limit, call.query.get("after").map(String::as_str))?;
    let reader = call.caller.reader();
    let entries = call.api.ask(move |queue| queue.list(Some(&tag), &reader, &page.page())).await?;
    paging::result(&call, Count::Returned, entries, limit).await
}

pub(super) fn wrong_limit() -> ApiError {
    ApiError::bad(format!("limit must be a whole number from 1 to {MOST}"))
}
